//! Backups whose id already exists.

use serde_json::json;

use super::streams::begin_upload;
use super::{backup, code, connect, fetch, ids};
use crate::support::TestServer;

#[tokio::test]
async fn upload_keeps_existing_backup_unless_replace_is_set() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    host.upload("t1", backup("b"), json!({}), &b"first"[..]).await.unwrap();
    let again = host.upload("t1", backup("b"), json!({}), &b"second"[..]).await;
    assert_eq!(code(again), "already_exists");
    let again = host.upload("t1", backup("b"), json!({"if_exists": "fail"}), &b"second"[..]).await;
    assert_eq!(code(again), "already_exists");
    assert_eq!(fetch(&host, "b").await.0, b"first");
    assert_eq!(server.objects().await.len(), 2);
}

#[tokio::test]
async fn replace_deletes_old_backup_after_new_one_is_stored() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    host.upload("t1", backup("b"), json!({}), &b"first"[..]).await.unwrap();
    let replace = json!({"if_exists": "replace", "size": 100});
    let short = host.upload("t1", backup("b"), replace, &b"too short"[..]).await;
    assert_eq!(code(short), "length_mismatch");
    assert_eq!(fetch(&host, "b").await.0, b"first");

    let replace = json!({"if_exists": "replace"});
    host.upload("t1", backup("b"), replace, &b"second"[..]).await.unwrap();
    assert_eq!(ids(&host).await, ["b"]);
    assert_eq!(fetch(&host, "b").await.0, b"second");
    assert_eq!(server.objects().await.len(), 2);
}

#[tokio::test]
async fn backup_replaced_by_other_agent_is_found() {
    let server = TestServer::start().await;
    let (host, other) = (connect(&server).await, connect(&server).await);
    host.upload("t1", backup("b"), json!({}), &b"first"[..]).await.unwrap();
    assert_eq!(fetch(&host, "b").await.0, b"first");
    let replace = json!({"if_exists": "replace"});
    other.upload("t1", backup("b"), replace.clone(), &b"second"[..]).await.unwrap();
    let verify = json!({"target": "t1", "backup_id": "b"});
    assert_eq!(host.call("backup.verify", verify).await.unwrap()["length"], 6);
    other.upload("t1", backup("b"), replace, &b"the third"[..]).await.unwrap();
    assert_eq!(fetch(&host, "b").await.0, b"the third");
}

#[tokio::test]
async fn missing_backup_is_not_found() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let missing = json!({"target": "t1", "backup_id": "nope", "up_to": 1});
    for method in ["backup.get", "backup.delete", "backup.download"] {
        assert_eq!(code(host.call(method, missing.clone()).await), "not_found", "{method}");
    }
    host.upload("t1", backup("b"), json!({}), &b"x"[..]).await.unwrap();
    let delete = json!({"target": "t1", "backup_id": "b"});
    assert_eq!(host.call("backup.delete", delete.clone()).await.unwrap(), json!({"deleted": true}));
    assert_eq!(code(host.call("backup.delete", delete).await), "not_found");
    super::assert_empty(&server).await;
}

#[tokio::test]
async fn second_upload_with_same_id_is_refused() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let (mut first, _) = begin_upload(&host, "b", json!({})).await;
    let second = host.upload("t1", backup("b"), json!({}), &b"second"[..]).await;
    assert_eq!(code(second), "already_exists");
    host.notify("cancel", json!({"id": first.id}), None).await.unwrap();
    assert_eq!(code(first.response().await), "cancelled");
    host.upload("t1", backup("b"), json!({}), &b"third"[..]).await.unwrap();
    assert_eq!(fetch(&host, "b").await.0, b"third");
}

#[tokio::test]
async fn uploads_with_same_name_get_different_keys() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let new = |id: &str| json!({"id": id, "name": "Same name", "metadata": {}});
    let (one, two, three) = tokio::join!(
        host.upload("t1", new("1"), json!({}), &b"one"[..]),
        host.upload("t1", new("2"), json!({}), &b"two"[..]),
        host.upload("t1", new("3"), json!({}), &b"three"[..]),
    );
    for stored in [one, two, three] {
        stored.unwrap();
    }
    for (id, content) in [("1", &b"one"[..]), ("2", b"two"), ("3", b"three")] {
        assert_eq!(fetch(&host, id).await.0, content);
    }
}

#[tokio::test]
async fn uploads_with_same_name_after_reopen_get_different_keys() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let (mut first, _) = begin_upload(&host, "b", json!({})).await;
    let name = backup("b")["name"].clone();
    host.call("target.open", json!({"target": "t1", "config": server.config()})).await.unwrap();
    let same_id = host.upload("t1", backup("b"), json!({}), &b"second"[..]).await;
    assert_eq!(code(same_id), "already_exists");
    let same_name = json!({"id": "c", "name": name, "metadata": {}});
    host.upload("t1", same_name, json!({}), &b"second"[..]).await.unwrap();
    let id = first.id;
    host.notify("stream.data", json!({"id": id, "offset": 0}), Some(b"first")).await.unwrap();
    host.notify("stream.end", json!({"id": id, "length": 5}), None).await.unwrap();
    first.response().await.unwrap();
    assert_eq!(
        (fetch(&host, "b").await.0, fetch(&host, "c").await.0),
        (b"first".into(), b"second".into())
    );
}

#[tokio::test]
async fn backup_deleted_by_other_agent_is_not_found() {
    let server = TestServer::start().await;
    let (one, other) = (connect(&server).await, connect(&server).await);
    for id in ["a", "b"] {
        one.upload("t1", backup(id), json!({}), &b"x"[..]).await.unwrap();
    }
    one.call("backup.list", json!({"target": "t1"})).await.unwrap();
    other.call("backup.delete", json!({"target": "t1", "backup_id": "a"})).await.unwrap();
    // Still in the cached listing, but deleted.
    let gone = one.download("t1", "a", json!({}), 10, |_| {}).await.unwrap_err();
    assert_eq!(gone.data.code, "not_found");
    assert_eq!(serde_json::to_value(&gone.data.details["backup_id"]).unwrap(), "a");
    let listed = one.call("backup.list", json!({"target": "t1"})).await.unwrap();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn late_cancel_still_replaces_the_backup() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    host.upload("t1", backup("b"), json!({}), &b"0"[..]).await.unwrap();
    let mut kept = b"0".to_vec();
    for round in 1..30_u8 {
        let (mut request, _) = begin_upload(&host, "b", json!({"if_exists": "replace"})).await;
        let data = json!({"id": request.id, "offset": 0});
        host.notify("stream.data", data, Some(&[round])).await.unwrap();
        host.notify("stream.end", json!({"id": request.id, "length": 1}), None).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_micros(fastrand::u64(0..8000))).await;
        host.notify("cancel", json!({"id": request.id}), None).await.unwrap();
        if request.response().await.is_ok() {
            kept = vec![round];
        }
        assert_eq!(fetch(&host, "b").await.0, kept);
        assert_eq!(server.objects().await.len(), 2);
    }
}
