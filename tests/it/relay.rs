//! A relay between the agent and a server: it takes requests, may pass them on, and answers.
//!
//! This is only the transport; a [`Relay`] decides what happens to a request. Dropping the
//! [`Listening`] ends everything.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::connection::certificates::Identity;

pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// Answers requests; the connections are numbered from 0.
pub(crate) trait Relay: Send + Sync + 'static {
    fn handle(
        self: Arc<Self>,
        connection: usize,
        request: Request<Incoming>,
    ) -> impl Future<Output = io::Result<Response<Body>>> + Send;

    /// Whether answers without a date get one.
    fn dates(&self) -> bool {
        true
    }
}

/// An open port of the loopback interface.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    serving: AbortHandle,
}

impl Listening {
    /// Speaks TLS with an `identity`, else plain TCP.
    pub(crate) async fn start(identity: Option<Arc<Identity>>, relay: Arc<impl Relay>) -> Self {
        Self::at(0, identity, relay).await
    }

    /// The same on this port; 0 stands for any free port.
    pub(crate) async fn at(
        port: u16,
        identity: Option<Arc<Identity>>,
        relay: Arc<impl Relay>,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(accept(listener, identity, relay)).abort_handle();
        Self { address, serving }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The connections belong to this future and end with it.
async fn accept(listener: TcpListener, identity: Option<Arc<Identity>>, relay: Arc<impl Relay>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let relay = Arc::clone(&relay);
        match identity.clone() {
            None => {
                connections.spawn(serve(socket, number, relay));
            }
            Some(identity) => {
                connections.spawn(async move {
                    if let Ok(stream) = identity.accept(socket).await {
                        serve(stream, number, relay).await;
                    }
                });
            }
        }
    }
}

async fn serve(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    number: usize,
    relay: Arc<impl Relay>,
) {
    let dates = relay.dates();
    let service = service_fn(move |request| Arc::clone(&relay).handle(number, request));
    let mut http = hyper::server::conn::http1::Builder::new();
    let serving = http
        .auto_date_header(dates)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(io), service);
    // Ends with an error when a relay breaks the connection.
    let _ = serving.with_upgrades().await;
}

/// Sends a request to the server at `upstream`, including its `Host` header, so that its signature
/// stays valid.
pub(crate) async fn pass_on(
    upstream: SocketAddr,
    mut head: Parts,
    content: Bytes,
) -> io::Result<Response<Incoming>> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().map_err(io::Error::other)?;
    let socket = TcpStream::connect(upstream).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(socket))
            .await
            .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::from_parts(head, Full::from(content));
    let mut answer = sender.send_request(request).await.map_err(io::Error::other)?;
    answer.headers_mut().remove(http::header::TRANSFER_ENCODING);
    Ok(answer)
}

/// The whole body.
pub(crate) async fn collect(body: Incoming) -> io::Result<Bytes> {
    Ok(body.collect().await.map_err(io::Error::other)?.to_bytes())
}

/// A body of these bytes.
pub(crate) fn body(content: impl Into<Bytes>) -> Body {
    Full::from(content.into()).map_err(never).boxed()
}

fn never(never: Infallible) -> io::Error {
    match never {}
}
