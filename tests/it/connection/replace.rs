//! Replacing a backup while its deletion fails: the old one is deleted in the end, and the new one
//! never before it is complete.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use http::request::Parts;
use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Barrier, Notify};

use super::address;
use super::broken_connections::{
    connect_with_journal, is_metadata_upload, wait_for_background_cleanup,
};
use super::wire::{Act, Wire};
use crate::e2e::crash_cleanup::{age_records, kill, records, wait_for_run_cleanup};
use crate::e2e::{backup, fetch, ids};
use crate::support::TestServer;

fn deletes(ending: &'static str) -> impl Fn(&Parts) -> bool + Send + 'static {
    move |head| head.method == Method::DELETE && head.uri.path().ends_with(ending)
}

/// A server with a rule that applies as soon as the agent replaces a backup.
struct Scenario {
    server: TestServer,
    wire: Wire,
    state: TempDir,
    /// Whether the rule is active.
    is_on: Arc<AtomicBool>,
}

impl Scenario {
    /// An agent that has stored the backup, and another backup beside it.
    async fn new(mut rule: impl FnMut(&Parts) -> Act + Send + 'static) -> (Self, Host) {
        let server = TestServer::embedded().await;
        let is_on = Arc::new(AtomicBool::new(false));
        let in_force = Arc::clone(&is_on);
        let wire = Wire::start(address(&server), move |head: &Parts| {
            if in_force.load(Ordering::Relaxed) { rule(head) } else { Act::Pass }
        })
        .await;
        let state = tempfile::tempdir().unwrap();
        let host = connect_with_journal(&server, &wire, &state).await;
        for (id, content) in [("b", &b"old"[..]), ("other", b"other")] {
            host.upload("t1", backup(id), json!({}), content).await.unwrap();
        }
        is_on.store(true, Ordering::Relaxed);
        (Self { server, wire, state, is_on }, host)
    }

    fn disable_rule(&self) {
        self.is_on.store(false, Ordering::Relaxed);
    }

    async fn next_agent(&self) -> Host {
        connect_with_journal(&self.server, &self.wire, &self.state).await
    }

    /// Two complete backups and nothing else.
    async fn assert_stored(&self, host: &Host, content: &[u8]) {
        assert_eq!(self.server.objects().await.len(), 4);
        assert_eq!(ids(host).await, ["b", "other"]);
        assert_eq!(fetch(host, "b").await.0, content);
        assert_eq!(fetch(host, "other").await.0, b"other");
    }
}

fn replace() -> Value {
    json!({"if_exists": "replace"})
}

/// An agent that has replaced the backup, and could not delete the keys with this ending.
async fn replaced(ending: &'static str) -> (Scenario, Host) {
    let is_deletion = deletes(ending);
    let (scenario, host) = Scenario::new(move |head| match is_deletion(head) {
        true => Act::Answer(500, "InternalError"),
        false => Act::Pass,
    })
    .await;
    host.upload("t1", backup("b"), replace(), &b"newer"[..]).await.unwrap();
    (scenario, host)
}

#[tokio::test]
async fn replaced_backup_is_deleted_later_after_failure() {
    for ending in [".json", ".tar"] {
        let (scenario, host) = replaced(ending).await;
        assert_eq!(scenario.server.objects().await.len(), if ending == ".json" { 6 } else { 5 });
        scenario.disable_rule();
        wait_for_background_cleanup(&scenario.server, 4).await;
        scenario.assert_stored(&host, b"newer").await;
    }
}

/// The same, until the agent is killed.
async fn not_deleted(ending: &'static str) -> Scenario {
    let (scenario, host) = replaced(ending).await;
    kill(host).await;
    scenario.disable_rule();
    scenario
}

#[tokio::test]
async fn replaced_backup_stays_when_new_one_is_gone() {
    let scenario = not_deleted(".json").await;
    let objects = scenario.server.objects().await;
    let new = objects
        .iter()
        .find(|(key, size)| key.ends_with(".tar") && *size == 5 && !key.contains("other"));
    let new = new.unwrap().0.clone();
    scenario.server.delete(&new).await;
    scenario.server.delete(&new.replace(".tar", ".metadata.json")).await;
    let host = scenario.next_agent().await;
    wait_for_run_cleanup(&host).await;
    scenario.assert_stored(&host, b"old").await;
}

#[tokio::test]
async fn delete_also_removes_undeleted_replaced_backup() {
    let scenario = not_deleted(".json").await;
    // No other agent has the journal.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = connect_with_journal(&scenario.server, &scenario.wire, &elsewhere).await;
    let listed = other.call("backup.list", json!({"target": "t1"})).await.unwrap();
    assert_eq!(listed["skipped"][0]["code"], "already_exists");
    other.call("backup.delete", json!({"target": "t1", "backup_id": "b"})).await.unwrap();
    assert_eq!(ids(&other).await, ["other"]);
    assert_eq!(scenario.server.objects().await.len(), 2);
}

/// Kills an agent that replaces the backup as soon as it sends a request that `matches`, before or
/// after the server has executed it.
async fn killed(matches: impl Fn(&Parts) -> bool + Send + 'static) -> Scenario {
    let reached = Arc::new(Notify::new());
    let notify = Arc::clone(&reached);
    let (scenario, host) = Scenario::new(move |head| {
        if !matches(head) {
            return Act::Pass;
        }
        notify.notify_one();
        Act::AtBarrier(Arc::new(Barrier::new(2)))
    })
    .await;
    tokio::select! {
        replaced = host.upload("t1", backup("b"), replace(), &b"newer"[..]) => panic!("{replaced:?}"),
        () = reached.notified() => {}
    }
    kill(host).await;
    scenario.disable_rule();
    scenario
}

#[tokio::test]
async fn next_agent_deletes_replaced_backup_after_kill() {
    for ending in [".json", ".tar"] {
        let scenario = killed(deletes(ending)).await;
        let host = scenario.next_agent().await;
        wait_for_background_cleanup(&scenario.server, 4).await;
        scenario.assert_stored(&host, b"newer").await;
    }
}

#[tokio::test]
async fn backup_stays_when_replacement_was_killed() {
    let scenario = killed(is_metadata_upload).await;
    let host = scenario.next_agent().await;
    wait_for_run_cleanup(&host).await;
    scenario.assert_stored(&host, b"old").await;
    kill(host).await;
    // It also stays when nothing can arrive any more.
    age_records(scenario.state.path());
    let host = scenario.next_agent().await;
    wait_for_run_cleanup(&host).await;
    scenario.assert_stored(&host, b"old").await;
    assert_eq!(records(scenario.state.path()), 0);
}

#[tokio::test]
async fn backup_stays_when_replacement_is_refused() {
    let (scenario, host) = Scenario::new(|head| match is_metadata_upload(head) {
        true => Act::Answer(403, "AccessDenied"),
        false => Act::Pass,
    })
    .await;
    let refused = host.upload("t1", backup("b"), replace(), &b"newer"[..]).await.unwrap_err();
    assert_eq!(refused.data.code, "access_denied");
    scenario.assert_stored(&host, b"old").await;
    assert_eq!(records(scenario.state.path()), 0);
}

#[tokio::test]
async fn replace_keeps_foreign_archive_of_same_name() {
    let scenario = killed(deletes(".json")).await;
    let key = |objects: Vec<(String, u64)>| {
        let mut archives =
            objects.into_iter().filter(|(key, size)| key.ends_with(".tar") && *size == 3);
        archives.next().unwrap().0
    };
    let old = key(scenario.server.objects().await);
    // Stored without the marker.
    scenario.server.put(&old, "new").await;
    let host = scenario.next_agent().await;
    wait_for_run_cleanup(&host).await;
    assert_eq!(scenario.server.get(&old).await.unwrap(), b"new");
    assert_eq!(scenario.server.objects().await.len(), 6);
}
