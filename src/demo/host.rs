//! A small host program: starts an agent, speaks the protocol, and moves streams with credit.
//!
//! Used by the demo and the tests: one call for a whole upload, and single messages. No retries and
//! no time limits; the caller adds them.

use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

pub use super::link::{Answer, Event, Request};
use super::link::{Link, SESSION};
use crate::protocol::{self, ErrorObject, Hello};

/// Bytes in one `stream.data` of [`Host::upload`].
const CHUNK: usize = 256 << 10;

/// An agent process and its session. Dropping it kills the agent.
#[derive(Debug)]
pub struct Host {
    child: Child,
    stdin: tokio::sync::Mutex<Option<ChildStdin>>,
    link: Arc<Link>,
    session: Request,
    hello: Hello,
    last_id: AtomicU64,
}

impl Host {
    /// Starts an agent and waits for its `hello`. Its environment is `PATH` and `environment`.
    ///
    /// # Errors
    /// When the program cannot be started, ends, or sends another message first.
    pub async fn spawn(
        program: impl AsRef<OsStr>,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Result<Self, Box<ErrorObject>> {
        let link = Link::new();
        let mut command = Command::new(program);
        command.args(arguments).env_clear().kill_on_drop(true);
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| link.fault("agent_start_failed", &error.to_string()))?;
        let mut session = link.listen(SESSION);
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(Arc::clone(&link).read(stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(Arc::clone(&link).drain(stderr));
        }
        let hello = match session.next().await? {
            Event::Notification { method, params, .. } if method == "hello" => {
                serde_json::from_value(params).ok()
            }
            Event::Notification { .. } | Event::Response(_) => None,
        };
        let hello = hello.ok_or_else(|| link.fault("agent_protocol", "it did not say hello"))?;
        let stdin = tokio::sync::Mutex::new(child.stdin.take());
        Ok(Self { child, stdin, link, session, hello, last_id: AtomicU64::new(0) })
    }

    /// [`Host::spawn`], then `initialize`.
    ///
    /// # Errors
    /// As [`Host::spawn`], or when the agent returns an error.
    pub async fn launch(
        program: impl AsRef<OsStr>,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Result<Self, Box<ErrorObject>> {
        let host = Self::spawn(program, arguments, environment).await?;
        let client = json!({"name": "demo", "version": env!("CARGO_PKG_VERSION")});
        host.call("initialize", json!({"protocol": protocol::VERSION, "client": client})).await?;
        Ok(host)
    }

    /// The first message of the agent.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Sends a request. The returned [`Request`] receives its messages.
    ///
    /// # Errors
    /// `agent_gone`.
    pub async fn start(&self, method: &str, params: Value) -> Result<Request, Box<ErrorObject>> {
        let request = self.listen(self.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        let message =
            json!({"jsonrpc": "2.0", "id": request.id, "method": method, "params": params});
        self.send(&message, None).await.map_err(|_| self.link.gone())?;
        Ok(request)
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// The agent's error, or `agent_gone`.
    pub async fn call(&self, method: &str, params: Value) -> Answer {
        self.start(method, params).await?.response().await
    }

    /// Receives the messages of a request that is sent by other means, such as [`Host::raw_write`].
    #[must_use]
    pub fn listen(&self, id: u64) -> Request {
        self.link.listen(id)
    }

    /// Receives the messages that belong to no request, such as the answer to invalid JSON.
    pub fn session(&mut self) -> &mut Request {
        &mut self.session
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// When the agent no longer reads.
    pub async fn notify(
        &self,
        method: &str,
        params: Value,
        payload: Option<&[u8]>,
    ) -> io::Result<()> {
        let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        if let (Some(payload), Some(members)) = (payload, message.as_object_mut()) {
            members.insert("payload".to_owned(), json!(payload.len()));
        }
        self.send(&message, payload).await
    }

    async fn send(&self, message: &Value, payload: Option<&[u8]>) -> io::Result<()> {
        let mut frame = serde_json::to_vec(message)?;
        frame.push(b'\n');
        if let Some(payload) = payload {
            frame.extend_from_slice(payload);
            frame.push(b'\n');
        }
        self.raw_write(&frame).await
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the agent no longer reads.
    pub async fn raw_write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdin = self.stdin.lock().await;
        let stdin = stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(bytes).await?;
        stdin.flush().await
    }

    /// Uploads the bytes of `source`. `extra` has further parameters of `backup.upload`.
    ///
    /// # Errors
    /// The agent's error. A failing source cancels the upload.
    pub async fn upload(
        &self,
        target: &str,
        backup: Value,
        extra: Value,
        mut source: impl AsyncRead + Unpin,
    ) -> Answer {
        let params = merged(extra, [("target", json!(target)), ("backup", backup)]);
        let mut request = self.start("backup.upload", params).await?;
        let id = request.id;
        let longest = self.hello.limits.max_payload.min(CHUNK);
        let (mut offset, mut credit, mut chunk, mut ended) = (0, 0, BytesMut::new(), false);
        loop {
            // Reading the source needs no credit, but the first grant.
            let blocked = ended || credit == 0 || (offset == credit && !chunk.is_empty());
            let event = if blocked { Some(request.next().await?) } else { request.try_next()? };
            match event {
                Some(Event::Response(answer)) => return answer,
                Some(Event::Notification { method, params, .. }) => {
                    if method == "stream.credit" {
                        credit = credit.max(number(&params, "up_to"));
                    }
                    continue;
                }
                None => {}
            }
            let sent = if chunk.is_empty() {
                chunk.reserve(CHUNK);
                match source.read_buf(&mut chunk).await {
                    Ok(0) => {
                        ended = true;
                        self.notify("stream.end", json!({"id": id, "length": offset}), None).await
                    }
                    Ok(_) => Ok(()),
                    Err(_) => {
                        ended = true;
                        self.notify("cancel", json!({"id": id, "reason": "source_failed"}), None)
                            .await
                    }
                }
            } else {
                let allowed = usize::try_from(credit - offset).unwrap_or(usize::MAX);
                let data = chunk.split_to(chunk.len().min(longest).min(allowed));
                let params = json!({"id": id, "offset": offset});
                offset += data.len() as u64;
                self.notify("stream.data", params, Some(&data)).await
            };
            sent.map_err(|_| self.link.gone())?;
        }
    }

    /// Downloads a backup into `sink`, with at most `window` bytes in flight. `extra` has further
    /// parameters of `backup.download`.
    ///
    /// # Errors
    /// The agent's error, or `agent_protocol` when its stream has gaps.
    pub async fn download(
        &self,
        target: &str,
        backup_id: &str,
        extra: Value,
        window: u64,
        mut sink: impl FnMut(&[u8]),
    ) -> Answer {
        let params = merged(
            extra,
            [("target", json!(target)), ("backup_id", json!(backup_id)), ("up_to", json!(window))],
        );
        let mut request = self.start("backup.download", params).await?;
        let (mut taken, mut granted) = (0, window);
        loop {
            let (params, payload) = match request.next().await? {
                Event::Response(answer) => return answer,
                Event::Notification { method, params, payload } if method == "stream.data" => {
                    (params, payload.unwrap_or_default())
                }
                Event::Notification { .. } => continue,
            };
            if number(&params, "offset") != taken {
                return Err(self.link.fault("agent_protocol", "the stream has a gap"));
            }
            sink(&payload);
            taken += payload.len() as u64;
            if granted.saturating_sub(taken) <= window - window / 4 {
                granted = taken + window;
                let credit = json!({"id": request.id, "up_to": granted});
                // If the agent is gone, the next message shows it.
                let _ = self.notify("stream.credit", credit, None).await;
            }
        }
    }

    /// Closes the agent's standard input, which ends the session.
    pub async fn close_stdin(&self) {
        self.stdin.lock().await.take();
    }

    /// Waits for the agent to end.
    ///
    /// # Errors
    /// When the system does not report the status.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills the agent, as in a crash, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Process ID of the agent while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The last lines of the agent's log.
    #[must_use]
    pub fn stderr_lines(&self) -> Vec<String> {
        self.link.log()
    }
}

fn merged<const N: usize>(extra: Value, own: [(&str, Value); N]) -> Value {
    let mut members = match extra {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    members.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(members)
}

fn number(params: &Value, name: &str) -> u64 {
    params.get(name).and_then(Value::as_u64).unwrap_or_default()
}
