//! An interrupted upload resumes where it stopped: stored data is not sent again, whatever happened
//! in between.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use s3_backup_agent::demo::host::{Event, Host, Request};
use serde_json::{Value, json};

use super::crash_cleanup::{connect_with_state, kill, records, wait_for_run_cleanup};
use super::{backup, code, fetch, ids};
use crate::random_data::RandomData;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;
pub(crate) const PART: u64 = 5 * MIB;
/// Eight parts and a few bytes.
pub(crate) const SIZE: u64 = 8 * PART + 7;
pub(crate) const DAY: u64 = 86_400;

/// An agent with a journal in `state`, with small parts.
pub(super) async fn connect(server: &TestServer, state: &Path) -> Host {
    connect_with_state(server, state, json!({"part_size": PART})).await
}

/// Starts to upload `source` and sends this many bytes of it.
pub(crate) async fn begin(
    host: &Host,
    id: &str,
    mut source: RandomData,
    bytes: u64,
    extra: Value,
) -> (Request, RandomData) {
    let mut params = json!({"target": "t1", "backup": backup(id)});
    params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let mut request = host.start("backup.upload", params).await.unwrap();
    let (mut offset, mut credit) = (0, 0);
    while offset < bytes {
        let length = MIB.min(bytes - offset);
        if offset + length <= credit {
            let data = json!({"id": request.id, "offset": offset});
            let piece = source.bytes(usize::try_from(length).unwrap());
            host.notify("stream.data", data, Some(&piece)).await.unwrap();
            offset += length;
            continue;
        }
        match request.next_event().await.unwrap() {
            Event::Response(answer) => panic!("{answer:?}"),
            Event::Notification { params, .. } => credit = params["up_to"].as_u64().unwrap(),
        }
    }
    (request, source)
}

/// The record of the only upload.
pub(super) fn record(state: &Path) -> PathBuf {
    let mut found = std::fs::read_dir(state.join("uploads")).unwrap();
    let is_record = |path: &PathBuf| path.extension() == Some("json".as_ref());
    found.find_map(|it| Some(it.unwrap().path()).filter(is_record)).unwrap()
}

/// Waits until this many parts are in the journal.
pub(crate) async fn wait_for_recorded_parts(state: &Path, parts: usize) {
    let watch = Instant::now();
    loop {
        let text = std::fs::read_to_string(record(state)).unwrap();
        if text.matches("\"part\":").count() >= parts {
            return;
        }
        assert!(watch.elapsed() < Duration::from_secs(60), "{text}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An agent that was killed when six parts were stored.
pub(super) async fn killed_after_six_parts(server: &TestServer, state: &Path, extra: Value) {
    let host = connect(server, state).await;
    let (request, _) = begin(&host, "b", RandomData::new(1, SIZE), 6 * PART + MIB, extra).await;
    wait_for_recorded_parts(state, 6).await;
    drop(request);
    kill(host).await;
}

pub(crate) async fn upload(host: &Host, source: RandomData, extra: Value) -> Value {
    host.upload("t1", backup("b"), extra, source).await.unwrap()
}

/// The same where a server may refuse to resume the upload; then another attempt starts over.
async fn upload_or_restart(host: &Host, source: RandomData, extra: Value) -> Value {
    match host.upload("t1", backup("b"), extra.clone(), source.clone()).await {
        Ok(stored) => stored,
        Err(error) => {
            assert_eq!(error.data.code, "remote_error", "{error:?}");
            assert_eq!(json!(error.data.cleanup), "complete");
            let stored = upload(host, source, extra).await;
            assert_eq!(stored["resumed_bytes"], Value::Null);
            stored
        }
    }
}

/// Asserts that this backup is stored, and nothing else.
pub(crate) async fn assert_stored(
    host: &Host,
    server: &TestServer,
    state: &Path,
    mut source: RandomData,
) {
    let (content, result) = fetch(host, "b").await;
    assert!(content == source.bytes(content.len() + 1));
    assert_eq!(result["verified"], true);
    assert_eq!(server.objects().await.len(), 2);
    assert_eq!(server.open_uploads().await, []);
    assert_eq!(records(state), 0);
}

#[tokio::test]
async fn resume_after_kill_reuses_parts() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;

    let host = connect(&server, state.path()).await;
    wait_for_run_cleanup(&host).await;
    assert_eq!(ids(&host).await, [""; 0]);
    assert_eq!(server.open_uploads().await.len(), 1);
    let stored = upload(&host, RandomData::new(1, SIZE), json!({})).await;
    assert_eq!(stored["resumed_bytes"], 6 * PART);
    assert_stored(&host, &server, state.path(), RandomData::new(1, SIZE)).await;
}

#[tokio::test]
async fn resume_after_repeated_kills_reuses_parts() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    for parts in [2, 4, 6] {
        let host = connect(&server, state.path()).await;
        let extra = json!({"resume_s": DAY, "size": SIZE});
        let (request, _) = begin(&host, "b", RandomData::new(1, SIZE), parts * PART, extra).await;
        wait_for_recorded_parts(state.path(), usize::try_from(parts).unwrap()).await;
        drop(request);
        kill(host).await;
        assert_eq!(server.open_uploads().await.len(), 1);
    }
    let host = connect(&server, state.path()).await;
    let stored = upload(&host, RandomData::new(1, SIZE), json!({"size": SIZE})).await;
    assert_eq!(stored["resumed_bytes"], 6 * PART);
    assert_stored(&host, &server, state.path(), RandomData::new(1, SIZE)).await;
}

#[tokio::test]
async fn resume_with_other_content_stores_that_content() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    // Completely different, longer, and shorter than the stored data.
    for (seed, size) in [(2, SIZE), (1, SIZE + 2 * PART), (2, 3 * PART + 1), (2, 5)] {
        killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;
        let host = connect(&server, state.path()).await;
        let stored = upload_or_restart(&host, RandomData::new(seed, size), json!({})).await;
        let same = if seed == 1 { json!(6 * PART) } else { Value::Null };
        assert_eq!(stored["resumed_bytes"], same, "{seed} {size}");
        assert_stored(&host, &server, state.path(), RandomData::new(seed, size)).await;
        host.call("backup.delete", json!({"target": "t1", "backup_id": "b"})).await.unwrap();
    }
}

#[tokio::test]
async fn resume_with_other_part_size_starts_over() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;
    let larger = json!({"part_size": PART + MIB});
    let host = connect_with_state(&server, state.path(), larger).await;
    let stored = upload(&host, RandomData::new(1, SIZE), json!({})).await;
    assert_eq!(stored["resumed_bytes"], Value::Null);
    assert_eq!(server.open_uploads().await, []);
    assert_eq!(server.objects().await.len(), 2);
    let (content, _) = fetch(&host, "b").await;
    assert!(content == RandomData::new(1, SIZE).bytes(content.len() + 1));
}

#[tokio::test]
async fn resume_of_upload_unknown_to_server_starts_over() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;
    server.abort_uploads().await;
    let host = connect(&server, state.path()).await;
    let stored = upload(&host, RandomData::new(1, SIZE), json!({})).await;
    assert_eq!(stored["resumed_bytes"], Value::Null);
    let (content, _) = fetch(&host, "b").await;
    assert!(content == RandomData::new(1, SIZE).bytes(content.len() + 1));
    assert_eq!(server.open_uploads().await, []);
}

#[tokio::test]
async fn resume_resends_part_replaced_by_others() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;
    server.replace_part(2, vec![7; usize::try_from(PART).unwrap()]).await;
    let host = connect(&server, state.path()).await;
    let stored = upload_or_restart(&host, RandomData::new(1, SIZE), json!({})).await;
    // A server may keep both parts, and complete the upload with the one that is named.
    let right = [json!(5 * PART), json!(6 * PART), Value::Null];
    assert!(right.contains(&stored["resumed_bytes"]), "{stored}");
    assert_stored(&host, &server, state.path(), RandomData::new(1, SIZE)).await;
}

#[tokio::test]
async fn late_part_of_earlier_attempt_is_detected() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;
    let host = connect(&server, state.path()).await;
    let extra = json!({"resume_s": DAY});
    let (mut request, _) = begin(&host, "b", RandomData::new(1, SIZE), SIZE, extra).await;
    wait_for_recorded_parts(state.path(), 8).await;
    server.replace_part(2, vec![7; usize::try_from(PART).unwrap()]).await;
    host.notify("stream.end", json!({"id": request.id, "length": SIZE}), None).await.unwrap();
    // A server may keep both parts, and complete the upload with the one that is named.
    if let Err(error) = request.response().await {
        assert_eq!(error.data.code, "remote_error", "{error:?}");
        assert_eq!(json!(error.data.cleanup), "kept");
        let stored = upload_or_restart(&host, RandomData::new(1, SIZE), json!({})).await;
        // All parts except the second; the last, short one was also stored.
        let right = [json!(7 * PART + 7), Value::Null];
        assert!(right.contains(&stored["resumed_bytes"]), "{stored}");
    }
    assert_stored(&host, &server, state.path(), RandomData::new(1, SIZE)).await;
}

#[tokio::test]
async fn resume_after_host_disconnect_reuses_parts() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let mut host = connect(&server, state.path()).await;
    let extra = json!({"resume_s": DAY, "size": SIZE});
    let (request, _) = begin(&host, "b", RandomData::new(1, SIZE), 3 * PART, extra).await;
    wait_for_recorded_parts(state.path(), 3).await;
    drop(request);
    host.close_stdin().await;
    assert!(host.wait().await.unwrap().success());
    assert_eq!(server.open_uploads().await.len(), 1);
    let host = connect(&server, state.path()).await;
    let stored = upload(&host, RandomData::new(1, SIZE), json!({})).await;
    assert_eq!(stored["resumed_bytes"], 3 * PART);
    assert_stored(&host, &server, state.path(), RandomData::new(1, SIZE)).await;
}

#[tokio::test]
async fn resume_by_two_requests_serves_only_one() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;
    let host = connect(&server, state.path()).await;
    let (one, other) = tokio::join!(
        host.upload("t1", backup("b"), json!({}), RandomData::new(1, SIZE)),
        host.upload("t1", backup("b"), json!({}), RandomData::new(1, SIZE)),
    );
    let (stored, refused) = if one.is_ok() { (one, other) } else { (other, one) };
    assert_eq!(stored.unwrap()["resumed_bytes"], 6 * PART);
    assert_eq!(code(refused), "already_exists");
    assert_stored(&host, &server, state.path(), RandomData::new(1, SIZE)).await;
}

#[tokio::test]
async fn resume_by_two_agents_continues_in_only_one() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;
    let one = connect(&server, state.path()).await;
    let other = connect(&server, state.path()).await;
    let extra = json!({"if_exists": "replace"});
    let (first, second) = tokio::join!(
        one.upload("t1", backup("b"), extra.clone(), RandomData::new(1, SIZE)),
        other.upload("t1", backup("b"), extra.clone(), RandomData::new(1, SIZE)),
    );
    // A host must not do this; listed backups are still intact.
    let resumed = [&first, &second].map(|it| it.as_ref().unwrap()["resumed_bytes"].as_u64());
    assert!(resumed.contains(&None) && resumed.contains(&Some(6 * PART)), "{resumed:?}");
    assert_eq!(ids(&one).await, ["b"]);
    let (content, _) = fetch(&one, "b").await;
    assert!(content == RandomData::new(1, SIZE).bytes(content.len() + 1));
    wait_for_no_uploads(&one, &server).await;
}

async fn wait_for_no_uploads(host: &Host, server: &TestServer) {
    host.call("target.cleanup", json!({"target": "t1"})).await.unwrap();
    assert_eq!(server.open_uploads().await, []);
}
