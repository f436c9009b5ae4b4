//! A storage or a server inside the process in place of the network, for the fuzzers.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::faults::BoxError;

/// What a storage says to a request, or how the connection to it breaks.
pub type Answering =
    Pin<Box<dyn Future<Output = std::result::Result<http::Response<Bytes>, BoxError>> + Send>>;

/// Answers requests of the S3 API.
pub trait Storage: Send + Sync + 'static {
    /// Answers one; dropping the future is what a broken connection is to a server.
    fn answer(&self, request: http::Request<Bytes>) -> Answering;

    /// Takes the next bytes of a body in place of `answer`, which then gets an empty one; says
    /// whether it did.
    fn takes(&self, _request: &http::request::Parts, _bytes: &Bytes) -> bool {
        false
    }
}

/// A connection in memory.
pub type Dialled = tokio::io::DuplexStream;

/// Takes connections in place of all hosts: what goes over them is HTTP, as on a network.
pub trait Server: Send + Sync + 'static {
    /// The near end of a new connection.
    fn dial(self: Arc<Self>) -> Dialled;
}

static LISTENING: RwLock<Option<Arc<dyn Server>>> = RwLock::new(None);

/// All connections that are opened from now on lead to `server`, whatever their endpoint.
pub fn put_server_in_place(server: Arc<dyn Server>) {
    *LISTENING.write().unwrap_or_else(PoisonError::into_inner) = Some(server);
}

/// What opens connections to the server that was put in place of the network.
pub(super) fn dialer() -> Option<Dialer> {
    LISTENING.read().unwrap_or_else(PoisonError::into_inner).clone().map(Dialer)
}

/// Opens connections in memory.
#[derive(Clone)]
pub(super) struct Dialer(Arc<dyn Server>);

impl Service<http::Uri> for Dialer {
    type Response = Memory;
    type Error = BoxError;
    type Future = std::future::Ready<std::result::Result<Memory, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _destination: http::Uri) -> Self::Future {
        std::future::ready(Ok(Memory(TokioIo::new(Arc::clone(&self.0).dial()))))
    }
}

/// A connection in memory, as the pool takes it.
pub(super) struct Memory(TokioIo<Dialled>);

impl Connection for Memory {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

static IN_PLACE: RwLock<Option<Arc<dyn Storage>>> = RwLock::new(None);

/// All buckets that are opened from now on lie in `storage`, whatever their endpoint.
pub fn put_in_place(storage: Arc<dyn Storage>) {
    *IN_PLACE.write().unwrap_or_else(PoisonError::into_inner) = Some(storage);
}

/// Whether there is something in place of the network.
pub(super) fn is_in_place() -> bool {
    client().is_some() || dialer().is_some()
}

/// The client of the storage that was put in place of the network.
pub(crate) fn client() -> Option<SharedHttpClient> {
    let storage = IN_PLACE.read().unwrap_or_else(PoisonError::into_inner).clone()?;
    Some(SharedHttpClient::new(Client(storage)))
}

#[derive(Clone)]
struct Client(Arc<dyn Storage>);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Client {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let storage = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let request =
                request.try_into_http1x().map_err(|error| ConnectorError::user(Box::new(error)))?;
            let (head, mut body) = request.into_parts();
            let mut kept = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(ConnectorError::user)?;
                if let Some(bytes) = frame.data_ref()
                    && !storage.takes(&head, bytes)
                {
                    kept.extend_from_slice(bytes);
                }
            }
            let body = kept.freeze();
            let response = storage
                .answer(http::Request::from_parts(head, body))
                .await
                .map_err(ConnectorError::io)?;
            HttpResponse::try_from(response.map(SdkBody::from))
                .map_err(|error| ConnectorError::other(Box::new(error), None))
        })
    }
}
