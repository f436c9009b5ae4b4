//! Limits that change while transfers run: the transfers follow, and no data is lost.

use std::time::{Duration, Instant};

use s3_backup_agent::config::DEFAULT_PART_SIZE;
use s3_backup_agent::demo::host::{Host, Request};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::streams::{begin_upload, feed, next, wait_until_waiting_for_server};
use super::{backup, code, connect_with, fetch, ids, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 24 * MIB;

/// The lowest limit: the backups here would take six minutes.
const SLOWEST: u64 = 64 << 10;

/// Longer than any of the operations takes, on a slow machine too.
const SOON: Duration = Duration::from_secs(120);

async fn update(host: &Host, limits: Value) {
    let params = json!({"target": "t1", "limits": limits});
    host.call("target.update", params).await.unwrap();
}

#[tokio::test]
async fn update_releases_throttled_upload() {
    let server = TestServer::start().await;
    let host = connect_with(&server, json!({"bandwidth_limit": SLOWEST})).await;
    for (id, limit) in [("a", json!(null)), ("b", json!(1_u64 << 30))] {
        update(&host, json!({"bandwidth_limit": SLOWEST})).await;
        let start = Instant::now();
        let (upload, credit) =
            begin_upload(&host, id, json!({"size": SIZE, "progress_ms": 100})).await;
        let mut is_freed = false;
        feed(&host, upload, credit, SIZE, async |report: &Value| {
            if !is_freed && report["waiting_for"] == "remote" {
                is_freed = true;
                update(&host, json!({"bandwidth_limit": limit})).await;
            }
        })
        .await
        .unwrap();
        assert!(is_freed && start.elapsed() < SOON, "{:?}", start.elapsed());
    }
    let (content, _) = fetch(&host, "a").await;
    assert!(content == RandomData::new(1, SIZE).bytes(content.len() + 1));
    assert_eq!(ids(&host).await.len(), 2);
}

#[tokio::test]
async fn update_releases_throttled_download() {
    let server = TestServer::start().await;
    let host = connect_with(&server, json!({})).await;
    store(&host, "a", 1, SIZE).await;
    update(&host, json!({"bandwidth_limit": SLOWEST})).await;
    let start = Instant::now();
    let params = json!({"target": "t1", "backup_id": "a", "up_to": SIZE, "progress_ms": 100});
    let mut download = host.start("backup.download", params).await.unwrap();
    wait_until_waiting_for_server(&mut download).await;
    update(&host, json!({"bandwidth_limit": null})).await;
    assert_eq!(download.response().await.unwrap()["length"], SIZE);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let (content, _) = fetch(&host, "a").await;
    assert!(content == RandomData::new(1, SIZE).bytes(content.len() + 1));
}

/// The shortest time for this many bytes at this rate: the last frame leaves when those before it
/// have had their time, minus the credit of an idle link.
fn shortest(bytes: u64, rate: u64) -> Duration {
    Duration::from_millis((bytes - (64 << 10)) * 1000 / rate - 100)
}

#[tokio::test]
async fn update_slows_running_transfer() {
    const RATE: u64 = 6 * MIB;
    let server = TestServer::start().await;
    let host = connect_with(&server, json!({"concurrency": 1})).await;
    let (source, mut writer) = tokio::io::duplex(64 << 10);
    let feeding = async {
        let mut data = RandomData::new(1, SIZE);
        writer.write_all(&data.bytes(usize::try_from(SIZE / 2).unwrap())).await.unwrap();
        update(&host, json!({"bandwidth_limit": RATE})).await;
        let start = Instant::now();
        writer.write_all(&data.bytes(usize::try_from(SIZE / 2).unwrap())).await.unwrap();
        drop(writer);
        start
    };
    let uploading = host.upload("t1", backup("a"), json!({"size": SIZE}), source);
    let (uploaded, start) = tokio::join!(uploading, feeding);
    uploaded.unwrap();
    assert!(start.elapsed() >= shortest(SIZE / 2, RATE), "{:?}", start.elapsed());

    update(&host, json!({"bandwidth_limit": null})).await;
    let params = json!({"target": "t1", "backup_id": "a", "up_to": 1000});
    let mut download = host.start("backup.download", params).await.unwrap();
    next(&mut download, "stream.data").await;
    // The first part has arrived; the others are fetched when there is credit for more.
    update(&host, json!({"bandwidth_limit": RATE})).await;
    let start = Instant::now();
    let credit = json!({"id": download.id, "up_to": SIZE});
    host.notify("stream.credit", credit, None).await.unwrap();
    download.response().await.unwrap();
    let rest = SIZE - DEFAULT_PART_SIZE;
    assert!(start.elapsed() >= shortest(rest, RATE), "{:?}", start.elapsed());
}

#[tokio::test]
async fn update_up_and_down_keeps_transfers_intact() {
    let server = TestServer::start().await;
    let host = connect_with(&server, json!({"memory": 32 * MIB})).await;
    let mut limits = [(256, 64), (32, 1), (96, 16), (40, 3), (64, 2), (33, 5)].into_iter().cycle();
    let mut change = move || {
        let (memory, parts) = limits.next().unwrap();
        json!({"memory": memory * MIB, "concurrency": parts})
    };
    let is_done = std::cell::Cell::new(false);
    let transfers = async {
        let stored = ["a", "b", "c"].map(|id| store(&host, id, 1, 40 * MIB));
        futures_util::future::join_all(stored).await;
        let fetched = ["a", "b", "c"].map(|id| fetch(&host, id));
        for (content, _) in futures_util::future::join_all(fetched).await {
            assert!(content == RandomData::new(1, 40 * MIB).bytes(content.len() + 1));
        }
        is_done.set(true);
    };
    let changes = async {
        let mut count = 0;
        while !is_done.get() {
            update(&host, change()).await;
            count += 1;
        }
        count
    };
    let ((), count) = tokio::join!(transfers, changes);
    assert!(count > 10, "{count} changes");
    // All memory was returned: two uploads fit side by side, and one that needs more does not.
    update(&host, json!({"memory": 32 * MIB, "concurrency": null})).await;
    tokio::join!(store(&host, "d", 2, SIZE), store(&host, "e", 3, SIZE));
    let (content, _) = fetch(&host, "e").await;
    assert!(content == RandomData::new(3, SIZE).bytes(content.len() + 1));
}

/// An upload that waits for memory.
async fn queued_upload(host: &Host, id: &str) -> Request {
    let params = json!({"target": "t1", "backup": backup(id), "size": SIZE, "progress_ms": 100});
    let mut upload = host.start("backup.upload", params).await.unwrap();
    while next(&mut upload, "progress").await.0["phase"] != "queued" {}
    upload
}

#[tokio::test]
async fn update_of_memory_admits_or_refuses_waiting_upload() {
    let server = TestServer::start().await;
    // Each upload takes 24 MiB, and the pool has 60.
    let settings = json!({"part_size": 20 * MIB, "memory": 80 * MIB});
    let host = connect_with(&server, settings).await;
    let mut begun = Vec::new();
    for id in ["a", "b"] {
        begun.push(begin_upload(&host, id, json!({"size": SIZE})).await);
    }
    let mut third = queued_upload(&host, "c").await;
    update(&host, json!({"memory": 92 * MIB})).await;
    let (credit, _) = next(&mut third, "stream.credit").await;
    begun.push((third, credit["up_to"].as_u64().unwrap()));

    // An upload that needs more than there is now does not wait forever.
    let larger = json!({"part_size": 40 * MIB, "memory": 80 * MIB});
    let mut config = server.config();
    config.as_object_mut().unwrap().extend(larger.as_object().unwrap().clone());
    host.call("target.open", json!({"target": "t1", "config": config})).await.unwrap();
    let (other, other_credit) = begin_upload(&host, "d", json!({"size": SIZE})).await;
    drop((other, other_credit));
    for (upload, credit) in begun {
        feed(&host, upload, credit, SIZE, async |_: &Value| {}).await.unwrap();
    }
    let mut waiting = queued_upload(&host, "e").await;
    update(&host, json!({"memory": 32 * MIB})).await;
    assert_eq!(code(waiting.response().await), "too_large");
    update(&host, json!({"memory": 120 * MIB})).await;
    store(&host, "f", 1, SIZE).await;
}

/// Every entry of a listing, page by page: how many backups, and how many that did not fit into
/// memory.
async fn listed(host: &Host) -> (usize, usize) {
    let (mut backups, mut without_room, mut cursor) = (0, 0, json!(null));
    loop {
        let params = json!({"target": "t1", "cursor": cursor});
        let page = host.call("backup.list", params).await.unwrap();
        let skipped = page["skipped"].as_array().unwrap();
        assert!(skipped.iter().all(|entry| entry["code"] == "too_large"), "{skipped:?}");
        backups += page["backups"].as_array().unwrap().len();
        without_room += skipped.len();
        cursor = page["next"].clone();
        if cursor.is_null() {
            return (backups, without_room);
        }
    }
}

#[tokio::test]
async fn update_of_memory_fits_more_entries_into_listing() {
    // 80 metadata objects of 30 kB do not fit into 2 MiB.
    let server = TestServer::embedded().await;
    for number in 0..80 {
        let id = format!("b{number}");
        let metadata = json!({"backup_id": id, "x": "y".repeat(30_000)}).to_string();
        server.put(&format!("backups/{id}.tar"), "x").await;
        server.put(&format!("backups/{id}.metadata.json"), metadata).await;
    }
    let host = connect_with(&server, json!({"memory": 32 * MIB})).await;
    let (backups, without_room) = listed(&host).await;
    assert!(without_room > 0 && backups + without_room == 80, "{backups}, {without_room}");
    // An earlier listing does not affect it.
    update(&host, json!({"memory": null})).await;
    assert_eq!(listed(&host).await, (80, 0));
    update(&host, json!({"memory": 32 * MIB})).await;
    let refresh = json!({"target": "t1", "refresh": true});
    host.call("backup.list", refresh).await.unwrap();
    assert_eq!(listed(&host).await, (backups, without_room));
}
