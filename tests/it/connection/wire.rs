//! A proxy from the agent to a server that records the requests and injects faults where a rule
//! says so.
//!
//! Passes requests on unchanged, including the `Host` header, so that signatures stay valid. Also
//! works as a forward proxy: absolute URIs and `CONNECT` lead to the one server behind it. Dropping
//! it closes the port.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use super::certificates::Identity;
use super::recorded_request::RecordedRequest;
use crate::relay::{Body, Listening, Relay, body, collect, pass_on};

type Rule = Box<dyn FnMut(&Parts) -> Act + Send>;

/// What happens to a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// It is passed to the server, and the answer back.
    Pass,
    /// The same, as soon as this many requests have reached the barrier.
    AtBarrier(Arc<Barrier>),
    /// It is read and answered with an S3 error document.
    Answer(u16, &'static str),
    /// The same, without reading its body.
    Refuse(u16, &'static str),
    /// The connection ends after this many bytes of its body; the server receives nothing.
    CutRequest(usize),
    /// The connection ends after this many bytes of the answer's body.
    CutAnswer(usize),
    /// The server receives it, and the connection ends instead of the answer.
    LoseAnswer,
    /// It is read and answered with 503 and a Retry-After of this many seconds.
    Throttle(u32),
    /// Its body is not read, and there is no answer.
    StallRequest,
    /// The answer stops after this many bytes of its body; an answer without more is not sent at
    /// all.
    StallAnswer(usize),
    /// The server receives a body with one flipped bit.
    DamageRequest,
    /// The last byte of the answer's body has a flipped bit.
    DamageAnswer,
    /// The answer claims to be complete after this many bytes of its body.
    ShortenAnswer(usize),
    /// The answer arrives slowly, in small pieces.
    Trickle,
}

/// The running proxy.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<RecordedRequest>>>,
    _listening: Listening,
}

impl Wire {
    /// A proxy over plain TCP to the server at `upstream`.
    pub(crate) async fn start(
        upstream: SocketAddr,
        rule: impl FnMut(&Parts) -> Act + Send + 'static,
    ) -> Self {
        Self::run(0, upstream, None, rule).await
    }

    /// The proxy that was at `address` before, over plain TCP.
    pub(crate) async fn restart(
        address: SocketAddr,
        upstream: SocketAddr,
        rule: impl FnMut(&Parts) -> Act + Send + 'static,
    ) -> Self {
        Self::run(address.port(), upstream, None, rule).await
    }

    /// A proxy that speaks TLS with the agent, and plain TCP with the server.
    pub(crate) async fn with_tls(
        upstream: SocketAddr,
        identity: Arc<Identity>,
        rule: impl FnMut(&Parts) -> Act + Send + 'static,
    ) -> Self {
        Self::run(0, upstream, Some(identity), rule).await
    }

    async fn run(
        port: u16,
        upstream: SocketAddr,
        identity: Option<Arc<Identity>>,
        rule: impl FnMut(&Parts) -> Act + Send + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let state = Arc::new(State {
            upstream,
            rule: Mutex::new(Box::new(rule) as Rule),
            seen: Arc::clone(&seen),
            unanswered: Arc::default(),
        });
        let listening = Listening::at(port, identity, state).await;
        Self { address: listening.address, seen, _listening: listening }
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn https(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Takes all requests that arrived since the last call.
    pub(crate) fn take_requests(&self) -> Vec<RecordedRequest> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

struct State {
    upstream: SocketAddr,
    rule: Mutex<Rule>,
    seen: Arc<Mutex<Vec<RecordedRequest>>>,
    /// Has as many clones as there are unanswered requests.
    unanswered: Arc<()>,
}

fn cut() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Relay for State {
    async fn handle(
        self: Arc<Self>,
        connection: usize,
        mut request: Request<Incoming>,
    ) -> io::Result<Response<Body>> {
        let unanswered = Arc::clone(&self.unanswered);
        let at_once = Arc::strong_count(&unanswered) - 1;
        if request.method() == Method::CONNECT {
            return Ok(self.tunnel(connection, at_once, &mut request));
        }
        let (head, incoming) = request.into_parts();
        let act = (self.rule.lock().unwrap())(&head);
        let wanted = match act {
            Act::Refuse(..) | Act::StallRequest => 0,
            Act::CutRequest(bytes) => bytes,
            _ => usize::MAX,
        };
        let mut content = read(incoming, wanted).await?;
        self.record(connection, at_once, &head, &content);
        match act {
            Act::CutRequest(_) => return Err(cut()),
            Act::Answer(status, code) | Act::Refuse(status, code) => {
                return Ok(refusal(status, code));
            }
            Act::Throttle(seconds) => return Ok(throttled(seconds)),
            Act::StallRequest => std::future::pending().await,
            Act::DamageRequest => damage(&mut content),
            Act::AtBarrier(ref barrier) => {
                let meeting = tokio::time::timeout(Duration::from_secs(20), barrier.wait());
                meeting.await.map_err(|_| cut())?;
            }
            _ => {}
        }
        let (mut head, content) = pass_on(self.upstream, head, content.into()).await?.into_parts();
        let content = collect(content).await?;
        let length = match act {
            Act::LoseAnswer => return Err(cut()),
            Act::StallAnswer(bytes) if bytes >= content.len() => std::future::pending().await,
            Act::StallAnswer(bytes) => {
                return Ok(Response::from_parts(head, stalled(content.slice(..bytes))));
            }
            Act::DamageAnswer => {
                let mut content = content.to_vec();
                damage(&mut content);
                return Ok(Response::from_parts(head, body(content)));
            }
            Act::ShortenAnswer(bytes) => {
                head.headers.remove(http::header::CONTENT_LENGTH);
                let rest = content.slice(..bytes.min(content.len()));
                return Ok(Response::from_parts(head, body(rest)));
            }
            Act::Trickle => return Ok(Response::from_parts(head, trickle(content))),
            Act::CutAnswer(bytes) => bytes,
            _ => content.len(),
        };
        Ok(Response::from_parts(head, body_of(content, length)))
    }
}

impl State {
    fn record(&self, connection: usize, at_once: usize, head: &Parts, content: &[u8]) {
        self.seen.lock().unwrap().push(RecordedRequest::new(connection, at_once, head, content));
    }

    fn tunnel(
        &self,
        connection: usize,
        at_once: usize,
        request: &mut Request<Incoming>,
    ) -> Response<Body> {
        let upgrade = hyper::upgrade::on(&mut *request);
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = request.method().clone();
        head.uri = request.uri().clone();
        head.headers = request.headers().clone();
        self.record(connection, at_once, &head, b"");
        if let Act::Answer(status, code) = (self.rule.lock().unwrap())(&head) {
            return refusal(status, code);
        }
        let upstream = self.upstream;
        tokio::spawn(async move {
            let mut far = TcpStream::connect(upstream).await?;
            let mut near = TokioIo::new(upgrade.await.map_err(io::Error::other)?);
            tokio::io::copy_bidirectional(&mut near, &mut far).await
        });
        Response::new(body(Bytes::new()))
    }
}

async fn read(mut body: Incoming, wanted: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    while content.len() < wanted
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            content.extend_from_slice(&data);
        }
    }
    Ok(content)
}

/// The first `length` bytes of `content`; if that is not all, the connection ends there.
fn body_of(content: Bytes, length: usize) -> Body {
    if length >= content.len() {
        return body(content);
    }
    let frames = stream::unfold(content.slice(..length), |mut rest| async move {
        // Everything is sent before the end, because the server flushes while it waits.
        tokio::task::yield_now().await;
        if rest.is_empty() {
            return Some((Err(cut()), rest));
        }
        let frame = rest.split_to(rest.len().min(16 << 10));
        Some((Ok(Frame::data(frame)), rest))
    });
    StreamBody::new(frames).boxed()
}

fn damage(content: &mut [u8]) {
    if let Some(last) = content.last_mut() {
        *last ^= 1;
    }
}

/// These bytes, and then neither more nor the end.
fn stalled(start: Bytes) -> Body {
    let frames = stream::unfold(Some(start), |start| async {
        match start {
            Some(start) => Some((Ok(Frame::data(start)), None)),
            None => std::future::pending().await,
        }
    });
    StreamBody::new(frames).boxed()
}

/// A body in 20 pieces with pauses.
fn trickle(content: Bytes) -> Body {
    let drop = content.len() / 20 + 1;
    let frames = stream::unfold(content, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let frame = rest.split_to(rest.len().min(drop));
        Some((Ok(Frame::data(frame)), rest))
    });
    StreamBody::new(frames).boxed()
}

fn throttled(seconds: u32) -> Response<Body> {
    let mut response = refusal(503, "SlowDown");
    response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
    response
}

fn refusal(status: u16, code: &str) -> Response<Body> {
    let document = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    let mut response = Response::new(body(document));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}
