//! Certificates from the setting `ca_certificate`, and when they are trusted.
//!
//! A server certificate is trusted exactly, for the hosts that it names, between its dates. A CA
//! certificate is trusted to sign others, between its dates.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::problem::Problem;
use crate::error::{Code, Error, Result};

/// A certificate from the settings. One that cannot be parsed has no dates and is no CA; the
/// library rejects it.
#[derive(Debug)]
pub(crate) struct UserCertificate {
    pub(super) der: CertificateDer<'static>,
    /// First and last second of its validity, in seconds since 1970.
    dates: Option<(i64, i64)>,
    is_authority: bool,
}

impl UserCertificate {
    fn new(der: CertificateDer<'static>) -> Self {
        let (dates, is_authority) = match X509Certificate::from_der(&der) {
            Ok((_, parsed)) => {
                let validity = parsed.validity();
                let dates = (validity.not_before.timestamp(), validity.not_after.timestamp());
                // X.509 version 1 has no extensions to mark a CA; old CA certificates have this
                // version.
                (Some(dates), parsed.is_ca() || parsed.version().0 == 0)
            }
            Err(_) => (None, false),
        };
        Self { der, dates, is_authority }
    }

    /// The problem with it as a server certificate at this time.
    pub(super) fn problem_as_server(&self, now: UnixTime) -> Option<Problem> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let (from, to) = self.dates?;
        if now > to {
            return Some(Problem::UserExpired(to));
        }
        (now < from).then_some(Problem::UserNotYetValid(from))
    }

    /// The problem with it as the issuer of another certificate at this time.
    pub(super) fn problem_as_issuer(&self, now: UnixTime) -> Option<Problem> {
        let not_a_ca = || (!self.is_authority).then_some(Problem::UserNotAuthority);
        not_a_ca().or_else(|| self.problem_as_server(now))
    }
}

pub(super) fn invalid(message: &str) -> Error {
    Error::new(Code::InvalidConfig, message)
        .field("ca_certificate")
        .detail("field", "ca_certificate")
}

pub(crate) fn read_pem(pem: &str) -> Result<Vec<UserCertificate>> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| der.map(UserCertificate::new))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| {
            invalid("the CA certificate is not valid PEM text").hint("copy it again").source(error)
        })?;
    if certificates.is_empty() {
        return Err(invalid(
            "the CA certificate contains no certificate: it must be PEM text that begins with \
             -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(certificates)
}
