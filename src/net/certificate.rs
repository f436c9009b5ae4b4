//! What is said about a certificate that was refused.

use chrono::DateTime;

use super::tls::{Problem, UntrustedCertificate};
use crate::error::{Code, Error};
use crate::platform::now;

/// Of the server at `endpoint`.
pub(super) fn untrusted(endpoint: &str, fault: &UntrustedCertificate) -> Error {
    let problem = fault.problem;
    let why = why(problem);
    let is_about_given = matches!(
        problem,
        Problem::GivenExpired(_) | Problem::GivenNotYetValid(_) | Problem::GivenNotAuthority
    );
    let message = if is_about_given {
        format!(
            "cannot trust the certificate of {endpoint}: the CA certificate that you gave {why}"
        )
    } else {
        format!("the certificate of {endpoint} is not trusted: {why}")
    };
    let field = if problem == Problem::OtherName { "endpoint" } else { "ca_certificate" };
    Error::new(Code::TlsUntrusted, message)
        .field(field)
        .detail("reason", problem.reason())
        .detail("subject", fault.subject.as_str())
        .detail("issuer", fault.issuer.as_str())
        .detail("sha256", fault.sha256.as_str())
}

/// What is wrong with it, and what helps.
fn why(problem: Problem) -> String {
    let text = match problem {
        Problem::UnknownIssuer => {
            "its issuer is unknown here: give the CA certificate of your storage"
        }
        Problem::OtherKey => {
            "its issuer has the name of a known CA but another key: if that CA was made anew, give its \
             new certificate"
        }
        Problem::SelfSigned => {
            "it signed itself: give it as CA certificate if the fingerprint is right"
        }
        Problem::Expired(to) => {
            return format!(
                "it expired on {}: renew it on the server, or set the clock of this machine, which \
                 says {}",
                day(to),
                today()
            );
        }
        Problem::NotYetValid(from) => {
            return format!(
                "it is not valid before {}: set the clock of this machine, which says {}",
                day(from),
                today()
            );
        }
        Problem::ChainExpired(to) => {
            return format!(
                "an intermediate certificate that the server sends expired on {}: renew the chain \
                 on the server",
                day(to)
            );
        }
        Problem::ChainNotYetValid(from) => {
            return format!(
                "an intermediate certificate that the server sends is not valid before {}: set the \
                 clock of this machine, which says {}",
                day(from),
                today()
            );
        }
        Problem::OtherName => {
            "it was made for another host name: use that name in the endpoint, or path addressing style"
        }
        Problem::Purpose => {
            "its extended key usage does not allow servers: have one issued for server \
             authentication (serverAuth)"
        }
        Problem::NameConstraints => {
            "its issuer is not allowed to sign for this host name (name constraints): have it \
             issued by another CA, or use a host name that the CA may sign for"
        }
        Problem::AuthorityAsServer => {
            "it is the certificate of a CA and not of a server: have the CA issue one for the server"
        }
        Problem::IssuerNotAuthority => {
            "a certificate in its chain is not allowed to sign others (CA flag or path length in the \
             basic constraints): have it issued by a CA"
        }
        Problem::ShortKey(bits) => {
            return format!(
                "it or its CA has an RSA key of {bits} bits, which is too short: make a new one of \
                 at least 2048 bits"
            );
        }
        Problem::SignatureAlgorithm => {
            "it is signed with an algorithm that is not accepted, such as SHA-1: have it issued \
             anew with SHA-256"
        }
        Problem::Version => {
            "it is of version 1 of X.509, which cannot name hosts: make a new one of version 3 with \
             a subject alternative name"
        }
        Problem::CriticalExtension => {
            "it has a critical extension that is not known here: have one issued without it"
        }
        Problem::Unreadable => "it cannot be read: make a new one on the server",
        Problem::GivenExpired(to) => {
            return format!("expired on {}: give the one that the server uses now", day(to));
        }
        Problem::GivenNotYetValid(from) => {
            return format!(
                "is not valid before {}: set the clock of this machine, which says {}",
                day(from),
                today()
            );
        }
        Problem::GivenNotAuthority => {
            "is not one of a CA (no CA flag in the basic constraints): give that of the CA, or the \
             certificate of the server itself"
        }
        Problem::Other => "it breaks the rules for certificates of servers: have a new one issued",
    };
    text.to_owned()
}

/// Of the proxy on the way; the remedies of a server do not apply to it.
pub(super) fn of_proxy(fault: &UntrustedCertificate) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others name no remedy of a server")]
    let why = match fault.problem {
        Problem::UnknownIssuer | Problem::OtherKey | Problem::SelfSigned => {
            "its issuer is unknown here".to_owned()
        }
        Problem::OtherName => "it was made for another host name".to_owned(),
        problem => why(problem).split(": ").next().unwrap_or_default().to_owned(),
    };
    format!("its certificate is not trusted, because {why}")
}

/// In UTC.
fn day(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| "a day out of range".to_owned(), |time| time.format("%Y-%m-%d").to_string())
}

fn today() -> String {
    day(now().timestamp())
}
