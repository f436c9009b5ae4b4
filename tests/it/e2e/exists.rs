//! A backup whose id exists.

use serde_json::json;

use super::{backup, code, connect, fetch, ids};
use crate::support::TestServer;

#[tokio::test]
async fn an_existing_backup_is_not_touched_unless_asked() {
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
async fn a_replaced_backup_is_gone_only_when_the_new_one_is_safe() {
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
async fn what_is_missing_is_not_found() {
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
