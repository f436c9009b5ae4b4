//! Agents that are killed at random moments of whatever they do: what was acknowledged is there, what
//! is listed is whole, and in the end nothing is left over.
//!
//! `KILLS` says how often; the counts are printed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use s3_backup_agent::demo::host::Host;
use serde_json::json;

use super::leftovers::{connect, kill, settled};
use super::{fetch, ids};
use crate::noise::Noise;
use crate::support::TestServer;

const SMALL: u64 = 200_000;
const LARGE: u64 = 22 << 20;

/// What is known of a backup: the seeds that its content may have, and whether it may be missing.
#[derive(Clone, Debug)]
struct Known {
    seeds: Vec<u64>,
    may_be_missing: bool,
}

/// What an agent is doing when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Upload,
    Replace,
    Download,
    Delete,
    List,
}

/// Large and small ones by turns.
fn length(seed: u64) -> u64 {
    if seed.is_multiple_of(3) { LARGE + seed } else { SMALL + seed }
}

async fn upload(host: &Host, id: &str, seed: u64, if_exists: &str) -> bool {
    let backup = json!({"id": id, "name": id, "metadata": {"seed": seed}});
    let options = json!({"size": length(seed), "if_exists": if_exists});
    host.upload("t1", backup, options, Noise::new(seed, length(seed))).await.is_ok()
}

/// Does the work; whether it came to a good end.
async fn work(host: &Host, work: Work, id: &str, seed: u64) -> bool {
    match work {
        Work::Upload => upload(host, id, seed, "fail").await,
        Work::Replace => upload(host, id, seed, "replace").await,
        Work::Download => host.download("t1", id, json!({}), 4 << 20, |_| {}).await.is_ok(),
        Work::Delete => {
            host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await.is_ok()
        }
        Work::List => {
            host.call("backup.list", json!({"target": "t1", "refresh": true})).await.is_ok()
        }
    }
}

/// Everything that is listed comes back whole and is what may be there; what must be there is. What
/// was on its way when its agent was killed may still come: `late` has the seeds of all of that.
async fn check(
    host: &Host,
    known: &mut BTreeMap<String, Known>,
    late: &BTreeMap<String, Vec<u64>>,
) -> usize {
    let listed = ids(host).await;
    for id in &listed {
        let mut seeds = known.get(id).map_or(Vec::new(), |known| known.seeds.clone());
        seeds.extend(late.get(id).into_iter().flatten());
        assert!(!seeds.is_empty(), "{id} is listed");
        let (content, result) = fetch(host, id).await;
        assert_eq!(result["verified"], true);
        let seed = seeds.into_iter().find(|seed| length(*seed) == content.len() as u64).unwrap();
        assert!(content == Noise::new(seed, length(seed)).bytes(content.len() + 1));
        known.insert(id.clone(), Known { seeds: vec![seed], may_be_missing: false });
    }
    for (id, known) in known.iter() {
        assert!(known.may_be_missing || listed.contains(id), "{id} is lost: {known:?}");
    }
    known.retain(|id, _| listed.contains(id));
    listed.len()
}

#[tokio::test]
async fn whatever_is_killed_nothing_is_lost_and_nothing_is_left() {
    let kills: u64 = std::env::var("KILLS").map_or(20, |count| count.parse().unwrap());
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let mut known = BTreeMap::<String, Known>::new();
    let mut late = BTreeMap::<String, Vec<u64>>::new();
    let mut counts = BTreeMap::<(Work, bool), u64>::new();
    let mut compared = 0;
    for seed in 1..=kills {
        let any = known.keys().nth(fastrand::usize(0..known.len().max(1))).cloned();
        let (what, id) = match (fastrand::u8(0..8), any) {
            (0, Some(id)) => (Work::Download, id),
            (1, _) => (Work::List, String::new()),
            (2 | 3, Some(id)) => (Work::Delete, id),
            (4, Some(id)) => (Work::Replace, id),
            _ => (Work::Upload, format!("b{seed}")),
        };
        let host = connect(&server, state.path()).await;
        // Most of them are over within that time; the larger ones are not.
        let most = if what == Work::Upload || what == Work::Replace { 400 } else { 60 };
        let pause = Duration::from_micros(fastrand::u64(0..most * 1000));
        let ended = tokio::select! {
            ended = work(&host, what, &id, seed) => Some(ended),
            () = tokio::time::sleep(pause) => None,
        };
        kill(host).await;
        *counts.entry((what, ended.is_some())).or_default() += 1;
        assert_ne!(ended, Some(false), "{what:?} of {id} failed");
        if ended.is_none() && matches!(what, Work::Upload | Work::Replace) {
            late.entry(id.clone()).or_default().push(seed);
        }
        match (what, ended) {
            (Work::Upload, _) => {
                let may_be_missing = ended.is_none();
                known.insert(id, Known { seeds: vec![seed], may_be_missing });
            }
            (Work::Replace, Some(_)) => known.get_mut(&id).unwrap().seeds = vec![seed],
            (Work::Replace, None) => known.get_mut(&id).unwrap().seeds.push(seed),
            (Work::Delete, Some(_)) => {
                known.remove(&id);
            }
            (Work::Delete, None) => known.get_mut(&id).unwrap().may_be_missing = true,
            (Work::Download | Work::List, _) => {}
        }
        let host = connect(&server, state.path()).await;
        settled(&host).await;
        compared += check(&host, &mut known, &late).await;
        while known.len() > 4 {
            let (id, _) = known.pop_first().unwrap();
            assert!(work(&host, Work::Delete, &id, 0).await, "{id}");
        }
    }
    let host = connect(&server, state.path()).await;
    let watch = Instant::now();
    while !(server.objects().await.is_empty() && server.open_uploads().await.is_empty()) {
        assert!(watch.elapsed() < Duration::from_secs(90), "{:?}", server.objects().await);
        settled(&host).await;
        compared += check(&host, &mut known, &late).await;
        while let Some((id, _)) = known.pop_first() {
            assert!(work(&host, Work::Delete, &id, 0).await, "{id}");
        }
    }
    println!("{kills} kills (work, whether it had ended): {counts:?}; {compared} backups compared");
}
