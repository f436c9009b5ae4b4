//! The check of the library, and what it leaves out: certificates that are given by hand, and key lengths.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::given::Given;
use super::problem::Problem;
use super::refusal::{Checked, refused, short_key};
use super::unusable;
use crate::error::Result;

/// Accepts what the roots of the system or the given certificates vouch for.
#[derive(Debug)]
pub(super) struct Verifier {
    system: RootCertStore,
    given: Vec<Given>,
    /// With the roots of the system and all that is given.
    all: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// None when there is no certificate to check against.
    ///
    /// # Errors
    /// `invalid_config` when none of the given certificates can be read.
    pub(super) fn new(
        system: RootCertStore,
        given: Vec<Given>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Self>> {
        let mut roots = system.clone();
        let (taken, ignored) =
            roots.add_parsable_certificates(given.iter().map(|given| given.der.clone()));
        if taken == 0 && ignored > 0 {
            return Err(super::given::invalid("the CA certificate is damaged: copy it again"));
        }
        if ignored > 0 {
            tracing::warn!(ignored, "some of the given CA certificates are damaged");
        }
        if roots.is_empty() {
            return Ok(None);
        }
        let all = build(roots, Arc::clone(&provider)).map_err(unusable)?;
        Ok(Some(Self { system, given, all, provider }))
    }

    /// What keeps a chain that `all` accepts from being trusted. The library looks neither at the dates
    /// of an anchor nor at whether it is an authority.
    fn anchors_problem(
        &self,
        now: UnixTime,
        accepts: impl Fn(&WebPkiServerVerifier) -> bool,
    ) -> Option<(&Given, Problem)> {
        let problem = |given: &'_ Given| given.problem_as_issuer(now);
        if self.given.iter().all(|given| problem(given).is_none()) {
            return None;
        }
        let sound = || self.given.iter().filter(|given| problem(given).is_none());
        let vouched = |anchors: &mut dyn Iterator<Item = &Given>| {
            let mut roots = self.system.clone();
            roots.add_parsable_certificates(anchors.map(|given| given.der.clone()));
            // An empty store makes no verifier.
            build(roots, Arc::clone(&self.provider)).is_ok_and(|verifier| accepts(&verifier))
        };
        if vouched(&mut sound()) {
            return None;
        }
        let unsound = self.given.iter().filter_map(|given| Some((given, problem(given)?)));
        let mut unsound = unsound.filter(|(given, _)| vouched(&mut std::iter::once(*given)));
        unsound.next()
    }
}

fn build(
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> std::result::Result<Arc<WebPkiServerVerifier>, rustls::client::VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let check = |verifier: &WebPkiServerVerifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        // A self-signed certificate that the user gave is trusted as it is; chain building would
        // refuse it when it calls itself a CA, as those made with `openssl req -x509` do.
        let exact = self.given.iter().find(|given| given.der == *end_entity);
        let checked = Checked { end_entity, intermediates, given: &self.given, now };
        let verdict = match exact {
            Some(given) => match given.problem_in_time(now) {
                Some(problem) => return Err(refused(&given.der, problem)),
                None => ParsedCertificate::try_from(end_entity)
                    .and_then(|parsed| rustls::client::verify_server_name(&parsed, server_name))
                    .map(|()| ServerCertVerified::assertion()),
            },
            None => check(&self.all),
        };
        match verdict {
            Ok(verified) => {
                let anchors = exact
                    .is_none()
                    .then(|| self.anchors_problem(now, |verifier| check(verifier).is_ok()));
                if let Some((given, problem)) = anchors.flatten() {
                    return Err(refused(&given.der, problem));
                }
                // The library would refuse the signature of the handshake without a reason.
                match short_key(end_entity) {
                    Some(problem) => Err(refused(end_entity, problem)),
                    None => Ok(verified),
                }
            }
            Err(rustls::Error::InvalidCertificate(cause)) => {
                Err(refused(end_entity, checked.problem(&cause)))
            }
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.all.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.all.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.all.supported_verify_schemes()
    }
}

/// The opt-out: any certificate will do, signatures are still checked.
#[derive(Debug)]
pub(super) struct AcceptAnything(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
