//! In which order a bucket is written and deleted, which headers the objects carry, and where they
//! are stored.

use std::sync::Arc;

use http::Method;
use http::request::Parts;
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify};

use super::recorded_request::RecordedRequest;
use super::wire::{Act, Wire};
use super::{address, connect, open, round_trip};
use crate::e2e::{assert_empty, backup, code, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;

/// The object of the pair that a request is about: the end of its key, with `new` in front where a
/// marker makes the name differ.
fn pair_member(seen: &RecordedRequest) -> String {
    let key = seen.uri.path();
    let ending = if key.ends_with(".metadata.json") { "document" } else { "archive" };
    let mark = if key.contains("Backup%20b_") { "new " } else { "" };
    format!("{mark}{ending}")
}

/// All requests except reads, in order; the parts of an upload only once.
fn writes(wire: &Wire) -> Vec<String> {
    let all = wire.take_requests();
    let writes = all.iter().filter(|seen| seen.method != Method::GET);
    let names = writes.map(|seen| {
        let query = match seen.query_names().join(" ").as_str() {
            "" => "",
            "uploads" => " open",
            "partNumber uploadId" => " part",
            _ => " upload",
        };
        format!("{} {}{query}", seen.method, pair_member(seen))
    });
    let mut names: Vec<_> = names.collect();
    names.dedup();
    names
}

#[tokio::test]
async fn metadata_is_written_last_and_deleted_first() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let host = connect(&server, &wire).await;
    store(&host, "b", 1, 1000).await;
    assert_eq!(writes(&wire), ["PUT archive", "HEAD archive", "PUT document"]);

    let replace = json!({"if_exists": "replace", "size": 21 * MIB});
    host.upload("t1", backup("b"), replace, RandomData::new(2, 21 * MIB)).await.unwrap();
    let expected = [
        "POST new archive open",
        "PUT new archive part",
        "POST new archive upload",
        "HEAD new archive",
        "PUT new document",
        "DELETE document",
        "DELETE archive",
    ];
    assert_eq!(writes(&wire), expected);

    host.call("backup.delete", json!({"target": "t1", "backup_id": "b"})).await.unwrap();
    assert_eq!(writes(&wire), ["DELETE new document", "DELETE new archive"]);
    assert_empty(&server).await;
}

#[tokio::test]
async fn failed_upload_is_aborted_twice_and_deleted_in_order() {
    let server = TestServer::embedded().await;
    let is_metadata_upload =
        |head: &Parts| head.method == Method::PUT && head.uri.path().ends_with(".metadata.json");
    let refuse = move |head: &Parts| {
        if is_metadata_upload(head) { Act::Answer(403, "AccessDenied") } else { Act::Pass }
    };
    let wire = Wire::start(address(&server), refuse).await;
    let host = connect(&server, &wire).await;
    let source = RandomData::new(1, 21 * MIB);
    let size = json!({"size": 21 * MIB});
    host.upload("t1", backup("b"), size, source).await.unwrap_err();
    let all = wire.take_requests();
    let deletions = all.iter().filter(|seen| seen.method == Method::DELETE);
    let deletions: Vec<_> =
        deletions.map(|seen| (pair_member(seen), seen.query_names().join(" "))).collect();
    let expected =
        [("archive", "uploadId"), ("archive", "uploadId"), ("document", ""), ("archive", "")];
    assert_eq!(
        deletions,
        expected.map(|(pair_member, query)| (pair_member.to_owned(), query.to_owned()))
    );
    assert_empty(&server).await;
}

#[tokio::test]
async fn objects_carry_type_storage_class_and_marker_only() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let class = json!({"storage_class": "STANDARD"});
    let host = open(&server, &wire.http(), class, &[]).await.unwrap();
    // One upload in a single request, one in parts.
    store(&host, "small", 1, 1000).await;
    store(&host, "large", 1, 21 * MIB).await;
    let all = wire.take_requests();
    let creates = |seen: &&RecordedRequest| match seen.query_names()[..] {
        [] => seen.method == Method::PUT,
        ["uploads"] => true,
        _ => false,
    };
    let objects: Vec<_> = all.iter().filter(creates).collect();
    assert_eq!(objects.len(), 4);
    let mut marks = Vec::new();
    for seen in objects {
        let others = seen.headers.keys().filter(|name| {
            let name = name.as_str();
            name == "x-amz-tagging" || name.starts_with("x-amz-meta-")
        });
        let own: Vec<_> = others.map(http::HeaderName::as_str).collect();
        let headers = [seen.header("content-type"), seen.header("x-amz-storage-class")];
        if pair_member(seen) == "document" {
            assert_eq!((own, headers), (vec![], ["application/json", ""]));
        } else {
            let expected = ["application/x-tar", "STANDARD"];
            assert_eq!((own, headers), (vec!["x-amz-meta-s3-backup-agent"], expected));
            marks.push(seen.header("x-amz-meta-s3-backup-agent"));
        }
    }
    assert!(marks.iter().all(|mark| mark.len() == 32), "{marks:?}");
    assert!(marks.iter().all(|mark| mark.chars().all(|c| c.is_ascii_hexdigit())), "{marks:?}");
    assert_ne!(marks[0], marks[1]);
}

#[tokio::test]
async fn download_requests_the_listed_archive_by_etag() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    round_trip(&connect(&server, &wire).await).await;
    let all = wire.take_requests();
    let reads: Vec<_> = all
        .iter()
        .filter(|seen| seen.method == Method::GET && seen.uri.path().ends_with(".tar"))
        .collect();
    assert!(reads.len() >= 4);
    assert!(reads.iter().all(|seen| !seen.header("if-match").is_empty()), "{reads:?}");
}

/// Prefixes of the listings since the last call that name part of a key.
fn lookup_prefixes(wire: &Wire) -> Vec<String> {
    let all = wire.take_requests();
    let some = all.iter().filter(|seen| seen.query_names().contains(&"max-keys"));
    let query = |seen: &RecordedRequest| seen.uri.query().unwrap_or_default().to_owned();
    let prefixes = some.map(|seen| {
        let query = query(seen);
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == "prefix").unwrap().1.into_owned()
    });
    prefixes.collect()
}

#[tokio::test]
async fn name_lookup_takes_one_listing() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let host = connect(&server, &wire).await;
    for (id, size) in [("s", 1000), ("l", 21 * MIB)] {
        store(&host, id, 1, size).await;
        let key = format!("backups/Backup {id}.");
        // At the start, whether the name is free, and at the end, whether the backup is listed.
        assert_eq!(lookup_prefixes(&wire), [key.clone(), key + "metadata.json"]);
    }
    // Other keys with the same start come before both keys, between them, and after them.
    for number in 0..30 {
        for between in ["Backup b.0", "Backup b.p", "Backup b.z"] {
            server.put(&format!("backups/{between}{number}"), "x").await;
        }
    }
    store(&host, "b", 1, 1000).await;
    let (start, archive) = ("backups/Backup b.", "backups/Backup b.tar");
    let document = "backups/Backup b.metadata.json";
    assert_eq!(lookup_prefixes(&wire), [start, archive, document, document]);
}

#[tokio::test]
async fn name_taken_during_upload_is_detected() {
    let crowd: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d"];
    for (others, pair_member) in
        [(1, "tar"), (1, "metadata.json"), (14, "tar"), (14, "metadata.json")]
    {
        let server = TestServer::embedded().await;
        let (reached, go) = (Arc::new(Notify::new()), Arc::new(Barrier::new(2)));
        let (told, mut held) = (Arc::clone(&reached), Some(Arc::clone(&go)));
        let hold = move |head: &Parts| {
            let query = head.uri.query().unwrap_or_default();
            match query.contains("max-keys").then(|| held.take()).flatten() {
                Some(go) => {
                    told.notify_one();
                    Act::AtBarrier(go)
                }
                None => Act::Pass,
            }
        };
        let wire = Wire::start(address(&server), hold).await;
        let host = connect(&server, &wire).await;
        let taking = async {
            reached.notified().await;
            for other in &crowd[..others] {
                for more in ["0", "1"] {
                    server.put(&format!("backups/Backup b.{other}{more}"), "x").await;
                }
            }
            server.put(&format!("backups/Backup b.{pair_member}"), "foreign object").await;
            go.wait().await;
        };
        let uploading = host.upload("t1", backup("b"), json!({}), &b"ours"[..]);
        let (answer, ()) = tokio::join!(uploading, taking);
        assert_eq!(code(answer), "already_exists", "{pair_member} beside {others}");
        let theirs = server.get(&format!("backups/Backup b.{pair_member}")).await.unwrap();
        assert_eq!(theirs, b"foreign object");
        assert_eq!(server.objects().await.len(), 2 * others + 1);
    }
}

#[tokio::test]
async fn requests_stay_inside_the_folder() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let place = json!({"prefix": "ha", "folder": "nightly"});
    let host = open(&server, &wire.http(), place, &[]).await.unwrap();
    store(&host, "first", 1, 1000).await;
    let validated = host.call("target.validate", json!({"target": "t1", "level": "write"})).await;
    assert_eq!(validated.unwrap()["ok"], true);
    round_trip(&host).await;
    for id in ["first", "small", "large"] {
        host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await.unwrap();
    }
    let cleaned: Value = host.call("target.cleanup", json!({"target": "t1"})).await.unwrap();
    assert_eq!(cleaned["items"], json!([]));
    let all = wire.take_requests();
    assert!(all.len() > 15);
    let of_object = format!("/{}/ha/nightly/", server.bucket);
    for seen in all {
        let query = seen.uri.query().unwrap_or_default();
        let mut pairs = query.split('&');
        let lists = pairs.any(|pair| pair.starts_with("prefix=ha%2Fnightly%2F"));
        let asks_for_rules = query == "object-lock";
        assert!(lists || asks_for_rules || seen.uri.path().starts_with(&of_object), "{seen:?}");
    }
}
