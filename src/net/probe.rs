//! Tests the connection to a server step by step: DNS, TCP, TLS, first answer.
//!
//! Nothing here is signed, and nothing is retried.

use std::net::IpAddr;
use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use chrono::DateTime;
use http::Uri;
use hyper_rustls::HttpsConnector;
use tower_service::Service;

use super::client::{Pool, https_connector};
use super::connector::{Connector, PROXY_LIMIT, resolve};
use super::error::{broken, unreachable};
use super::faults::BoxError;
use crate::config::TargetConfig;
use crate::error::text::quoted_within;
use crate::error::{Code, Error, Result};
use crate::platform::now;

/// Time for each step; a proxy has its own in addition.
const LIMIT: Duration = Duration::from_secs(15);

fn limit() -> Duration {
    #[cfg(feature = "demo")]
    return crate::fault_injection::hurried(LIMIT);
    #[cfg(not(feature = "demo"))]
    LIMIT
}

/// A test of the connection to one server.
pub struct Probe {
    endpoint: String,
    uri: Uri,
    connector: Connector,
    https: HttpsConnector<Connector>,
    pool: Pool,
}

/// What a server says about itself in its first answer.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// The header `Server`.
    pub server: Option<String>,
    /// Seconds by which the clock of this machine is ahead of its own.
    pub ahead_s: Option<i64>,
}

impl Probe {
    /// A probe of the server at the endpoint of `config`; `address` is the URL of the request that
    /// [`greet`](Self::greet) sends. Does not use the network.
    ///
    /// # Errors
    /// `invalid_config` for certificates and proxies that cannot be used.
    pub fn new(config: &TargetConfig, address: &str) -> Result<Self> {
        let connector = Connector::new(config)?;
        let endpoint = config.endpoint.as_str().trim_end_matches('/').to_owned();
        let uri = address.parse().map_err(|error| {
            Error::new(Code::Internal, "the endpoint makes no address").source(Box::new(error))
        });
        let https = https_connector(config, connector.clone())?;
        let pool = Pool::over(config, &connector, https.clone());
        Ok(Self { endpoint, uri: uri?, connector, https, pool })
    }

    /// Host and port of the proxy on the way, if there is one.
    #[must_use]
    pub fn proxy(&self) -> Option<String> {
        self.connector.proxy()
    }

    /// Finds the address of the first host on the way; says which.
    ///
    /// # Errors
    /// `cannot_connect`, `timeout`.
    pub async fn resolve(&self) -> Result<String> {
        let host = self.connector.first_host(&self.uri);
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if Self::nowhere() || literal.parse::<IpAddr>().is_ok() {
            return Ok(literal.to_owned());
        }
        let found = self.limited("dns", resolve(host)).await?;
        let found = found.map_err(|fault| self.unreachable(self.connector.fault(fault)))?;
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        Ok(found.join(", "))
    }

    /// Connects, without TLS.
    ///
    /// # Errors
    /// `cannot_connect`, `timeout`.
    pub async fn connect(&self) -> Result<()> {
        if Self::nowhere() {
            return Ok(());
        }
        let connected = self.limited("tcp", self.connector.clone().call(self.uri.clone())).await?;
        connected.map(|_| ()).map_err(|fault| self.unreachable(fault))
    }

    /// Connects with TLS.
    ///
    /// # Errors
    /// `tls_untrusted`, `tls_failed`, `invalid_endpoint`, `timeout`.
    pub async fn secure(&self) -> Result<()> {
        if Self::nowhere() {
            return Ok(());
        }
        let secured = self.limited("tls", self.https.clone().call(self.uri.clone())).await?;
        secured.map(|_| ()).map_err(|fault| self.unreachable(fault))
    }

    /// Sends one unsigned request.
    ///
    /// # Errors
    /// Every code that a broken connection can cause. A refusal is a good answer.
    pub async fn greet(&self) -> Result<ServerInfo> {
        #[cfg(feature = "fuzzing")]
        if super::fuzzing::client().is_some() {
            return Ok(ServerInfo { server: None, ahead_s: None });
        }
        let request = http::Request::builder().uri(&self.uri).body(SdkBody::empty());
        let request = request.map_err(|error| {
            Error::new(Code::Internal, "the endpoint makes no request").source(Box::new(error))
        })?;
        let response = self.pool.clone().send(request, limit()).await;
        let response = response
            .map_err(|error| broken(&self.endpoint, "a first question", Box::new(error)))?;
        let header = |name: http::HeaderName| response.headers().get(name)?.to_str().ok();
        let date =
            header(http::header::DATE).and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        Ok(ServerInfo {
            server: header(http::header::SERVER).map(|name| quoted_within(name, 64)),
            ahead_s: date.map(|date| now().signed_duration_since(date).num_seconds()),
        })
    }

    fn unreachable(&self, fault: BoxError) -> Error {
        unreachable(&self.endpoint, fault)
    }

    /// Whether there is no network to look at.
    fn nowhere() -> bool {
        #[cfg(feature = "fuzzing")]
        return super::fuzzing::is_in_place();
        #[cfg(not(feature = "fuzzing"))]
        false
    }

    async fn limited<T>(&self, stage: &'static str, step: impl Future<Output = T>) -> Result<T> {
        let of_proxy = self.connector.proxy().map_or(Duration::ZERO, |_| PROXY_LIMIT);
        let limit = limit() + of_proxy;
        tokio::time::timeout(limit, step).await.map_err(|_| {
            let endpoint = &self.endpoint;
            let seconds = limit.as_secs();
            Error::new(Code::Timeout, format!("{endpoint} was silent for {seconds} seconds"))
                .detail("stage", stage)
                .detail("ms", seconds * 1000)
        })
    }
}
