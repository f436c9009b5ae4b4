//! The way to an endpoint: straight, or through the proxy that the environment names.

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

use super::connection::{Hop, Stream};
use super::faults::{BoxError, DnsFault, ProxyFault, ProxyProblem};
use super::proxy::{Protocol, Proxy};
use super::stall::STALL_LIMIT;
use super::tls;
use super::tunnel;
use crate::config::TargetConfig;
use crate::error::Result;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Time for a TCP connection to stand.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Time for a proxy to lead to the server: connection, TLS to the proxy, login and answer together.
pub(super) const PROXY_LIMIT: Duration = Duration::from_secs(30);

/// Opens TCP connections on the route to the endpoint.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: TcpConnector<Resolver>,
    /// Connects to a proxy, with TLS where its URL says so.
    hop: HttpsConnector<TcpConnector<Resolver>>,
    proxy: Option<Proxy>,
    expects_tls: bool,
}

impl Connector {
    /// The route that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` ask for.
    ///
    /// # Errors
    /// `invalid_config` when the variable that counts cannot be used.
    pub(super) fn new(config: &TargetConfig) -> Result<Self> {
        let proxy = Proxy::for_endpoint(&config.endpoint, |name| std::env::var_os(name))?;
        let mut tcp = TcpConnector::new_with_resolver(Resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        // The kernel knows whether bytes that were written are taken on the other side.
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(STALL_LIMIT));
        // Never `verify_tls` or `ca_certificate`: those are about the server.
        let tls = match &proxy {
            Some(proxy) if proxy.is_https() => tls::for_proxy(proxy.variable)?,
            _ => tls::unused()?,
        };
        let hop = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp.clone());
        Ok(Self { tcp, hop, proxy, expects_tls: config.endpoint.scheme() == "https" })
    }

    /// Host and port of the proxy, if there is one.
    pub(super) fn proxy(&self) -> Option<String> {
        self.proxy.as_ref().map(Proxy::address)
    }

    /// The first host on the way to `destination`.
    pub(super) fn first_host<'a>(&'a self, destination: &'a Uri) -> &'a str {
        let first = self.proxy.as_ref().map_or(destination, |proxy| &proxy.uri);
        first.host().unwrap_or_default()
    }

    /// A fault that is the proxy's, if there is one.
    pub(super) fn fault(&self, fault: DnsFault) -> BoxError {
        match &self.proxy {
            Some(proxy) => {
                Box::new(ProxyFault::new(proxy, ProxyProblem::Unreachable, Some(fault.into())))
            }
            None => Box::new(fault),
        }
    }

    /// What a proxy wants to see in each request that it forwards.
    pub(super) fn authorization_of_requests(&self) -> Option<HeaderValue> {
        match &self.proxy.as_ref()?.protocol {
            Protocol::Forward { authorization } => authorization.clone(),
            Protocol::Tunnel { .. } | Protocol::Socks { .. } => None,
        }
    }

    async fn open(self, destination: Uri) -> std::result::Result<Stream, BoxError> {
        let Some(proxy) = &self.proxy else {
            let io = Hop::Http(self.tcp.clone().call(destination).await?);
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
    ) -> std::result::Result<Hop, BoxError> {
        let failed = |(problem, source)| ProxyFault::new(proxy, problem, source);
        let unreachable = |error| failed((ProxyProblem::Unreachable, Some(error)));
        match &proxy.protocol {
            Protocol::Forward { .. } => {
                Ok(self.hop.clone().call(proxy.uri.clone()).await.map_err(unreachable)?)
            }
            Protocol::Tunnel { authorization } => {
                let mut io = self.hop.clone().call(proxy.uri.clone()).await.map_err(unreachable)?;
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
                Ok(Hop::Http(io.map_err(|fault| failed(of_socks(fault)))?))
            }
        }
    }
}

/// Host and port of a URI, as an authority.
fn with_port(destination: &Uri) -> String {
    let is_https = destination.scheme() == Some(&http::uri::Scheme::HTTPS);
    let port = destination.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    format!("{}:{port}", destination.host().unwrap_or_default())
}

/// The same with an address in place of the host: one of IPv4 where there is one, which more proxies
/// can reach.
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

/// Finds the addresses of a host.
pub(super) async fn resolve(host: &str) -> std::result::Result<Vec<IpAddr>, DnsFault> {
    let found = TokioDnsResolver::new().resolve_dns(host).await;
    found.map_err(|error| DnsFault { host: host.to_owned(), source: error.into() })
}

/// Name resolution with a fault of its own type.
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

/// Its name is not exported.
type SocksFault = <SocksV5<TcpConnector<Resolver>> as Service<http::Uri>>::Error;

/// The problem that a failed SOCKS5 dialogue stands for, and its cause.
fn of_socks(fault: SocksFault) -> (ProxyProblem, Option<BoxError>) {
    match fault {
        SocksFault::Inner(error) => (ProxyProblem::Unreachable, Some(Box::new(error))),
        SocksFault::Io(error) => (ProxyProblem::Closed, Some(Box::new(error))),
        SocksFault::V5(answer) => {
            // Its variants are not exported either.
            if format!("{answer:?}").starts_with("Auth") {
                return (ProxyProblem::Login, None);
            }
            let status = answer.to_string();
            let for_good = status == "connection not allowed";
            (ProxyProblem::Refused { status, for_good }, None)
        }
        SocksFault::DnsFailure
        | SocksFault::MissingHost
        | SocksFault::MissingPort
        | SocksFault::V4(_)
        | SocksFault::Parsing(_)
        | SocksFault::Serialize(_) => (ProxyProblem::Garbled, None),
    }
}
