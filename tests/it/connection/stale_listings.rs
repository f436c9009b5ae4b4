//! A host that prefers an old listing to waiting for the server.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::request::Parts;
use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::address;
use super::wire::{Act, Wire};
use crate::e2e::{clock, store};
use crate::support::{TestServer, agent_command};

async fn count(host: &Host, members: Value) -> usize {
    let mut params = json!({"target": "t1"});
    params.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let listed = host.call("backup.list", params).await.unwrap();
    listed["backups"].as_array().unwrap().len()
}

#[tokio::test]
async fn stale_listing_is_returned_and_refreshed_in_background() {
    let server = TestServer::embedded().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let (counter, held) = (Arc::clone(&asked), Arc::new(Barrier::new(2)));
    let hold = Arc::clone(&held);
    // The second request is held until the test releases it.
    let rule = move |head: &Parts| {
        let is_listing = head.uri.query().is_some_and(|query| query.contains("list-type=2"));
        match is_listing && counter.fetch_add(1, Ordering::SeqCst) == 1 {
            true => Act::AtBarrier(Arc::clone(&hold)),
            false => Act::Pass,
        }
    };
    let wire = Wire::start(address(&server), rule).await;
    let folder = tempfile::tempdir().unwrap();
    let time = folder.path().join("time");
    fs::write(&time, "+0").unwrap();
    let environment = clock::clock_environment(&time);
    let host = Host::launch(agent_command(), &["serve"], &environment).await.unwrap();
    let mut config = server.config();
    config["endpoint"] = wire.http().into();
    host.call("target.open", json!({"target": "t1", "config": config})).await.unwrap();
    let other = crate::e2e::connect(&server).await;

    assert_eq!(count(&host, json!({})).await, 0);
    store(&other, "a", 1, 1000).await;
    fs::write(&time, "+6m").unwrap();
    // The age limit is five minutes plus this.
    for _ in 0..2 {
        assert_eq!(count(&host, json!({"stale_s": 120})).await, 0);
    }
    held.wait().await;
    // Waits for the listing in progress, and starts none of its own.
    assert_eq!(count(&host, json!({})).await, 1);
    assert_eq!(asked.load(Ordering::SeqCst), 2, "however often an old one was given");

    store(&other, "b", 1, 1000).await;
    fs::write(&time, "+15m").unwrap();
    assert_eq!(count(&host, json!({"stale_s": 120})).await, 2, "too old even for that");
    store(&other, "c", 1, 1000).await;
    assert_eq!(count(&host, json!({"stale_s": 86_400, "refresh": true})).await, 3);

    // Never older than a change of this agent, whatever age is allowed.
    fs::write(&time, "+16m").unwrap();
    host.call("backup.delete", json!({"target": "t1", "backup_id": "a"})).await.unwrap();
    assert_eq!(count(&host, json!({"stale_s": 86_400})).await, 2);

    let list = json!({"target": "t1", "stale_s": 86_401});
    let error = host.call("backup.list", list).await.unwrap_err();
    assert_eq!(super::detail(&error, "member"), "stale_s", "{error:?}");
}
