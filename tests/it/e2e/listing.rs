//! Listings: pages, many backups, and when the server is asked again.

use futures_util::StreamExt;
use s3_backup_agent::demo::host::Host;
use serde_json::json;

use super::cancellation::send_until;
use super::{backup, connect, ids};
use crate::support::TestServer;

#[tokio::test]
async fn list_returns_backups_beyond_one_page() {
    let server = TestServer::start().await;
    let folder = match server.prefix.as_str() {
        "" => "backups/".to_owned(),
        prefix => format!("{prefix}/backups/"),
    };
    let count = 1010;
    futures_util::stream::iter(0..count)
        .for_each_concurrent(16, |index| {
            let (server, folder) = (&server, &folder);
            async move {
                let metadata = json!({"backup_id": format!("b{index}"), "note": "x".repeat(100)});
                server.put(&format!("{folder}n{index:04}.tar"), "x").await;
                server
                    .put(&format!("{folder}n{index:04}.metadata.json"), metadata.to_string())
                    .await;
            }
        })
        .await;
    let host = connect(&server).await;
    let expected: Vec<String> = (0..count).map(|index| format!("n{index:04}")).collect();
    assert_eq!(all_names(&host, false).await, expected);
    // The second time the agent knows where the server's pages end.
    assert_eq!(all_names(&host, true).await, expected);
    let small = host.call("backup.list", json!({"target": "t1", "page_size": 3})).await.unwrap();
    assert_eq!(small["backups"].as_array().unwrap().len(), 3);
    assert_eq!(small["next"], "n0002");
}

/// The names of all backups, which do not fit into one answer.
async fn all_names(host: &Host, refresh: bool) -> Vec<String> {
    let (mut params, mut names) = (json!({"target": "t1", "refresh": refresh}), Vec::new());
    loop {
        let page = host.call("backup.list", params).await.unwrap();
        assert!(page.to_string().len() < 60_000);
        for backup in page["backups"].as_array().unwrap() {
            names.push(backup["name"].as_str().unwrap().to_owned());
        }
        if page["next"].is_null() {
            return names;
        }
        params = json!({"target": "t1", "cursor": page["next"]});
    }
}

#[tokio::test]
async fn listing_is_cached_until_own_change_or_refresh() {
    let server = TestServer::start().await;
    let (one, other) = (connect(&server).await, connect(&server).await);
    let kept = async |host: &Host| {
        let listed = host.call("backup.list", json!({"target": "t1"})).await.unwrap();
        listed["backups"].as_array().unwrap().len()
    };
    assert_eq!(kept(&one).await, 0);
    other.upload("t1", backup("a"), json!({}), &b"a"[..]).await.unwrap();
    assert_eq!(kept(&one).await, 0, "kept for five minutes");
    assert_eq!(ids(&one).await, ["a"], "refreshed on request");
    one.upload("t1", backup("b"), json!({}), &b"b"[..]).await.unwrap();
    assert_eq!(kept(&one).await, 2, "dropped by an upload");
    one.call("backup.delete", json!({"target": "t1", "backup_id": "a"})).await.unwrap();
    assert_eq!(kept(&one).await, 1, "dropped by a deletion");
    // A backup that is not in a cached listing is still looked up.
    other.upload("t1", backup("c"), json!({}), &b"c"[..]).await.unwrap();
    one.call("backup.get", json!({"target": "t1", "backup_id": "c"})).await.unwrap();
}

/// A host opens a target again with other settings while it uploads to it.
#[tokio::test]
async fn list_after_reopen_includes_upload_of_previous_target() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let size = 2 << 20;
    let mut upload = send_until(&host, "late", size, json!({"size": size})).await;
    let open = json!({"target": "t1", "config": server.config()});
    host.call("target.open", open).await.unwrap();
    let kept = async || {
        let listed = host.call("backup.list", json!({"target": "t1"})).await.unwrap();
        listed["backups"].as_array().unwrap().len()
    };
    assert_eq!(kept().await, 0);
    let end = json!({"id": upload.id, "length": size});
    host.notify("stream.end", end, None).await.unwrap();
    upload.response().await.unwrap();
    assert_eq!(kept().await, 1);
}
