//! Error messages for certificates that are not trusted.

use chrono::DateTime;

use super::tls::{Problem, UntrustedCertificate};
use crate::error::{Code, Error};
use crate::platform::now;

/// The error for an untrusted certificate of the server at `endpoint`.
pub(super) fn untrusted(endpoint: &str, fault: &UntrustedCertificate) -> Error {
    let problem = fault.problem;
    let (why, hint) = why(problem);
    let is_user_certificate = matches!(
        problem,
        Problem::UserExpired(_) | Problem::UserNotYetValid(_) | Problem::UserNotAuthority
    );
    let which = if is_user_certificate { "the CA certificate in the settings " } else { "" };
    let message = format!("the certificate of {endpoint} is not trusted: {which}{why}");
    let field = if problem == Problem::OtherName { "endpoint" } else { "ca_certificate" };
    Error::new(Code::TlsUntrusted, message)
        .hint(hint)
        .field(field)
        .detail("reason", problem.reason())
        .detail("subject", fault.subject.as_str())
        .detail("issuer", fault.issuer.as_str())
        .detail("sha256", fault.sha256.as_str())
}

/// The reason and the remedy.
fn why(problem: Problem) -> (String, String) {
    let set_clock =
        || format!("correct the clock of this machine, which says {}", day(now().timestamp()));
    let (why, hint) = match problem {
        Problem::UnknownIssuer => ("its issuer is unknown", "set the CA certificate of the server"),
        Problem::OtherKey => (
            "its issuer has the name of a known CA but a different key",
            "if the CA was recreated, set its new certificate",
        ),
        Problem::SelfSigned => {
            ("it is self-signed", "if its fingerprint is correct, set it as the CA certificate")
        }
        Problem::Expired(to) => {
            let hint = format!("renew it on the server, or {}", set_clock());
            return (format!("it expired on {}", day(to)), hint);
        }
        Problem::NotYetValid(from) => {
            return (format!("it is not valid before {}", day(from)), set_clock());
        }
        Problem::ChainExpired(to) => {
            let why =
                format!("an intermediate certificate that the server sends expired on {}", day(to));
            return (why, "renew the chain on the server".to_owned());
        }
        Problem::ChainNotYetValid(from) => {
            let why = format!(
                "an intermediate certificate that the server sends is not valid before {}",
                day(from)
            );
            return (why, set_clock());
        }
        Problem::OtherName => (
            "it was issued for another host name",
            "use that name in the endpoint, or the addressing style path",
        ),
        Problem::Purpose => (
            "its extended key usage does not include server authentication",
            "issue one with serverAuth",
        ),
        Problem::NameConstraints => (
            "its issuer is not allowed to sign for this host name (name constraints)",
            "use another CA, or a host name that this CA may sign for",
        ),
        Problem::AuthorityAsServer => (
            "it is a CA certificate, not a server certificate",
            "have the CA issue one for the server",
        ),
        Problem::IssuerNotAuthority => (
            "a certificate in its chain is not allowed to sign others (CA flag or path length in \
             the basic constraints)",
            "use a certificate that a CA issued",
        ),
        Problem::ShortKey(bits) => {
            let why = format!("it or its CA has an RSA key of {bits} bits, which is too short");
            return (why, "create a key of at least 2048 bits".to_owned());
        }
        Problem::SignatureAlgorithm => (
            "it is signed with an algorithm that is not accepted, such as SHA-1",
            "reissue it with SHA-256",
        ),
        Problem::Version => (
            "it is an X.509 version 1 certificate, which cannot name hosts",
            "create one of version 3 with a subject alternative name",
        ),
        Problem::CriticalExtension => {
            ("it has an unknown critical extension", "reissue it without that extension")
        }
        Problem::Unreadable => ("it cannot be read", "create a new one on the server"),
        Problem::UserExpired(to) => {
            let hint = "set the one that the server uses now".to_owned();
            return (format!("expired on {}", day(to)), hint);
        }
        Problem::UserNotYetValid(from) => {
            return (format!("is not valid before {}", day(from)), set_clock());
        }
        Problem::UserNotAuthority => (
            "is not a CA certificate (no CA flag in the basic constraints)",
            "set the certificate of the CA, or that of the server itself",
        ),
        Problem::Other => ("it is not a valid server certificate", "have a new one issued"),
    };
    (why.to_owned(), hint.to_owned())
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
        problem => why(problem).0,
    };
    format!("its certificate is not trusted: {why}")
}

/// The date in UTC, such as `2026-11-30`.
fn day(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| "an unknown day".to_owned(), |time| time.format("%Y-%m-%d").to_string())
}
