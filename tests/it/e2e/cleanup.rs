//! Cleanup finds abandoned uploads by their age and removes them; it touches nothing else.

use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};

use super::cancellation::send_until;
#[cfg(target_os = "linux")]
use super::clock::connect_with_clock_offset;
use super::{assert_empty, code, connect, ids, store};
use crate::support::TestServer;

fn key(server: &TestServer, rest: &str) -> String {
    let slash = if server.prefix.is_empty() { "" } else { "/" };
    format!("{}{slash}{rest}", server.prefix)
}

async fn cleanup(host: &Host, extra: Value) -> Vec<(String, String)> {
    let mut params = json!({"target": "t1"});
    params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let cleaned = host.call("target.cleanup", params).await.unwrap();
    let found = cleaned["items"].as_array().unwrap().iter().map(|item| {
        assert_eq!(item["kind"], "upload");
        assert!(item["idle_s"].is_u64());
        let text = |name: &str| item[name].as_str().unwrap().to_owned();
        (text("key"), text("status"))
    });
    found.collect()
}

#[tokio::test]
async fn cleanup_removes_abandoned_archive_uploads() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    store(&host, "a", 1, 300_000).await;
    let abandoned = [key(&server, "backups/x.tar"), key(&server, "backups/y.tar")];
    server.abandon_upload(&abandoned[0], false).await;
    server.abandon_upload(&abandoned[1], true).await;
    let of_others = [key(&server, "backups/deeper/x.tar"), key(&server, "backups/x.zip")];
    for key in &of_others {
        server.abandon_upload(key, true).await;
    }

    assert_eq!(cleanup(&host, json!({})).await, []);
    if !server.lists_uploads() {
        assert_eq!(cleanup(&host, json!({"older_than_s": 0})).await, []);
        assert_eq!(server.open_uploads().await.len(), 4);
        return;
    }
    let found = |status: &str| abandoned.each_ref().map(|key| (key.clone(), status.to_owned()));
    assert_eq!(cleanup(&host, json!({"older_than_s": 0, "dry_run": true})).await, found("found"));
    assert_eq!(server.open_uploads().await.len(), 4);
    assert_eq!(cleanup(&host, json!({"older_than_s": 0})).await, found("removed"));
    assert_eq!(cleanup(&host, json!({"older_than_s": 0})).await, []);
    let mut left: Vec<_> = server.open_uploads().await.into_iter().map(|(key, _)| key).collect();
    // Garage lists them in no particular order.
    left.sort();
    assert_eq!(left, of_others);
    assert_eq!(ids(&host).await, ["a"]);
}

#[tokio::test]
async fn cleanup_keeps_running_upload_at_any_age() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let mut request = send_until(&host, "r", 40 << 20, json!({})).await;
    assert_eq!(cleanup(&host, json!({"older_than_s": 0})).await, []);
    host.notify("cancel", json!({"id": request.id}), None).await.unwrap();
    request.response().await.unwrap_err();
    assert_empty(&server).await;
}

#[tokio::test]
async fn cleanup_age_above_one_year_is_refused() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let wrong = json!({"target": "t1", "older_than_s": 31_536_001});
    assert_eq!(code(host.call("target.cleanup", wrong).await), "invalid_params");
}

#[tokio::test]
async fn cleanup_removes_items_that_exceed_one_message() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    for number in 0..250 {
        let name = format!("backups/{}{number:03}.tar", "x".repeat(180));
        server.abandon_upload(&key(&server, &name), false).await;
    }
    let all = json!({"target": "t1", "older_than_s": 0});
    let cleaned = host.call("target.cleanup", all).await.unwrap();
    if !server.lists_uploads() {
        assert_eq!((&cleaned["more"], &cleaned["items"]), (&json!(false), &json!([])));
        return;
    }
    assert_eq!(cleaned["more"], true);
    assert!((100..250).contains(&cleaned["items"].as_array().unwrap().len()));
    assert_eq!(server.open_uploads().await, []);
}

/// Kind, file and status of every item that was found.
async fn objects(server: &TestServer, host: &Host, extra: Value) -> Vec<[String; 3]> {
    let mut params = json!({"target": "t1", "older_than_s": 0});
    params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let cleaned = host.call("target.cleanup", params).await.unwrap();
    let folder = key(server, "backups/");
    let found = cleaned["items"].as_array().unwrap().iter().map(|item| {
        let file = item["key"].as_str().unwrap().strip_prefix(&folder).unwrap();
        let text = |name: &str| item[name].as_str().unwrap().to_owned();
        [text("kind"), file.to_owned(), text("status")]
    });
    found.collect()
}

#[tokio::test]
async fn cleanup_removes_incomplete_backups_only_when_asked() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    store(&host, "a", 1, 300_000).await;
    let half = json!({"backup_id": "lost", "size": 3}).to_string();
    server.put(&key(&server, "backups/lonely.tar"), *b"tar").await;
    server.put(&key(&server, "backups/lost.metadata.json"), half).await;
    server.put(&key(&server, "backups/.probe-0123456789abcdef"), *b"test").await;
    // None of them was written by this agent.
    let others = ["backups/.probe-0123", "backups/deeper/x.tar", "backups/notes.txt"];
    for file in others {
        server.put(&key(&server, file), *b"x").await;
    }
    let expected = |probe: &str, halves: &str| {
        [
            ["probe", ".probe-0123456789abcdef", probe],
            ["archive", "lonely.tar", halves],
            ["metadata", "lost.metadata.json", halves],
        ]
        .map(|row| row.map(str::to_owned))
    };
    // None of it is a day old.
    assert_eq!(objects(&server, &host, json!({"older_than_s": 86_400})).await, [[""; 3]; 0]);
    let dry = json!({"dry_run": true, "objects": true});
    assert_eq!(objects(&server, &host, dry).await, expected("found", "found"));
    assert_eq!(objects(&server, &host, json!({})).await, expected("removed", "found"));
    let halves = &expected("", "removed")[1..];
    assert_eq!(objects(&server, &host, json!({"objects": true})).await, halves);
    assert_eq!(objects(&server, &host, json!({"objects": true})).await, [[""; 3]; 0]);
    assert_eq!(ids(&host).await, ["a"]);
    let left = server.objects().await;
    for file in others {
        assert!(left.iter().any(|(left, _)| *left == key(&server, file)), "{left:?}");
    }
    assert_eq!(left.len(), 2 + others.len(), "{left:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn cleanup_with_clock_ahead_removes_nothing() {
    let server = TestServer::start().await;
    server.put(&key(&server, "backups/lonely.tar"), *b"tar").await;
    server.abandon_upload(&key(&server, "backups/x.tar"), true).await;
    let host = connect_with_clock_offset(&server, "+20h").await;
    let params = json!({"target": "t1", "objects": true, "older_than_s": 3600});
    let cleaned = host.call("target.cleanup", params).await.unwrap();
    assert_eq!(cleaned["items"], json!([]));
    assert_eq!(server.objects().await.len(), 1);
}
