//! HTTP client: HTTP/1.1 over pooled connections, proxies, a bandwidth limit, and time limits that count
//! from the last byte transferred.
//!
//! HTTP/2 is not offered, because it would put all parts of an upload on one TCP connection.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::HeaderValue;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::connect_timeout::ConnectTimeout;
use super::connector::Connector;
use super::faults::{NotHttp, NotTls, ProxyFault, find};
use super::rate_limit::{RateLimited, RateLimiter};
use super::stall::{Activity, Limited, STALL_LIMIT, Tracked};
use super::tls;
use crate::config::TargetConfig;
use crate::error::Result;

/// Time after which an idle connection is closed. Shorter than the keep-alive of common servers, so
/// that a pooled connection is rarely found dead.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// Maximum number of idle connections: as many as a transfer can use at the same time.
const IDLE_CONNECTIONS: usize = 64;

/// Maximum number of headers of a response: the library's default. S3 sends far fewer.
const HEADERS_LIMIT: usize = 100;

/// Maximum number of bytes that are read ahead on a connection, and so of the headers of a
/// response: 408 KiB, the library's default.
const BUFFER_LIMIT: usize = (8 << 10) + (4 << 10) * 100;

/// One connection pool for one target.
#[derive(Clone)]
pub(crate) struct Pool {
    client: Client<ConnectTimeout<HttpsConnector<Connector>>, Tracked<RateLimited<SdkBody>>>,
    proxy_authorization: Option<HeaderValue>,
    up: RateLimiter,
    down: RateLimiter,
    /// Client of an in-memory server that replaces the network.
    #[cfg(feature = "fuzzing")]
    memory: Option<Client<super::fuzzing::Dialer, Tracked<RateLimited<SdkBody>>>>,
}

/// HTTP requests that this process has sent.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// The number of HTTP requests that this process has sent, retries included.
#[must_use]
pub fn requests() -> u64 {
    REQUESTS.load(Ordering::Relaxed)
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

impl Pool {
    /// A pool for `config`, through the proxy that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY` name for its endpoint.
    pub(crate) fn new(config: &TargetConfig) -> Result<Self> {
        let connector = Connector::new(config)?;
        let https = https_connector(config, connector.clone())?;
        Ok(Self::over(config, &connector, https))
    }

    pub(super) fn over(
        config: &TargetConfig,
        connector: &Connector,
        https: HttpsConnector<Connector>,
    ) -> Self {
        let proxy_authorization = connector.forward_authorization();
        let mut client = Client::builder(TokioExecutor::new());
        client
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_headers(HEADERS_LIMIT)
            .http1_max_buf_size(BUFFER_LIMIT)
            .http1_preserve_header_case(false);
        Self {
            #[cfg(feature = "fuzzing")]
            memory: super::fuzzing::dialer().map(|dialer| client.build(dialer)),
            client: client.build(ConnectTimeout(https)),
            proxy_authorization,
            up: RateLimiter::new(config.limits.clone()),
            down: RateLimiter::new(config.limits.clone()),
        }
    }

    /// Sends a request. Fails when no byte is transferred for `limit`.
    pub(super) async fn send(
        self,
        mut request: http::Request<SdkBody>,
        limit: Duration,
    ) -> std::result::Result<http::Response<SdkBody>, ConnectorError> {
        if let Some(value) = self.proxy_authorization {
            request.headers_mut().insert(http::header::PROXY_AUTHORIZATION, value);
        }
        REQUESTS.fetch_add(1, Ordering::Relaxed);
        let activity = Activity::new();
        let request = request.map(|body| {
            let body = RateLimited::new(body, self.up, activity.clone());
            Tracked { body, activity: activity.clone() }
        });
        #[cfg(feature = "fuzzing")]
        let response = match &self.memory {
            Some(memory) => memory.request(request),
            None => self.client.request(request),
        };
        #[cfg(not(feature = "fuzzing"))]
        let response = self.client.request(request);
        let response = activity
            .limited(limit, response)
            .await
            .map_err(|stall| ConnectorError::timeout(Box::new(stall)))?
            .map_err(connector_error)?;
        Ok(response.map(|body| {
            SdkBody::from_body_1_x(RateLimited::new(Limited::new(body, limit), self.down, activity))
        }))
    }
}

pub(super) fn https_connector(
    config: &TargetConfig,
    connector: Connector,
) -> Result<HttpsConnector<Connector>> {
    if let Some(pem) = &config.ca_certificate {
        // Reported now, and not only once the endpoint uses https.
        tls::read_pem(pem)?;
    }
    let tls = match config.endpoint.scheme() {
        "https" => tls::client_config(config)?,
        _ => tls::unused()?,
    };
    let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls);
    Ok(https.https_or_http().enable_http1().wrap_connector(connector))
}

impl HttpClient for Pool {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let limit = settings.read_timeout().unwrap_or(STALL_LIMIT);
        #[cfg(feature = "demo")]
        let limit = crate::fault_injection::hurried(limit);
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
        let pool = self.pool.clone();
        let limit = self.limit;
        HttpConnectorFuture::new(async move {
            let request =
                request.try_into_http1x().map_err(|error| ConnectorError::user(Box::new(error)))?;
            let mut response = pool.send(request, limit).await?;
            // The SDK rejects the whole response for one header value that is not text.
            let headers = response.headers_mut();
            let odd =
                headers.iter().filter(|(_, value)| std::str::from_utf8(value.as_bytes()).is_err());
            let odd: Vec<_> = odd.map(|(name, _)| name.clone()).collect();
            for name in odd {
                headers.remove(name);
            }
            HttpResponse::try_from(response)
                .map_err(|error| ConnectorError::other(Box::new(error), None))
        })
    }
}

/// Marks faults that last until a person changes something, so that the SDK does not retry them.
fn connector_error(error: PoolError) -> ConnectorError {
    let is_permanent = find::<rustls::Error>(&error).is_some_and(|fault| {
        matches!(fault, rustls::Error::InvalidCertificate(_) | rustls::Error::InvalidMessage(_))
    }) || find::<ProxyFault>(&error).is_some_and(ProxyFault::is_permanent)
        || find::<NotTls>(&error).is_some()
        || find::<NotHttp>(&error).is_some()
        || find::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse);
    if is_permanent {
        return ConnectorError::other(Box::new(error), None);
    }
    ConnectorError::io(Box::new(error))
}
