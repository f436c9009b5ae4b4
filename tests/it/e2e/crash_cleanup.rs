//! An agent is killed at any moment: the next one cleans up after it, and touches nothing else.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};

use super::cancellation::{MOMENTS, send_until};
use super::{assert_empty, fetch, ids, store};
use crate::random_data::RandomData;
use crate::support::{TestServer, agent_command};

pub(super) async fn connect(server: &TestServer, state: &Path) -> Host {
    connect_to(server.config(), state).await
}

/// The same with changed settings.
pub(crate) async fn connect_with_state(server: &TestServer, state: &Path, changes: Value) -> Host {
    let mut config = server.config();
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    connect_to(config, state).await
}

/// The same with these settings.
pub(crate) async fn connect_to(config: Value, state: &Path) -> Host {
    let state = state.to_str().unwrap();
    let host = Host::launch(agent_command(), &["serve", "--state-dir", state], &[]).await.unwrap();
    host.call("target.open", json!({"target": "t1", "config": config})).await.unwrap();
    host
}

pub(crate) async fn kill(mut host: Host) {
    host.kill().await.unwrap();
}

/// Sends a request that is answered after the whole journal was processed.
pub(crate) async fn wait_for_run_cleanup(host: &Host) {
    let cleaned = host.call("target.cleanup", json!({"target": "t1"})).await.unwrap();
    assert_eq!(cleaned, json!({"items": [], "more": false}));
}

/// Waits until everything in flight to the server has arrived and has been cleaned up.
async fn wait_until_clean(host: &Host, server: &TestServer) {
    let watch = Instant::now();
    while !(server.objects().await.is_empty() && server.open_uploads().await.is_empty()) {
        assert!(watch.elapsed() < Duration::from_secs(60), "{:?}", server.objects().await);
        wait_for_run_cleanup(host).await;
    }
}

/// Makes all records look as if their agents ended long ago.
pub(crate) fn age_records(state: &Path) {
    for entry in std::fs::read_dir(state.join("uploads")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() != Some("json".as_ref()) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.contains("orphan_since")).collect();
        if !lines.is_empty() {
            std::fs::write(&path, lines.join("\n") + "\n{\"orphan_since\":1}\n").unwrap();
        }
    }
}

/// Counts the records, and the locks without a record.
pub(crate) fn records(state: &Path) -> usize {
    let folder = std::fs::read_dir(state.join("uploads")).unwrap();
    let names = folder.map(|entry| entry.unwrap().path().with_extension(""));
    names.filter(|name| !name.ends_with("gate")).collect::<HashSet<_>>().len()
}

#[tokio::test]
async fn next_agent_cleans_up_killed_upload() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    for (moment, bytes) in MOMENTS {
        let host = connect(&server, state.path()).await;
        let request = send_until(&host, "k", bytes, json!({"size": 100 << 20})).await;
        assert_eq!(records(state.path()), 1, "{moment}");
        drop(request);
        kill(host).await;
        assert_eq!(records(state.path()), 1, "{moment}");
        assert_eq!(server.open_uploads().await.len(), 1, "{moment}");

        let host = connect(&server, state.path()).await;
        wait_for_run_cleanup(&host).await;
        assert_empty(&server).await;
        // Data in flight may still arrive.
        assert_eq!(records(state.path()), 1, "{moment}");
        age_records(state.path());
        wait_for_run_cleanup(&host).await;
        assert_eq!(records(state.path()), 0, "{moment}");
    }
}

#[tokio::test]
async fn late_metadata_of_cleaned_up_archive_is_deleted() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, state.path()).await;
    let request = send_until(&host, "k", 0, json!({"size": 100 << 20})).await;
    drop(request);
    kill(host).await;
    let files = std::fs::read_dir(state.path().join("uploads")).unwrap();
    let text: String =
        files.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    let record: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let document = record["document"].as_str().unwrap();

    let host = connect(&server, state.path()).await;
    wait_for_run_cleanup(&host).await;
    server.put(document, json!({"backup_id": "k"}).to_string()).await;
    wait_for_run_cleanup(&host).await;
    assert_empty(&server).await;
}

#[tokio::test]
async fn kill_near_upload_end_leaves_all_or_nothing() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    for round in 0..30_u64 {
        let size: u64 = if round % 2 == 0 { 300_000 } else { 21 << 20 };
        let host = connect(&server, state.path()).await;
        let killing = async {
            let pause = fastrand::u64(0..if round % 2 == 0 { 100 } else { 400 });
            tokio::time::sleep(Duration::from_millis(pause)).await;
        };
        let new = json!({"id": "e", "name": "e", "metadata": {}});
        let uploading = host.upload("t1", new, json!({"size": size}), RandomData::new(round, size));
        tokio::select! {
            _ = uploading => {}
            () = killing => {}
        }
        kill(host).await;

        let host = connect(&server, state.path()).await;
        wait_for_run_cleanup(&host).await;
        if ids(&host).await.is_empty() {
            wait_until_clean(&host, &server).await;
        } else {
            let (content, _) = fetch(&host, "e").await;
            assert!(content == RandomData::new(round, size).bytes(usize::try_from(size).unwrap()));
            host.call("backup.delete", json!({"target": "t1", "backup_id": "e"})).await.unwrap();
            wait_until_clean(&host, &server).await;
        }
    }
}

#[tokio::test]
async fn cleanup_keeps_upload_of_running_agent() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let busy = connect(&server, state.path()).await;
    let mut request = send_until(&busy, "busy", 40 << 20, json!({"size": 40 << 20})).await;

    let other = connect(&server, state.path()).await;
    let all = json!({"target": "t1", "older_than_s": 0});
    for host in [&other, &busy] {
        let cleaned = host.call("target.cleanup", all.clone()).await.unwrap();
        assert_eq!(cleaned["items"], json!([]));
    }
    store(&other, "other", 1, 300_000).await;

    let end = json!({"id": request.id, "length": 40 << 20});
    busy.notify("stream.end", end, None).await.unwrap();
    request.response().await.unwrap();
    assert_eq!(ids(&other).await.len(), 2);
    assert_eq!(records(state.path()), 0);
}

#[tokio::test]
async fn cleanup_keeps_foreign_object_with_same_key() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, state.path()).await;
    let request = send_until(&host, "k", 40 << 20, json!({"size": 100 << 20})).await;
    let (key, _) = server.open_uploads().await.remove(0);
    drop(request);
    kill(host).await;
    server.put(&key, b"foreign object".to_vec()).await;

    let host = connect(&server, state.path()).await;
    wait_for_run_cleanup(&host).await;
    assert_eq!(server.open_uploads().await, []);
    assert_eq!(server.objects().await, [(key, 14)]);
}

#[tokio::test]
async fn upload_works_without_a_journal() {
    let server = TestServer::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let host = connect(&server, file.path()).await;
    store(&host, "a", 1, 300_000).await;
    assert_eq!(ids(&host).await, ["a"]);
    let log = host.stderr_lines().join("\n");
    assert!(log.contains("the journal cannot be used"), "{log}");
}

#[tokio::test]
async fn next_agent_cleans_up_killed_validation() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, state.path()).await;
    let watch = Instant::now();
    host.call("target.validate", json!({"target": "t1"})).await.unwrap();
    let whole = watch.elapsed();
    let mut caught = 0;
    for round in 0..200 {
        let host = connect(&server, state.path()).await;
        let pause = whole.mul_f64(fastrand::f64());
        tokio::select! {
            _ = host.call("target.validate", json!({"target": "t1"})) => {}
            () = tokio::time::sleep(pause) => {}
        }
        kill(host).await;
        let left = server.objects().await.len() + server.open_uploads().await.len();
        caught += usize::from(left > 0);
        let host = connect(&server, state.path()).await;
        wait_for_run_cleanup(&host).await;
        wait_until_clean(&host, &server).await;
        assert_eq!(ids(&host).await, [""; 0]);
        if caught == 3 {
            return;
        }
        assert!(round < 199, "only {caught} validations were killed while something was there");
    }
}
