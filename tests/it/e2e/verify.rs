//! Any change of stored data: `backup.verify` names it, and no download succeeds.

use s3_backup_agent::archives::metadata::Checksums;
use s3_backup_agent::demo::host::{Event, Host};
use s3_backup_agent::s3::PartChecksums;
use serde_json::{Value, json};

use super::{code, connect, connect_with, fetch, ids, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

/// The smallest parts that servers accept, so that there are several.
const PART: u64 = 5 << 20;
const SIZE: u64 = 21 << 20;

fn key(server: &TestServer, file: &str) -> String {
    format!("{}/backups/{file}", server.prefix).trim_start_matches('/').to_owned()
}

async fn in_parts(server: &TestServer) -> Host {
    connect_with(server, json!({"part_size": PART})).await
}

async fn verify(host: &Host, id: &str, level: &str) -> Value {
    let params = json!({"target": "t1", "backup_id": id, "level": level});
    host.call("backup.verify", params).await.unwrap()
}

fn ok_result(id: &str, level: &str, status: &str, length: u64) -> Value {
    json!({"backup_id": id, "level": level, "status": status, "length": length})
}

/// The problem of a damaged backup: the code and the details.
fn problem(verified: &Value) -> (&str, &Value) {
    assert_eq!(verified["status"], "damaged", "{verified}");
    let error = &verified["error"];
    assert!(!error["message"].as_str().unwrap().is_empty(), "{verified}");
    (error["code"].as_str().unwrap(), &error["details"])
}

/// A download that fails: its code, and the content that arrived before.
async fn failed_download(host: &Host, id: &str) -> (String, Vec<u8>) {
    let mut content = Vec::new();
    let answer =
        host.download("t1", id, json!({}), 4 << 20, |bytes| content.extend_from_slice(bytes)).await;
    (code(answer), content)
}

#[tokio::test]
async fn verify_of_intact_backup_is_ok() {
    let server = TestServer::start().await;
    let host = in_parts(&server).await;
    for (id, size) in [("small", 1), ("large", SIZE)] {
        store(&host, id, 1, size).await;
    }
    let before = server.objects().await;
    for (id, size) in [("small", 1), ("large", SIZE)] {
        assert_eq!(verify(&host, id, "full").await, ok_result(id, "full", "ok", size));
        assert_eq!(verify(&host, id, "quick").await, ok_result(id, "quick", "unverified", size));
        let unsaid = json!({"target": "t1", "backup_id": id});
        let verified = host.call("backup.verify", unsaid).await.unwrap();
        assert_eq!(verified, ok_result(id, "full", "ok", size));
    }
    assert_eq!(server.objects().await, before);
}

#[tokio::test]
async fn verify_names_every_change_of_an_archive() {
    let server = TestServer::start().await;
    let host = in_parts(&server).await;
    store(&host, "v", 1, SIZE).await;
    let archive = key(&server, "Backup v.tar");
    let content = RandomData::new(1, SIZE).bytes(usize::try_from(SIZE).unwrap());
    let flipped = |at: u64| {
        let mut content = content.clone();
        content[usize::try_from(at).unwrap()] ^= 0x10;
        content
    };
    let in_part = |part: u64| {
        let offset = (part - 1) * PART;
        json!({"where": "part", "part": part, "offset": offset, "algorithm": "sha256"})
    };
    let long = |actual: u64| json!({"expected": SIZE, "actual": actual});
    let cases = [
        ("a bit of the first byte", flipped(0), "integrity_mismatch", in_part(1)),
        ("a bit in the middle", flipped(SIZE / 2), "integrity_mismatch", in_part(3)),
        ("a bit of the last byte", flipped(SIZE - 1), "integrity_mismatch", in_part(5)),
        ("one byte more", [&content[..], b"x"].concat(), "length_mismatch", long(SIZE + 1)),
        ("one byte less", content[..content.len() - 1].to_vec(), "length_mismatch", long(SIZE - 1)),
        ("half of it", content[..content.len() / 2].to_vec(), "length_mismatch", long(SIZE / 2)),
        ("a single byte", vec![content[0]], "length_mismatch", long(1)),
    ];
    for (what, changed, code, details) in cases {
        let length = changed.len() as u64;
        server.put(&archive, changed).await;
        for freshly in [false, true] {
            if freshly {
                ids(&host).await;
            }
            let verified = verify(&host, "v", "full").await;
            assert_eq!(problem(&verified), (code, &details), "{what}");
            assert_eq!(verified["length"], length, "{what}");
            let quick = verify(&host, "v", "quick").await;
            if code == "length_mismatch" {
                assert_eq!(problem(&quick), (code, &details), "{what}");
            } else {
                assert_eq!(quick, ok_result("v", "quick", "unverified", SIZE), "{what}");
            }
            let (refused, came) = failed_download(&host, "v").await;
            assert_eq!(refused, code, "{what}");
            assert!(content.starts_with(&came) && came.len() < content.len(), "{what}");
        }
    }
    server.put(&archive, content).await;
    ids(&host).await;
    assert_eq!(verify(&host, "v", "full").await, ok_result("v", "full", "ok", SIZE));
}

#[tokio::test]
async fn verify_finds_swapped_archives() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    for (id, seed) in [("a", 1), ("b", 2)] {
        store(&host, id, seed, 300_000).await;
    }
    let keys = ["a", "b"].map(|id| key(&server, &format!("Backup {id}.tar")));
    let [one, other] = [server.get(&keys[0]).await.unwrap(), server.get(&keys[1]).await.unwrap()];
    server.put(&keys[0], other).await;
    server.put(&keys[1], one).await;
    for id in ["a", "b"] {
        let verified = verify(&host, id, "full").await;
        assert_eq!(problem(&verified).0, "integrity_mismatch");
        assert_eq!(failed_download(&host, id).await, ("integrity_mismatch".to_owned(), vec![]));
        let quick = verify(&host, id, "quick").await;
        assert_eq!(quick, ok_result(id, "quick", "unverified", 300_000));
    }
}

#[tokio::test]
async fn verify_names_metadata_problems() {
    let server = TestServer::start().await;
    let document = key(&server, "Backup d.metadata.json");
    let host = connect(&server).await;
    store(&host, "d", 1, 1000).await;
    let original = server.get(&document).await.unwrap();
    let parsed: Value = serde_json::from_slice(&original).unwrap();
    let with = |member: &str, value: Value| {
        let mut changed = parsed.clone();
        changed["s3_backup_agent"][member] = value;
        changed.to_string()
    };
    let digest = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    // When the digest of the whole and the checksum are changed too, only the bytes reveal it.
    let mut forged: Value = serde_json::from_str(&with("parts", json!([digest]))).unwrap();
    forged["s3_backup_agent"]["sha256"] = json!(composite_of(&[[0; 32]]));
    forged["s3_backup_agent"]["crc64nvme"] = json!(["AAAAAAAAAAA="]);
    let cases = [
        ("a digest", with("parts", json!([digest])), "corrupt_metadata"),
        ("all digests", forged.to_string(), "integrity_mismatch"),
        ("the digest of the whole", with("sha256", json!("x-1")), "corrupt_metadata"),
        ("a size", with("size", json!(999)), "length_mismatch"),
        ("a size of nothing", with("size", json!(0)), "corrupt_metadata"),
        ("a part size", with("part_size", json!(100)), "corrupt_metadata"),
        ("the number of checksums", with("crc64nvme", json!([])), "corrupt_metadata"),
        ("the form of a checksum", with("crc64nvme", json!(["AAAA"])), "corrupt_metadata"),
    ];
    for (what, changed, wanted) in cases {
        server.put(&document, changed).await;
        ids(&host).await;
        assert_eq!(problem(&verify(&host, "d", "full").await).0, wanted, "{what}");
        assert_eq!(failed_download(&host, "d").await, (wanted.to_owned(), vec![]), "{what}");
    }

    // An unreadable metadata object does not reveal whose it is, except through the earlier
    // listing, which an agent may cache.
    server.put(&document, original).await;
    ids(&host).await;
    server.put(&document, "{no json").await;
    let params = json!({"target": "t1", "backup_id": "d"});
    match host.call("backup.verify", params.clone()).await {
        Ok(verified) => assert_eq!(problem(&verified).0, "corrupt_metadata"),
        Err(error) => assert_eq!(error.data.code, "not_found"),
    }
    let (refused, came) = failed_download(&host, "d").await;
    assert!(matches!(refused.as_str(), "corrupt_metadata" | "not_found") && came.is_empty());
    let listed = host.call("backup.list", json!({"target": "t1", "refresh": true})).await.unwrap();
    assert_eq!(listed["skipped"][0]["code"], "corrupt_metadata");
    assert_eq!(code(host.call("backup.verify", params.clone()).await), "not_found");

    server.put(&document, with("format", json!(2))).await;
    ids(&host).await;
    assert_eq!(code(host.call("backup.verify", params).await), "unsupported_feature");
}

#[tokio::test]
async fn verify_uses_sha256_when_crc_is_wrong_or_missing() {
    let server = TestServer::start().await;
    let [archive, document] =
        ["tar", "metadata.json"].map(|ending| key(&server, &format!("Backup s.{ending}")));
    let host = connect(&server).await;
    store(&host, "s", 1, 300_000).await;
    let original = server.get(&document).await.unwrap();
    let content = server.get(&archive).await.unwrap();
    for checksums in [None, Some(json!(["AAAAAAAAAAA="]))] {
        let mut changed: Value = serde_json::from_slice(&original).unwrap();
        let ours = changed["s3_backup_agent"].as_object_mut().unwrap();
        assert!(ours.shift_remove("crc64nvme").is_some());
        ours.extend(checksums.map(|checksums| ("crc64nvme".to_owned(), checksums)));
        server.put(&document, changed.to_string()).await;
        server.put(&archive, content.clone()).await;
        ids(&host).await;
        assert_eq!(verify(&host, "s", "full").await, ok_result("s", "full", "ok", 300_000));
        let (came, result) = fetch(&host, "s").await;
        assert!(came == content && result == json!({"length": 300_000, "verified": true}));
        server.put(&archive, vec![0; 300_000]).await;
        assert_eq!(failed_download(&host, "s").await.0, "integrity_mismatch");
        assert_eq!(problem(&verify(&host, "s", "full").await).0, "integrity_mismatch");
    }
}

fn composite_of(checksums: &[[u8; 32]]) -> String {
    let parts = checksums.iter().map(|sha256| PartChecksums { sha256: *sha256, crc64nvme: None });
    Checksums { size: 1, part_size: 1, parts: parts.collect() }.composite()
}

#[tokio::test]
async fn verify_names_missing_archive_and_missing_backup() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    for id in ["a", "d"] {
        store(&host, id, 1, 1000).await;
    }
    ids(&host).await;
    server.delete(&key(&server, "Backup a.tar")).await;
    server.delete(&key(&server, "Backup d.metadata.json")).await;
    for _ in ["from the listing of before", "from a new one"] {
        for level in ["full", "quick"] {
            let verified = verify(&host, "a", level).await;
            assert_eq!(problem(&verified), ("not_found", &json!({"backup_id": "a"})));
            assert_eq!(verified["length"], 0);
        }
        assert_eq!(failed_download(&host, "a").await.0, "not_found");
        let gone = json!({"target": "t1", "backup_id": "d"});
        assert_eq!(code(host.call("backup.verify", gone).await), "not_found");
        ids(&host).await;
    }
}

#[tokio::test]
async fn verify_of_other_tools_backup_is_unverified() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let size = 9_u64 << 20;
    let content = RandomData::new(3, size).bytes(usize::try_from(size).unwrap());
    let (archive, document) = (key(&server, "F.tar"), key(&server, "F.metadata.json"));
    server.put(&archive, content.clone()).await;
    server.put(&document, json!({"backup_id": "f", "size": size}).to_string()).await;
    for level in ["full", "quick"] {
        assert_eq!(verify(&host, "f", level).await, ok_result("f", level, "unverified", size));
    }
    server.put(&archive, &content[1..]).await;
    for level in ["full", "quick"] {
        let details = json!({"expected": size, "actual": size - 1});
        assert_eq!(problem(&verify(&host, "f", level).await), ("length_mismatch", &details));
    }
    // A backup without a recorded length can only be read.
    server.put(&document, json!({"backup_id": "f"}).to_string()).await;
    assert_eq!(verify(&host, "f", "full").await, ok_result("f", "full", "unverified", size - 1));
    server.put(&archive, "").await;
    assert_eq!(verify(&host, "f", "full").await, ok_result("f", "full", "unverified", 0));
}

#[tokio::test]
async fn verify_that_cannot_read_is_an_error() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    store(&host, "x", 1, 1000).await;
    for (params, wanted) in [
        (json!({"target": "t1", "backup_id": "nope"}), "not_found"),
        (json!({"target": "t2", "backup_id": "x"}), "target_unknown"),
        (json!({"target": "t1", "backup_id": "x", "level": "deep"}), "invalid_params"),
        (json!({"target": "t1"}), "invalid_params"),
    ] {
        assert_eq!(code(host.call("backup.verify", params).await), wanted);
    }
    let wrong = connect_with(&server, json!({"endpoint": "http://127.0.0.1:1"})).await;
    let params = json!({"target": "t1", "backup_id": "x"});
    assert_eq!(code(wrong.call("backup.verify", params).await), "cannot_connect");
}

#[tokio::test]
async fn parallel_verify_shares_memory_and_can_be_cancelled() {
    let server = TestServer::start().await;
    let host = connect_with(&server, json!({"memory": 33_554_432})).await;
    let size = 40_u64 << 20;
    store(&host, "m", 1, size).await;
    let params = json!({"target": "t1", "backup_id": "m", "progress_ms": 100});
    let mut running = Vec::new();
    for _ in 0..6 {
        running.push(host.start("backup.verify", params.clone()).await.unwrap());
    }
    let stopped = running.pop().unwrap();
    host.notify("cancel", json!({"id": stopped.id}), None).await.unwrap();
    let mut stopped = stopped;
    assert_eq!(code(stopped.response().await), "cancelled");
    for mut request in running {
        let mut last = Value::Null;
        let verified = loop {
            match request.next_event().await.unwrap() {
                Event::Response(answer) => break answer.unwrap(),
                Event::Notification { params, .. } => last = params,
            }
        };
        assert_eq!(verified, ok_result("m", "full", "ok", size));
        assert_eq!(
            (&last["phase"], &last["done"], &last["total"], &last["waiting_for"]),
            (&json!("verifying"), &json!(size), &json!(size), &Value::Null)
        );
    }
}
