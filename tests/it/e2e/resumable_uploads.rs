//! Resumable uploads after an interruption: how long they are kept, and which ones are cleaned up
//! at once.

use std::path::Path;
use std::time::{Duration, Instant};

use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};

use super::crash_cleanup::{records, wait_for_run_cleanup};
use super::resume::{
    DAY, PART, SIZE, begin, connect, killed_after_six_parts, record, upload,
    wait_for_recorded_parts,
};
use super::{assert_empty, backup};
use crate::random_data::RandomData;
use crate::support::{TestServer, agent_command};

/// Replaces the time in the record until which the upload is kept.
fn set_kept_until(state: &Path, seconds: u64) {
    let path = record(state);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + &format!("{{\"keep_until\":{seconds}}}\n")).unwrap();
}

#[tokio::test]
async fn resumable_upload_is_cleaned_up_after_its_time() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;
    set_kept_until(state.path(), 1);
    let host = connect(&server, state.path()).await;
    wait_for_run_cleanup(&host).await;
    assert_empty(&server).await;
    let stored = upload(&host, RandomData::new(1, SIZE), json!({})).await;
    assert_eq!(stored["resumed_bytes"], Value::Null);
}

#[tokio::test]
async fn resumable_upload_expires_within_a_day_at_any_clock() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;
    set_kept_until(state.path(), 1 << 52);
    let host = connect(&server, state.path()).await;
    wait_for_run_cleanup(&host).await;
    assert_eq!(server.open_uploads().await.len(), 1);
    let text = std::fs::read_to_string(record(state.path())).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(last["keep_until"].as_u64().unwrap() <= now + DAY, "{text}");
    let stored = upload(&host, RandomData::new(1, SIZE), json!({})).await;
    assert_eq!(stored["resumed_bytes"], 6 * PART);
}

#[tokio::test]
async fn journal_record_of_other_version_is_left_alone() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;
    let path = record(state.path());
    let noted = std::fs::read_to_string(&path).unwrap();
    let newer = noted.replacen("\"format\":1", "\"format\":2", 1);
    assert_ne!(newer, noted);
    std::fs::write(&path, &newer).unwrap();

    let host = connect(&server, state.path()).await;
    wait_for_run_cleanup(&host).await;
    let watch = Instant::now();
    while !host.stderr_lines().iter().any(|line| line.contains("by another version of the agent")) {
        assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", host.stderr_lines());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stored = upload(&host, RandomData::new(1, SIZE), json!({})).await;
    assert_eq!(stored["resumed_bytes"], Value::Null);
    host.call("backup.delete", json!({"target": "t1", "backup_id": "b"})).await.unwrap();
    assert_eq!(server.open_uploads().await.len(), 1);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);

    std::fs::write(&path, noted).unwrap();
    let stored = upload(&host, RandomData::new(1, SIZE), json!({})).await;
    assert_eq!(stored["resumed_bytes"], 6 * PART);
}

#[tokio::test]
async fn upload_that_cannot_be_resumed_is_cleaned_up() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, state.path()).await;
    let extra = json!({"resume_s": DAY, "size": SIZE});
    let (mut request, _) =
        begin(&host, "b", RandomData::new(1, SIZE), 3 * PART, extra.clone()).await;
    wait_for_recorded_parts(state.path(), 3).await;
    host.notify("cancel", json!({"id": request.id}), None).await.unwrap();
    let error = request.response().await.unwrap_err();
    assert_eq!(
        (error.data.code.as_str(), json!(error.data.cleanup)),
        ("cancelled", "complete".into())
    );
    assert_empty(&server).await;

    killed_after_six_parts(&server, state.path(), extra.clone()).await;
    let host = connect(&server, state.path()).await;
    let short = host.upload("t1", backup("b"), extra, RandomData::new(1, SIZE - 1)).await;
    let error = short.unwrap_err();
    assert_eq!(
        (error.data.code.as_str(), json!(error.data.cleanup)),
        ("length_mismatch", "complete".into())
    );
    assert_empty(&server).await;
    assert_eq!(records(state.path()), 0);
}

#[tokio::test]
async fn agent_shutdown_cleans_up_resumable_uploads() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, state.path()).await;
    let extra = json!({"resume_s": DAY, "size": SIZE});
    let (mut request, _) = begin(&host, "b", RandomData::new(1, SIZE), 3 * PART, extra).await;
    wait_for_recorded_parts(state.path(), 3).await;
    host.call("shutdown", json!({"mode": "abort"})).await.unwrap();
    let error = request.response().await.unwrap_err();
    assert_eq!(error.data.code, "shutting_down");
    assert_eq!(json!(error.data.cleanup), "complete");
    assert_empty(&server).await;
    assert_eq!(records(state.path()), 0);
}

#[tokio::test]
async fn cleanup_by_age_removes_resumable_uploads() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    killed_after_six_parts(&server, state.path(), json!({"resume_s": DAY})).await;
    let host = connect(&server, state.path()).await;
    wait_for_run_cleanup(&host).await;
    assert_eq!(server.open_uploads().await.len(), 1);
    if server.lists_uploads() {
        let all = json!({"target": "t1", "older_than_s": 0});
        host.call("target.cleanup", all).await.unwrap();
        assert_eq!(server.open_uploads().await, []);
    }
    let stored = upload(&host, RandomData::new(1, SIZE), json!({})).await;
    assert_eq!(stored["backup"]["stored_size"], SIZE);
}

#[tokio::test]
async fn resume_capability_needs_a_state_dir() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().to_str().unwrap();
    let with: &[&str] = &["serve", "--state-dir", folder];
    for (arguments, expected) in [(with, true), (&["serve"], false)] {
        let host = Host::launch(agent_command(), arguments, &[]).await.unwrap();
        assert_eq!(host.hello().capabilities.contains_key("upload.resume"), expected);
    }
}

#[tokio::test]
async fn resume_s_above_one_day_is_refused() {
    let server = TestServer::embedded().await;
    let host = super::connect(&server).await;
    for wrong in [json!(DAY + 1), json!(-1), json!("1h")] {
        let params = json!({"target": "t1", "backup": backup("b"), "resume_s": wrong});
        let error = host.call("backup.upload", params).await.unwrap_err();
        assert_eq!(error.data.code, "invalid_params", "{wrong}");
        assert_eq!(json!(error.data)["details"]["member"], "resume_s", "{wrong}");
    }
}
