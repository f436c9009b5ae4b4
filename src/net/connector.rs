//! Opens connections to an endpoint, directly or through the proxy from the environment.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_runtime::client::dns::TokioDnsResolver;
use aws_smithy_runtime_api::client::dns::ResolveDns;
use http::{HeaderValue, Uri};
use hyper_rustls::HttpsConnector;
pub(super) use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use tower_service::Service;

use super::connection::{Stream, Transport};
use super::faults::{BoxError, DnsFault, ProxyFault, ProxyProblem};
use super::proxy::{Protocol, Proxy};
use super::tls;
use super::tunnel;
use crate::config::TargetConfig;
use crate::error::Result;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Time limit for opening a TCP connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Time limit for a connection through a proxy: TCP, TLS to the proxy, login and its response
/// together.
pub(super) const PROXY_LIMIT: Duration = Duration::from_secs(30);

/// Opens connections to the endpoint, directly or through a proxy.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: TcpConnector<Resolver>,
    /// Connects to a proxy, with TLS if its URL is https.
    to_proxy: HttpsConnector<TcpConnector<Resolver>>,
    proxy: Option<Proxy>,
    expects_tls: bool,
}

impl Connector {
    /// A connector that uses the proxy from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY`.
    ///
    /// # Errors
    /// `invalid_config` when the variable that applies is not valid.
    pub(super) fn new(config: &TargetConfig) -> Result<Self> {
        let proxy = Proxy::for_endpoint(&config.endpoint, |name| std::env::var_os(name))?;
        let mut tcp = TcpConnector::new_with_resolver(Resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        // The kernel knows whether the server acknowledges the bytes that were written.
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(super::stall::STALL_LIMIT));
        // `verify_tls` and `ca_certificate` apply to the server, not to the proxy.
        let tls = match &proxy {
            Some(proxy) if proxy.is_https() => tls::for_proxy(proxy.variable)?,
            _ => tls::unused()?,
        };
        let to_proxy = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp.clone());
        Ok(Self { tcp, to_proxy, proxy, expects_tls: config.endpoint.scheme() == "https" })
    }

    /// Host and port of the proxy, if there is one.
    pub(super) fn proxy(&self) -> Option<String> {
        self.proxy.as_ref().map(Proxy::address)
    }

    /// The host that the agent connects to for `destination`: the proxy, or the server itself.
    pub(super) fn first_host<'a>(&'a self, destination: &'a Uri) -> &'a str {
        let first = self.proxy.as_ref().map_or(destination, |proxy| &proxy.uri);
        first.host().unwrap_or_default()
    }

    /// The fault of the proxy if there is one, or of the server.
    pub(super) fn fault(&self, fault: DnsFault) -> BoxError {
        match &self.proxy {
            Some(proxy) => {
                Box::new(ProxyFault::new(proxy, ProxyProblem::Unreachable, Some(fault.into())))
            }
            None => Box::new(fault),
        }
    }

    /// The `Proxy-Authorization` header of each request that a proxy forwards.
    pub(super) fn forward_authorization(&self) -> Option<HeaderValue> {
        match &self.proxy.as_ref()?.protocol {
            Protocol::Forward { authorization } => authorization.clone(),
            Protocol::Tunnel { .. } | Protocol::Socks { .. } => None,
        }
    }

    async fn open(self, destination: Uri) -> std::result::Result<Stream, BoxError> {
        let Some(proxy) = &self.proxy else {
            let io = Transport::Http(self.tcp.clone().call(destination).await?);
            return Ok(Stream::new(io, false, self.expects_tls));
        };
        let through = tokio::time::timeout(PROXY_LIMIT, self.through(proxy, &destination)).await;
        let io = through.unwrap_or_else(|_| {
            let silent = ProxyProblem::Silent(PROXY_LIMIT);
            Err(ProxyFault::new(proxy, silent, None).into())
        })?;
        let is_forwarded = matches!(proxy.protocol, Protocol::Forward { .. });
        Ok(Stream::new(io, is_forwarded, self.expects_tls))
    }

    async fn through(
        &self,
        proxy: &Proxy,
        destination: &Uri,
    ) -> std::result::Result<Transport, BoxError> {
        let failed = |(problem, source)| ProxyFault::new(proxy, problem, source);
        let unreachable = |error| failed((ProxyProblem::Unreachable, Some(error)));
        match &proxy.protocol {
            Protocol::Forward { .. } => {
                Ok(self.to_proxy.clone().call(proxy.uri.clone()).await.map_err(unreachable)?)
            }
            Protocol::Tunnel { authorization } => {
                let mut io =
                    self.to_proxy.clone().call(proxy.uri.clone()).await.map_err(unreachable)?;
                let destination = with_port(destination);
                let asked = tunnel::establish(&mut io, &destination, authorization.as_ref());
                asked.await.map_err(failed)?;
                Ok(io)
            }
            Protocol::Socks { local_dns, login } => {
                let destination = match local_dns {
                    true => resolved(destination).await?,
                    false => with_port(destination),
                };
                let mut socks = SocksV5::new(proxy.uri.clone(), self.tcp.clone());
                if let Some((user, password)) = login.clone() {
                    socks = socks.with_auth(user, password);
                }
                let io = socks.call(destination.parse()?).await;
                Ok(Transport::Http(io.map_err(|fault| failed(socks_problem(fault)))?))
            }
        }
    }
}

/// Host and port of a URI, such as `s3.example.com:443`.
fn with_port(destination: &Uri) -> String {
    let is_https = destination.scheme() == Some(&http::uri::Scheme::HTTPS);
    let port = destination.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    format!("{}:{port}", destination.host().unwrap_or_default())
}

/// Address and port of a URI. IPv4 is preferred, because more proxies can reach it.
async fn resolved(destination: &Uri) -> std::result::Result<String, BoxError> {
    let with_port = with_port(destination);
    let Some((host, port)) = with_port.rsplit_once(':') else { return Ok(with_port) };
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if literal.parse::<IpAddr>().is_ok() {
        return Ok(with_port);
    }
    let found = resolve(host).await?;
    Ok(match found.iter().find(|address| address.is_ipv4()).or_else(|| found.first()) {
        Some(IpAddr::V4(address)) => format!("{address}:{port}"),
        Some(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        None => with_port,
    })
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<std::result::Result<Stream, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        Box::pin(self.clone().open(destination))
    }
}

/// Resolves a host name.
pub(super) async fn resolve(host: &str) -> std::result::Result<Vec<IpAddr>, DnsFault> {
    let found = TokioDnsResolver::new().resolve_dns(host).await;
    found.map_err(|error| DnsFault { host: host.to_owned(), source: error.into() })
}

/// Resolver whose errors are a [`DnsFault`].
#[derive(Clone, Debug)]
pub(super) struct Resolver;

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = DnsFault;
    type Future = BoxFuture<std::result::Result<Self::Response, DnsFault>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<std::result::Result<(), DnsFault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let addresses = resolve(name.as_str()).await?.into_iter();
            let addresses: Vec<_> = addresses.map(|address| SocketAddr::new(address, 0)).collect();
            Ok(addresses.into_iter())
        })
    }
}

/// The library does not export the name of this type.
type SocksFault = <SocksV5<TcpConnector<Resolver>> as Service<http::Uri>>::Error;

/// The problem and the cause of a failed SOCKS5 handshake.
fn socks_problem(fault: SocksFault) -> (ProxyProblem, Option<BoxError>) {
    match fault {
        SocksFault::Inner(error) => (ProxyProblem::Unreachable, Some(Box::new(error))),
        SocksFault::Io(error) => (ProxyProblem::Closed, Some(Box::new(error))),
        SocksFault::V5(answer) => {
            // The library does not export the variants of this type either.
            if format!("{answer:?}").starts_with("Auth") {
                return (ProxyProblem::Login, None);
            }
            let status = answer.to_string();
            let is_permanent = status == "connection not allowed";
            (ProxyProblem::Refused { status, is_permanent }, None)
        }
        SocksFault::DnsFailure
        | SocksFault::MissingHost
        | SocksFault::MissingPort
        | SocksFault::V4(_)
        | SocksFault::Parsing(_)
        | SocksFault::Serialize(_) => (ProxyProblem::Garbled, None),
    }
}
