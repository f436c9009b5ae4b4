//! A storage inside the process in place of the network, for the fuzzers.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

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

use super::http::BoxError;

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

static IN_PLACE: RwLock<Option<Arc<dyn Storage>>> = RwLock::new(None);

/// All buckets that are opened from now on lie in `storage`, whatever their endpoint.
pub fn put_in_place(storage: Arc<dyn Storage>) {
    *IN_PLACE.write().unwrap_or_else(PoisonError::into_inner) = Some(storage);
}

/// The client of the storage that was put in place of the network.
pub(super) fn client() -> Option<SharedHttpClient> {
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
