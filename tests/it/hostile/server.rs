//! A server in front of the embedded one that is hostile where a rule says so.
//!
//! It writes HTTP by hand, because a library would refuse to write most of it. Requests without a
//! rule pass, so that an operation gets as far as possible. Dropping it ends everything.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::script::{Script, Then};
use crate::provider_emulation::Call;
use crate::relay::{collect, pass_on};

/// A request, and how many requests came before it to which the same rule applies.
pub(super) struct MatchedRequest<'a> {
    pub(super) call: Call,
    pub(super) head: &'a Parts,
    pub(super) number: usize,
}

impl MatchedRequest<'_> {
    /// A value of the query, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let query = url::form_urlencoded::parse(self.head.uri.query()?.as_bytes());
        query.into_owned().find_map(|(other, value)| (other == name).then_some(value))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.head.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// An honest answer before it is altered.
pub(super) struct HonestAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl HonestAnswer {
    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        self.headers.insert(name, value.parse().unwrap());
    }

    /// Changes the document.
    pub(super) fn edit(&mut self, edit: impl Fn(String) -> String) {
        self.body = edit(String::from_utf8(std::mem::take(&mut self.body)).unwrap()).into_bytes();
    }
}

/// What the server does with a request.
pub(super) enum Act {
    Pass,
    /// It passes, and the answer is altered.
    Alter(fn(&mut HonestAnswer, usize)),
    Send(Script),
}

/// What the server does, and for which calls.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    pub(super) to: fn(Call) -> bool,
    pub(super) act: fn(&MatchedRequest<'_>) -> Act,
}

#[derive(Default)]
struct State {
    rule: Option<Rule>,
    /// Requests with this in their target are counted separately.
    separate: String,
    met: usize,
    counts: [usize; 2],
}

pub(super) struct HostileServer {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: AbortHandle,
}

impl HostileServer {
    /// Passes everything at first. Requests with `apart` in their target are counted separately.
    pub(super) async fn start(upstream: SocketAddr, separate: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { separate: separate.to_owned(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let serving = tokio::spawn(accept(listener, upstream, Arc::clone(&state))).abort_handle();
        Self { address, state, serving }
    }

    /// Makes the server hostile, or honest again.
    pub(super) fn set_rule(&self, rule: Option<Rule>) {
        let mut state = self.state.lock().unwrap();
        (state.rule, state.met, state.counts) = (rule, 0, [0, 0]);
    }

    /// How many requests came since the last call, and how many of the separately counted ones
    /// since the rule was set.
    pub(super) fn counts(&self) -> (usize, usize) {
        let mut state = self.state.lock().unwrap();
        (std::mem::take(&mut state.counts[0]), state.counts[1])
    }
}

impl Drop for HostileServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The connections belong to this future and end with it.
async fn accept(listener: TcpListener, upstream: SocketAddr, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted.unwrap();
                socket.set_nodelay(true).unwrap();
                // Ends with an error when the agent closes the connection.
                connections.spawn(serve(socket, upstream, Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(
    socket: TcpStream,
    upstream: SocketAddr,
    state: Arc<Mutex<State>>,
) -> io::Result<()> {
    let mut socket = BufWriter::with_capacity(64 << 10, BufReader::new(socket));
    while let Some((head, body)) = read(&mut socket).await? {
        let act = {
            let mut state = state.lock().unwrap();
            let is_apart = !state.separate.is_empty()
                && head
                    .uri
                    .path_and_query()
                    .is_some_and(|it| it.as_str().contains(&state.separate));
            state.counts[usize::from(is_apart)] += 1;
            let call = Call::of(&head);
            match state.rule.filter(|rule| (rule.to)(call)) {
                Some(rule) => {
                    let number = state.met;
                    state.met += 1;
                    ((rule.act)(&MatchedRequest { call, head: &head, number }), number)
                }
                None => (Act::Pass, 0),
            }
        };
        let has_body = head.method != Method::HEAD;
        let say = match act {
            (Act::Send(say), _) => say,
            (Act::Pass, _) => passed(upstream, head, body, |_| {}).await?,
            (Act::Alter(spoil), number) => {
                passed(upstream, head, body, |honest| spoil(honest, number)).await?
            }
        };
        match say.write(&mut socket, has_body).await? {
            Then::Next => {}
            Then::Close => {
                socket.shutdown().await?;
                return Ok(());
            }
            Then::Reset => {
                socket.get_ref().get_ref().set_zero_linger()?;
                return Ok(());
            }
            Then::Hold => std::future::pending().await,
        }
    }
    Ok(())
}

/// The next request; none at the end of the connection.
async fn read(socket: &mut BufWriter<BufReader<TcpStream>>) -> io::Result<Option<(Parts, Bytes)>> {
    let socket = socket.get_mut();
    let mut line = String::new();
    if socket.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace();
    let mut request = Request::builder().method(words.next().unwrap()).uri(words.next().unwrap());
    loop {
        line.clear();
        socket.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        request = request.header(name, value.trim());
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let length = head
        .headers
        .get("content-length")
        .map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    Ok(Some((head, body.into())))
}

async fn passed(
    upstream: SocketAddr,
    head: Parts,
    body: Bytes,
    spoil: impl FnOnce(&mut HonestAnswer),
) -> io::Result<Script> {
    let is_head = head.method == Method::HEAD;
    let (parts, content) = pass_on(upstream, head, body).await?.into_parts();
    let body = collect(content).await?.to_vec();
    let mut honest = HonestAnswer { status: parts.status, headers: parts.headers, body };
    if !is_head {
        honest.headers.remove("content-length");
    }
    spoil(&mut honest);
    let says = honest.headers.contains_key("content-length") || honest.status == 204;
    if !(is_head || says) {
        honest.set("content-length", &honest.body.len().to_string());
    }
    let lines = honest
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
    let lines: String = lines.collect();
    let body = vec![super::script::Piece::Once(honest.body)];
    Ok(Script::with(honest.status.as_u16(), &lines, body, Then::Next))
}
