//! Byte streams with credit: the receiver tells how far the sender may send, so that a slow
//! receiver blocks no other request and memory stays bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::outbox::Outbox;
use crate::buffer_pool::Pool;
use crate::config::MIB;
use crate::error::{Code, Error, Result};
use crate::ops::{Cancel, Cause, Chunks, Sink, Source, WINDOW};
use crate::protocol::{Backup, StreamBegin, StreamCredit, StreamData, StreamEnd};

/// State of an upload stream: bytes received and granted.
#[derive(Debug)]
pub(super) struct Inbound {
    state: Mutex<Received>,
    arrived: Notify,
    cancel: Cancel,
}

#[derive(Debug)]
struct Received {
    chunks: Chunks,
    /// Bytes received.
    received: u64,
    /// Bytes granted.
    granted: u64,
    /// Bytes passed to the upload.
    taken: u64,
    ended: bool,
}

impl Inbound {
    pub(super) fn new(cancel: Cancel) -> Arc<Self> {
        let state = Received {
            chunks: Chunks::new(&Pool::of_process()),
            received: 0,
            granted: 0,
            taken: 0,
            ended: false,
        };
        Arc::new(Self { state: Mutex::new(state), arrived: Notify::new(), cancel })
    }

    fn state(&self) -> MutexGuard<'_, Received> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn violated(&self, code: Code, message: String) {
        self.cancel.cancel(Cause::Stream(code, message));
    }

    /// Handles a data frame.
    pub(super) fn data(&self, offset: u64, payload: Option<Result<Vec<Bytes>>>) {
        let mut state = self.state();
        let payload = match payload {
            Some(Ok(payload)) => payload,
            Some(Err(error)) => return self.violated(error.code(), error.message().to_owned()),
            None => {
                let message = "stream.data has no bytes".to_owned();
                return self.violated(Code::StreamViolation, message);
            }
        };
        if state.ended {
            return self.violated(
                Code::StreamViolation,
                "stream.data was sent after stream.end".to_owned(),
            );
        }
        if offset != state.received {
            let message =
                format!("stream.data has the offset {offset} instead of {}", state.received);
            return self.violated(Code::StreamViolation, message);
        }
        let length: u64 = payload.iter().map(|piece| piece.len() as u64).sum();
        let received = state.received + length;
        if received > state.granted {
            let message =
                format!("{received} bytes were sent, but only {} were granted", state.granted);
            return self.violated(Code::FlowViolation, message);
        }
        state.received = received;
        for piece in payload {
            if let Err(error) = state.chunks.push(piece) {
                return self.violated(error.code(), error.message().to_owned());
            }
        }
        self.arrived.notify_one();
    }

    /// Handles the end of the stream.
    pub(super) fn end(&self, length: u64) {
        let mut state = self.state();
        if state.ended {
            return self.violated(Code::StreamViolation, "stream.end was sent twice".to_owned());
        }
        if length != state.received {
            let message = format!(
                "stream.end has the length {length}, but {} bytes were sent",
                state.received
            );
            return self.violated(Code::LengthMismatch, message);
        }
        state.ended = true;
        self.arrived.notify_one();
    }
}

/// An upload stream as the source of an upload.
pub(super) struct InboundSource {
    pub(super) id: u64,
    pub(super) inbound: Arc<Inbound>,
    pub(super) outbox: Outbox,
}

impl Source for InboundSource {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            self.grant().await;
            {
                let mut state = self.inbound.state();
                if let Some(chunk) = state.chunks.pop() {
                    state.taken += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                if state.ended {
                    return Ok(None);
                }
            }
            self.inbound.arrived.notified().await;
        }
    }
}

impl InboundSource {
    /// Grants more credit when a quarter of the window is used.
    async fn grant(&self) {
        let wanted = |state: &Received| {
            let low = !state.ended && state.granted < state.taken + WINDOW / 4 * 3;
            // In whole mebibytes, so that a host with chunks of that size need not split them.
            low.then_some((state.taken + WINDOW) / MIB * MIB)
        };
        if wanted(&self.inbound.state()).is_none() {
            return;
        }
        // Reserves capacity first: nothing is lost when this future is dropped while waiting.
        let Some(permit) = self.outbox.reserve().await else { return };
        let mut state = self.inbound.state();
        if let Some(up_to) = wanted(&state) {
            state.granted = up_to;
            permit.notify("stream.credit", &StreamCredit { id: self.id, up_to });
        }
    }
}

/// A download stream as the sink of a download.
pub(super) struct OutboundSink {
    pub(super) id: u64,
    pub(super) outbox: Outbox,
    /// Bytes that the host has granted so far.
    pub(super) credit: watch::Receiver<u64>,
    pub(super) max_payload: usize,
    pub(super) sent: u64,
}

impl OutboundSink {
    /// Sends the end of the stream.
    pub(super) async fn end(&self) {
        let end = StreamEnd { id: self.id, length: self.sent };
        self.outbox.data("stream.end", &end, Vec::new()).await;
    }
}

impl Sink for OutboundSink {
    async fn begin(&mut self, backup: &Backup, offset: u64, length: u64) -> Result<()> {
        let begin = StreamBegin { id: self.id, length, offset, backup: backup.clone() };
        self.outbox.data("stream.begin", &begin, Vec::new()).await;
        Ok(())
    }

    async fn write(&mut self, bytes: Vec<Bytes>) -> Result<()> {
        let mut waiting = VecDeque::from(bytes);
        while !waiting.is_empty() {
            let sent = self.sent;
            let up_to = *self
                .credit
                .wait_for(|up_to| *up_to > sent)
                .await
                .map_err(|_| Error::new(Code::ShuttingDown, "the agent is shutting down"))?;
            let granted = usize::try_from(up_to - sent).unwrap_or(usize::MAX);
            let frame = cut(&mut waiting, granted.min(self.max_payload));
            self.sent += frame.iter().map(|piece| piece.len() as u64).sum::<u64>();
            let data = StreamData { id: self.id, offset: sent };
            self.outbox.data("stream.data", &data, frame).await;
        }
        Ok(())
    }
}

/// Removes at most `limit` bytes from the start. Splits a piece without copying.
fn cut(waiting: &mut VecDeque<Bytes>, limit: usize) -> Vec<Bytes> {
    let mut taken = Vec::new();
    let mut remaining = limit;
    while remaining > 0
        && let Some(piece) = waiting.front_mut()
    {
        let head = piece.split_to(piece.len().min(remaining));
        if piece.is_empty() {
            waiting.pop_front();
        }
        remaining -= head.len();
        taken.push(head);
    }
    taken
}
