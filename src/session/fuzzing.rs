//! A session without standard streams and signals, for the fuzzers.

use std::io::{self, BufRead};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use super::frame::{Input, Outgoing, Reader};
use super::streams::{self, Counterparts, Waiting};
use super::{End, handle, run_session};
use crate::error::Result;

/// Parses the parameters of a message like the session.
///
/// # Errors
/// `invalid_params`.
pub fn read_params<P: DeserializeOwned>(params: &RawValue) -> Result<P> {
    handle::read(Some(params))
}

/// The host's side of a session in this process.
#[derive(Debug)]
pub struct Host {
    /// Messages to the agent; dropping it ends the session.
    pub writer: HostWriter,
    /// Messages from the agent.
    pub reader: HostReader,
}

/// Sends messages to the agent.
#[derive(Debug)]
pub struct HostWriter(mpsc::Sender<Input>);

impl HostWriter {
    /// Sends the frames in `bytes`, including invalid ones, but not the end of the input. Waits
    /// while the agent does not read. Returns whether the agent reads more.
    pub async fn send(&self, bytes: impl BufRead) -> bool {
        let mut reader = Reader::new(bytes);
        loop {
            let next = reader.read();
            match next {
                Input::End => return true,
                Input::Broken(_) => {
                    // Fails when the session has ended.
                    let _ = self.0.send(next).await;
                    return false;
                }
                Input::Frame(_) | Input::Batch => {
                    if self.0.send(next).await.is_err() {
                        return false;
                    }
                }
            }
        }
    }
}

/// Receives messages from the agent.
#[derive(Debug)]
pub struct HostReader {
    waiting: Waiting,
    written: Option<oneshot::Sender<io::Result<()>>>,
}

impl HostReader {
    /// The next frame; None when the session has sent everything.
    pub async fn next(&mut self) -> Option<Outgoing> {
        let next = self.waiting.next().await;
        if next.is_none()
            && let Some(written) = self.written.take()
        {
            // Fails when the session no longer waits.
            let _ = written.send(Ok(()));
        }
        next
    }
}

/// A host and its session.
pub fn session() -> (Host, impl Future<Output = End> + Send + 'static) {
    let (streams, Counterparts { input, waiting, written }) = streams::pair();
    let host =
        Host { writer: HostWriter(input), reader: HostReader { waiting, written: Some(written) } };
    (host, run_session(streams, std::future::pending(), None))
}
