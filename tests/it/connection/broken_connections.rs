//! Broken connections and refusals at the worst moments: the requests that are retried, the state that is
//! cleaned up, and how soon it ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use http::request::Parts;
use s3_backup_agent::config::DEFAULT_PART_SIZE;
use s3_backup_agent::demo::host::{Event, Host};
use s3_backup_agent::protocol::ErrorObject;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Barrier, Notify};

use super::recorded_request::{RecordedRequest, part};
use super::wire::{Act, Wire};
use super::{address, connect, detail};
use crate::e2e::crash_cleanup::{connect_to, wait_for_run_cleanup};
use crate::e2e::streams::{begin_upload, feed};
use crate::e2e::{assert_empty, backup, code, fetch, ids, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;

/// The embedded server behind a wire with this rule.
pub(super) async fn broken(
    rule: impl FnMut(&Parts) -> Act + Send + 'static,
) -> (TestServer, Wire, Host) {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), rule).await;
    let host = connect(&server, &wire).await;
    (server, wire, host)
}

/// `act` for the first `count` requests that match; the others pass.
fn first_matching(
    mut count: u32,
    matches: impl Fn(&Parts) -> bool + Send + 'static,
    act: impl Fn() -> Act + Send + 'static,
) -> impl FnMut(&Parts) -> Act + Send + 'static {
    move |head| {
        if count > 0 && matches(head) {
            count -= 1;
            return act();
        }
        Act::Pass
    }
}

pub(super) fn is_completion(head: &Parts) -> bool {
    head.method == Method::POST && !head.uri.query().unwrap_or_default().contains("uploads")
}

pub(super) fn is_metadata_upload(head: &Parts) -> bool {
    head.method == Method::PUT && head.uri.path().ends_with(".metadata.json")
}

/// How often each part was sent.
fn parts_sent(seen: &[RecordedRequest]) -> Vec<usize> {
    let numbers: Vec<_> = seen.iter().filter_map(|seen| part(&seen.uri)).collect();
    let last = numbers.iter().max().copied().unwrap_or_default();
    (1..=last).map(|number| numbers.iter().filter(|one| **one == number).count()).collect()
}

async fn upload_error(host: &Host, size: u64) -> ErrorObject {
    let source = RandomData::new(1, size);
    *host.upload("t1", backup("b"), json!({"size": size}), source).await.unwrap_err()
}

pub(super) async fn assert_restores(host: &Host, size: u64) {
    let (content, result) = fetch(host, "b").await;
    assert!(content == RandomData::new(1, size).bytes(content.len() + 1));
    assert_eq!(result, json!({"length": size, "verified": true}));
}

#[tokio::test]
async fn download_continues_after_broken_connection() {
    let cut = (MIB + 12_345) as usize;
    let is_read = |head: &Parts| head.method == Method::GET && head.headers.contains_key("range");
    let (_server, wire, host) =
        broken(first_matching(5, is_read, move || Act::CutAnswer(cut))).await;
    let size = 5 * DEFAULT_PART_SIZE;
    let stored = store(&host, "b", 1, size).await;
    wire.take_requests();
    let params = json!({"target": "t1", "backup_id": "b", "up_to": size, "progress_ms": 100});
    let mut download = host.start("backup.download", params).await.unwrap();
    let (mut content, mut retries) = (Vec::new(), Vec::new());
    let result = loop {
        match download.next_event().await.unwrap() {
            Event::Response(answer) => break answer.unwrap(),
            Event::Notification { params, payload, .. } => {
                retries.extend(params["retries"].as_u64());
                content.extend(payload.unwrap_or_default());
            }
        }
    };
    assert_eq!(result, json!({"length": size, "verified": true}));
    assert!(content == RandomData::new(1, size).bytes(content.len() + 1));
    // Each break counts as one retried call.
    assert!(retries.is_sorted() && retries.last() == Some(&5), "{retries:?}");
    let reads: Vec<_> =
        wire.take_requests().into_iter().filter(|seen| !seen.header("range").is_empty()).collect();
    let mut starts = BTreeSet::new();
    for read in &reads {
        assert_eq!(read.header("if-match"), stored["etag"].as_str().unwrap());
        let range = read.header("range").strip_prefix("bytes=").unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let (start, end): (u64, u64) = (start.parse().unwrap(), end.parse().unwrap());
        let part = start / DEFAULT_PART_SIZE * DEFAULT_PART_SIZE;
        assert_eq!(
            (end + 1, (start - part) % cut as u64),
            ((part + DEFAULT_PART_SIZE).min(size), 0)
        );
        starts.insert(start);
    }
    // Five parts, and one more read from another offset for each break.
    assert_eq!((reads.len(), starts.len()), (5 + 5, 5 + 5));
}

#[tokio::test]
async fn small_read_is_retried_after_broken_connection() {
    let is_read = |head: &Parts| head.method == Method::GET && head.uri.path().ends_with(".json");
    let (server, _wire, host) = broken(first_matching(2, is_read, || Act::CutAnswer(50))).await;
    store(&crate::e2e::connect(&server).await, "b", 1, 1000).await;
    assert_eq!(ids(&host).await, ["b"]);
    assert_restores(&host, 1000).await;
}

#[tokio::test]
async fn upload_resends_only_the_broken_part() {
    let is_second = |head: &Parts| part(&head.uri) == Some(2);
    for (cut, count) in [(3 * MIB, 1), (0, 3)] {
        let act = move || Act::CutRequest(cut as usize);
        let (server, wire, host) = broken(first_matching(count, is_second, act)).await;
        store(&host, "b", 1, 4 * DEFAULT_PART_SIZE).await;
        assert_eq!(parts_sent(&wire.take_requests()), [1, 1 + count as usize, 1, 1]);
        assert_restores(&host, 4 * DEFAULT_PART_SIZE).await;
        assert_eq!(server.open_uploads().await, []);
    }
}

#[tokio::test]
async fn small_upload_is_resent_after_broken_connection() {
    let is_archive = |head: &Parts| head.method == Method::PUT && head.uri.path().ends_with(".tar");
    let (_server, _wire, host) =
        broken(first_matching(2, is_archive, || Act::CutRequest(MIB as usize))).await;
    store(&host, "b", 1, 3 * MIB).await;
    assert_restores(&host, 3 * MIB).await;
}

/// Passes requests until one matches, which is held; then notifies once.
fn hold_first(
    matches: impl Fn(&Parts) -> bool + Send + 'static,
) -> (impl FnMut(&Parts) -> Act + Send + 'static, Arc<Notify>) {
    let reached = Arc::new(Notify::new());
    let notify = Arc::clone(&reached);
    let rule = move |head: &Parts| {
        if !matches(head) {
            return Act::Pass;
        }
        notify.notify_one();
        Act::AtBarrier(Arc::new(Barrier::new(2)))
    };
    (rule, reached)
}

fn assert_unreachable(error: &ErrorObject) {
    assert!(["cannot_connect", "network_lost"].contains(&error.data.code.as_str()), "{error:?}");
    assert!(error.data.retryable);
}

#[tokio::test]
async fn upload_to_vanished_server_fails_in_time() {
    let (rule, reached) = hold_first(|head| part(&head.uri) == Some(2));
    let (server, wire, host) = broken(rule).await;
    let vanish = async {
        reached.notified().await;
        drop(wire);
        Instant::now()
    };
    let (error, start) = tokio::join!(upload_error(&host, 60 * MIB), vanish);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_unreachable(&error);
    // The abort could not reach the server.
    assert_ne!(cleanup(&error), "complete");
    assert_eq!(server.objects().await, []);
    let list = json!({"target": "t1", "refresh": true});
    let error = host.call("backup.list", list).await.unwrap_err();
    assert_eq!(
        (error.data.code.as_str(), detail(&error, "stage").as_str()),
        ("cannot_connect", "tcp")
    );
}

#[tokio::test]
async fn download_from_vanished_server_fails_in_time() {
    let second = format!("bytes={DEFAULT_PART_SIZE}-");
    let (rule, reached) = hold_first(move |head| {
        let range = head.headers.get("range").and_then(|range| range.to_str().ok());
        range.is_some_and(|range| range.starts_with(&second))
    });
    let (_server, wire, host) = broken(rule).await;
    store(&host, "b", 1, 40 * MIB).await;
    let vanish = async {
        reached.notified().await;
        drop(wire);
        Instant::now()
    };
    let mut length = 0;
    let download = host.download("t1", "b", json!({}), 4 << 20, |bytes| length += bytes.len());
    let (result, start) = tokio::join!(download, vanish);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_unreachable(&result.unwrap_err());
    assert!(length as u64 <= DEFAULT_PART_SIZE);
}

#[tokio::test]
async fn completion_with_lost_response_counts_as_stored() {
    for times in [1, 100] {
        let (server, _wire, host) =
            broken(first_matching(times, is_completion, || Act::LoseAnswer)).await;
        let stored = store(&host, "b", 1, 21 * MIB).await;
        assert!(stored["etag"].as_str().unwrap().ends_with("-5\""), "{stored}");
        assert_restores(&host, 21 * MIB).await;
        assert_eq!(server.open_uploads().await, []);
    }
}

#[tokio::test]
async fn completion_that_never_arrives_is_cleaned_up() {
    let (server, _wire, host) =
        broken(first_matching(100, is_completion, || Act::CutRequest(10))).await;
    let error = upload_error(&host, 21 * MIB).await;
    assert_eq!(error.data.code, "network_lost", "{error:?}");
    assert_eq!(cleanup(&error), "complete");
    assert_empty(&server).await;
}

pub(super) fn cleanup(error: &ErrorObject) -> Value {
    serde_json::to_value(error.data.cleanup).unwrap()
}

#[tokio::test]
async fn archive_is_deleted_when_its_metadata_is_refused() {
    for size in [1000, 21 * MIB] {
        let refuse = || Act::Answer(403, "AccessDenied");
        let (server, wire, host) = broken(first_matching(100, is_metadata_upload, refuse)).await;
        let error = upload_error(&host, size).await;
        assert_eq!(error.data.code, "access_denied", "{error:?}");
        assert_eq!(cleanup(&error), "complete");
        assert!(wire.take_requests().iter().any(|seen| seen.method == Method::DELETE));
        assert_empty(&server).await;
        assert_eq!(ids(&host).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn metadata_with_lost_response_is_deleted_too() {
    let (server, _wire, host) =
        broken(first_matching(100, is_metadata_upload, || Act::LoseAnswer)).await;
    let error = upload_error(&host, 1000).await;
    assert_eq!(error.data.code, "network_lost", "{error:?}");
    assert_eq!(cleanup(&error), "complete");
    assert_empty(&server).await;
}

#[tokio::test]
async fn refused_part_ends_the_upload_at_once() {
    for (reads_on, act) in [
        (true, Act::Answer(403, "AccessDenied")),
        // When such a connection ends, the answer may be lost; then the request is sent again.
        (false, Act::Refuse(403, "AccessDenied")),
    ] {
        let is_second = |head: &Parts| part(&head.uri) == Some(2);
        let (server, wire, host) =
            broken(first_matching(100, is_second, move || act.clone())).await;
        let start = Instant::now();
        let error = upload_error(&host, 100 * MIB).await;
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert_eq!(error.data.code, "access_denied", "{error:?}");
        assert_eq!(detail(&error, "action"), "s3:PutObject");
        assert_eq!(cleanup(&error), "complete");
        let sent = parts_sent(&wire.take_requests())[1];
        assert!(sent == 1 || !reads_on, "{sent} times");
        assert_empty(&server).await;
    }
}

#[tokio::test]
async fn throttled_request_is_retried() {
    let is_part = |head: &Parts| part(&head.uri).is_some();
    let (_server, _wire, host) =
        broken(first_matching(2, is_part, || Act::Answer(503, "SlowDown"))).await;
    let extra = json!({"size": 21 * MIB, "progress_ms": 100});
    let (upload, credit) = begin_upload(&host, "b", extra).await;
    let mut retries = Vec::new();
    let told = async |report: &Value| retries.extend(report["retries"].as_u64());
    feed(&host, upload, credit, 21 * MIB, told).await.unwrap();
    assert!(retries.is_sorted() && retries.last() == Some(&2), "{retries:?}");
    assert_restores(&host, 21 * MIB).await;
}

#[tokio::test]
async fn next_agent_finishes_interrupted_delete() {
    let server = TestServer::embedded().await;
    let state = tempfile::tempdir().unwrap();
    let reached = Arc::new(Notify::new());
    let notify = Arc::clone(&reached);
    let hold = move || {
        notify.notify_one();
        Act::AtBarrier(Arc::new(Barrier::new(2)))
    };
    let is_archive =
        |head: &Parts| head.method == Method::DELETE && head.uri.path().ends_with(".tar");
    let wire = Wire::start(address(&server), first_matching(1, is_archive, hold)).await;
    let mut host = connect_with_journal(&server, &wire, &state).await;
    for id in ["b", "other"] {
        store(&host, id, 1, 1000).await;
    }
    let deleting = host.call("backup.delete", json!({"target": "t1", "backup_id": "b"}));
    tokio::select! {
        deleted = deleting => panic!("{deleted:?}"),
        () = reached.notified() => {}
    }
    host.kill().await.unwrap();
    assert_eq!(server.objects().await.len(), 3);

    let host = connect_with_journal(&server, &wire, &state).await;
    // The answer comes after the whole journal was processed.
    host.call("target.cleanup", json!({"target": "t1"})).await.unwrap();
    assert_eq!(server.objects().await.len(), 2);
    assert_eq!(ids(&host).await, ["other"]);
}

/// An agent with its own journal and with the target `t1` open.
pub(super) async fn connect_with_journal(
    server: &TestServer,
    wire: &Wire,
    state: &TempDir,
) -> Host {
    let mut config = server.config();
    config["endpoint"] = wire.http().into();
    connect_to(config, state.path()).await
}

/// Waits until the agent has finished its background cleanup without being asked.
pub(super) async fn wait_for_background_cleanup(server: &TestServer, objects: usize) {
    let watch = Instant::now();
    while server.objects().await.len() > objects || !server.open_uploads().await.is_empty() {
        assert!(watch.elapsed() < Duration::from_secs(60), "{:?}", server.objects().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn delete_with_lost_responses_is_finished_in_background() {
    let deletes = |ending: &'static str| {
        move |head: &Parts| head.method == Method::DELETE && head.uri.path().ends_with(ending)
    };
    let cut = || Act::CutRequest(0);
    type Rule = Box<dyn FnMut(&Parts) -> Act + Send>;
    let cases: [(&str, Rule); 2] = [
        (
            "the metadata object is deleted",
            Box::new(first_matching(5, deletes(".json"), || Act::LoseAnswer)),
        ),
        ("the archive cannot be reached", Box::new(first_matching(5, deletes(".tar"), cut))),
    ];
    for (what, rule) in cases {
        let server = TestServer::embedded().await;
        let state = tempfile::tempdir().unwrap();
        let wire = Wire::start(address(&server), rule).await;
        let host = connect_with_journal(&server, &wire, &state).await;
        for id in ["b", "other"] {
            store(&host, id, 1, 1000).await;
        }
        let gone = json!({"target": "t1", "backup_id": "b"});
        let error = host.call("backup.delete", gone.clone()).await.unwrap_err();
        assert_eq!(error.data.code, "network_lost", "{what}: {error:?}");
        assert_eq!(ids(&host).await, ["other"], "{what}");
        assert_eq!(code(host.call("backup.delete", gone).await), "not_found", "{what}");
        wait_for_background_cleanup(&server, 2).await;
        assert_eq!(ids(&host).await, ["other"], "{what}");
    }
}

#[tokio::test]
async fn failed_cleanup_is_finished_in_background() {
    let cases =
        [(403, "ExpiredToken", "credentials_expired"), (404, "NoSuchBucket", "bucket_not_found")];
    let running = cases.map(async |(status, answer, expected)| {
        let server = TestServer::embedded().await;
        let state = tempfile::tempdir().unwrap();
        let refuses = Arc::new(AtomicBool::new(true));
        let (in_force, mut begun) = (Arc::clone(&refuses), false);
        let rule = move |head: &Parts| {
            begun |= part(&head.uri) == Some(2);
            if !begun || !in_force.load(Ordering::Relaxed) {
                return Act::Pass;
            }
            Act::Answer(status, answer)
        };
        let wire = Wire::start(address(&server), rule).await;
        let host = connect_with_journal(&server, &wire, &state).await;
        let error = upload_error(&host, 40 * MIB).await;
        assert_eq!(error.data.code, expected, "{error:?}");
        assert_eq!(cleanup(&error), "failed", "{error:?}");
        assert_eq!(server.open_uploads().await.len(), 1);
        refuses.store(false, Ordering::Relaxed);
        wait_for_background_cleanup(&server, 0).await;
        // The name stays reserved as long as late data may still arrive.
        store(&host, "b", 1, 1000).await;
        assert_restores(&host, 1000).await;
    });
    futures_util::future::join_all(running).await;
}

#[tokio::test]
async fn delete_stops_when_archive_cannot_be_inspected() {
    let server = TestServer::embedded().await;
    let state = tempfile::tempdir().unwrap();
    let is_look = |head: &Parts| head.method == Method::HEAD;
    // The HEAD requests of the uploads come first.
    let mut uploads = 2;
    let mut lose = first_matching(5, is_look, || Act::LoseAnswer);
    let rule = move |head: &Parts| {
        if is_look(head) && uploads > 0 {
            uploads -= 1;
            return Act::Pass;
        }
        lose(head)
    };
    let wire = Wire::start(address(&server), rule).await;
    let host = connect_with_journal(&server, &wire, &state).await;
    for id in ["b", "other"] {
        store(&host, id, 1, 1000).await;
    }
    let gone = json!({"target": "t1", "backup_id": "b"});
    let error = host.call("backup.delete", gone.clone()).await.unwrap_err();
    assert_eq!(error.data.code, "network_lost", "{error:?}");
    assert!(wire.take_requests().iter().all(|seen| seen.method != Method::DELETE));
    assert_eq!(ids(&host).await, ["b", "other"]);
    host.call("backup.delete", gone).await.unwrap();
    assert_eq!(server.objects().await.len(), 2);
}

#[tokio::test]
async fn cleanup_keeps_archive_while_its_metadata_remains() {
    // The metadata object is stored, its answers are lost, and it cannot be deleted for a while.
    let on_document = |method: Method| {
        move |head: &Parts| head.method == method && head.uri.path().ends_with(".json")
    };
    let mut storing = first_matching(5, on_document(Method::PUT), || Act::LoseAnswer);
    let deleting = on_document(Method::DELETE);
    let rule = move |head: &Parts| match deleting(head) {
        true => Act::Answer(500, "InternalError"),
        false => storing(head),
    };
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), rule).await;
    let state = tempfile::tempdir().unwrap();
    let host = connect_with_journal(&server, &wire, &state).await;
    let error = host.upload("t1", backup("b"), json!({}), &b"b"[..]).await.unwrap_err();
    assert_eq!(cleanup(&error), "failed", "{error:?}");
    // A backup that cannot be cleaned up stays complete.
    let (content, _) = fetch(&host, "b").await;
    assert_eq!(content, b"b");
}

#[tokio::test]
async fn validate_cleans_up_its_interrupted_test_upload() {
    let is_opening = |head: &Parts| head.method == Method::POST;
    let is_abort = |head: &Parts| {
        head.method == Method::DELETE && head.uri.query().unwrap_or_default().contains("uploadId")
    };
    type Matches = fn(&Parts) -> bool;
    for (matches, act) in
        [(is_opening as Matches, Act::LoseAnswer), (is_abort, Act::Answer(500, "InternalError"))]
    {
        let server = TestServer::embedded().await;
        let wire =
            Wire::start(address(&server), first_matching(1, matches, move || act.clone())).await;
        let state = tempfile::tempdir().unwrap();
        let host = connect_with_journal(&server, &wire, &state).await;
        let validated = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
        // The check runs again with another upload.
        assert_eq!(validated["ok"], true, "{validated}");
        wait_for_run_cleanup(&host).await;
        assert_empty(&server).await;
    }
}

#[tokio::test]
async fn validate_passes_on_throttling_server() {
    let answers = [Act::Answer(500, "InternalError"), Act::Answer(503, "SlowDown")];
    let acts = answers.into_iter().chain([Act::CutRequest(0), Act::LoseAnswer]);
    let runs = acts.flat_map(|act| [(act.clone(), 1), (act, 3)]);
    futures_util::future::join_all(runs.map(|(act, count)| async move {
        let name = format!("{act:?} {count}");
        let loses_uploads = matches!(act, Act::LoseAnswer);
        // Each kind of request is refused this often.
        let mut refused = std::collections::HashMap::new();
        let rule = move |head: &Parts| {
            let query = head.uri.query().unwrap_or_default();
            let kind = (head.method.clone(), query.contains("uploadId"), query.contains("list"));
            // The first request is not signed, and HEAD is only sent after the others.
            let is_refused = head.headers.contains_key("authorization") && head.method != "HEAD";
            let times = refused.entry(kind).or_insert(0);
            *times += u32::from(is_refused);
            if is_refused && *times <= count { act.clone() } else { Act::Pass }
        };
        let (server, _wire, host) = broken(rule).await;
        let validated = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
        assert_eq!(validated["ok"], count < 3, "{name}: {validated}");
        // Without a journal the agent does not know an upload whose creation was not answered.
        if !loses_uploads {
            assert_empty(&server).await;
        }
    }))
    .await;
}
