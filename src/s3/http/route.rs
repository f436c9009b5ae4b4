//! The way to an endpoint: straight, or through the proxy that the environment names.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_runtime::client::dns::TokioDnsResolver;
use aws_smithy_runtime_api::client::dns::ResolveDns;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector as TcpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::BoxError;
use crate::config::TargetConfig;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Time for a TCP connection to stand.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A host name that could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("cannot find the host {host}")]
pub(in crate::s3) struct DnsFault {
    pub(in crate::s3) host: String,
    source: BoxError,
}

/// A fault on the way through a proxy.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} failed")]
pub(in crate::s3) struct ProxyFault {
    /// Host and port.
    pub(in crate::s3) proxy: String,
    /// Whether it asks for a user name and password, or for others than it got.
    pub(in crate::s3) wants_login: bool,
    source: BoxError,
}

impl ProxyFault {
    fn boxed(proxy: &Uri, wants_login: bool, source: impl Into<BoxError>) -> BoxError {
        let proxy = proxy.authority().map(ToString::to_string).unwrap_or_default();
        Box::new(Self { proxy, wants_login, source: source.into() })
    }
}

/// Its name is not exported.
type TunnelError = <Tunnel<TcpConnector<Resolver>> as Service<Uri>>::Error;

/// Opens TCP connections on the route to the endpoint.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: TcpConnector<Resolver>,
    route: Route,
}

#[derive(Clone)]
enum Route {
    Direct,
    /// `https` through a proxy: CONNECT.
    Tunnel {
        proxy: Uri,
        authorization: Option<HeaderValue>,
    },
    /// `http` through a proxy: the whole URI in the request line.
    Forward {
        proxy: Uri,
        authorization: Option<HeaderValue>,
    },
}

impl Connector {
    /// The route that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` ask for.
    pub(super) fn new(config: &TargetConfig) -> Self {
        let mut tcp = TcpConnector::new_with_resolver(Resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        // The kernel knows whether bytes that were written are taken on the other side.
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(super::STALL_LIMIT));
        let endpoint = config.endpoint.as_str().parse::<Uri>().ok();
        let intercept = endpoint.and_then(|uri| Matcher::from_env().intercept(&uri));
        let route = match intercept {
            None => Route::Direct,
            Some(hit) => {
                let (proxy, authorization) = (hit.uri().clone(), hit.basic_auth().cloned());
                if config.endpoint.scheme() == "https" {
                    Route::Tunnel { proxy, authorization }
                } else {
                    Route::Forward { proxy, authorization }
                }
            }
        };
        Self { tcp, route }
    }

    /// Host and port of the proxy, if there is one.
    pub(super) fn proxy(&self) -> Option<String> {
        match &self.route {
            Route::Tunnel { proxy, .. } | Route::Forward { proxy, .. } => {
                Some(proxy.authority().map(ToString::to_string).unwrap_or_default())
            }
            Route::Direct => None,
        }
    }

    /// The first host on the way to `destination`.
    pub(super) fn first_host<'a>(&'a self, destination: &'a Uri) -> &'a str {
        let first = match &self.route {
            Route::Tunnel { proxy, .. } | Route::Forward { proxy, .. } => proxy,
            Route::Direct => destination,
        };
        first.host().unwrap_or_default()
    }

    /// A fault that is the proxy's, if there is one.
    pub(super) fn fault(&self, fault: DnsFault) -> BoxError {
        match &self.route {
            Route::Tunnel { proxy, .. } | Route::Forward { proxy, .. } => {
                ProxyFault::boxed(proxy, false, fault)
            }
            Route::Direct => Box::new(fault),
        }
    }

    /// What a proxy wants to see in each request that it forwards.
    pub(super) fn authorization_of_requests(&self) -> Option<HeaderValue> {
        match &self.route {
            Route::Forward { authorization, .. } => authorization.clone(),
            Route::Direct | Route::Tunnel { .. } => None,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Routed;
    type Error = BoxError;
    type Future = BoxFuture<std::result::Result<Routed, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let mut tcp = self.tcp.clone();
        match self.route.clone() {
            Route::Direct => Box::pin(async move {
                let io = tcp.call(destination).await?;
                Ok(Routed { io, proxied: false })
            }),
            Route::Tunnel { proxy, authorization } => Box::pin(async move {
                let mut tunnel = Tunnel::new(proxy.clone(), tcp);
                if let Some(value) = authorization {
                    tunnel = tunnel.with_auth(value);
                }
                let io = tunnel.call(destination).await.map_err(|error| {
                    let wants_login = matches!(error, TunnelError::ProxyAuthRequired);
                    ProxyFault::boxed(&proxy, wants_login, error)
                })?;
                Ok(Routed { io, proxied: false })
            }),
            Route::Forward { proxy, .. } => Box::pin(async move {
                let connecting = tcp.call(proxy.clone()).await;
                let io = connecting.map_err(|error| ProxyFault::boxed(&proxy, false, error))?;
                Ok(Routed { io, proxied: true })
            }),
        }
    }
}

/// A connection that knows whether requests on it must carry the whole URI.
pub(super) struct Routed {
    io: TokioIo<TcpStream>,
    proxied: bool,
}

impl Connection for Routed {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.proxied)
    }
}

impl hyper::rt::Read for Routed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Routed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}

/// Finds the addresses of a host.
pub(super) async fn resolve(host: &str) -> std::result::Result<Vec<IpAddr>, DnsFault> {
    let found = TokioDnsResolver::new().resolve_dns(host).await;
    found.map_err(|error| DnsFault { host: host.to_owned(), source: error.into() })
}

/// Name resolution with a fault of its own type.
#[derive(Clone)]
struct Resolver;

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
