//! A session without standard streams and signals, for the fuzzers.

use std::io::{self, BufRead};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use super::frame::{Input, Outgoing, Reader};
use super::streams::{self, FarEnds, Waiting};
use super::{End, converse, handle};
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
    pub mouth: Mouth,
    /// Messages from the agent.
    pub ear: Ear,
}

/// Sends messages to the agent.
#[derive(Debug)]
pub struct Mouth(mpsc::Sender<Input>);

impl Mouth {
    /// Sends the frames in `bytes`, including invalid ones, but not the end of the input. Waits
    /// while the agent does not read. Returns whether the agent reads more.
    pub async fn say(&self, bytes: impl BufRead) -> bool {
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
pub struct Ear {
    waiting: Waiting,
    written: Option<oneshot::Sender<io::Result<()>>>,
}

impl Ear {
    /// The next frame; None when the session has sent everything.
    pub async fn hear(&mut self) -> Option<Outgoing> {
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
    let (streams, FarEnds { input, waiting, written }) = streams::pair();
    let host = Host { mouth: Mouth(input), ear: Ear { waiting, written: Some(written) } };
    (host, converse(streams, std::future::pending(), None))
}
