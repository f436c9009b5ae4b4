//! Reader of an agent's output: parses frames and passes them to their requests.
//!
//! Reads continuously, so that the agent never has to wait. Unread messages of a request wait in
//! memory, limited by the granted credit. Output that is not a frame ends the link.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::mpsc::{
    UnboundedReceiver, UnboundedSender, error::TryRecvError, unbounded_channel,
};

use crate::error::{ErrorData, Kind};
use crate::protocol::{self, ErrorObject};

/// Result of a request. A lost agent counts as the error `agent_gone`.
pub type Answer = Result<Value, Box<ErrorObject>>;

/// Lines of the agent's log that are kept.
const LOG_LINES: usize = 10_000;

/// Number for messages that belong to no request, such as `hello`.
pub(super) const SESSION: u64 = 0;

/// Bytes of one read of the agent's output.
const CHUNK: usize = 256 << 10;

/// A message of the agent.
#[derive(Clone, Debug)]
pub enum Event {
    /// The last message of a request.
    Response(Answer),
    /// Any other message.
    Notification {
        /// Its method.
        method: String,
        /// Its parameters.
        params: Value,
        /// The bytes that followed its line.
        payload: Option<Bytes>,
    },
}

/// State shared by the host and its reading tasks.
#[derive(Debug)]
pub(super) struct Link {
    /// `None` once the agent has ended.
    waiting: Mutex<Option<HashMap<u64, UnboundedSender<Event>>>>,
    end: Mutex<String>,
    log: Mutex<VecDeque<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::new(Some(HashMap::new())),
            end: Mutex::default(),
            log: Mutex::default(),
        })
    }

    pub(super) fn log(&self) -> Vec<String> {
        lock(&self.log).iter().cloned().collect()
    }

    pub(super) fn listen(self: &Arc<Self>, id: u64) -> Request {
        let (sender, events) = unbounded_channel();
        if let Some(waiting) = lock(&self.waiting).as_mut() {
            waiting.insert(id, sender);
        }
        Request { id, events, link: Arc::clone(self) }
    }

    pub(super) fn fault(&self, code: &str, message: &str) -> Box<ErrorObject> {
        let log = lock(&self.log);
        let said =
            log.back().map(|line| format!("; its log ends with: {line}")).unwrap_or_default();
        Box::new(ErrorObject {
            code: protocol::rpc::OPERATION,
            message: format!("{message}{said}"),
            data: ErrorData {
                code: code.to_owned(),
                kind: Kind::Internal,
                retryable: false,
                retry_after_ms: None,
                field: None,
                details: Default::default(),
                cleanup: None,
                upstream: None,
            },
        })
    }

    pub(super) fn gone(&self) -> Box<ErrorObject> {
        self.fault("agent_gone", &format!("the agent has ended ({})", lock(&self.end)))
    }

    pub(super) async fn read(self: Arc<Self>, stdout: ChildStdout) {
        let mut stdout = BufReader::with_capacity(CHUNK, stdout);
        let end = loop {
            match read_frame(&mut stdout).await {
                Ok(Some((id, event))) => {
                    let sender = lock(&self.waiting).as_ref().and_then(|all| all.get(&id).cloned());
                    // The request has ended or was dropped.
                    if let Some(sender) = sender {
                        let _ = sender.send(event);
                    }
                }
                Ok(None) => break "end of output".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        *lock(&self.end) = end;
        *lock(&self.waiting) = None;
    }

    pub(super) async fn drain(self: Arc<Self>, stderr: ChildStderr) {
        let mut lines = BufReader::new(stderr).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let mut log = lock(&self.log);
            if log.len() == LOG_LINES {
                log.pop_front();
            }
            log.push_back(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

/// The possible members of a message of the agent.
#[derive(Deserialize)]
struct Message {
    id: Option<u64>,
    method: Option<String>,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    result: Value,
    error: Option<Box<ErrorObject>>,
    payload: Option<usize>,
}

async fn read_frame(stdout: &mut BufReader<ChildStdout>) -> io::Result<Option<(u64, Event)>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut line = Vec::new();
    (&mut *stdout).take(protocol::MAX_LINE as u64).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(invalid(format!("a line that does not end after {} bytes", line.len())));
    }
    let message: Message = serde_json::from_slice(&line)
        .map_err(|error| invalid(format!("{error} in {:?}", String::from_utf8_lossy(&line))))?;
    let mut payload = None;
    if let Some(length) = message.payload {
        if length > protocol::MAX_PAYLOAD {
            return Err(invalid(format!("a payload of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        stdout.read_exact(&mut bytes).await?;
        if stdout.read_u8().await? != b'\n' {
            return Err(invalid("a payload without its line feed".to_owned()));
        }
        payload = Some(Bytes::from(bytes));
    }
    Ok(Some(match message.method {
        None => {
            let answer = message.error.map_or(Ok(message.result), Err);
            (message.id.unwrap_or(SESSION), Event::Response(answer))
        }
        Some(method) => {
            let id = message.params.get("id").and_then(Value::as_u64).unwrap_or(SESSION);
            (id, Event::Notification { method, params: message.params, payload })
        }
    }))
}

/// A request and its messages, in order.
#[derive(Debug)]
pub struct Request {
    /// ID of the request.
    pub id: u64,
    events: UnboundedReceiver<Event>,
    link: Arc<Link>,
}

impl Request {
    /// The next message; `None` when the agent has ended.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Waits for the response and discards the messages before it.
    ///
    /// # Errors
    /// The agent's error, or `agent_gone`.
    pub async fn response(&mut self) -> Answer {
        loop {
            if let Event::Response(answer) = self.next().await? {
                return answer;
            }
        }
    }

    pub(super) async fn next(&mut self) -> Result<Event, Box<ErrorObject>> {
        self.events.recv().await.ok_or_else(|| self.link.gone())
    }

    pub(super) fn try_next(&mut self) -> Result<Option<Event>, Box<ErrorObject>> {
        match self.events.try_recv() {
            Ok(event) => Ok(Some(event)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(self.link.gone()),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(waiting) = lock(&self.link.waiting).as_mut() {
            waiting.remove(&self.id);
        }
    }
}
