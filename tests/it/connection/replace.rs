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
use super::breaks::{is_document, taken_back, with_state};
use super::wire::{Act, Wire};
use crate::e2e::leftovers::{kill, let_time_pass, records, settled};
use crate::e2e::{backup, fetch, ids};
use crate::support::TestServer;

fn deletes(ending: &'static str) -> impl Fn(&Parts) -> bool + Send + 'static {
    move |head| head.method == Method::DELETE && head.uri.path().ends_with(ending)
}

/// A server with a rule that applies as soon as the agent replaces a backup.
struct Scene {
    server: TestServer,
    wire: Wire,
    state: TempDir,
    /// Whether the rule is active.
    is_on: Arc<AtomicBool>,
}

impl Scene {
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
        let host = with_state(&server, &wire, &state).await;
        for (id, content) in [("b", &b"old"[..]), ("other", b"other")] {
            host.upload("t1", backup(id), json!({}), content).await.unwrap();
        }
        is_on.store(true, Ordering::Relaxed);
        (Self { server, wire, state, is_on }, host)
    }

    fn calm(&self) {
        self.is_on.store(false, Ordering::Relaxed);
    }

    async fn next_agent(&self) -> Host {
        with_state(&self.server, &self.wire, &self.state).await
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
async fn replaced(ending: &'static str) -> (Scene, Host) {
    let is_deletion = deletes(ending);
    let (scene, host) = Scene::new(move |head| match is_deletion(head) {
        true => Act::Answer(500, "InternalError"),
        false => Act::Pass,
    })
    .await;
    host.upload("t1", backup("b"), replace(), &b"newer"[..]).await.unwrap();
    (scene, host)
}

#[tokio::test]
async fn what_is_replaced_is_deleted_later_when_that_fails() {
    for ending in [".json", ".tar"] {
        let (scene, host) = replaced(ending).await;
        assert_eq!(scene.server.objects().await.len(), if ending == ".json" { 6 } else { 5 });
        scene.calm();
        taken_back(&scene.server, 4).await;
        scene.assert_stored(&host, b"newer").await;
    }
}

/// The same, until the agent is killed.
async fn not_deleted(ending: &'static str) -> Scene {
    let (scene, host) = replaced(ending).await;
    kill(host).await;
    scene.calm();
    scene
}

#[tokio::test]
async fn what_is_replaced_stays_when_the_new_one_is_gone() {
    let scene = not_deleted(".json").await;
    let objects = scene.server.objects().await;
    let new = objects
        .iter()
        .find(|(key, size)| key.ends_with(".tar") && *size == 5 && !key.contains("other"));
    let new = new.unwrap().0.clone();
    scene.server.delete(&new).await;
    scene.server.delete(&new.replace(".tar", ".metadata.json")).await;
    let host = scene.next_agent().await;
    settled(&host).await;
    scene.assert_stored(&host, b"old").await;
}

#[tokio::test]
async fn what_was_not_deleted_does_not_come_back_with_the_deletion_of_the_new_one() {
    let scene = not_deleted(".json").await;
    // No other agent has the journal.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = with_state(&scene.server, &scene.wire, &elsewhere).await;
    let listed = other.call("backup.list", json!({"target": "t1"})).await.unwrap();
    assert_eq!(listed["skipped"][0]["code"], "already_exists");
    other.call("backup.delete", json!({"target": "t1", "backup_id": "b"})).await.unwrap();
    assert_eq!(ids(&other).await, ["other"]);
    assert_eq!(scene.server.objects().await.len(), 2);
}

/// Kills an agent that replaces the backup as soon as it sends a request that `matches`, before or
/// after the server has executed it.
async fn killed(matches: impl Fn(&Parts) -> bool + Send + 'static) -> Scene {
    let reached = Arc::new(Notify::new());
    let notify = Arc::clone(&reached);
    let (scene, host) = Scene::new(move |head| {
        if !matches(head) {
            return Act::Pass;
        }
        notify.notify_one();
        Act::Meet(Arc::new(Barrier::new(2)))
    })
    .await;
    tokio::select! {
        replaced = host.upload("t1", backup("b"), replace(), &b"newer"[..]) => panic!("{replaced:?}"),
        () = reached.notified() => {}
    }
    kill(host).await;
    scene.calm();
    scene
}

#[tokio::test]
async fn an_agent_that_is_killed_before_it_deletes_is_followed_by_one_that_does() {
    for ending in [".json", ".tar"] {
        let scene = killed(deletes(ending)).await;
        let host = scene.next_agent().await;
        taken_back(&scene.server, 4).await;
        scene.assert_stored(&host, b"newer").await;
    }
}

#[tokio::test]
async fn what_was_to_be_replaced_stays_when_the_new_one_is_not_stored() {
    let scene = killed(is_document).await;
    let host = scene.next_agent().await;
    settled(&host).await;
    scene.assert_stored(&host, b"old").await;
    kill(host).await;
    // It also stays when nothing can arrive any more.
    let_time_pass(scene.state.path());
    let host = scene.next_agent().await;
    settled(&host).await;
    scene.assert_stored(&host, b"old").await;
    assert_eq!(records(scene.state.path()), 0);
}

#[tokio::test]
async fn what_was_to_be_replaced_stays_when_the_new_one_is_refused() {
    let (scene, host) = Scene::new(|head| match is_document(head) {
        true => Act::Answer(403, "AccessDenied"),
        false => Act::Pass,
    })
    .await;
    let refused = host.upload("t1", backup("b"), replace(), &b"newer"[..]).await.unwrap_err();
    assert_eq!(refused.data.code, "access_denied");
    scene.assert_stored(&host, b"old").await;
    assert_eq!(records(scene.state.path()), 0);
}

#[tokio::test]
async fn an_archive_of_somebody_else_at_that_name_is_left_alone() {
    let scene = killed(deletes(".json")).await;
    let key = |objects: Vec<(String, u64)>| {
        let mut archives =
            objects.into_iter().filter(|(key, size)| key.ends_with(".tar") && *size == 3);
        archives.next().unwrap().0
    };
    let old = key(scene.server.objects().await);
    // Stored without the marker.
    scene.server.put(&old, "new").await;
    let host = scene.next_agent().await;
    settled(&host).await;
    assert_eq!(scene.server.get(&old).await.unwrap(), b"new");
    assert_eq!(scene.server.objects().await.len(), 6);
}
