//! Tests the connection to a server step by step: DNS, TCP, TLS, first response.
//!
//! Requests are not signed and not retried.

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

/// Time limit of each step, without that of a proxy.
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

/// Information in the headers of a server's first response.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// The header `Server`, cut to 64 bytes.
    pub server: Option<String>,
    /// Seconds by which the clock of this machine is ahead of the server's; negative when it is
    /// behind.
    pub ahead_s: Option<i64>,
}

impl Probe {
    /// A probe of the server at the endpoint of `config`. `address` is the URL that
    /// [`server_info`](Self::server_info) requests. Does not use the network.
    ///
    /// # Errors
    /// `invalid_config` for CA certificates and proxies that are not valid.
    pub fn new(config: &TargetConfig, address: &str) -> Result<Self> {
        let connector = Connector::new(config)?;
        let endpoint = config.endpoint.as_str().trim_end_matches('/').to_owned();
        let uri = address.parse().map_err(|error| {
            Error::new(Code::Internal, "the endpoint does not form a URL").source(Box::new(error))
        });
        let https = https_connector(config, connector.clone())?;
        let pool = Pool::over(config, &connector, https.clone());
        Ok(Self { endpoint, uri: uri?, connector, https, pool })
    }

    /// Host and port of the proxy, if there is one.
    #[must_use]
    pub fn proxy(&self) -> Option<String> {
        self.connector.proxy()
    }

    /// Resolves the host name of the server, or of its proxy. Returns the IP addresses, separated
    /// by `, `.
    ///
    /// # Errors
    /// `cannot_connect`, `timeout`.
    pub async fn resolve(&self) -> Result<String> {
        let host = self.connector.first_host(&self.uri);
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if Self::is_simulated() || literal.parse::<IpAddr>().is_ok() {
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
        if Self::is_simulated() {
            return Ok(());
        }
        let connected = self.limited("tcp", self.connector.clone().call(self.uri.clone())).await?;
        connected.map(|_| ()).map_err(|fault| self.unreachable(fault))
    }

    /// Connects with TLS.
    ///
    /// # Errors
    /// `tls_untrusted`, `tls_failed`, `invalid_endpoint`, `timeout`.
    pub async fn connect_tls(&self) -> Result<()> {
        if Self::is_simulated() {
            return Ok(());
        }
        let connected = self.limited("tls", self.https.clone().call(self.uri.clone())).await?;
        connected.map(|_| ()).map_err(|fault| self.unreachable(fault))
    }

    /// Sends one unsigned request and reads the headers of its response.
    ///
    /// # Errors
    /// Any code of a broken connection. A response that refuses the request is no error.
    pub async fn server_info(&self) -> Result<ServerInfo> {
        #[cfg(feature = "fuzzing")]
        if super::fuzzing::client().is_some() {
            return Ok(ServerInfo { server: None, ahead_s: None });
        }
        let request = http::Request::builder().uri(&self.uri).body(SdkBody::empty());
        let request = request.map_err(|error| {
            Error::new(Code::Internal, "the endpoint does not form a request")
                .source(Box::new(error))
        })?;
        let response = self.pool.clone().send(request, limit()).await;
        let response = response
            .map_err(|error| broken(&self.endpoint, "the first request", Box::new(error)))?;
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

    /// Whether an in-memory server replaces the network.
    fn is_simulated() -> bool {
        #[cfg(feature = "fuzzing")]
        return super::fuzzing::is_installed();
        #[cfg(not(feature = "fuzzing"))]
        false
    }

    async fn limited<T>(&self, stage: &'static str, step: impl Future<Output = T>) -> Result<T> {
        let proxy_limit = self.connector.proxy().map_or(Duration::ZERO, |_| PROXY_LIMIT);
        let limit = limit() + proxy_limit;
        tokio::time::timeout(limit, step).await.map_err(|_| {
            let endpoint = &self.endpoint;
            let seconds = limit.as_secs();
            Error::new(Code::Timeout, format!("{endpoint} did not answer within {seconds} seconds"))
                .detail("stage", stage)
                .detail("ms", seconds * 1000)
        })
    }
}
