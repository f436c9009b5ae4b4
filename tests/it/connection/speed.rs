//! How much is transferred at the same time, and how fast.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use serde_json::json;
use tokio::sync::Barrier;

use super::seen::{Seen, part};
use super::wire::{Act, Wire};
use super::{address, open};
use crate::e2e::{backup, fetch, store};
use crate::noise::Noise;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;

/// Whether a request sends a part or fetches one.
fn moves_a_part(head: &Parts) -> bool {
    part(&head.uri).is_some() || head.headers.contains_key("range")
}

fn most_at_once(seen: &[Seen]) -> usize {
    seen.iter().map(|seen| seen.at_once).max().unwrap()
}

#[tokio::test]
async fn as_many_parts_as_wished_are_on_their_way() {
    for count in [1, 2] {
        let server = TestServer::embedded().await;
        let all_there = Arc::new(Barrier::new(count));
        let meet = move |head: &Parts| {
            if moves_a_part(head) { Act::Meet(Arc::clone(&all_there)) } else { Act::Pass }
        };
        let wire = Wire::start(address(&server), meet).await;
        // The memory would allow eight.
        let changes = json!({"part_size": 5 * MIB, "concurrency": count});
        let host = open(&server, &wire.http(), changes, &[]).await.unwrap();
        store(&host, "b", 1, 40 * MIB).await;
        assert_eq!(most_at_once(&wire.seen()), count, "up");
        let (content, _) = fetch(&host, "b").await;
        assert!(content == Noise::new(1, 40 * MIB).bytes(content.len() + 1));
        assert_eq!(most_at_once(&wire.seen()), count, "down");
    }
}

#[tokio::test]
async fn all_transfers_together_keep_to_the_rate() {
    const RATE: u64 = 512 << 10;
    const FRAME: u64 = 64 << 10;
    const SIZE: u64 = 512 << 10;
    let server = TestServer::embedded().await;
    let endpoint = server.config()["endpoint"].as_str().unwrap().to_owned();
    let host = open(&server, &endpoint, json!({"bandwidth_limit": RATE}), &[]).await.unwrap();
    // The last frame of the two may leave when those before it have had their time, minus the
    // credit of an idle link.
    let shortest = Duration::from_millis((2 * SIZE - FRAME) * 1000 / RATE - 100);
    let upload =
        |id, seed| host.upload("t1", backup(id), json!({"size": SIZE}), Noise::new(seed, SIZE));
    let start = Instant::now();
    let (one, other) = tokio::join!(upload("a", 1), upload("b", 2));
    assert!(start.elapsed() >= shortest, "{:?}", start.elapsed());
    one.and(other).unwrap();
    let start = Instant::now();
    let ((one, _), (other, _)) = tokio::join!(fetch(&host, "a"), fetch(&host, "b"));
    assert!(start.elapsed() >= shortest, "{:?}", start.elapsed());
    assert!(one == Noise::new(1, SIZE).bytes(one.len() + 1));
    assert!(other == Noise::new(2, SIZE).bytes(other.len() + 1));
}
