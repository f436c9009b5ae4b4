//! What an agent has of the machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use s3_backup_agent::demo::host::Host;
use serde_json::json;

use crate::support;

/// The budget of an agent, in KiB, and what a build for tests needs beyond that: it counts for one
/// with optimizations.
const MOST_KIB: u64 = (96 + 32) << 10;

/// What the allocator may keep more at one time than at another, in KiB: blocks of all sizes lie in
/// one heap for each thread. A leak of a KiB for each request shows in a long run.
const PLAY_KIB: u64 = 16 << 10;

/// Connections that wait to be used again: less than there can be requests under way.
const MOST_SOCKETS: usize = 64;

/// Those of the runtime, and one for each file that it waits for at a time; these end when they had
/// nothing to do for ten seconds.
const MOST_THREADS: u64 = 64;

/// So long may it take until everything is closed that a request had open.
const PATIENCE: Duration = Duration::from_secs(60);

/// Figures of an agent that has nothing to do.
#[derive(Clone, Debug)]
pub(super) struct Vitals {
    memory_kib: u64,
    threads: u64,
    sockets: usize,
    /// What its other descriptors lead to, by kind.
    descriptors: BTreeMap<String, usize>,
}

impl Vitals {
    /// When it has the same descriptors as it had `before`.
    pub(super) async fn at_rest(host: &Host, before: Option<&Self>) -> Self {
        let watch = Instant::now();
        loop {
            let now = Self::of(host.pid().unwrap());
            if before.is_none_or(|before| before.descriptors == now.descriptors) {
                return now;
            }
            assert!(watch.elapsed() < PATIENCE, "{before:?} became {now:?}");
            host.call("ping", json!({})).await.unwrap();
        }
    }

    fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let figure = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let mut descriptors = BTreeMap::new();
        for entry in support::descriptors(pid) {
            // One that is closed meanwhile is gone.
            let Ok(end) = std::fs::read_link(entry) else { continue };
            let kind = end.to_string_lossy().split(':').next().unwrap().to_owned();
            *descriptors.entry(kind).or_default() += 1;
        }
        let sockets = descriptors.remove("socket").unwrap_or_default();
        Self { memory_kib: figure("VmRSS"), threads: figure("Threads"), sockets, descriptors }
    }
}

/// Nothing is more in the end than it was at first.
pub(super) fn assert_level(vitals: &[Vitals]) {
    let first = &vitals[..vitals.len().div_ceil(3)];
    let most = first.iter().map(|vitals| vitals.memory_kib).max().unwrap();
    for now in vitals {
        assert!(now.memory_kib < MOST_KIB, "{now:?}");
        assert!(now.sockets < MOST_SOCKETS, "{now:?}");
        assert!(now.threads < MOST_THREADS, "{now:?}");
    }
    let last = &vitals[vitals.len() - 1];
    assert!(last.memory_kib < most + PLAY_KIB, "{most} KiB became {last:?}");
}
