//! TLS settings of a target and of a proxy: versions, cipher suites, and accepted certificates.
//!
//! A server is verified against the system's root certificates (`SSL_CERT_FILE` included) plus the
//! certificates of the target, a proxy against the system's alone. A rejected certificate is reported as
//! [`UntrustedCertificate`], with the details that a person needs to judge it.

mod problem;
mod refusal;
mod user_certificate;
mod verifier;

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{CipherSuite, ClientConfig, RootCertStore};

pub(super) use self::problem::Problem;
pub(super) use self::refusal::UntrustedCertificate;
pub(super) use self::user_certificate::read_pem;
use self::verifier::{AcceptAnything, Verifier};
use crate::config::TargetConfig;
use crate::error::{Code, Error, Result};

/// TLS settings of a target.
///
/// # Errors
/// `invalid_config` when `ca_certificate` contains no certificate.
pub(super) fn client_config(config: &TargetConfig) -> Result<ClientConfig> {
    let provider = Arc::new(provider(has_fast_aes()));
    let verifier: Arc<dyn ServerCertVerifier> = if config.verify_tls {
        let user = config.ca_certificate.as_deref().map(read_pem).transpose()?;
        let roots = system_roots();
        let verifier = Verifier::new(roots, user.unwrap_or_default(), Arc::clone(&provider))?;
        Arc::new(verifier.ok_or_else(|| {
            Error::new(Code::TlsUntrusted, "this machine has no trusted certificates")
                .hint(
                    "install ca-certificates, set SSL_CERT_FILE, or set the CA certificate of the \
                     server",
                )
                .field("ca_certificate")
                .detail("reason", "unknown_issuer")
        })?)
    } else {
        tracing::warn!(
            "certificates are not verified: an attacker on the network can read and \
                        change data"
        );
        Arc::new(AcceptAnything(Arc::clone(&provider)))
    };
    with(provider, verifier)
}

/// TLS settings for the proxy from the environment variable `variable`.
///
/// # Errors
/// `cannot_connect` when the system has no root certificates.
pub(super) fn for_proxy(variable: &str) -> Result<ClientConfig> {
    let provider = Arc::new(provider(has_fast_aes()));
    let verifier = Verifier::new(system_roots(), Vec::new(), Arc::clone(&provider))?;
    let verifier = verifier.ok_or_else(|| {
        let message = format!(
            "this machine has no trusted certificates to check the https:// proxy in {variable} \
             against"
        );
        Error::new(Code::CannotConnect, message)
            .hint("install ca-certificates, or set SSL_CERT_FILE")
            .detail("stage", "proxy")
    })?;
    with(provider, Arc::new(verifier))
}

/// TLS settings that trust no certificate, for connections without TLS: loading the system's root
/// certificates would only cost time.
pub(super) fn unused() -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(setup_failed)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn with(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(setup_failed)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn setup_failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Code::Internal, "cannot set up TLS").source(error)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "cannot read some of the system's root certificates");
    }
    roots.add_parsable_certificates(system.certs);
    roots
}

/// The cipher suites. On a CPU without AES instructions, such as a Raspberry Pi 4, ChaCha20 is
/// several times faster and comes first; servers that let the client choose take the first suite.
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

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_without_aes_prefers_chacha() {
        let suites = |fast_aes| {
            let suites = provider(fast_aes).cipher_suites;
            suites.iter().map(|suite| suite.suite()).collect::<Vec<_>>()
        };
        let (usual, slow) = (suites(true), suites(false));
        assert!(!is_chacha(usual[0]));
        let (first, last) = slow.split_at(3);
        assert!(first.iter().all(|suite| is_chacha(*suite)), "{slow:?}");
        // The other suites keep their order, and none is missing.
        let rest: Vec<_> = usual.into_iter().filter(|suite| !is_chacha(*suite)).collect();
        assert_eq!(last, rest);
    }
}
