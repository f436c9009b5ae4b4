//! How many parts are in flight when the concurrency changes in the middle of a transfer.

use std::sync::Arc;

use http::request::Parts;
use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Barrier, watch};

use super::recorded_request::part;
use super::wire::{Act, Wire};
use super::{address, open};
use crate::e2e::streams::{begin_upload, feed, wait_until_waiting_for_server};
use crate::e2e::{backup, fetch};
use crate::random_data::RandomData;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;
const PART: u64 = 5 * MIB;

async fn set_concurrency(host: &Host, count: usize) {
    let params = json!({"target": "t1", "limits": {"concurrency": count}});
    host.call("target.update", params).await.unwrap();
}

/// Whether a request sends or fetches one of the first two parts.
fn moves_a_first_part(head: &Parts) -> bool {
    let range = head.headers.get("range").map(|range| range.to_str().unwrap().to_owned());
    let starts = ["bytes=0-".to_owned(), format!("bytes={PART}-")];
    part(&head.uri).is_some_and(|number| number <= 2)
        || range.is_some_and(|range| starts.iter().any(|start| range.starts_with(start)))
}

/// A wire on which the first two parts wait for each other, so that one alone makes no progress.
/// Reports how many of them have arrived.
async fn wire_with_part_barrier(server: &TestServer) -> (Wire, watch::Receiver<usize>) {
    let both = Arc::new(Barrier::new(2));
    let (tell, came) = watch::channel(0);
    let meet = move |head: &Parts| {
        if !moves_a_first_part(head) {
            return Act::Pass;
        }
        tell.send_modify(|count| *count += 1);
        Act::AtBarrier(Arc::clone(&both))
    };
    (Wire::start(address(server), meet).await, came)
}

#[tokio::test]
async fn update_raises_concurrency_during_transfer() {
    let server = TestServer::embedded().await;
    let (wire, came) = wire_with_part_barrier(&server).await;
    let changes = json!({"part_size": PART, "concurrency": 1});
    let host = open(&server, &wire.http(), changes, &[]).await.unwrap();
    let size = 8 * PART;
    let extra = json!({"size": size, "progress_ms": 100});
    let (upload, credit) = begin_upload(&host, "b", extra).await;
    feed(&host, upload, credit, size, async |report: &Value| {
        if report["waiting_for"] == "remote" {
            set_concurrency(&host, 2).await;
        }
    })
    .await
    .unwrap();
    // A request that waited too long would be sent again.
    assert_eq!(*came.borrow(), 2);
    set_concurrency(&host, 1).await;
    let params = json!({"target": "t1", "backup_id": "b", "up_to": size, "progress_ms": 100});
    let mut download = host.start("backup.download", params).await.unwrap();
    wait_until_waiting_for_server(&mut download).await;
    set_concurrency(&host, 2).await;
    download.response().await.unwrap();
    assert_eq!(*came.borrow(), 4);
    let (content, _) = fetch(&host, "b").await;
    assert!(content == RandomData::new(1, size).bytes(content.len() + 1));
}

#[tokio::test]
async fn update_lowers_concurrency_for_new_parts() {
    let server = TestServer::embedded().await;
    let (wire, mut came) = wire_with_part_barrier(&server).await;
    let changes = json!({"part_size": PART, "concurrency": 2});
    let host = open(&server, &wire.http(), changes, &[]).await.unwrap();
    let (source, mut writer) = tokio::io::duplex(1 << 20);
    let size = 8 * PART;
    let feeding = async {
        let mut data = RandomData::new(1, size);
        writer.write_all(&data.bytes(usize::try_from(2 * PART).unwrap())).await.unwrap();
        came.wait_for(|count| *count == 2).await.unwrap();
        set_concurrency(&host, 1).await;
        writer.write_all(&data.bytes(usize::try_from(size).unwrap())).await.unwrap();
        drop(writer);
    };
    let uploading = host.upload("t1", backup("b"), json!({"size": size}), source);
    let (uploaded, ()) = tokio::join!(uploading, feeding);
    uploaded.unwrap();
    let seen = wire.take_requests();
    let later = seen.iter().filter(|seen| part(&seen.uri).is_some_and(|number| number > 2));
    let at_once: Vec<_> = later.map(|seen| seen.at_once).collect();
    assert_eq!(at_once, [1; 6]);
}
