//! `retry_for_ms`: a server that becomes unreachable in the middle of a transfer and returns. What
//! is retried, for how long, and what ends the wait.
//!
//! The server returns when the agent's log says that the agent waits, so nothing here depends on
//! timing.

use std::sync::Arc;

use futures_util::future::join_all;
use http::Method;
use http::request::Parts;
use s3_backup_agent::config::DEFAULT_PART_SIZE;
use s3_backup_agent::demo::host::{Answer, Event, Host};
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify};

use super::broken_connections::{
    assert_restores, broken, cleanup, is_completion, is_metadata_upload,
};
use super::recorded_request::part;
use super::wire::{Act, Wire};
use super::{address, detail};
use crate::e2e::streams::{begin_upload, feed};
use crate::e2e::{assert_empty, backup, code, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;
const HOUR_MS: u64 = 3_600_000;

/// How often the agent logged that it waits for the server.
fn retry_waits(host: &Host) -> usize {
    host.stderr_lines().iter().filter(|line| line.contains("waiting for the server")).count()
}

/// The server works until a request `matches`, which is held until the server is gone. With
/// `after`, the request before that one arrives, and only its answer is lost.
async fn server_vanishing_at(
    matches: impl Fn(&Parts) -> bool + Send + 'static,
    mut after: bool,
) -> (TestServer, Wire, Host, Arc<Notify>) {
    let reached = Arc::new(Notify::new());
    let notify = Arc::clone(&reached);
    let rule = move |head: &Parts| {
        if !matches(head) {
            return Act::Pass;
        }
        if std::mem::take(&mut after) {
            return Act::LoseAnswer;
        }
        notify.notify_one();
        Act::AtBarrier(Arc::new(Barrier::new(2)))
    };
    let (server, wire, host) = broken(rule).await;
    (server, wire, host, reached)
}

/// Stops the server when the moment is `reached`, and starts it again at `back`.
async fn stop_server(wire: Wire, reached: &Notify, back: &Notify, server: &TestServer) -> Wire {
    reached.notified().await;
    let place = wire.address;
    drop(wire);
    back.notified().await;
    Wire::restart(place, address(server), |_| Act::Pass).await
}

/// Calls `then` once the agent waits and a progress report has said so.
struct WhenWaiting<F> {
    was_reported: bool,
    then: Option<F>,
}

impl<F: AsyncFnOnce()> WhenWaiting<F> {
    fn new(then: F) -> Self {
        Self { was_reported: false, then: Some(then) }
    }

    async fn observe(&mut self, host: &Host, report: &Value) {
        // This report was made after the lines of the log.
        let was_told = std::mem::replace(&mut self.was_reported, retry_waits(host) >= 2);
        // An answer from just before may have come after the failure.
        if !was_told || self.then.is_none() || report["waiting_for"] != "remote" {
            return;
        }
        assert!(report["retries"].as_u64().unwrap() > 0, "{report}");
        if let Some(then) = self.then.take() {
            then().await;
        }
    }
}

/// Uploads, and calls `then` while the server is unreachable.
async fn upload(host: &Host, size: u64, extra: Value, then: impl AsyncFnOnce()) -> Answer {
    let (request, credit) = begin_upload(host, "b", with_progress(extra)).await;
    let mut when = WhenWaiting::new(then);
    feed(host, request, credit, size, async |report: &Value| when.observe(host, report).await).await
}

/// The same for a download; also returns the content that arrived.
async fn download(host: &Host, extra: Value, then: impl AsyncFnOnce()) -> (Answer, Vec<u8>) {
    let mut params = json!({"target": "t1", "backup_id": "b", "up_to": HOUR_MS << 10});
    params.as_object_mut().unwrap().extend(with_progress(extra).as_object().unwrap().clone());
    let mut request = host.start("backup.download", params).await.unwrap();
    let (mut when, mut content) = (WhenWaiting::new(then), Vec::new());
    loop {
        match request.next_event().await.unwrap() {
            Event::Response(answer) => return (answer, content),
            Event::Notification { method, params, .. } if method == "progress" => {
                when.observe(host, &params).await;
            }
            Event::Notification { payload, .. } => content.extend(payload.unwrap_or_default()),
        }
    }
}

fn with_progress(mut extra: Value) -> Value {
    extra["progress_ms"] = json!(100);
    extra
}

fn is_start(head: &Parts) -> bool {
    head.method == Method::POST && head.uri.query().unwrap_or_default().contains("uploads")
}

fn is_second_part(head: &Parts) -> bool {
    part(&head.uri) == Some(2)
}

fn is_archive(head: &Parts) -> bool {
    head.method == Method::PUT && head.uri.path().ends_with(".tar")
}

fn is_second_piece(head: &Parts) -> bool {
    let range = head.headers.get("range").and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes={DEFAULT_PART_SIZE}-")))
}

type Moment = (&'static str, fn(&Parts) -> bool, u64, bool);

#[tokio::test]
async fn retry_for_continues_upload_when_server_returns() {
    let moments: [Moment; 9] = [
        ("the start", is_start, 21, false),
        ("the start, after it", is_start, 21, true),
        ("a part", is_second_part, 60, false),
        ("a part, after it", is_second_part, 60, true),
        ("the completion", is_completion, 21, false),
        ("the completion, after it", is_completion, 21, true),
        ("a small archive", is_archive, 3, false),
        ("the document", is_metadata_upload, 3, false),
        ("the document, after it", is_metadata_upload, 3, true),
    ];
    let moments = moments.map(|(moment, matches, mib, after)| async move {
        let (server, wire, host, reached) = server_vanishing_at(matches, after).await;
        let back = Notify::new();
        // Without an announced size, an upload gets credit before it opens anything.
        let extra = json!({"retry_for_ms": HOUR_MS});
        let stored = upload(&host, mib * MIB, extra, async || back.notify_one());
        let (stored, _wire) = tokio::join!(stored, stop_server(wire, &reached, &back, &server));
        stored.unwrap_or_else(|error| panic!("{moment}: {error:?}"));
        assert_restores(&host, mib * MIB).await;
        assert_eq!(server.objects().await.len(), 2, "{moment}");
        assert_eq!(server.open_uploads().await, [], "{moment}");
    });
    join_all(moments).await;
}

#[tokio::test]
async fn retry_for_continues_download_when_server_returns() {
    let (server, wire, host, reached) = server_vanishing_at(is_second_piece, false).await;
    store(&host, "b", 1, 60 * MIB).await;
    let back = Notify::new();
    let fetched = download(&host, json!({"retry_for_ms": HOUR_MS}), async || back.notify_one());
    let ((answer, content), _wire) =
        tokio::join!(fetched, stop_server(wire, &reached, &back, &server));
    assert_eq!(answer.unwrap(), json!({"length": 60 * MIB, "verified": true}));
    assert!(content == RandomData::new(1, 60 * MIB).bytes(content.len() + 1));
}

#[tokio::test]
async fn retry_for_exceeded_ends_with_the_last_error() {
    let never = Notify::new();
    let (server, wire, host, reached) = server_vanishing_at(is_second_part, false).await;
    // The shortest time that is possible: it ends with the first pause.
    let extra = json!({"retry_for_ms": 1});
    let error = tokio::select! {
        stored = upload(&host, 60 * MIB, extra.clone(), async || {}) => stored.unwrap_err(),
        _ = stop_server(wire, &reached, &never, &server) => unreachable!("the server stays stopped"),
    };
    assert_eq!(error.data.code, "cannot_connect", "{error:?}");
    assert_ne!(cleanup(&error), "complete");
    assert!(retry_waits(&host) > 0);
    assert_eq!(server.objects().await, []);

    let (server, wire, host, reached) = server_vanishing_at(is_second_piece, false).await;
    store(&host, "b", 1, 60 * MIB).await;
    let (answer, content) = tokio::select! {
        fetched = download(&host, extra, async || {}) => fetched,
        _ = stop_server(wire, &reached, &never, &server) => unreachable!("the server stays stopped"),
    };
    assert_eq!(code(answer), "cannot_connect");
    assert!(content.len() as u64 <= DEFAULT_PART_SIZE);
    assert!(retry_waits(&host) > 0);
}

#[tokio::test]
async fn retry_for_ends_at_cancel_and_deadline() {
    let never = Notify::new();
    for (expected, extra) in [("cancelled", json!({})), ("timeout", json!({"deadline_ms": 8000}))] {
        let (server, wire, host, reached) = server_vanishing_at(is_second_part, false).await;
        let mut extra = with_progress(extra);
        extra["retry_for_ms"] = json!(HOUR_MS);
        let (request, credit) = begin_upload(&host, "b", extra).await;
        let id = request.id;
        let mut when = WhenWaiting::new(async || {
            if expected == "cancelled" {
                host.notify("cancel", json!({"id": id}), None).await.unwrap();
            }
        });
        let told = async |report: &Value| when.observe(&host, report).await;
        let error = tokio::select! {
            stored = feed(&host, request, credit, 60 * MIB, told) => stored.unwrap_err(),
            _ = stop_server(wire, &reached, &never, &server) => unreachable!("the server stays stopped"),
        };
        assert_eq!(error.data.code, expected, "{error:?}");
        assert!(expected == "cancelled" || detail(&error, "stage") == "deadline", "{error:?}");
        assert_eq!(server.objects().await, []);
    }
}

#[tokio::test]
async fn retry_for_does_not_retry_a_refusal() {
    let act = |head: &Parts| match is_second_part(head) {
        true => Act::Answer(403, "AccessDenied"),
        false => Act::Pass,
    };
    let (server, _wire, host) = broken(act).await;
    let error = upload(&host, 60 * MIB, json!({"retry_for_ms": HOUR_MS}), async || {}).await;
    assert_eq!(code(error), "access_denied");
    assert_eq!(retry_waits(&host), 0);
    assert_empty(&server).await;
}

#[tokio::test]
async fn retry_for_ms_above_one_hour_is_refused() {
    let server = TestServer::embedded().await;
    let host = crate::e2e::connect(&server).await;
    for wrong in [json!(HOUR_MS + 1), json!(-1), json!("15m")] {
        for (method, own) in [
            ("backup.upload", json!({"backup": backup("b")})),
            ("backup.download", json!({"backup_id": "b", "up_to": 0})),
        ] {
            let mut params = json!({"target": "t1", "retry_for_ms": wrong});
            params.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
            let error = host.call(method, params).await.unwrap_err();
            assert_eq!(error.data.code, "invalid_params", "{method} {wrong}");
            assert_eq!(detail(&error, "member"), "retry_for_ms", "{method} {wrong}");
        }
    }
}
