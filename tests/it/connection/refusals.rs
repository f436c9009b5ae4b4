//! A server that refuses single calls: what still works, and how the agent reports it.

use std::sync::Arc;

use http::Method;
use http::request::Parts;
use serde_json::json;
use tokio::sync::{Barrier, Notify};

use super::broken_connections::cleanup;
use super::wire::{Act, Wire};
use super::{address, connect, detail, list_error};
use crate::e2e::{assert_empty, backup, fetch, ids, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

fn is_metadata_read(head: &Parts) -> bool {
    head.method == Method::GET && head.uri.path().ends_with(".metadata.json")
}

#[tokio::test]
async fn upload_works_without_delete_permission() {
    let server = TestServer::embedded().await;
    let refuse = |head: &Parts| match head.method {
        Method::DELETE => Act::Answer(403, "AccessDenied"),
        _ => Act::Pass,
    };
    let wire = Wire::start(address(&server), refuse).await;
    let host = connect(&server, &wire).await;
    let read = json!({"target": "t1", "level": "read"});
    assert_eq!(host.call("target.validate", read).await.unwrap()["ok"], true);
    let write = json!({"target": "t1", "level": "write"});
    assert_eq!(host.call("target.validate", write).await.unwrap()["ok"], false);

    store(&host, "b", 1, 1000).await;
    let replace = json!({"if_exists": "replace"});
    host.upload("t1", backup("b"), replace, &b"newer"[..]).await.unwrap();
    // Both are stored, and one is listed.
    let list = json!({"target": "t1", "refresh": true});
    let listed = host.call("backup.list", list).await.unwrap();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1);
    assert_eq!(listed["skipped"][0]["code"], "already_exists");
    // Of two backups of the same second, the names decide which one counts.
    let (content, result) = fetch(&host, "b").await;
    assert!([5, 1000].contains(&content.len()), "{}", content.len());
    assert_eq!(result["verified"], true);

    let size = json!({"size": 30 << 20});
    let source = crate::random_data::RandomData::new(1, 25 << 20);
    let short = host.upload("t1", backup("short"), size, source).await.unwrap_err();
    assert_eq!(short.data.code, "length_mismatch");
    assert_eq!(serde_json::to_value(short.data.cleanup).unwrap(), "failed");
    assert_eq!(ids(&host).await, ["b"]);
}

fn is_object_head(head: &Parts) -> bool {
    let reads = [Method::GET, Method::HEAD].contains(&head.method);
    reads && head.uri.path().ends_with(".tar")
}

#[tokio::test]
async fn cleanup_without_read_permission_matches_by_etag() {
    for size in [1000, 21 << 20] {
        let server = TestServer::embedded().await;
        let refuse = |head: &Parts| match is_object_head(head) {
            true => Act::Answer(403, "AccessDenied"),
            false => Act::Pass,
        };
        let wire = Wire::start(address(&server), refuse).await;
        let host = connect(&server, &wire).await;
        let source = RandomData::new(1, size);
        let error = host.upload("t1", backup("b"), json!({"size": size}), source).await;
        let error = error.unwrap_err();
        assert_eq!(error.data.code, "access_denied", "{error:?}");
        assert_eq!(detail(&error, "action"), "s3:GetObject");
        assert_eq!(cleanup(&error), "complete");
        assert_empty(&server).await;
    }
}

#[tokio::test]
async fn cleanup_without_read_permission_keeps_foreign_object() {
    for (key, content) in
        [("backups/Backup b.tar", "theirs"), ("backups/Backup b.metadata.json", "{}")]
    {
        let server = TestServer::embedded().await;
        let (reached, go) = (Arc::new(Notify::new()), Arc::new(Barrier::new(2)));
        let (told, mut held, mut looked) = (Arc::clone(&reached), Some(Arc::clone(&go)), false);
        // The foreign object arrives when the upload has failed and is about to check the key.
        let rule = move |head: &Parts| {
            if is_object_head(head) {
                looked = true;
                return Act::Answer(403, "AccessDenied");
            }
            match looked.then(|| held.take()).flatten() {
                Some(go) => {
                    told.notify_one();
                    Act::AtBarrier(go)
                }
                None => Act::Pass,
            }
        };
        let wire = Wire::start(address(&server), rule).await;
        let host = connect(&server, &wire).await;
        let taking = async {
            reached.notified().await;
            server.put(key, content).await;
            go.wait().await;
        };
        let uploading = host.upload("t1", backup("b"), json!({}), &b"ours"[..]);
        let (answer, ()) = tokio::join!(uploading, taking);
        assert_eq!(cleanup(&answer.unwrap_err()), "failed", "{key}");
        assert_eq!(server.get(key).await.unwrap(), content.as_bytes());
        assert!(server.get("backups/Backup b.tar").await.is_some());
    }
}

#[tokio::test]
async fn list_skips_metadata_that_server_refuses() {
    for (storage_says, code) in
        [("AccessDenied", "access_denied"), ("InvalidObjectState", "cold_storage")]
    {
        let server = TestServer::embedded().await;
        let refuse = move |head: &Parts| {
            let is_that = is_metadata_read(head) && head.uri.path().contains("refused");
            if is_that { Act::Answer(403, storage_says) } else { Act::Pass }
        };
        let wire = Wire::start(address(&server), refuse).await;
        let writer = crate::e2e::connect(&server).await;
        for id in ["other", "refused"] {
            store(&writer, id, 1, 1000).await;
        }
        let host = connect(&server, &wire).await;
        let listed = host.call("backup.list", json!({"target": "t1"})).await.unwrap();
        assert_eq!(listed["backups"].as_array().unwrap().len(), 1);
        assert_eq!(listed["backups"][0]["id"], "other");
        assert_eq!(listed["skipped"].as_array().unwrap().len(), 1);
        assert_eq!(listed["skipped"][0]["code"], code);
    }
}

#[tokio::test]
async fn list_fails_on_error_unrelated_to_one_metadata_object() {
    let server = TestServer::embedded().await;
    let refuse = |head: &Parts| match is_metadata_read(head) {
        true => Act::Answer(400, "ExpiredToken"),
        false => Act::Pass,
    };
    let wire = Wire::start(address(&server), refuse).await;
    store(&crate::e2e::connect(&server).await, "a", 1, 1000).await;
    let host = connect(&server, &wire).await;
    assert_eq!(list_error(&host).await.data.code, "credentials_expired");
}

#[tokio::test]
async fn cleanup_needs_permission_to_list_uploads() {
    let server = TestServer::embedded().await;
    let refuse = |head: &Parts| {
        let lists_uploads = head.uri.query().unwrap_or_default().contains("uploads");
        if lists_uploads { Act::Answer(403, "AccessDenied") } else { Act::Pass }
    };
    let wire = Wire::start(address(&server), refuse).await;
    let host = connect(&server, &wire).await;
    let cleaned = host.call("target.cleanup", json!({"target": "t1"})).await.unwrap_err();
    assert_eq!(
        (cleaned.data.code.as_str(), detail(&cleaned, "action").as_str()),
        ("access_denied", "s3:ListBucketMultipartUploads")
    );
}
