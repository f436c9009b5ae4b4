//! Resuming an upload that a failing server interrupted: the parts that are sent again, the time they are
//! kept, and an interrupted completion.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::request::Parts;
use s3_backup_agent::demo::host::Host;
use s3_backup_agent::protocol::ErrorObject;
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify};

use super::address;
use super::broken_connections::{is_completion, is_metadata_upload};
use super::recorded_request::{RecordedRequest, part};
use super::wire::{Act, Wire};
use crate::e2e::crash_cleanup::{connect_with_state, kill, records, wait_for_run_cleanup};
use crate::e2e::resume::{DAY, PART, SIZE, assert_stored, begin, upload, wait_for_recorded_parts};
use crate::e2e::{assert_empty, backup, code, connect_with, ids};
use crate::random_data::RandomData;
use crate::support::TestServer;

/// The server behind a wire with this rule.
async fn behind(rule: impl FnMut(&Parts) -> Act + Send + 'static) -> (TestServer, Wire) {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), rule).await;
    (server, wire)
}

async fn connect(server: &TestServer, wire: &Wire, state: &Path) -> Host {
    let changes = json!({"endpoint": wire.http(), "part_size": PART});
    connect_with_state(server, state, changes).await
}

/// Refuses all parts after the third as long as this is set.
fn failing(is_away: &Arc<AtomicBool>) -> impl FnMut(&Parts) -> Act + Send + 'static {
    let is_away = Arc::clone(is_away);
    move |head| match part(&head.uri) {
        Some(4..) if is_away.load(Ordering::Relaxed) => Act::Answer(503, "SlowDown"),
        _ => Act::Pass,
    }
}

/// An upload with three stored parts before the server fails.
async fn interrupted(host: &Host, extra: Value) -> ErrorObject {
    let mut params = json!({"size": SIZE});
    params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    *host.upload("t1", backup("b"), params, RandomData::new(1, SIZE)).await.unwrap_err()
}

fn cleanup(error: &ErrorObject) -> Value {
    json!(error.data.cleanup)
}

/// Numbers of the parts that were sent, in order.
fn sent(seen: &[RecordedRequest]) -> Vec<u32> {
    let mut numbers: Vec<_> = seen.iter().filter_map(|seen| part(&seen.uri)).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn resume_sends_only_missing_parts() {
    let is_away = Arc::new(AtomicBool::new(true));
    let (server, wire) = behind(failing(&is_away)).await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, &wire, state.path()).await;
    let error = interrupted(&host, json!({"resume_s": 3600})).await;
    assert_eq!(error.data.code, "throttled");
    assert_eq!(cleanup(&error), "kept");
    assert_eq!(ids(&host).await, [""; 0]);

    is_away.store(false, Ordering::Relaxed);
    wire.take_requests();
    let stored = upload(&host, RandomData::new(1, SIZE), json!({"size": SIZE})).await;
    assert_eq!(stored["resumed_bytes"], 3 * PART);
    assert_eq!(sent(&wire.take_requests()), [4, 5, 6, 7, 8, 9]);
    assert_stored(&host, &server, state.path(), RandomData::new(1, SIZE)).await;
}

#[tokio::test]
async fn resume_resends_only_the_changed_part() {
    let is_away = Arc::new(AtomicBool::new(true));
    let (server, wire) = behind(failing(&is_away)).await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, &wire, state.path()).await;
    interrupted(&host, json!({"resume_s": 3600})).await;
    kill(host).await;

    is_away.store(false, Ordering::Relaxed);
    wire.take_requests();
    let host = connect(&server, &wire, state.path()).await;
    let mut changed = RandomData::new(1, SIZE).bytes(usize::try_from(SIZE).unwrap());
    changed[usize::try_from(PART).unwrap()] ^= 1;
    let stored = host.upload("t1", backup("b"), json!({}), changed.as_slice()).await.unwrap();
    assert_eq!(stored["resumed_bytes"], 2 * PART);
    assert_eq!(sent(&wire.take_requests()), [2, 4, 5, 6, 7, 8, 9]);
    let (content, result) = crate::e2e::fetch(&host, "b").await;
    assert!(content == changed);
    assert_eq!(result["verified"], true);
}

#[tokio::test]
async fn resume_works_after_retry_for_ran_out() {
    let is_away = Arc::new(AtomicBool::new(true));
    let (server, wire) = behind(failing(&is_away)).await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, &wire, state.path()).await;
    let params = json!({"resume_s": DAY, "retry_for_ms": 500});
    // It fails again, and the parts that are stored by then stay.
    for _ in 0..2 {
        let error = interrupted(&host, params.clone()).await;
        assert_eq!((error.data.code.as_str(), cleanup(&error)), ("throttled", json!("kept")));
    }
    is_away.store(false, Ordering::Relaxed);
    let stored = upload(&host, RandomData::new(1, SIZE), params).await;
    assert_eq!(stored["resumed_bytes"], 3 * PART);
    assert_stored(&host, &server, state.path(), RandomData::new(1, SIZE)).await;
}

#[tokio::test]
async fn interrupted_upload_reports_how_long_it_is_kept() {
    let (server, wire) = behind(failing(&Arc::new(AtomicBool::new(true)))).await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, &wire, state.path()).await;
    let error = interrupted(&host, json!({"resume_s": 3600})).await;
    let until = json!(error.data)["details"]["kept_until"].as_str().unwrap().to_owned();
    let until = chrono::DateTime::parse_from_rfc3339(&until).unwrap().to_utc();
    let rest = (until - chrono::Utc::now()).num_seconds();
    assert!((3000..=3600).contains(&rest), "{rest}");
    // Another backup of the same name does not use it.
    let other = json!({"id": "other", "name": "Backup b", "metadata": {}});
    let stored = host.upload("t1", other, json!({}), RandomData::new(3, 9)).await.unwrap();
    assert_ne!(stored["backup"]["name"], "Backup b");
    // An upload that does not ask for this leaves nothing.
    let error = interrupted(&host, json!({})).await;
    assert_eq!(cleanup(&error), "complete");
    assert_eq!(server.open_uploads().await, []);
    assert_eq!(records(state.path()), 0);
}

#[tokio::test]
async fn running_agent_cleans_up_expired_resumable_upload() {
    let (server, wire) = behind(failing(&Arc::new(AtomicBool::new(true)))).await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, &wire, state.path()).await;
    let error = interrupted(&host, json!({"resume_s": 1})).await;
    assert_eq!(cleanup(&error), "kept");
    let watch = Instant::now();
    while !server.open_uploads().await.is_empty() {
        assert!(watch.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_empty(&server).await;
}

#[tokio::test]
async fn resume_without_state_dir_keeps_nothing() {
    let (server, wire) = behind(failing(&Arc::new(AtomicBool::new(true)))).await;
    let changes = json!({"endpoint": wire.http(), "part_size": PART});
    let host = connect_with(&server, changes).await;
    let error = interrupted(&host, json!({"resume_s": DAY})).await;
    assert_eq!(cleanup(&error), "complete");
    assert_empty(&server).await;
}

#[tokio::test]
async fn resumed_upload_that_fails_for_good_is_cleaned_up() {
    let is_away = Arc::new(AtomicBool::new(true));
    let mut away = failing(&is_away);
    let is_denied = Arc::new(AtomicBool::new(false));
    let denied = Arc::clone(&is_denied);
    let (server, wire) = behind(move |head: &Parts| {
        if denied.load(Ordering::Relaxed) && part(&head.uri).is_some() {
            return Act::Answer(403, "AccessDenied");
        }
        away(head)
    })
    .await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, &wire, state.path()).await;
    interrupted(&host, json!({"resume_s": DAY})).await;
    is_denied.store(true, Ordering::Relaxed);
    let error = interrupted(&host, json!({"resume_s": DAY})).await;
    assert_eq!((error.data.code.as_str(), cleanup(&error)), ("access_denied", json!("complete")));
    assert_empty(&server).await;
    assert_eq!(records(state.path()), 0);
}

/// Which request, and whether the server receives it.
type Moment = (fn(&Parts) -> bool, bool);

/// An agent that is killed at this moment.
async fn killed_at((matches, arrived): Moment) -> (TestServer, Wire, tempfile::TempDir) {
    let reached = Arc::new(Notify::new());
    let notify = Arc::clone(&reached);
    let mut once = true;
    let (server, wire) = behind(move |head: &Parts| {
        if !matches(head) || !std::mem::take(&mut once) {
            return Act::Pass;
        }
        notify.notify_one();
        if arrived {
            Act::StallAnswer(usize::MAX)
        } else {
            Act::AtBarrier(Arc::new(Barrier::new(2)))
        }
    })
    .await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, &wire, state.path()).await;
    let extra = json!({"resume_s": DAY});
    let (request, _) = begin(&host, "b", RandomData::new(1, SIZE), SIZE, extra).await;
    wait_for_recorded_parts(state.path(), 8).await;
    host.notify("stream.end", json!({"id": request.id, "length": SIZE}), None).await.unwrap();
    reached.notified().await;
    kill(host).await;
    (server, wire, state)
}

#[tokio::test]
async fn resume_after_kill_at_completion_leaves_all_or_nothing() {
    let moments: [Moment; 4] = [
        (is_completion, false),
        (is_completion, true),
        (is_metadata_upload, false),
        (is_metadata_upload, true),
    ];
    for (index, moment) in moments.into_iter().enumerate() {
        let (server, wire, state) = killed_at(moment).await;
        let host = connect(&server, &wire, state.path()).await;
        wait_for_run_cleanup(&host).await;
        // The answer may be late when its reader was killed.
        let is_whole = index == 3;
        let watch = Instant::now();
        while ids(&host).await.is_empty() == is_whole {
            assert!(watch.elapsed() < Duration::from_secs(60), "moment {index}");
        }
        let other = RandomData::new(2, SIZE);
        let again = host.upload("t1", backup("b"), json!({}), other.clone()).await;
        if is_whole {
            assert_eq!(code(again), "already_exists");
            let replace = json!({"if_exists": "replace"});
            host.upload("t1", backup("b"), replace, other.clone()).await.unwrap();
        } else {
            // Its parts may be completed as they were, so no agent resumes it.
            assert_eq!(again.unwrap()["resumed_bytes"], Value::Null, "moment {index}");
        }
        let (content, result) = crate::e2e::fetch(&host, "b").await;
        assert!(content == other.clone().bytes(content.len() + 1), "moment {index}");
        assert_eq!(result["verified"], true);
        wait_for_run_cleanup(&host).await;
        assert_eq!(server.objects().await.len(), 2, "moment {index}");
        assert_eq!(server.open_uploads().await, [], "moment {index}");
    }
}

#[tokio::test]
async fn resume_without_list_parts_permission_starts_over() {
    let is_away = Arc::new(AtomicBool::new(true));
    let mut away = failing(&is_away);
    let (server, wire) = behind(move |head: &Parts| {
        let query = head.uri.query().unwrap_or_default();
        if head.method == http::Method::GET && query.contains("uploadId") {
            return Act::Answer(403, "AccessDenied");
        }
        away(head)
    })
    .await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, &wire, state.path()).await;
    let error = interrupted(&host, json!({"resume_s": DAY})).await;
    assert_eq!(cleanup(&error), "kept");
    is_away.store(false, Ordering::Relaxed);
    let stored = upload(&host, RandomData::new(1, SIZE), json!({})).await;
    assert_eq!(stored["resumed_bytes"], Value::Null);
    assert_eq!(server.open_uploads().await, []);
    assert_eq!(server.objects().await.len(), 2);
}
