//! Stored backups are returned unchanged, whatever their size and name.

use serde_json::{Value, json};

use super::{backup, connect, connect_with, fetch, ids, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn every_size_round_trips_byte_for_byte() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    // Around the threshold for parts (20 MiB), around whole parts (16 MiB), and small.
    let sizes = [
        1,
        65_536,
        3 * MIB + 1,
        16 * MIB,
        20 * MIB - 1,
        20 * MIB,
        20 * MIB + 1,
        32 * MIB,
        48 * MIB + 7,
    ];
    for (seed, size) in (1..).zip(sizes) {
        let id = format!("size-{size}");
        let stored = store(&host, &id, seed, size).await;
        assert_eq!(stored["backup"]["stored_size"], size);
        let etag = stored["etag"].as_str().unwrap();
        assert_eq!(etag.contains('-'), size >= 20 * MIB, "{size} bytes have the tag {etag}");
        let (content, result) = fetch(&host, &id).await;
        assert!(content == RandomData::new(seed, size).bytes(content.len() + 1), "{size} bytes");
        assert_eq!(result, json!({"length": size, "verified": true}));
        host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await.unwrap();
    }
    super::assert_empty(&server).await;
}

#[tokio::test]
async fn all_parts_except_the_last_have_equal_size() {
    let server = TestServer::start().await;
    let host = connect_with(&server, json!({"part_size": 5 * MIB})).await;
    let size = 23 * MIB + 5;
    let stored = store(&host, "parts", 9, size).await;
    assert!(stored["etag"].as_str().unwrap().trim_matches('"').ends_with("-5"));
    let name = stored["backup"]["name"].as_str().unwrap();
    let prefix =
        if server.prefix.is_empty() { String::new() } else { format!("{}/", server.prefix) };
    let document = server.get(&format!("{prefix}backups/{name}.metadata.json")).await.unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    let ours = &document["s3_backup_agent"];
    assert_eq!((&ours["size"], &ours["part_size"]), (&json!(size), &json!(5 * MIB)));
    for digests in ["parts", "crc64nvme"] {
        assert_eq!(ours[digests].as_array().unwrap().len(), 5);
    }
    assert!(fetch(&host, "parts").await.0 == RandomData::new(9, size).bytes(size as usize));
}

#[tokio::test]
async fn metadata_round_trips_unchanged() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let metadata = json!({
        "addons": [{"name": "Äpp", "slug": "app", "version": "1"}], "backup_id": "m1",
        "date": "2026-11-20T04:32:33.526654+00:00", "database_included": true,
        "extra_metadata": {"instance_id": "i", "with_automatic_settings": false},
        "folders": ["share"], "homeassistant_included": true, "homeassistant_version": "2026.11.0",
        "name": "Nächtliche Sicherung Büro 🏠", "protected": true, "size": 3, "more": {"z": 1, "a": 0.5},
    });
    let new = json!({"id": "m1", "name": "Nächtliche Sicherung Büro 🏠", "metadata": metadata});
    let stored = host.upload("t1", new, json!({}), &b"abc"[..]).await.unwrap();
    assert_eq!(stored["backup"]["metadata"].to_string(), metadata.to_string());
    let got = host.call("backup.get", json!({"target": "t1", "backup_id": "m1"})).await.unwrap();
    assert_eq!(got["backup"]["metadata"].to_string(), metadata.to_string());
    assert_eq!(got["backup"]["name"], "Nächtliche Sicherung Büro 🏠");
    // Another agent sees the same.
    let listed = connect(&server).await.call("backup.list", json!({"target": "t1"})).await.unwrap();
    assert_eq!(listed["backups"], json!([got["backup"]]));
}

#[tokio::test]
async fn any_backup_name_is_stored_and_found() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let long = "ü🏠".repeat(150);
    let names = [
        "plain",
        "with/slashes\\both",
        "../../escape",
        ".hidden",
        "ends in dot.",
        "a:b*c?d\"e<f>g|h",
        "line\nbreak\ttab",
        "  blanks  ",
        "",
        "%2F%00+&=#",
        "日本語",
        "e\u{301}",
        "\u{202e}reversed",
        "x.tar",
        "x.metadata.json",
        &long,
        // The same name, and therefore the same minute, for another backup.
        "plain",
        &long,
    ];
    for (index, name) in names.iter().enumerate() {
        let id = format!("n{index}");
        let new = json!({"id": id, "name": name, "metadata": {}});
        let content = format!("content of {index}").into_bytes();
        host.upload("t1", new, json!({}), content.as_slice()).await.unwrap();
    }
    assert_eq!(ids(&host).await.len(), names.len());
    for index in 0..names.len() {
        let id = format!("n{index}");
        assert_eq!(fetch(&host, &id).await.0, format!("content of {index}").into_bytes());
        host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await.unwrap();
    }
    super::assert_empty(&server).await;
}

#[tokio::test]
async fn prefixes_separate_backups() {
    let server = TestServer::start().await;
    let base = server.prefix.clone();
    let prefix = |rest: &str| format!("{base}/{rest}");
    let outer = connect_with(&server, json!({"prefix": prefix("ha")})).await;
    let inner = connect_with(&server, json!({"prefix": prefix("/ha/backups/")})).await;
    store(&outer, "outer", 1, 10).await;
    store(&inner, "inner", 2, 10).await;
    assert_eq!(ids(&outer).await, ["outer"]);
    assert_eq!(ids(&inner).await, ["inner"]);
    let keys: Vec<_> = server.objects().await.into_iter().map(|(key, _)| key).collect();
    assert!(keys.iter().any(|key| key.ends_with("ha/backups/Backup outer.tar")), "{keys:?}");
    assert!(
        keys.iter().any(|key| key.ends_with("ha/backups/backups/Backup inner.tar")),
        "{keys:?}"
    );
}

#[tokio::test]
async fn transfers_run_in_parallel() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let one = |index: u64| {
        let host = &host;
        async move {
            let (id, size) = (format!("p{index}"), 21 * MIB + index);
            store(host, &id, index, size).await;
            let (content, _) = fetch(host, &id).await;
            assert!(content == RandomData::new(index, size).bytes(size as usize));
        }
    };
    tokio::join!(one(1), one(2), one(3), one(4), one(5), one(6));
    assert_eq!(ids(&host).await.len(), 6);
}

#[tokio::test]
async fn upload_without_announced_size_is_stored() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let size = 21 * MIB;
    let stored = host.upload("t1", backup("u"), json!({}), RandomData::new(3, size)).await.unwrap();
    assert_eq!(
        (&stored["backup"]["size"], &stored["backup"]["stored_size"]),
        (&json!(size), &json!(size))
    );
    // A longer source than announced is accepted too, and the true length is recorded.
    let longer = host.upload("t1", backup("l"), json!({"size": 5}), &b"sevenby"[..]).await.unwrap();
    assert_eq!(longer["backup"]["stored_size"], 7);
}
