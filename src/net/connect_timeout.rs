//! Time limit for opening a connection, TLS included. It also ends attempts whose request was given up.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use tower_service::Service;

use super::faults::{BoxError, ConnectTimedOut};

/// Longer than name resolution, TCP and a proxy may take, and shorter than the time limit of a
/// request.
const LIMIT: Duration = Duration::from_secs(50);

/// A connector that fails when a connection is not ready within the time limit.
#[derive(Clone)]
pub(super) struct ConnectTimeout<C>(pub(super) C);

impl<C> Service<Uri> for ConnectTimeout<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let opening = tokio::time::timeout(LIMIT, self.0.call(destination));
        Box::pin(async move {
            opening.await.unwrap_or_else(|_| Err(ConnectTimedOut { limit: LIMIT }.into()))
        })
    }
}
