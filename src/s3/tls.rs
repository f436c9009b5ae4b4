//! Which certificates are accepted, and what is told about one that is not.
//!
//! Trusts the roots of the system (`SSL_CERT_FILE` included) plus the certificates of the target.
//! A refused certificate comes back as [`UntrustedCertificate`] with what a person needs to judge it.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;

use crate::config::TargetConfig;
use crate::error::{Code, Error, Result};

/// A certificate that was refused, and why.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is not trusted ({reason})")]
pub(super) struct UntrustedCertificate {
    /// One of `unknown_issuer`, `self_signed`, `expired`, `not_yet_valid`, `name_mismatch`, `invalid`.
    pub(super) reason: &'static str,
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Fingerprint: SHA-256 over the DER form, lower-case hex.
    pub(super) sha256: String,
}

/// TLS settings of a target.
///
/// # Errors
/// `invalid_config` when `ca_certificate` holds no certificate.
pub(super) fn client_config(config: &TargetConfig) -> Result<ClientConfig> {
    let provider = Arc::new(provider(has_fast_aes()));
    let internal =
        |error: rustls::Error| Error::new(Code::Internal, "TLS is unusable").source(error);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(internal)?;
    let verifier: Arc<dyn ServerCertVerifier> = if config.verify_tls {
        Arc::new(Verifier::new(config.ca_certificate.as_deref(), provider)?)
    } else {
        tracing::warn!("certificates are not checked: anybody on the way can read and change data");
        Arc::new(AcceptAnything(provider))
    };
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Where the processor has no instructions for AES, as in a Raspberry Pi 4, ChaCha20 is several times
/// faster; servers that let the client choose take what comes first.
fn provider(fast_aes: bool) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if !fast_aes {
        provider.cipher_suites.sort_by_key(|suite| !is_chacha(suite.suite()));
    }
    provider
}

fn is_chacha(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

#[cfg(target_arch = "x86_64")]
fn has_fast_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_fast_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_fast_aes() -> bool {
    false
}

/// The check of the library, with the reason of a refusal kept.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(ca_certificate: Option<&str>, provider: Arc<CryptoProvider>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "cannot read some of the system's certificates");
        }
        roots.add_parsable_certificates(system.certs);
        let given = ca_certificate.map(read_pem).transpose()?.unwrap_or_default();
        let (taken, ignored) = roots.add_parsable_certificates(given.iter().cloned());
        if taken == 0 && ignored > 0 {
            return Err(invalid("the CA certificate is damaged: copy it again"));
        }
        if ignored > 0 {
            tracing::warn!(ignored, "some of the given CA certificates are damaged");
        }
        if roots.is_empty() {
            return Err(Error::new(
                Code::TlsUntrusted,
                "this machine has no trusted certificates: install ca-certificates, set \
                 SSL_CERT_FILE, or give the certificate of your storage",
            )
            .field("ca_certificate")
            .fact("reason", "unknown_issuer"));
        }
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::new(Code::Internal, "TLS is unusable").source(error))?;
        Ok(Self { inner, given })
    }
}

fn invalid(message: &str) -> Error {
    Error::new(Code::InvalidConfig, message).field("ca_certificate").fact("field", "ca_certificate")
}

pub(super) fn read_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
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

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // A self-signed certificate that the user gave is trusted as it is; chain building would
        // refuse it when it calls itself a CA, as those made with `openssl req -x509` do.
        let verdict = if self.given.iter().any(|given| given == end_entity) {
            ParsedCertificate::try_from(end_entity)
                .and_then(|certificate| {
                    rustls::client::verify_server_name(&certificate, server_name)
                })
                .map(|()| ServerCertVerified::assertion())
        } else {
            self.inner.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            )
        };
        verdict.map_err(|error| {
            if let rustls::Error::InvalidCertificate(cause) = &error {
                return refused(end_entity, cause);
            }
            error
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn refused(certificate: &CertificateDer<'_>, cause: &CertificateError) -> rustls::Error {
    let (subject, issuer) = match x509_parser::certificate::X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => (parsed.subject().to_string(), parsed.issuer().to_string()),
        Err(_) => (String::new(), String::new()),
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library adds variants at will")]
    let reason = match cause {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not_yet_valid"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "name_mismatch"
        }
        _ if subject == issuer && !subject.is_empty() => "self_signed",
        // The second is an authority with the name of one that is known, but not its key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "unknown_issuer",
        _ => "invalid",
    };
    let untrusted =
        UntrustedCertificate { reason, subject, issuer, sha256: hex(&Sha256::digest(certificate)) };
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(untrusted))))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The opt-out: any certificate will do, signatures are still checked.
#[derive(Debug)]
struct AcceptAnything(Arc<CryptoProvider>);

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
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_aes_asks_for_chacha_first() {
        let suites = |fast_aes| {
            let suites = provider(fast_aes).cipher_suites;
            suites.iter().map(|suite| suite.suite()).collect::<Vec<_>>()
        };
        let (usual, slow) = (suites(true), suites(false));
        assert!(!is_chacha(usual[0]));
        let (first, last) = slow.split_at(3);
        assert!(first.iter().all(|suite| is_chacha(*suite)), "{slow:?}");
        // The others as they were, and none is missing.
        let rest: Vec<_> = usual.into_iter().filter(|suite| !is_chacha(*suite)).collect();
        assert_eq!(last, rest);
    }
}
