//! Archives with lost metadata become backups again; nothing else changes.

use serde_json::{Value, json};

use super::streams::begin_upload;
use super::{code, connect, fetch, ids};
use crate::cli::{REAL, real_backup};
use crate::support::{TestServer, agent_command};

fn key(server: &TestServer, file: &str) -> String {
    format!("{}/backups/{file}", server.prefix).trim_start_matches('/').to_owned()
}

async fn repair(host: &s3_backup_agent::demo::host::Host, dry_run: bool) -> Vec<Value> {
    let params = json!({"target": "t1", "dry_run": dry_run});
    let repaired = host.call("target.repair", params).await.unwrap();
    assert_eq!(repaired["more"], false);
    repaired["archives"].as_array().unwrap().clone()
}

/// A tar of these members.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn backup_json(id: &str) -> Vec<u8> {
    let json = json!({"slug": id, "name": format!("Title {id}"), "date": "2026-11-20T03:00:00Z"});
    json.to_string().into_bytes()
}

#[tokio::test]
async fn repair_rebuilds_lost_metadata() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let mut expected = Vec::new();
    for (file, id, title, _) in REAL {
        let archive = key(&server, &format!("{file}.tar"));
        server.put(&archive, std::fs::read(real_backup(file)).unwrap()).await;
        expected.push(json!({
            "name": file, "key": archive, "size": 20_480, "status": "repairable",
            "backup_id": id, "title": title,
        }));
    }
    let before = server.objects().await;
    assert_eq!(repair(&host, true).await, expected);
    assert_eq!(server.objects().await, before);

    for archive in &mut expected {
        archive["status"] = json!("repaired");
    }
    assert_eq!(repair(&host, false).await, expected);
    assert_eq!(repair(&host, false).await, Vec::<Value>::new());
    assert_eq!(ids(&host).await, REAL.map(|(_, id, ..)| id));
    for (file, id, title, protected) in REAL {
        let params = json!({"target": "t1", "backup_id": id});
        let got = host.call("backup.get", params.clone()).await.unwrap()["backup"].take();
        let date = got["metadata"]["date"].as_str().unwrap();
        assert!(date.starts_with("2026-11-20T04:32:33."), "{got}");
        let metadata = json!({
            "addons": [], "backup_id": id, "database_included": false, "date": date,
            "extra_metadata": {
                "instance_id": "4258f62416264697a159134f98437644",
                "with_automatic_settings": false,
            },
            "folders": [], "homeassistant_included": true, "homeassistant_version": "2026.11.0",
            "name": title, "protected": protected, "size": 20_480,
        });
        let backup = json!({
            "id": id, "name": file, "size": 20_480, "stored_size": 20_480, "has_checksums": false,
            "metadata": metadata,
        });
        assert_eq!(got, backup);
        let (content, result) = fetch(&host, id).await;
        assert!(content == std::fs::read(real_backup(file)).unwrap());
        assert_eq!(result, json!({"length": 20_480, "verified": false}));
        let verified = host.call("backup.verify", params.clone()).await.unwrap();
        assert_eq!(verified["status"], "unverified");
        host.call("backup.delete", params).await.unwrap();
    }
    super::assert_empty(&server).await;
}

#[tokio::test]
async fn repair_finds_backup_json_anywhere_in_the_archive() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let large = vec![7; 3 << 20];
    let long_name = format!("./{}.tar.gz", "a".repeat(180));
    let last = backup_json("last");
    // As the Supervisor writes it: first the content, and then the description.
    let members: Vec<(&str, &[u8])> = vec![
        ("./core_ssh.tar.gz", &large[..100_000]),
        (&long_name, &large),
        ("./homeassistant.tar.gz", &large[..1]),
        ("./backup.json", &last),
    ];
    server.put(&key(&server, "last.tar"), tar(&members)).await;
    let mut many: Vec<(&str, &[u8])> = vec![("./share.tar.gz", &large[..10]); 150];
    let hidden = backup_json("many");
    many.push(("backup.json", &hidden));
    server.put(&key(&server, "many.tar"), tar(&many)).await;
    let found = repair(&host, false).await;
    let found: Vec<_> = found.iter().map(|it| (&it["backup_id"], &it["status"])).collect();
    let repaired = json!("repaired");
    assert_eq!(found, [(&json!("last"), &repaired), (&json!("many"), &repaired)]);
    assert_eq!(ids(&host).await, ["last", "many"]);
}

#[tokio::test]
async fn repair_leaves_unknown_archive_unchanged() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let huge = json!({
        "slug": "h", "name": "x".repeat(40_000), "date": "2026-11-20T03:00:00Z",
    });
    let huge = huge.to_string().into_bytes();
    let whole = tar(&[("backup.json", &backup_json("cut"))]);
    for (file, content) in [
        ("cut.tar", whole[..520].to_vec()),
        ("damaged.tar", tar(&[("backup.json", b"{no json")])),
        ("empty.tar", vec![]),
        ("huge.tar", tar(&[("backup.json", &huge)])),
        ("nameless.tar", tar(&[("backup.json", br#"{"slug":"n"}"#)])),
        ("noise.tar", vec![0x5a; 200_000]),
        ("other.tar", tar(&[("a", b"1"), ("b", b"2")])),
        ("zeros.tar", vec![0; 100_000]),
    ] {
        server.put(&key(&server, file), content).await;
    }
    let before = server.objects().await;
    let found = repair(&host, false).await;
    let named: Vec<_> = found
        .iter()
        .map(|it| {
            assert_eq!((&it["status"], it.get("backup_id")), (&json!("unknown"), None), "{it}");
            (it["name"].as_str().unwrap(), it["error"]["code"].as_str())
        })
        .collect();
    assert_eq!(
        named,
        [
            ("cut", None),
            ("damaged", Some("corrupt_metadata")),
            ("empty", None),
            ("huge", Some("too_large")),
            ("nameless", Some("corrupt_metadata")),
            ("noise", None),
            ("other", None),
            ("zeros", None),
        ]
    );
    assert_eq!(server.objects().await, before);
}

#[tokio::test]
async fn repair_gives_one_id_to_one_backup() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    for file in ["a.tar", "b.tar"] {
        server.put(&key(&server, file), tar(&[("backup.json", &backup_json("twin"))])).await;
    }
    let found = repair(&host, true).await;
    assert_eq!(
        (&found[0]["status"], &found[1]["status"]),
        (&json!("repairable"), &json!("unknown"))
    );
    let found = repair(&host, false).await;
    assert_eq!((&found[0]["status"], &found[1]["status"]), (&json!("repaired"), &json!("unknown")));
    for _ in 0..2 {
        let left = repair(&host, false).await;
        assert_eq!(left.len(), 1);
        assert_eq!((&left[0]["name"], &left[0]["backup_id"]), (&json!("b"), &json!("twin")));
        assert_eq!(left[0]["error"]["code"], "already_exists");
    }
    assert_eq!(ids(&host).await, ["twin"]);
}

#[tokio::test]
async fn repair_leaves_running_upload_alone() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--state-dir", state.path().to_str().unwrap()];
    let open = async || {
        let host = s3_backup_agent::demo::host::Host::launch(agent_command(), &arguments, &[]);
        let host = host.await.unwrap();
        let params = json!({"target": "t1", "config": server.config()});
        host.call("target.open", params).await.unwrap();
        host
    };
    let (storing, other) = (open().await, open().await);
    let (mut request, _) = begin_upload(&storing, "r", json!({})).await;
    let archive = tar(&[("backup.json", &backup_json("r"))]);
    server.put(&key(&server, "Backup r.tar"), archive.clone()).await;
    if server.lists_uploads() {
        server.put(&key(&server, "of another machine.tar"), archive).await;
        server.abandon_upload(&key(&server, "of another machine.tar"), true).await;
    }
    for host in [&storing, &other] {
        assert_eq!(repair(host, false).await, Vec::<Value>::new());
    }
    assert!(!server.objects().await.iter().any(|(key, _)| key.ends_with(".json")));
    storing.notify("cancel", json!({"id": request.id}), None).await.unwrap();
    assert_eq!(code(request.response().await), "cancelled");
}

#[tokio::test]
async fn repair_rebuilds_old_home_assistant_snapshot() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let snapshot = json!({
        "slug": "5nap0001", "name": "Snapshot", "date": "2021-03-04T05:06:07.000000+00:00",
        "homeassistant": "2021.3.4", "folders": ["homeassistant", "share"], "protected": "k",
    });
    let members: [(&str, &[u8]); 2] = [
        ("./homeassistant.tar.gz", &[7; 100_000]),
        ("./snapshot.json", &snapshot.to_string().into_bytes()),
    ];
    server.put(&key(&server, "old.tar"), tar(&members)).await;
    let found = repair(&host, false).await;
    assert_eq!((&found[0]["status"], &found[0]["title"]), (&json!("repaired"), &json!("Snapshot")));
    let listed = host.call("backup.list", json!({"target": "t1"})).await.unwrap();
    let metadata = &listed["backups"][0]["metadata"];
    assert_eq!(listed["backups"][0]["id"], "5nap0001");
    let members = ["homeassistant_version", "homeassistant_included", "database_included"];
    assert_eq!(
        members.map(|name| &metadata[name]),
        [&json!("2021.3.4"), &json!(true), &json!(true)]
    );
    assert_eq!((&metadata["folders"], &metadata["protected"]), (&json!(["share"]), &json!(true)));
}

#[tokio::test]
async fn repair_of_invalid_id_writes_nothing() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    for (file, id) in [
        ("control.tar", "a\u{1b}[31m".to_owned()),
        ("empty.tar", String::new()),
        ("line.tar", "a\nb".to_owned()),
        ("long.tar", "x".repeat(35_000)),
        ("longer.tar", "ü".repeat(1_000)),
    ] {
        server.put(&key(&server, file), tar(&[("backup.json", &backup_json(&id))])).await;
    }
    server.put(&key(&server, "good.tar"), tar(&[("backup.json", &backup_json("good"))])).await;
    let before = server.objects().await;
    for dry_run in [true, false] {
        for archive in repair(&host, dry_run).await {
            if archive["name"] == "good" {
                continue;
            }
            assert_eq!(archive["status"], "unknown", "{archive}");
            let code = archive["error"]["code"].as_str().unwrap();
            assert!(["corrupt_metadata", "too_large"].contains(&code), "{archive}");
        }
    }
    assert_eq!(server.objects().await.len(), before.len() + 1);
    assert_eq!(ids(&host).await, ["good"]);
}

#[tokio::test]
async fn repaired_status_matches_what_list_shows() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    // The first two have one id, so a listing would leave one of them out.
    for (file, id) in [("a.tar", "twin"), ("b.tar", "twin"), ("c.tar", "other")] {
        server.put(&key(&server, file), tar(&[("backup.json", &backup_json(id))])).await;
    }
    let found = repair(&host, false).await;
    let repaired = found.iter().filter(|archive| archive["status"] == "repaired");
    let mut repaired: Vec<_> =
        repaired.map(|archive| archive["backup_id"].as_str().unwrap().to_owned()).collect();
    repaired.sort();
    let mut listed = ids(&host).await;
    listed.sort();
    assert_eq!(repaired, listed);
}
