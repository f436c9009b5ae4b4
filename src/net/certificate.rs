//! Error messages for certificates that are not trusted.

use chrono::DateTime;

use super::tls::{Problem, UntrustedCertificate};
use crate::error::{Code, Error};
use crate::platform::now;

/// The error for an untrusted certificate of the server at `endpoint`.
pub(super) fn untrusted(endpoint: &str, fault: &UntrustedCertificate) -> Error {
    let problem = fault.problem;
    let why = why(problem);
    let is_user_certificate = matches!(
        problem,
        Problem::UserExpired(_) | Problem::UserNotYetValid(_) | Problem::UserNotAuthority
    );
    let message = if is_user_certificate {
        format!(
            "the certificate of {endpoint} is not trusted: the CA certificate in the settings \
             {why}"
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

/// The reason, a colon and the remedy.
fn why(problem: Problem) -> String {
    let text = match problem {
        Problem::UnknownIssuer => "its issuer is unknown: set the CA certificate of the server",
        Problem::OtherKey => {
            "its issuer has the name of a known CA but a different key: if the CA was recreated, \
             set its new certificate"
        }
        Problem::SelfSigned => {
            "it is self-signed: if its fingerprint is correct, set it as the CA certificate"
        }
        Problem::Expired(to) => {
            return format!(
                "it expired on {}: renew it on the server, or correct the clock of this machine, \
                 which says {}",
                day(to),
                today()
            );
        }
        Problem::NotYetValid(from) => {
            return format!(
                "it is not valid before {}: correct the clock of this machine, which says {}",
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
                "an intermediate certificate that the server sends is not valid before {}: \
                 correct the clock of this machine, which says {}",
                day(from),
                today()
            );
        }
        Problem::OtherName => {
            "it was issued for another host name: use that name in the endpoint, or the \
             addressing style path"
        }
        Problem::Purpose => {
            "its extended key usage does not include server authentication: issue one with \
             serverAuth"
        }
        Problem::NameConstraints => {
            "its issuer is not allowed to sign for this host name (name constraints): use another \
             CA, or a host name that this CA may sign for"
        }
        Problem::AuthorityAsServer => {
            "it is a CA certificate, not a server certificate: have the CA issue one for the \
             server"
        }
        Problem::IssuerNotAuthority => {
            "a certificate in its chain is not allowed to sign others (CA flag or path length in \
             the basic constraints): use a certificate that a CA issued"
        }
        Problem::ShortKey(bits) => {
            return format!(
                "it or its CA has an RSA key of {bits} bits, which is too short: create a key of \
                 at least 2048 bits"
            );
        }
        Problem::SignatureAlgorithm => {
            "it is signed with an algorithm that is not accepted, such as SHA-1: reissue it with \
             SHA-256"
        }
        Problem::Version => {
            "it is an X.509 version 1 certificate, which cannot name hosts: create one of version \
             3 with a subject alternative name"
        }
        Problem::CriticalExtension => {
            "it has an unknown critical extension: reissue it without that extension"
        }
        Problem::Unreadable => "it cannot be read: create a new one on the server",
        Problem::UserExpired(to) => {
            return format!("expired on {}: set the one that the server uses now", day(to));
        }
        Problem::UserNotYetValid(from) => {
            return format!(
                "is not valid before {}: correct the clock of this machine, which says {}",
                day(from),
                today()
            );
        }
        Problem::UserNotAuthority => {
            "is not a CA certificate (no CA flag in the basic constraints): set the certificate \
             of the CA, or that of the server itself"
        }
        Problem::Other => "it is not a valid server certificate: have a new one issued",
    };
    text.to_owned()
}

/// The reason for an untrusted certificate of a proxy, without a remedy: those for a server do not
/// apply.
pub(super) fn proxy_reason(fault: &UntrustedCertificate) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others name no remedy of a server")]
    let why = match fault.problem {
        Problem::UnknownIssuer | Problem::OtherKey | Problem::SelfSigned => {
            "its issuer is unknown".to_owned()
        }
        Problem::OtherName => "it was issued for another host name".to_owned(),
        problem => why(problem).split(": ").next().unwrap_or_default().to_owned(),
    };
    format!("its certificate is not trusted: {why}")
}

/// The date in UTC, such as `2026-11-30`.
fn day(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| "an unknown day".to_owned(), |time| time.format("%Y-%m-%d").to_string())
}

fn today() -> String {
    day(now().timestamp())
}
