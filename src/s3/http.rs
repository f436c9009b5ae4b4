//! The HTTP client under the SDK: HTTP/1.1 over pooled connections, proxies, and time limits that
//! count from the last byte that moved.
//!
//! HTTP/2 is not offered, because it would put all parts of an upload on one TCP connection.
//! Faults leave here as types ([`DnsFault`], [`StallFault`], [`UntrustedCertificate`]) in the
//! source chain, so that nobody has to read error texts.
//!
//! [`UntrustedCertificate`]: super::tls::UntrustedCertificate

use std::error::Error as StdError;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_runtime::client::dns::TokioDnsResolver;
use aws_smithy_runtime_api::client::dns::ResolveDns;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{HeaderValue, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector as TcpConnector};
use hyper_util::client::legacy::{Client, Error as PoolError};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use super::tls;
use crate::config::TargetConfig;
use crate::error::Result;

type BoxError = Box<dyn StdError + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Time for a TCP connection to stand.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Longest silence of the storage, in either direction, before a request is given up.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(60);

/// Below the keep-alive of common servers, so that a pooled connection is rarely found dead.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// A host name that could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("cannot find the host {host}")]
pub(super) struct DnsFault {
    pub(super) host: String,
    source: BoxError,
}

/// Nothing moved for `limit`.
#[derive(Debug, thiserror::Error)]
#[error("nothing moved for {} seconds", limit.as_secs())]
pub(super) struct StallFault {
    pub(super) limit: Duration,
}

/// A fault on the way through a proxy.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} failed")]
pub(super) struct ProxyFault {
    pub(super) proxy: String,
    source: BoxError,
}

/// One connection pool for one target.
#[derive(Clone)]
pub(super) struct Pool {
    client: Client<HttpsConnector<Connector>, Tracked<SdkBody>>,
    proxy_authorization: Option<HeaderValue>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

impl Pool {
    /// A pool for `config`, through the proxy that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY` name for its endpoint.
    pub(super) fn new(config: &TargetConfig) -> Result<Self> {
        let connector = Connector::new(config);
        let proxy_authorization = match &connector.route {
            Route::Forward { authorization, .. } => authorization.clone(),
            Route::Direct | Route::Tunnel { .. } => None,
        };
        let https = hyper_rustls::HttpsConnectorBuilder::new();
        let https = if config.endpoint.scheme() == "https" {
            https.with_tls_config(tls::client_config(config)?)
        } else {
            // Never used; reading the system's roots would only cost time.
            https.with_tls_config(empty_tls())
        };
        let https = https.https_or_http().enable_http1().wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .http1_preserve_header_case(false)
            .build(https);
        Ok(Self { client, proxy_authorization })
    }
}

fn empty_tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map(|builder| {
            builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        })
        .unwrap_or_else(|_| unreachable!("ring supports the default versions"))
}

impl HttpClient for Pool {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let limit = settings.read_timeout().unwrap_or(STALL_LIMIT);
        SharedHttpConnector::new(LimitedPool { pool: self.clone(), limit })
    }
}

/// The pool with the time limit of one kind of request.
#[derive(Debug)]
struct LimitedPool {
    pool: Pool,
    limit: Duration,
}

impl HttpConnector for LimitedPool {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Pool { client, proxy_authorization } = self.pool.clone();
        let limit = self.limit;
        HttpConnectorFuture::new(async move {
            let mut request =
                request.try_into_http1x().map_err(|error| ConnectorError::user(Box::new(error)))?;
            if let Some(value) = proxy_authorization {
                request.headers_mut().insert(http::header::PROXY_AUTHORIZATION, value);
            }
            let activity = Activity::new();
            let request = request.map(|body| Tracked { body, activity: activity.clone() });
            let response = activity
                .limited(limit, client.request(request))
                .await
                .map_err(|stall| ConnectorError::timeout(Box::new(stall)))?
                .map_err(connector_error)?;
            let response =
                response.map(|body| SdkBody::from_body_1_x(Limited { body, limit, silence: None }));
            HttpResponse::try_from(response)
                .map_err(|error| ConnectorError::other(Box::new(error), None))
        })
    }
}

fn connector_error(error: PoolError) -> ConnectorError {
    if super::error::find::<tls::UntrustedCertificate>(&error).is_some() {
        return ConnectorError::other(Box::new(error), None);
    }
    ConnectorError::io(Box::new(error))
}

/// When a byte moved last, in milliseconds since `start`.
#[derive(Clone)]
struct Activity {
    start: Instant,
    last: Arc<AtomicU64>,
}

impl Activity {
    fn new() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }

    fn touch(&self) {
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(passed, Ordering::Relaxed);
    }

    async fn limited<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> std::result::Result<T, StallFault> {
        tokio::pin!(work);
        loop {
            let last = self.last.load(Ordering::Relaxed);
            let deadline = self.start + Duration::from_millis(last) + limit;
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep_until(deadline) => {
                    if self.last.load(Ordering::Relaxed) == last {
                        return Err(StallFault { limit });
                    }
                }
            }
        }
    }
}

/// A request body that notes when the connection took some of it.
struct Tracked<B> {
    body: B,
    activity: Activity,
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response body that fails when the storage is silent for `limit` while somebody waits.
struct Limited<B> {
    body: B,
    limit: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

impl<B> Body for Limited<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = self.limit;
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match silence.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(StallFault { limit }.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Opens TCP connections on the route to the endpoint.
#[derive(Clone)]
struct Connector {
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
    fn new(config: &TargetConfig) -> Self {
        let mut tcp = TcpConnector::new_with_resolver(Resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
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
        let through = |proxy: Uri| {
            move |source: BoxError| -> BoxError {
                let proxy = proxy.authority().map(ToString::to_string).unwrap_or_default();
                let host = proxy.rsplit('@').next().unwrap_or_default().to_owned();
                Box::new(ProxyFault { proxy: host, source })
            }
        };
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
                let io =
                    tunnel.call(destination).await.map_err(|error| through(proxy)(error.into()))?;
                Ok(Routed { io, proxied: false })
            }),
            Route::Forward { proxy, .. } => Box::pin(async move {
                let io =
                    tcp.call(proxy.clone()).await.map_err(|error| through(proxy)(error.into()))?;
                Ok(Routed { io, proxied: true })
            }),
        }
    }
}

/// A connection that knows whether requests on it must carry the whole URI.
struct Routed {
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
            let host = name.as_str().to_owned();
            match TokioDnsResolver::new().resolve_dns(&host).await {
                Ok(addresses) => Ok(addresses
                    .into_iter()
                    .map(|address| SocketAddr::new(address, 0))
                    .collect::<Vec<_>>()
                    .into_iter()),
                Err(error) => Err(DnsFault { host, source: error.into() }),
            }
        })
    }
}
