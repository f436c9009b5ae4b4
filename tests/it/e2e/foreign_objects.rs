//! Objects that other tools, accidents or attackers left in the folder.

use s3_backup_agent::config::DEFAULT_PART_SIZE;
use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};

use super::{backup, code, connect, fetch, ids};
use crate::random_data::RandomData;
use crate::support::TestServer;

fn folder(server: &TestServer) -> String {
    match server.prefix.as_str() {
        "" => "backups/".to_owned(),
        prefix => format!("{prefix}/backups/"),
    }
}

#[tokio::test]
async fn backups_of_other_tools_list_restore_and_delete() {
    let server = TestServer::start().await;
    let folder = folder(&server);
    let size = 17 << 20;
    let content = RandomData::new(5, size).bytes(usize::try_from(size).unwrap());
    let metadata = json!({
        "addons": [], "backup_id": "f1", "date": "2026-01-01T00:00:00+00:00",
        "database_included": true, "extra_metadata": {}, "folders": [],
        "homeassistant_included": true, "homeassistant_version": "2026.1.0", "name": "Foreign",
        "protected": false, "size": size,
    });
    server.put(&format!("{folder}Foreign_2026.tar"), content.clone()).await;
    server.put(&format!("{folder}Foreign_2026.metadata.json"), metadata.to_string()).await;
    let host = connect(&server).await;
    let got = host.call("backup.get", json!({"target": "t1", "backup_id": "f1"})).await.unwrap();
    let expected = json!({
        "id": "f1", "name": "Foreign_2026", "size": size, "stored_size": size, "has_checksums": false,
        "metadata": metadata,
    });
    assert_eq!(got["backup"], expected);
    let (bytes, result) = fetch(&host, "f1").await;
    assert!(bytes == content);
    assert_eq!(result, json!({"length": size, "verified": false}));
    host.call("backup.delete", json!({"target": "t1", "backup_id": "f1"})).await.unwrap();
    super::assert_empty(&server).await;
}

#[tokio::test]
async fn list_skips_and_reports_incomplete_backups() {
    let server = TestServer::start().await;
    let folder = folder(&server);
    let host = connect(&server).await;
    host.upload("t1", backup("good"), json!({}), &b"good"[..]).await.unwrap();
    for (name, content) in [
        ("broken.metadata.json", "{not json"),
        ("broken.tar", "x"),
        ("lone.metadata.json", r#"{"backup_id":"lone"}"#),
        ("twin.metadata.json", r#"{"backup_id":"good"}"#),
        ("twin.tar", "x"),
        ("orphan.tar", "an upload that still runs"),
        ("readme.txt", "hello"),
        ("deeper/x.tar", "x"),
        ("deeper/x.metadata.json", r#"{"backup_id":"deeper"}"#),
    ] {
        server.put(&format!("{folder}{name}"), content).await;
    }
    server.put(&format!("{folder}huge.metadata.json"), vec![b' '; 3 << 20]).await;
    server.put(&format!("{folder}huge.tar"), "x").await;
    let long = json!({"backup_id": "long", "x": "y".repeat(40_960)}).to_string();
    server.put(&format!("{folder}long.metadata.json"), long).await;
    server.put(&format!("{folder}long.tar"), "x").await;
    // Of two backups with one id the newer one counts, however long this test took.
    let key = format!("{folder}Backup good.metadata.json");
    let document = server.get(&key).await.unwrap();
    server.put(&key, document).await;
    let listed = host.call("backup.list", json!({"target": "t1", "refresh": true})).await.unwrap();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1);
    assert_eq!(listed["backups"][0]["id"], "good");
    let mut skipped: Vec<(String, String)> = listed["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            assert!(!entry["message"].as_str().unwrap().is_empty());
            let text = |member: &str| entry[member].as_str().unwrap().to_owned();
            (text("key").strip_prefix(&folder).unwrap().to_owned(), text("code"))
        })
        .collect();
    // The newer of two counts; of two from the same second, the names decide.
    let twins = ["Backup good.metadata.json", "twin.metadata.json"];
    let twin = skipped.iter_mut().find(|(key, _)| twins.contains(&key.as_str())).unwrap();
    "twin.metadata.json".clone_into(&mut twin.0);
    skipped.sort();
    let expected = [
        ("broken.metadata.json", "corrupt_metadata"),
        ("huge.metadata.json", "too_large"),
        ("lone.metadata.json", "not_found"),
        ("long.metadata.json", "too_large"),
        ("twin.metadata.json", "already_exists"),
    ];
    assert_eq!(skipped, expected.map(|(key, code)| (key.to_owned(), code.to_owned())));
    let lone = json!({"target": "t1", "backup_id": "lone", "up_to": 10});
    assert_eq!(code(host.call("backup.download", lone.clone()).await), "not_found");
    // A missing archive does not prevent the deletion of the rest.
    host.call("backup.delete", lone).await.unwrap();
    let left = server.objects().await;
    assert!(!left.iter().any(|(key, _)| key.contains("lone")), "{left:?}");
    assert_eq!(ids(&host).await, ["good"]);
}

/// The backup `b` under a second name, another one, and a damaged one with the same id.
async fn store_duplicates(server: &TestServer, host: &Host) {
    let folder = folder(server);
    for id in ["b", "other"] {
        host.upload("t1", backup(id), json!({}), &b"0123456789"[..]).await.unwrap();
    }
    let document = server.get(&format!("{folder}Backup b.metadata.json")).await.unwrap();
    for (name, archive) in [("twin", "0123456789"), ("cut", "01234")] {
        server.put(&format!("{folder}{name}.metadata.json"), document.clone()).await;
        server.put(&format!("{folder}{name}.tar"), archive).await;
    }
    let listed = host.call("backup.list", json!({"target": "t1", "refresh": true})).await.unwrap();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2);
    assert_eq!(listed["skipped"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn delete_removes_all_copies_of_one_backup() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    store_duplicates(&server, &host).await;
    host.call("backup.delete", json!({"target": "t1", "backup_id": "b"})).await.unwrap();
    assert_eq!(ids(&host).await, ["other"]);
    assert_eq!(server.objects().await.len(), 2);
}

#[tokio::test]
async fn replace_removes_all_copies_of_one_backup() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    store_duplicates(&server, &host).await;
    let replace = json!({"if_exists": "replace"});
    host.upload("t1", backup("b"), replace, &b"new"[..]).await.unwrap();
    assert_eq!(ids(&host).await, ["b", "other"]);
    assert_eq!(fetch(&host, "b").await.0, b"new");
    assert_eq!(server.objects().await.len(), 4);
}

#[tokio::test]
async fn truncated_archive_is_not_listed() {
    let server = TestServer::start().await;
    let folder = folder(&server);
    let host = connect(&server).await;
    host.upload("t1", backup("cut"), json!({}), &b"0123456789"[..]).await.unwrap();
    server.put(&format!("{folder}Backup cut.tar"), "01234").await;
    assert_eq!(ids(&host).await, Vec::<String>::new());
    let get = json!({"target": "t1", "backup_id": "cut", "up_to": 10});
    for method in ["backup.get", "backup.download"] {
        assert_eq!(code(host.call(method, get.clone()).await), "length_mismatch");
    }
}

#[tokio::test]
async fn download_delivers_no_damaged_byte() {
    let server = TestServer::start().await;
    let key = format!("{}Backup rot.tar", folder(&server));
    let host = connect(&server).await;
    let size = 40 << 20;
    let mut content = RandomData::new(6, size).bytes(usize::try_from(size).unwrap());
    host.upload("t1", backup("rot"), json!({}), content.as_slice()).await.unwrap();
    // One bit in the second part.
    let part = usize::try_from(DEFAULT_PART_SIZE).unwrap();
    let damaged = part + 7;
    content[damaged] ^= 1;
    server.put(&key, content.clone()).await;
    let mut received = 0;
    let answer = host
        .download("t1", "rot", json!({}), 4 << 20, |bytes| {
            assert!(bytes == &content[received..received + bytes.len()]);
            received += bytes.len();
        })
        .await;
    let error = answer.unwrap_err();
    assert_eq!(error.data.code, "integrity_mismatch");
    assert_eq!(serde_json::to_value(&error.data.details["part"]).unwrap(), json!(2));
    assert_eq!(received, part);
}

#[tokio::test]
async fn metadata_with_tampered_checksum_is_refused() {
    let server = TestServer::start().await;
    let key = format!("{}Backup t.metadata.json", folder(&server));
    let host = connect(&server).await;
    host.upload("t1", backup("t"), json!({}), &b"content"[..]).await.unwrap();
    let mut document: Value = serde_json::from_slice(&server.get(&key).await.unwrap()).unwrap();
    document["s3_backup_agent"]["parts"][0] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    server.put(&key, document.to_string()).await;
    let listed = host.call("backup.list", json!({"target": "t1", "refresh": true})).await.unwrap();
    assert_eq!(listed["backups"], json!([]));
    assert_eq!(listed["skipped"][0]["code"], "corrupt_metadata");
}

#[tokio::test]
async fn backup_of_newer_agent_can_only_be_deleted() {
    let server = TestServer::start().await;
    let folder = folder(&server);
    let newer = json!({"backup_id": "new", "s3_backup_agent": {"format": 2, "more": true}});
    server.put(&format!("{folder}new.tar"), "x").await;
    server.put(&format!("{folder}new.metadata.json"), newer.to_string()).await;
    let deep = format!("{{\"backup_id\":\"deep\",\"x\":{}{}}}", "[".repeat(60), "]".repeat(60));
    server.put(&format!("{folder}deep.tar"), "x").await;
    server.put(&format!("{folder}deep.metadata.json"), deep).await;
    let host = connect(&server).await;
    let listed = host.call("backup.list", json!({"target": "t1"})).await.unwrap();
    let codes: Vec<_> =
        listed["skipped"].as_array().unwrap().iter().map(|it| &it["code"]).collect();
    assert_eq!(codes, ["corrupt_metadata", "unsupported_feature"]);
    let upload = host.upload("t1", backup("new"), json!({}), &b"y"[..]).await;
    assert_eq!(code(upload), "already_exists");
    let get = json!({"target": "t1", "backup_id": "new"});
    assert_eq!(code(host.call("backup.get", get.clone()).await), "unsupported_feature");
    host.call("backup.delete", get).await.unwrap();
    assert!(server.get(&format!("{folder}new.tar")).await.is_none());
}
