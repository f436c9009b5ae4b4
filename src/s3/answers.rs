//! Filters every response of a server before the SDK reads it: bounded in length and time, with only the
//! headers that are used, and with its XML in canonical form.
//!
//! Servers are sloppy and the SDK is strict, so this module parses tolerantly, drops members that are not
//! used, and reports the member that cannot be read.

mod document;
mod headers;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;

pub(super) use self::document::decoded;
use self::document::{Kind, canonical};
pub(super) use self::headers::ServerDate;
use super::bounds::{BODY_TIMEOUT, LARGE_BODY, MAX_BODY, MAX_ERROR_BODY};

/// A response that is not used: too long, too slow or invalid.
#[derive(Debug)]
pub(super) struct AnswerFault {
    /// The member that is invalid, or `body`.
    pub(super) member: &'static str,
    /// The reason.
    pub(super) why: String,
}

impl AnswerFault {
    fn new(member: &'static str, why: impl Into<String>) -> Self {
        Self { member, why: why.into() }
    }
}

impl fmt::Display for AnswerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.member, self.why)
    }
}

impl StdError for AnswerFault {}

/// An HTTP client whose responses are bounded and in canonical form.
#[derive(Debug)]
pub(super) struct Bounded {
    client: SharedHttpClient,
    /// Large bodies of one target are read one at a time. Each target has its own semaphore, so
    /// that no target waits for the server of another.
    large_bodies: Arc<Semaphore>,
}

impl Bounded {
    pub(super) fn new(client: SharedHttpClient) -> Self {
        Self { client, large_bodies: Arc::new(Semaphore::new(1)) }
    }
}

impl HttpClient for Bounded {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.client.http_connector(settings, components);
        SharedHttpConnector::new(BoundedConnector {
            connector,
            large_bodies: Arc::clone(&self.large_bodies),
        })
    }
}

#[derive(Debug)]
struct BoundedConnector {
    connector: SharedHttpConnector,
    large_bodies: Arc<Semaphore>,
}

impl HttpConnector for BoundedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let shape = Shape::of(&request);
        let sending = self.connector.call(request);
        let large_bodies = Arc::clone(&self.large_bodies);
        HttpConnectorFuture::new(async move {
            let mut response = sending.await?;
            headers::keep_used(&mut response);
            let success = response.status().is_success();
            let content = match shape {
                // The caller counts the bytes of an object.
                Shape::Object if success => return Ok(response),
                Shape::Listing(kind) if success => {
                    let body = read(response.take_body(), MAX_BODY, true, &large_bodies).await?;
                    document(body, kind)?
                }
                Shape::Object | Shape::Listing(_) | Shape::Other => {
                    read(response.take_body(), MAX_ERROR_BODY, false, &large_bodies).await?.to_vec()
                }
            };
            // The SDK compares it with the length of the body.
            response.headers_mut().remove("content-length");
            *response.body_mut() = SdkBody::from(content);
            Ok(response)
        })
    }
}

/// The kind of body of a successful response.
enum Shape {
    /// An XML document that is brought into canonical form.
    Listing(Kind),
    /// The bytes of an object.
    Object,
    /// An empty body, or a short document.
    Other,
}

impl Shape {
    fn of(request: &HttpRequest) -> Self {
        let query = request.uri().split_once('?').map_or("", |(_, query)| query);
        let asks = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        match request.method() {
            "POST" if asks("uploads") => Self::Listing(Kind::Initiate),
            "POST" if asks("uploadId") => Self::Listing(Kind::Complete),
            "GET" if asks("uploads") => Self::Listing(Kind::Uploads),
            "GET" if asks("uploadId") => Self::Listing(Kind::Parts),
            "GET" if asks("object-lock") => Self::Other,
            "GET" if asks("prefix") => Self::Listing(Kind::Objects),
            // A HEAD response has no body, but its headers describe the one of a GET.
            "HEAD" => Self::Object,
            "GET" => Self::Object,
            _ => Self::Other,
        }
    }
}

/// Reads a body of at most `limit` bytes. A longer one is an error if `needed` as a whole;
/// otherwise the rest is not read, and the connection is closed.
async fn read(
    mut body: SdkBody,
    limit: usize,
    needed: bool,
    large_bodies: &Semaphore,
) -> Result<BytesMut, ConnectorError> {
    let reading = async {
        let mut content = BytesMut::new();
        let mut permit = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(ConnectorError::io)?;
            let Some(data) = frame.data_ref() else { continue };
            let left = limit.saturating_sub(content.len());
            if data.len() > left && needed {
                let why = format!("longer than {} MiB", limit >> 20);
                return Err(fault(AnswerFault::new("body", why)));
            }
            content.extend_from_slice(data.get(..left.min(data.len())).unwrap_or_default());
            if content.len() == limit && !needed {
                return Ok(content);
            }
            if content.len() > LARGE_BODY && permit.is_none() {
                permit = large_bodies.acquire().await.ok();
            }
        }
        Ok(content)
    };
    let time = BODY_TIMEOUT;
    #[cfg(feature = "demo")]
    let time = crate::fault_injection::hurried(time);
    let limited = tokio::time::timeout(time, reading).await;
    limited.unwrap_or_else(|_| {
        let why = format!("not complete after {} seconds", BODY_TIMEOUT.as_secs());
        Err(fault(AnswerFault::new("body", why)))
    })
}

fn document(body: BytesMut, kind: Kind) -> Result<Vec<u8>, ConnectorError> {
    match canonical(&body, kind) {
        Ok(document) => Ok(document),
        // Retryable: the connection may have been cut.
        Err(document::ReadFault::Truncated) => {
            Err(ConnectorError::io(io::Error::from(io::ErrorKind::UnexpectedEof).into()))
        }
        Err(document::ReadFault::OtherDocument) => {
            let mut body = body;
            body.truncate(MAX_ERROR_BODY);
            Ok(body.to_vec())
        }
        Err(document::ReadFault::Invalid(wrong)) => Err(fault(wrong)),
    }
}

/// An error that the SDK does not retry.
fn fault(fault: AnswerFault) -> ConnectorError {
    ConnectorError::other(Box::new(fault), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(method: &str, uri: &str) -> Shape {
        let request = http::Request::builder().method(method).uri(uri).body(SdkBody::empty());
        Shape::of(&HttpRequest::try_from(request.unwrap()).unwrap())
    }

    #[test]
    fn request_kind_follows_its_query() {
        let listing = |shape| match shape {
            Shape::Listing(kind) => Some(kind),
            Shape::Object | Shape::Other => None,
        };
        let objects = shape("GET", "http://h/b/?list-type=2&prefix=x");
        assert_eq!(listing(objects), Some(Kind::Objects));
        assert_eq!(listing(shape("GET", "http://h/b/k?uploadId=1")), Some(Kind::Parts));
        assert_eq!(listing(shape("PUT", "http://h/b/k?uploadId=1&partNumber=1")), None);
        assert!(matches!(shape("GET", "http://h/b/k?x-id=GetObject"), Shape::Object));
        assert!(matches!(shape("HEAD", "http://h/b/k"), Shape::Object));
        assert!(matches!(shape("GET", "http://h/b?object-lock"), Shape::Other));
    }

    #[tokio::test]
    async fn read_of_too_long_body_fails_or_stops() {
        let body = || SdkBody::from(vec![b'x'; 100]);
        let large_bodies = Semaphore::new(1);
        assert_eq!(read(body(), 100, true, &large_bodies).await.unwrap().len(), 100);
        read(body(), 99, true, &large_bodies).await.unwrap_err();
        assert_eq!(read(body(), 99, false, &large_bodies).await.unwrap().len(), 99);
    }
}
