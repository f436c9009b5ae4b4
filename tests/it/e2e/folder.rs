//! Backups in another folder than the default one, or in none.

use std::path::Path;

use serde_json::{Value, json};

use super::{assert_empty, code, connect_with, fetch, ids, store};
use crate::support::TestServer;

/// A backup of a real Home Assistant: its bytes, and its metadata.
fn real_backup() -> (&'static str, Vec<u8>, Value) {
    let name = "Automatic_backup_2026.11.0_2026-11-20_04.32_33282898";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("{name}.tar"));
    let content = std::fs::read(path).unwrap();
    let metadata = json!({
        "addons": [], "backup_id": "b52acd05", "date": "2026-11-20T04:32:33.282898+00:00",
        "database_included": false, "extra_metadata": {}, "folders": [],
        "homeassistant_included": true, "homeassistant_version": "2026.11.0",
        "name": "Automatic backup 2026.11.0", "protected": false, "size": content.len(),
    });
    (name, content, metadata)
}

/// The prefix `rest` below the prefix of the test, and the start of its keys.
fn test_prefix(server: &TestServer, rest: &str) -> (String, String) {
    let prefix = format!("{}/{rest}", server.prefix).trim_matches('/').to_owned();
    let start = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    (prefix, start)
}

#[tokio::test]
async fn empty_folder_setting_lists_restores_and_deletes() {
    for rest in ["", "home/ha"] {
        let server = TestServer::start().await;
        let (prefix, start) = test_prefix(&server, rest);
        let (name, content, metadata) = real_backup();
        server.put(&format!("{start}{name}.tar"), content.clone()).await;
        server.put(&format!("{start}{name}.metadata.json"), metadata.to_string()).await;
        // Others keep their backups in folders below.
        for below in ["backups/", "other/"] {
            server.put(&format!("{start}{below}x.tar"), "x").await;
            let document = json!({"backup_id": below}).to_string();
            server.put(&format!("{start}{below}x.metadata.json"), document).await;
        }
        let host = connect_with(&server, json!({"prefix": prefix, "folder": ""})).await;
        let listed = host.call("backup.list", json!({"target": "t1"})).await.unwrap();
        let expected = json!([{
            "id": "b52acd05", "name": name, "size": content.len(), "stored_size": content.len(),
            "has_checksums": false, "metadata": metadata,
        }]);
        assert_eq!((&listed["backups"], &listed["skipped"]), (&expected, &json!([])));
        assert!(fetch(&host, "b52acd05").await.0 == content);
        let other = json!({"target": "t1", "backup_id": "other/"});
        assert_eq!(code(host.call("backup.delete", other).await), "not_found");
        host.call("backup.delete", json!({"target": "t1", "backup_id": "b52acd05"})).await.unwrap();
        let left: Vec<_> = server.objects().await.into_iter().map(|(key, _)| key).collect();
        let expected =
            ["backups/x.metadata.json", "backups/x.tar", "other/x.metadata.json", "other/x.tar"];
        assert_eq!(left, expected.map(|key| format!("{start}{key}")));
    }
}

#[tokio::test]
async fn upload_writes_to_the_configured_folder() {
    let server = TestServer::start().await;
    for (rest, folder, path) in [
        ("", "", ""),
        ("ha", "", "ha/"),
        ("ha", "/", "ha/"),
        ("ha", "/of the/house/", "ha/of the/house/"),
        ("", "house", "house/"),
    ] {
        let (prefix, _) = test_prefix(&server, rest);
        let (_, start) = test_prefix(&server, "");
        let host = connect_with(&server, json!({"prefix": prefix, "folder": folder})).await;
        let validate = json!({"target": "t1", "level": "write"});
        assert_eq!(host.call("target.validate", validate).await.unwrap()["ok"], true);
        // One upload in a single request, one in parts.
        store(&host, "small", 1, 10).await;
        store(&host, "large", 2, 21 << 20).await;
        let keys: Vec<_> = server.objects().await.into_iter().map(|(key, _)| key).collect();
        let names = ["large.metadata.json", "large.tar", "small.metadata.json", "small.tar"];
        assert_eq!(keys, names.map(|name| format!("{start}{path}Backup {name}")));
        assert_eq!(ids(&host).await, ["large", "small"]);
        assert_eq!(fetch(&host, "large").await.0.len(), 21 << 20);
        for id in ["small", "large"] {
            host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await.unwrap();
        }
        assert_empty(&server).await;
    }
}

#[tokio::test]
async fn folders_separate_backups() {
    let server = TestServer::start().await;
    let usual = connect_with(&server, json!({})).await;
    let none = connect_with(&server, json!({"folder": ""})).await;
    store(&usual, "usual", 1, 10).await;
    store(&none, "none", 2, 10).await;
    assert_eq!(ids(&usual).await, ["usual"]);
    assert_eq!(ids(&none).await, ["none"]);
}
