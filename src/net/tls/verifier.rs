//! Certificate verification: the library's, plus certificates from the settings and key lengths.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::problem::Problem;
use super::refusal::{Chain, refused, short_key};
use super::setup_failed;
use super::user_certificate::UserCertificate;
use crate::error::Result;

/// Accepts certificates that the system's root certificates or those from the settings vouch for.
#[derive(Debug)]
pub(super) struct Verifier {
    system: RootCertStore,
    user: Vec<UserCertificate>,
    /// Verifies against the system's root certificates and all from the settings.
    all: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// A verifier; `None` when there is no certificate to verify against.
    ///
    /// # Errors
    /// `invalid_config` when none of the certificates from the settings can be read.
    pub(super) fn new(
        system: RootCertStore,
        user: Vec<UserCertificate>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Self>> {
        let mut roots = system.clone();
        let (taken, ignored) =
            roots.add_parsable_certificates(user.iter().map(|user| user.der.clone()));
        if taken == 0 && ignored > 0 {
            return Err(super::user_certificate::invalid("the CA certificate is damaged")
                .hint("copy it again"));
        }
        if ignored > 0 {
            tracing::warn!(ignored, "some of the CA certificates in the settings are damaged");
        }
        if roots.is_empty() {
            return Ok(None);
        }
        let all = build(roots, Arc::clone(&provider)).map_err(setup_failed)?;
        Ok(Some(Self { system, user, all, provider }))
    }

    /// The certificate from the settings that a chain depends on but that is not valid as an
    /// issuer, and its problem. The library checks neither the dates of a trust anchor nor whether
    /// it is a CA.
    fn user_anchor_problem(
        &self,
        now: UnixTime,
        accepts: impl Fn(&WebPkiServerVerifier) -> bool,
    ) -> Option<(&UserCertificate, Problem)> {
        let problem = |user: &'_ UserCertificate| user.problem_as_issuer(now);
        if self.user.iter().all(|user| problem(user).is_none()) {
            return None;
        }
        let valid = || self.user.iter().filter(|user| problem(user).is_none());
        let vouched = |anchors: &mut dyn Iterator<Item = &UserCertificate>| {
            let mut roots = self.system.clone();
            roots.add_parsable_certificates(anchors.map(|user| user.der.clone()));
            // The library builds no verifier for an empty store.
            build(roots, Arc::clone(&self.provider)).is_ok_and(|verifier| accepts(&verifier))
        };
        if vouched(&mut valid()) {
            return None;
        }
        let invalid = self.user.iter().filter_map(|user| Some((user, problem(user)?)));
        let mut invalid = invalid.filter(|(user, _)| vouched(&mut std::iter::once(*user)));
        invalid.next()
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
        // A self-signed certificate from the settings is trusted as it is. Chain building would
        // reject it when it is marked as a CA, as `openssl req -x509` does.
        let exact = self.user.iter().find(|user| user.der == *end_entity);
        let chain = Chain { end_entity, intermediates, user_certificates: &self.user, now };
        let result = match exact {
            Some(user) => match user.problem_as_server(now) {
                Some(problem) => return Err(refused(&user.der, problem)),
                None => ParsedCertificate::try_from(end_entity)
                    .and_then(|parsed| rustls::client::verify_server_name(&parsed, server_name))
                    .map(|()| ServerCertVerified::assertion()),
            },
            None => check(&self.all),
        };
        match result {
            Ok(verified) => {
                let anchors = exact
                    .is_none()
                    .then(|| self.user_anchor_problem(now, |verifier| check(verifier).is_ok()));
                if let Some((user, problem)) = anchors.flatten() {
                    return Err(refused(&user.der, problem));
                }
                // The library would refuse the signature of the handshake without a reason.
                match short_key(end_entity) {
                    Some(problem) => Err(refused(end_entity, problem)),
                    None => Ok(verified),
                }
            }
            Err(rustls::Error::InvalidCertificate(cause)) => {
                Err(refused(end_entity, chain.problem(&cause)))
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

/// Accepts any certificate, for `verify_tls: false`. Signatures are still verified.
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
