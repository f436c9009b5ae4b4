//! Every answer of a server passes here before the SDK or anything else sees it: bounded in length and
//! time, with the headers that are used and no others, and its XML brought into one form.
//!
//! Servers are sloppy where nothing depends on it and the SDK is strict, so what is read is read
//! tolerantly, what is not used is left out, and what cannot be read is an error that names the member.

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
use super::bounds::{ANSWER, ANSWER_TIME, LARGE, REFUSAL};

/// An answer that is not used: it is too long, takes too long, or makes no sense.
#[derive(Debug)]
pub(super) struct AnswerFault {
    /// The member that cannot be read, or `body`.
    pub(super) member: &'static str,
    /// What is wrong with it.
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

/// A client whose answers are bounded and in one form.
#[derive(Debug)]
pub(super) struct Bounded {
    client: SharedHttpClient,
    /// Long answers are read one at a time, but none has to wait for the server of another target.
    turns: Arc<Semaphore>,
}

impl Bounded {
    pub(super) fn new(client: SharedHttpClient) -> Self {
        Self { client, turns: Arc::new(Semaphore::new(1)) }
    }
}

impl HttpClient for Bounded {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.client.http_connector(settings, components);
        SharedHttpConnector::new(BoundedConnector { connector, turns: Arc::clone(&self.turns) })
    }
}

#[derive(Debug)]
struct BoundedConnector {
    connector: SharedHttpConnector,
    turns: Arc<Semaphore>,
}

impl HttpConnector for BoundedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let shape = Shape::of(&request);
        let answering = self.connector.call(request);
        let turns = Arc::clone(&self.turns);
        HttpConnectorFuture::new(async move {
            let mut response = answering.await?;
            headers::keep_used(&mut response);
            let success = response.status().is_success();
            let content = match shape {
                // Whoever asked for it counts its bytes.
                Shape::Object if success => return Ok(response),
                Shape::Listing(kind) if success => {
                    let body = read(response.take_body(), ANSWER, true, &turns).await?;
                    document(body, kind)?
                }
                Shape::Object | Shape::Listing(_) | Shape::Other => {
                    read(response.take_body(), REFUSAL, false, &turns).await?.to_vec()
                }
            };
            // The SDK holds the body against it.
            response.headers_mut().remove("content-length");
            *response.body_mut() = SdkBody::from(content);
            Ok(response)
        })
    }
}

/// What a good answer to a request is.
enum Shape {
    /// A document that is brought into one form.
    Listing(Kind),
    /// The bytes of an object.
    Object,
    /// Nothing, or a short document.
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
            // Only its headers are an answer, but they speak of the body that there would be.
            "HEAD" => Self::Object,
            "GET" => Self::Object,
            _ => Self::Other,
        }
    }
}

/// Reads a body up to `limit` bytes. A longer one is an error if it is `needed` as a whole, else its rest
/// is left where it is, and the connection is closed.
async fn read(
    mut body: SdkBody,
    limit: usize,
    needed: bool,
    turns: &Semaphore,
) -> Result<BytesMut, ConnectorError> {
    let reading = async {
        let mut content = BytesMut::new();
        let mut turn = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(ConnectorError::io)?;
            let Some(data) = frame.data_ref() else { continue };
            let room = limit.saturating_sub(content.len());
            if data.len() > room && needed {
                let why = format!("it is longer than {} MiB", limit >> 20);
                return Err(fault(AnswerFault::new("body", why)));
            }
            content.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
            if content.len() == limit && !needed {
                return Ok(content);
            }
            if content.len() > LARGE && turn.is_none() {
                turn = turns.acquire().await.ok();
            }
        }
        Ok(content)
    };
    let time = ANSWER_TIME;
    #[cfg(feature = "demo")]
    let time = crate::fault_injection::hurried(time);
    let limited = tokio::time::timeout(time, reading).await;
    limited.unwrap_or_else(|_| {
        let why = format!("it did not end within {} seconds", ANSWER_TIME.as_secs());
        Err(fault(AnswerFault::new("body", why)))
    })
}

fn document(body: BytesMut, kind: Kind) -> Result<Vec<u8>, ConnectorError> {
    match canonical(&body, kind) {
        Ok(document) => Ok(document),
        // Worth another try: the connection may have been cut.
        Err(document::Unread::Cut) => {
            Err(ConnectorError::io(io::Error::from(io::ErrorKind::UnexpectedEof).into()))
        }
        Err(document::Unread::Other) => {
            let mut body = body;
            body.truncate(REFUSAL);
            Ok(body.to_vec())
        }
        Err(document::Unread::Wrong(wrong)) => Err(fault(wrong)),
    }
}

/// What the SDK does not try again by itself.
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
        let turns = Semaphore::new(1);
        assert_eq!(read(body(), 100, true, &turns).await.unwrap().len(), 100);
        read(body(), 99, true, &turns).await.unwrap_err();
        assert_eq!(read(body(), 99, false, &turns).await.unwrap().len(), 99);
    }
}
