//! Finds out why a certificate is not trusted, from the library's error and the certificates themselves.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, OtherError};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::hex;
use super::problem::Problem;
use super::user_certificate::UserCertificate;

/// Shortest RSA key that the library accepts, in bits.
const SHORTEST_RSA_KEY: usize = 2048;

/// A certificate that is not trusted, and why.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is not trusted ({problem:?})")]
pub(crate) struct UntrustedCertificate {
    pub(crate) problem: Problem,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// Fingerprint: SHA-256 over the DER form, lower-case hex.
    pub(crate) sha256: String,
}

/// The handshake error for this certificate.
pub(super) fn refused(certificate: &CertificateDer<'_>, problem: Problem) -> rustls::Error {
    let (subject, issuer) = match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => (parsed.subject().to_string(), parsed.issuer().to_string()),
        Err(_) => (String::new(), String::new()),
    };
    let sha256 = hex(&Sha256::digest(certificate));
    let untrusted = UntrustedCertificate { problem, subject, issuer, sha256 };
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(untrusted))))
}

/// The certificates of a server, those from the settings, and the time of the check.
pub(super) struct Chain<'a> {
    pub(super) end_entity: &'a CertificateDer<'a>,
    pub(super) intermediates: &'a [CertificateDer<'a>],
    pub(super) user_certificates: &'a [UserCertificate],
    pub(super) now: UnixTime,
}

impl Chain<'_> {
    /// The problem behind the library's error.
    pub(super) fn problem(&self, cause: &CertificateError) -> Problem {
        let parsed = X509Certificate::from_der(self.end_entity).ok().map(|(_, parsed)| parsed);
        let Some(own) = parsed else { return Problem::Unreadable };
        let dates = own.validity();
        let (from, to) = (dates.not_before.timestamp(), dates.not_after.timestamp());
        let now = i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX);
        // Chain before the issuer: adding an expired certificate to the settings would not help.
        if now > to {
            return Problem::Expired(to);
        }
        if now < from {
            return Problem::NotYetValid(from);
        }
        let is_in_settings = self.user_certificates.iter().any(|user| user.der == *self.end_entity);
        let is_self_signed = own.subject() == own.issuer() && !is_in_settings;
        #[expect(clippy::wildcard_enum_match_arm, reason = "the others are as they are")]
        match problem_of(cause) {
            problem @ (Problem::OtherName | Problem::Version) => problem,
            _ if is_self_signed => self.short_key().unwrap_or(Problem::SelfSigned),
            problem
            @ (Problem::UnknownIssuer | Problem::OtherKey | Problem::SignatureAlgorithm) => {
                self.short_key().unwrap_or(problem)
            }
            problem => problem,
        }
    }

    /// An RSA key that is too short, in any certificate from the server to a CA.
    fn short_key(&self) -> Option<Problem> {
        let user_certificates = self.user_certificates.iter().map(|user| &user.der);
        let mut all =
            std::iter::once(self.end_entity).chain(self.intermediates).chain(user_certificates);
        all.find_map(|der| short_key(der))
    }
}

/// The problem with the RSA key of a certificate that is too short for the library.
pub(super) fn short_key(certificate: &CertificateDer<'_>) -> Option<Problem> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let PublicKey::RSA(key) = parsed.public_key().parsed().ok()? else { return None };
    (1..SHORTEST_RSA_KEY).contains(&key.key_size()).then(|| Problem::ShortKey(key.key_size()))
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the libraries add variants at will")]
fn problem_of(cause: &CertificateError) -> Problem {
    match cause {
        // The server's own certificate was checked before.
        CertificateError::ExpiredContext { not_after, .. } => {
            Problem::ChainExpired(seconds(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            Problem::ChainNotYetValid(seconds(*not_before))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Problem::OtherName
        }
        CertificateError::UnknownIssuer => Problem::UnknownIssuer,
        CertificateError::BadSignature => Problem::OtherKey,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Problem::Purpose
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            Problem::SignatureAlgorithm
        }
        CertificateError::UnhandledCriticalExtension => Problem::CriticalExtension,
        CertificateError::BadEncoding => Problem::Unreadable,
        CertificateError::Other(OtherError(other)) => match other.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::NameConstraintViolation) => Problem::NameConstraints,
            Some(webpki::Error::CaUsedAsEndEntity) => Problem::AuthorityAsServer,
            Some(webpki::Error::EndEntityUsedAsCa | webpki::Error::PathLenConstraintViolated) => {
                Problem::IssuerNotAuthority
            }
            Some(webpki::Error::EmptyEkuExtension) => Problem::Purpose,
            Some(webpki::Error::UnsupportedCertVersion) => Problem::Version,
            Some(webpki::Error::UnsupportedCriticalExtension) => Problem::CriticalExtension,
            _ => Problem::Other,
        },
        _ => Problem::Other,
    }
}
