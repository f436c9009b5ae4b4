//! The embedded server answers like AWS wherever the agent looks.
//!
//! Tested through the agent's own client, while an independent client checks the result.

use bytes::Bytes;
use s3_backup_agent::Code;
use s3_backup_agent::demo::server::EmbeddedServer;
use s3_backup_agent::s3::{Bucket, Payload, Write};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::random_data::RandomData;
use crate::support::{TestServer, agent_command};

const MIB: usize = 1 << 20;

fn write(key: &str) -> Write<'_> {
    Write {
        key,
        content_type: "application/x-tar",
        storage_class: None,
        upload_marker: None,
        may_replace: true,
    }
}

fn payload(content: &[u8]) -> Payload {
    Payload::new(vec![Bytes::copy_from_slice(content)])
}

#[tokio::test]
async fn objects_are_written_read_listed_and_deleted() {
    let server = TestServer::embedded().await;
    let bucket = Bucket::for_probing(&server.target(json!({}))).unwrap();

    let stored = bucket.put(write("backups/a.tar"), &payload(b"hello world")).await.unwrap();
    assert_eq!(server.get("backups/a.tar").await.unwrap(), b"hello world");
    server.put("backups/b.tar", *b"b").await;
    server.put("backups/deeper/c.tar", *b"c").await;

    let page = bucket.list("backups/", None).await.unwrap();
    let names: Vec<_> = page.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(names, ["backups/a.tar", "backups/b.tar"]);
    assert_eq!((page.objects[0].size, &page.objects[0].etag), (11, &stored.etag));
    assert_eq!(page.next, None);

    let head = bucket.head("backups/a.tar").await.unwrap();
    assert_eq!((head.size, &head.etag), (11, &stored.etag));
    assert_eq!(bucket.get("backups/a.tar", 100).await.unwrap(), "hello world");
    let read = server.get_range("backups/a.tar", 6..11, &stored.etag).await;
    assert_eq!(read.as_deref(), Ok(&b"world"[..]));

    server.put("backups/a.tar", *b"another one").await;
    let read = server.get_range("backups/a.tar", 6..11, &stored.etag).await;
    assert_eq!(read, Err("PreconditionFailed".to_owned()));

    for _ in 0..2 {
        bucket.delete("backups/a.tar").await.unwrap();
    }
    let error = bucket.get("backups/a.tar", 100).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let error = bucket.head("backups/a.tar").await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    server.delete("backups/b.tar").await;
    assert_eq!(server.objects().await, [("backups/deeper/c.tar".to_owned(), 1)]);
}

#[tokio::test]
async fn multipart_uploads_are_listed_completed_and_aborted() {
    let server = TestServer::embedded().await;
    let bucket = Bucket::for_probing(&server.target(json!({}))).unwrap();
    let key = "backups/x.tar";
    let mut data = RandomData::new(1, 11 * MIB as u64);
    let parts = [data.bytes(5 * MIB), data.bytes(5 * MIB), data.bytes(MIB)].map(|it| payload(&it));

    let abandoned = bucket.create_upload(write(key)).await.unwrap();
    let upload = bucket.create_upload(write(key)).await.unwrap();
    let open = bucket.open_uploads(key).await.unwrap();
    assert_eq!(open.iter().map(|upload| upload.key.as_str()).collect::<Vec<_>>(), [key, key]);
    assert_eq!(bucket.open_uploads(&format!("{key}z")).await.unwrap(), []);
    assert_eq!(server.open_uploads().await.len(), 2);
    assert_eq!(server.objects().await, []);

    let mut sent = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        abandoned.send_part(number, part).await.unwrap();
        sent.push(upload.send_part(number, part).await.unwrap());
    }
    let small_first = [sent[2].clone(), sent[1].clone()];
    upload.complete(&small_first).await.unwrap_err();
    let mut swapped = sent.clone();
    swapped[0].etag = sent[1].etag.clone();
    let error = upload.complete(&swapped).await.unwrap_err();
    assert_eq!(error.code(), Code::LengthMismatch);

    let stored = upload.complete(&sent).await.unwrap();
    assert!(stored.etag.ends_with("-3\""), "{}", stored.etag);
    let middle = 4 * MIB as u64..7 * MIB as u64;
    let read = server.get_range(key, middle.clone(), &stored.etag).await.unwrap();
    assert!(read == RandomData::new(1, middle.end).from(middle.start).bytes(3 * MIB));

    abandoned.abort().await.unwrap();
    abandoned.abort().await.unwrap();
    assert_eq!(server.open_uploads().await, []);
    let error = abandoned.send_part(1, &parts[2]).await.unwrap_err();
    assert_eq!(error.code(), Code::Modified);
    assert_eq!(server.objects().await, [(key.to_owned(), 11 * MIB as u64)]);
}

#[tokio::test]
async fn long_key_works_like_any_other() {
    let server = TestServer::embedded().await;
    let bucket = Bucket::for_probing(&server.target(json!({}))).unwrap();
    let folder = format!("{}backups/", format!("{}/", "f".repeat(250)).repeat(3));
    let keys = ["a", "b"].map(|last| format!("{folder}{}", last.repeat(250)));
    for (key, content) in [(&keys[0], "one"), (&keys[1], "two"), (&keys[0], "another")] {
        let stored = bucket.put(write(key), &payload(content.as_bytes())).await.unwrap();
        assert_eq!(bucket.get(key, 100).await.unwrap(), content);
        assert_eq!(bucket.head(key).await.unwrap().etag, stored.etag);
    }
    bucket.delete(&keys[1]).await.unwrap();
    let upload = bucket.create_upload(write(&keys[1])).await.unwrap();
    assert_eq!(bucket.open_uploads(&keys[1]).await.unwrap()[0].key, keys[1]);
    let part = upload.send_part(1, &payload(b"in parts")).await.unwrap();
    let stored = upload.complete(&[part]).await.unwrap();
    let page = bucket.list(&folder, None).await.unwrap();
    let listed: Vec<_> = page.objects.iter().map(|object| (&object.key, object.size)).collect();
    assert_eq!(listed, [(&keys[0], 7), (&keys[1], 8)]);
    assert_eq!(page.objects[1].etag, stored.etag);
    for key in &keys {
        bucket.delete(key).await.unwrap();
        assert_eq!(bucket.head(key).await.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(server.objects().await, []);
}

#[tokio::test]
async fn long_listing_comes_in_pages() {
    let server = TestServer::embedded().await;
    let bucket = Bucket::for_probing(&server.target(json!({}))).unwrap();
    let folder = "backups/";
    for number in 0..1005 {
        server.put(&format!("{folder}{number:04}"), *b"x").await;
    }
    let first = bucket.list(folder, None).await.unwrap();
    assert_eq!(first.objects.len(), 1000);
    let second = bucket.list(folder, first.next).await.unwrap();
    assert_eq!((second.objects.len(), second.next), (5, None));
    assert_eq!(second.objects[4].key, format!("{folder}1004"));
}

#[tokio::test]
async fn wrong_account_keys_and_buckets_are_refused() {
    let server = TestServer::embedded().await;
    let prober = |changes| Bucket::for_probing(&server.target(changes)).unwrap();

    let wrong_secret = prober(json!({"secret_access_key": "wrong"}));
    let error = wrong_secret.probe_list("").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidCredentials);
    let unknown_key = prober(json!({"access_key_id": "AKIAUNKNOWN"}));
    let error = unknown_key.probe_list("").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidCredentials);

    let nowhere = prober(json!({"bucket": format!("{}-not", server.bucket)}));
    let refusals = [
        nowhere.probe_list("").await.unwrap_err(),
        nowhere.get("k", 1).await.unwrap_err(),
        nowhere.put(write("k"), &payload(&[0; MIB])).await.unwrap_err(),
        nowhere.delete("k").await.unwrap_err(),
        nowhere.create_upload(write("k")).await.unwrap_err(),
        nowhere.open_uploads("").await.unwrap_err(),
    ];
    for error in refusals {
        assert_eq!(error.code(), Code::BucketNotFound, "{error:?}");
    }
}

#[tokio::test]
async fn payload_that_differs_from_signature_is_refused() {
    let server = TestServer::embedded().await;
    for code in server.put_damaged("damaged").await {
        assert_eq!(code, "XAmzContentSHA256Mismatch");
    }
    assert_eq!(server.objects().await, []);
}

#[tokio::test]
async fn dropped_server_closes_its_connections() {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedServer::start(folder.path(), "key", "secret").await.unwrap();
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let mut open = TcpStream::connect(&address).await.unwrap();
    drop(server);
    assert_eq!(open.read(&mut [0]).await.unwrap_or_default(), 0);
    assert!(TcpStream::connect(&address).await.is_err());
}

#[tokio::test]
async fn agent_starts() {
    let server = TestServer::start().await;
    let mut command = tokio::process::Command::new(agent_command());
    let ended = command.arg("--version").env_clear().envs(server.env()).output().await.unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test]
async fn random_data_is_the_same_however_it_is_read() {
    let whole = RandomData::new(7, 100_003).bytes(200_000);
    assert_eq!(whole.len(), 100_003);
    let mut streamed = Vec::new();
    RandomData::new(7, 100_003).read_to_end(&mut streamed).await.unwrap();
    assert!(whole == streamed);
    assert!(whole[777..] == RandomData::new(7, 100_003).from(777).bytes(200_000));
    assert!(whole != RandomData::new(8, 100_003).bytes(200_000));
}
