//! Outgoing messages: framing and choice of the queue.

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

use super::frame::Outgoing;
use super::streams::Queues;
use crate::error::{Code, Error, Result};
use crate::protocol::{ErrorObject, MAX_LINE};

#[derive(Serialize)]
struct Notification<'a, P> {
    jsonrpc: &'static str,
    method: &'a str,
    params: &'a P,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<usize>,
}

#[derive(Serialize)]
struct Response<R> {
    jsonrpc: &'static str,
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<R>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject>,
}

/// Result of any request, serialized.
pub(super) type Answer = Result<Box<serde_json::value::RawValue>>;

/// Serializes a result.
pub(super) fn answer(result: &impl Serialize) -> Answer {
    serde_json::value::to_raw_value(result)
        .map_err(|error| Error::new(Code::Internal, "cannot serialize the response").source(error))
}

fn notification(method: &str, params: &impl Serialize, payload: Vec<Bytes>) -> Outgoing {
    let length = (!payload.is_empty()).then(|| payload.iter().map(Bytes::len).sum());
    let message = Notification { jsonrpc: "2.0", method, params, payload: length };
    let line = serde_json::to_vec(&message).unwrap_or_default();
    debug_assert!(line.len() < MAX_LINE, "all members of a notification are short");
    Outgoing::new(line, payload)
}

fn response(id: Option<u64>, answer: Answer) -> Outgoing {
    let put = |answer: Answer| {
        let (result, error) = match answer {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(ErrorObject::from(&error))),
        };
        serde_json::to_vec(&Response { jsonrpc: "2.0", id, result, error }).unwrap_or_default()
    };
    let line = put(answer);
    if line.len() < MAX_LINE {
        return Outgoing::new(line, Vec::new());
    }
    Outgoing::new(
        put(Err(Error::new(Code::TooLarge, "the response does not fit into a line"))),
        Vec::new(),
    )
}

/// Sends the session's messages. Sending to a lost host does nothing.
#[derive(Clone, Debug)]
pub(super) struct Outbox(pub(super) Queues);

impl Outbox {
    /// Sends a notification as soon as possible.
    pub(super) async fn notify(&self, method: &str, params: &impl Serialize) {
        let _ = self.0.control.send(notification(method, params, Vec::new())).await;
    }

    /// Sends a notification, or drops it if the host is slow to read.
    pub(super) fn notify_if_free(&self, method: &str, params: &impl Serialize) {
        let _ = self.0.control.try_send(notification(method, params, Vec::new()));
    }

    /// Waits for capacity in the control queue; None when the host is gone.
    pub(super) async fn reserve(&self) -> Option<QueuePermit<'_>> {
        self.0.control.reserve().await.ok().map(QueuePermit)
    }

    /// Queues stream data after earlier data.
    pub(super) async fn data(&self, method: &str, params: &impl Serialize, bytes: Vec<Bytes>) {
        let _ = self.0.data.send(notification(method, params, bytes)).await;
    }

    /// Sends a response as soon as possible.
    pub(super) async fn respond(&self, id: Option<u64>, answer: Answer) {
        let _ = self.0.control.send(response(id, answer)).await;
    }

    /// Queues the response to a request with a stream after its data.
    pub(super) async fn respond_after_data(&self, id: u64, answer: Answer) {
        let _ = self.0.data.send(response(Some(id), answer)).await;
    }
}

/// Reserved capacity in the control queue.
pub(super) struct QueuePermit<'a>(mpsc::Permit<'a, Outgoing>);

impl QueuePermit<'_> {
    /// Sends a notification with this permit.
    pub(super) fn notify(self, method: &str, params: &impl Serialize) {
        self.0.send(notification(method, params, Vec::new()));
    }
}
