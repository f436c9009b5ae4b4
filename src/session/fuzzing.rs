//! The session without standard streams and signals, for the fuzzers.

use std::io::{self, BufRead};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use super::frame::{Input, Outgoing, Reader};
use super::streams::{self, FarEnds, Waiting};
use super::{End, converse, handle};
use crate::error::Result;

/// Reads the parameters of a message as the session does.
///
/// # Errors
/// `invalid_params`.
pub fn read_params<P: DeserializeOwned>(params: &RawValue) -> Result<P> {
    handle::read(Some(params))
}

/// The host's side of a session that runs in this process.
#[derive(Debug)]
pub struct Host {
    /// To the agent; dropping it ends the session.
    pub mouth: Mouth,
    /// From the agent.
    pub ear: Ear,
}

/// What a host sends through.
#[derive(Debug)]
pub struct Mouth(mpsc::Sender<Input>);

impl Mouth {
    /// Sends the frames that are in `bytes`, and what is wrong with them, but not their end. Waits
    /// while the agent does not read. Says whether the agent will read more.
    pub async fn say(&self, bytes: impl BufRead) -> bool {
        let mut reader = Reader::new(bytes);
        loop {
            let next = reader.read();
            match next {
                Input::End => return true,
                Input::Broken(_) => {
                    // Fails when the session has ended already.
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

/// What a host hears through.
#[derive(Debug)]
pub struct Ear {
    waiting: Waiting,
    written: Option<oneshot::Sender<io::Result<()>>>,
}

impl Ear {
    /// The next frame, when there is one; none when the session has said everything.
    pub async fn hear(&mut self) -> Option<Outgoing> {
        let next = self.waiting.next().await;
        if next.is_none()
            && let Some(written) = self.written.take()
        {
            // Fails when the session does not wait for it any more.
            let _ = written.send(Ok(()));
        }
        next
    }
}

/// A host, and the session that it talks to.
pub fn session() -> (Host, impl Future<Output = End> + Send + 'static) {
    let (streams, FarEnds { input, waiting, written }) = streams::pair();
    let host = Host { mouth: Mouth(input), ear: Ear { waiting, written: Some(written) } };
    (host, converse(streams, std::future::pending(), None))
}
