//! Certificates of all kinds, made for one test, and the server side of TLS.

use std::io;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::Acceptor;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::recorded_request::hex;

/// A certificate authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// An authority with other properties.
    pub(super) fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[], "Test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these hosts, valid in these years.
    pub(super) fn issue(&self, hosts: &[&str], years: std::ops::Range<i32>) -> Arc<Identity> {
        self.issue_with(hosts, |params| set_years(params, years))
    }

    /// A certificate for these hosts with other properties.
    pub(super) fn issue_with(
        &self,
        hosts: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<Identity> {
        let key = KeyPair::generate().unwrap();
        let mut params = params(hosts, "Test storage");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::new(&certificate, &key, None)
    }
}

pub(super) fn set_years(params: &mut CertificateParams, years: std::ops::Range<i32>) {
    params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
}

fn params(hosts: &[&str], name: &str) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().copied().map(str::to_owned).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A certificate with its key, and the protocols that clients offered.
pub(crate) struct Identity {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    pub(super) pem: String,
    protocols: Mutex<Vec<String>>,
}

impl Identity {
    /// A self-signed certificate, with or without the CA flag.
    pub(super) fn self_signed(host: &str, is_authority: bool) -> Arc<Self> {
        Self::self_signed_with(host, |params| {
            if is_authority {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
        })
    }

    /// A self-signed certificate with other properties.
    pub(super) fn self_signed_with(
        host: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<Self> {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[host], "Test storage");
        change(&mut params);
        Self::new(&params.self_signed(&key).unwrap(), &key, None)
    }

    /// A self-signed certificate followed by other data that claims to be a certificate.
    pub(super) fn self_signed_before(host: &str, other: Vec<u8>) -> Arc<Self> {
        let key = KeyPair::generate().unwrap();
        let own = params(&[host], "Test storage").self_signed(&key).unwrap();
        Self::new(&own, &key, Some(other.into()))
    }

    fn new(
        certificate: &rcgen::Certificate,
        key: &KeyPair,
        other: Option<CertificateDer<'static>>,
    ) -> Arc<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = std::iter::once(certificate.der().clone()).chain(other).collect();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(Self {
            config: Arc::new(config),
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            protocols: Mutex::default(),
        })
    }

    pub(super) fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.certificate))
    }

    /// The protocols that clients offered, by their ALPN names.
    pub(super) fn protocols(&self) -> Vec<String> {
        self.protocols.lock().unwrap().clone()
    }

    pub(crate) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let offered = start.client_hello().alpn().into_iter().flatten();
        let offered = offered.map(|name| String::from_utf8_lossy(name).into_owned());
        self.protocols.lock().unwrap().extend(offered);
        start.into_stream(Arc::clone(&self.config)).await
    }
}
