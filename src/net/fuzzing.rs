//! In-memory servers that replace the network, for fuzzing and benchmarks.

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

/// The response to a request, or the error of a broken connection.
pub type ResponseFuture =
    Pin<Box<dyn Future<Output = std::result::Result<http::Response<Bytes>, BoxError>> + Send>>;

/// An S3 server without HTTP: receives each request and returns the response.
pub trait Storage: Send + Sync + 'static {
    /// Answers one request. Dropping the future stands for a broken connection.
    fn answer(&self, request: http::Request<Bytes>) -> ResponseFuture;

    /// Receives the next bytes of a request body instead of `answer`, which then gets an empty
    /// body. Returns whether it took them.
    fn takes(&self, _request: &http::request::Parts, _bytes: &Bytes) -> bool {
        false
    }
}

/// An in-memory connection.
pub type MemoryStream = tokio::io::DuplexStream;

/// A server that receives the connections to all hosts and speaks HTTP on them.
pub trait Server: Send + Sync + 'static {
    /// The client's end of a new connection.
    fn dial(self: Arc<Self>) -> MemoryStream;
}

static SERVER: RwLock<Option<Arc<dyn Server>>> = RwLock::new(None);

/// Connects all connections that are opened from now on to `server`, regardless of their endpoint.
pub fn install_server(server: Arc<dyn Server>) {
    *SERVER.write().unwrap_or_else(PoisonError::into_inner) = Some(server);
}

/// Opens connections to the server of [`install_server`], if there is one.
pub(super) fn dialer() -> Option<Dialer> {
    SERVER.read().unwrap_or_else(PoisonError::into_inner).clone().map(Dialer)
}

/// Opens in-memory connections.
#[derive(Clone)]
pub(super) struct Dialer(Arc<dyn Server>);

impl Service<http::Uri> for Dialer {
    type Response = MemoryConnection;
    type Error = BoxError;
    type Future = std::future::Ready<std::result::Result<MemoryConnection, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _destination: http::Uri) -> Self::Future {
        std::future::ready(Ok(MemoryConnection(TokioIo::new(Arc::clone(&self.0).dial()))))
    }
}

/// An in-memory connection for the pool.
pub(super) struct MemoryConnection(TokioIo<MemoryStream>);

impl Connection for MemoryConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for MemoryConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for MemoryConnection {
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

static STORAGE: RwLock<Option<Arc<dyn Storage>>> = RwLock::new(None);

/// Sends the requests of all buckets that are opened from now on to `storage`, regardless of their
/// endpoint.
pub fn install_storage(storage: Arc<dyn Storage>) {
    *STORAGE.write().unwrap_or_else(PoisonError::into_inner) = Some(storage);
}

/// Whether an in-memory server replaces the network.
pub(super) fn is_installed() -> bool {
    client().is_some() || dialer().is_some()
}

/// The HTTP client of the storage of [`install_storage`], if there is one.
pub(crate) fn client() -> Option<SharedHttpClient> {
    let storage = STORAGE.read().unwrap_or_else(PoisonError::into_inner).clone()?;
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
