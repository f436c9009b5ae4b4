//! How much is transferred at the same time, and how fast.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use serde_json::json;
use tokio::sync::Barrier;

use super::recorded_request::{RecordedRequest, part};
use super::wire::{Act, Wire};
use super::{address, open};
use crate::e2e::{backup, fetch, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;

/// Whether a request sends a part or fetches one.
fn moves_a_part(head: &Parts) -> bool {
    part(&head.uri).is_some() || head.headers.contains_key("range")
}

fn most_in_flight(seen: &[RecordedRequest]) -> usize {
    seen.iter().map(|seen| seen.at_once).max().unwrap()
}

#[tokio::test]
async fn concurrency_limits_parts_in_flight() {
    for count in [1, 2] {
        let server = TestServer::embedded().await;
        let all_there = Arc::new(Barrier::new(count));
        let meet = move |head: &Parts| {
            if moves_a_part(head) { Act::AtBarrier(Arc::clone(&all_there)) } else { Act::Pass }
        };
        let wire = Wire::start(address(&server), meet).await;
        // The memory would allow eight.
        let changes = json!({"part_size": 5 * MIB, "concurrency": count});
        let host = open(&server, &wire.http(), changes, &[]).await.unwrap();
        store(&host, "b", 1, 40 * MIB).await;
        assert_eq!(most_in_flight(&wire.take_requests()), count, "up");
        let (content, _) = fetch(&host, "b").await;
        assert!(content == RandomData::new(1, 40 * MIB).bytes(content.len() + 1));
        assert_eq!(most_in_flight(&wire.take_requests()), count, "down");
    }
}

#[tokio::test]
async fn bandwidth_limit_applies_to_all_transfers_together() {
    const RATE: u64 = 512 << 10;
    const FRAME: u64 = 64 << 10;
    const SIZE: u64 = 512 << 10;
    let server = TestServer::embedded().await;
    let endpoint = server.config()["endpoint"].as_str().unwrap().to_owned();
    let host = open(&server, &endpoint, json!({"bandwidth_limit": RATE}), &[]).await.unwrap();
    // The last frame of the two may leave when those before it have had their time, minus the
    // credit of an idle link.
    let shortest = Duration::from_millis((2 * SIZE - FRAME) * 1000 / RATE - 100);
    let upload = |id, seed| {
        host.upload("t1", backup(id), json!({"size": SIZE}), RandomData::new(seed, SIZE))
    };
    let start = Instant::now();
    let (one, other) = tokio::join!(upload("a", 1), upload("b", 2));
    assert!(start.elapsed() >= shortest, "{:?}", start.elapsed());
    one.and(other).unwrap();
    let start = Instant::now();
    let ((one, _), (other, _)) = tokio::join!(fetch(&host, "a"), fetch(&host, "b"));
    assert!(start.elapsed() >= shortest, "{:?}", start.elapsed());
    assert!(one == RandomData::new(1, SIZE).bytes(one.len() + 1));
    assert!(other == RandomData::new(2, SIZE).bytes(other.len() + 1));
}
