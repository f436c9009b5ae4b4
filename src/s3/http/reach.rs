//! The way to a storage step by step, to see where it ends: name, connection, TLS, first answer.
//!
//! Nothing here is signed, and nothing is tried twice.

use std::net::IpAddr;
use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use chrono::DateTime;
use http::Uri;
use hyper_rustls::HttpsConnector;
use tower_service::Service;
use url::Url;

use super::route::{Connector, PROXY_LIMIT, resolve};
use super::{BoxError, Pool, https_connector};
use crate::config::TargetConfig;
use crate::error::text::quoted_within;
use crate::error::{Code, Error, Result};
use crate::s3::error::{broken, unreachable};
use crate::system::now;

/// Time for each step; a proxy has its own in addition.
const LIMIT: Duration = Duration::from_secs(15);

fn limit() -> Duration {
    #[cfg(feature = "demo")]
    return crate::fault::hurried(LIMIT);
    #[cfg(not(feature = "demo"))]
    LIMIT
}

/// The way to one bucket.
pub struct Reach {
    endpoint: String,
    uri: Uri,
    connector: Connector,
    https: HttpsConnector<Connector>,
    pool: Pool,
}

/// What answers at the end of the way.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// What it calls itself.
    pub server: Option<String>,
    /// Seconds by which the clock of this machine is ahead of its own.
    pub ahead_s: Option<i64>,
}

impl Reach {
    /// The way to a folder of the bucket. Does not use the network.
    ///
    /// # Errors
    /// As [`Bucket::new`](crate::s3::Bucket::new).
    pub fn new(config: &TargetConfig, folder: &str) -> Result<Self> {
        let connector = Connector::new(config)?;
        let endpoint = config.endpoint.as_str().trim_end_matches('/').to_owned();
        let question = match host_of_bucket(config) {
            Some(host) => {
                let port = config.endpoint.port().map(|port| format!(":{port}"));
                format!("{}://{host}{}/", config.endpoint.scheme(), port.unwrap_or_default())
            }
            None => below(&config.endpoint, &config.bucket),
        };
        let prefix: String = url::form_urlencoded::byte_serialize(folder.as_bytes()).collect();
        let uri =
            format!("{question}?list-type=2&max-keys=1&prefix={prefix}").parse().map_err(|error| {
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

    /// Asks for a listing without saying who we are.
    ///
    /// # Errors
    /// Every code that a broken connection can cause. A refusal is a good answer.
    pub async fn greet(&self) -> Result<Greeting> {
        #[cfg(feature = "fuzzing")]
        if crate::s3::fuzzing::client().is_some() {
            return Ok(Greeting { server: None, ahead_s: None });
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
        Ok(Greeting {
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
        return crate::s3::fuzzing::is_in_place();
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

/// The bucket below the endpoint and its base path.
fn below(endpoint: &Url, bucket: &str) -> String {
    let mut url = endpoint.clone();
    // Only URLs of other schemes have no path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(bucket);
    }
    url.into()
}

/// The host that requests go to when it holds the bucket.
fn host_of_bucket(config: &TargetConfig) -> Option<String> {
    // Where the SDK does the same: a certificate covers one label, and an address has none.
    let dots = config.bucket.contains('.') && config.endpoint.scheme() == "https";
    let host = config.endpoint.domain().filter(|_| !config.path_style && !dots)?;
    Some(format!("{}.{host}", config.bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_keeps_the_base_path_and_encodes_the_bucket() {
        for (endpoint, bucket, expected) in [
            ("https://h", "b1", "https://h/b1"),
            ("https://h:9000/", "my_b", "https://h:9000/my_b"),
            ("https://h/storage/v1/s3", "b1", "https://h/storage/v1/s3/b1"),
            ("https://h/a%20b", "b\u{fc}ck", "https://h/a%20b/b%C3%BCck"),
            ("https://h", "tenant:b", "https://h/tenant:b"),
        ] {
            assert_eq!(below(&Url::parse(endpoint).unwrap(), bucket), expected);
        }
    }
}
