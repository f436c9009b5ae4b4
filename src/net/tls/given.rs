//! Certificates that the user gives for a target, and what each may vouch for.
//!
//! The certificate of a server that is given itself is trusted exactly, for the hosts that it names, between
//! its dates. One of an authority vouches for what it signed, between its dates.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::problem::Problem;
use crate::error::{Code, Error, Result};

/// One of them. What cannot be parsed has no dates and no rights of an authority; the library refuses it.
#[derive(Debug)]
pub(crate) struct Given {
    pub(super) der: CertificateDer<'static>,
    /// Seconds since 1970.
    dates: Option<(i64, i64)>,
    is_authority: bool,
}

impl Given {
    fn new(der: CertificateDer<'static>) -> Self {
        let (dates, is_authority) = match X509Certificate::from_der(&der) {
            Ok((_, parsed)) => {
                let validity = parsed.validity();
                let dates = (validity.not_before.timestamp(), validity.not_after.timestamp());
                // The first version of X.509 has no extensions to say so; old authorities are such.
                (Some(dates), parsed.is_ca() || parsed.version().0 == 0)
            }
            Err(_) => (None, false),
        };
        Self { der, dates, is_authority }
    }

    /// Why it is not to be trusted as the certificate of a server at this time.
    pub(super) fn problem_in_time(&self, now: UnixTime) -> Option<Problem> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let (from, to) = self.dates?;
        if now > to {
            return Some(Problem::GivenExpired(to));
        }
        (now < from).then_some(Problem::GivenNotYetValid(from))
    }

    /// Why it cannot vouch for another certificate at this time.
    pub(super) fn problem_as_issuer(&self, now: UnixTime) -> Option<Problem> {
        let timeless = || (!self.is_authority).then_some(Problem::GivenNotAuthority);
        timeless().or_else(|| self.problem_in_time(now))
    }
}

pub(super) fn invalid(message: &str) -> Error {
    Error::new(Code::InvalidConfig, message)
        .field("ca_certificate")
        .detail("field", "ca_certificate")
}

pub(crate) fn read_pem(pem: &str) -> Result<Vec<Given>> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| der.map(Given::new))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| {
            invalid("the CA certificate is not valid PEM text: copy it again").source(error)
        })?;
    if certificates.is_empty() {
        return Err(invalid(
            "the CA certificate holds no certificate: it must be PEM text that begins with \
             -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(certificates)
}
