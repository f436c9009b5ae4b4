//! Resources that an agent process uses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use s3_backup_agent::demo::host::Host;
use serde_json::json;

use crate::support;

/// The memory setting of an agent, in KiB, and what a test build needs in addition: the setting
/// applies to optimized builds.
const MOST_KIB: u64 = (96 + 32) << 10;

/// The difference in retained memory between two moments that the allocator may cause, in KiB:
/// buffers of all sizes share one heap for each thread. A leak of a KiB for each request shows in a
/// long run.
const ALLOWED_GROWTH_KIB: u64 = 16 << 10;

/// Idle connections that wait for reuse: less than the number of possible parallel requests.
const MOST_SOCKETS: usize = 64;

/// The threads of the runtime, and one for each concurrent file operation; these end after ten idle
/// seconds.
const MOST_THREADS: u64 = 64;

/// The longest time until everything that a request opened is closed.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Metrics of an idle agent.
#[derive(Clone, Debug)]
pub(super) struct ProcessMetrics {
    memory_kib: u64,
    threads: u64,
    sockets: usize,
    /// The targets of its other descriptors, by kind.
    descriptors: BTreeMap<String, usize>,
}

impl ProcessMetrics {
    /// When it has the same descriptors as `before`.
    pub(super) async fn when_idle(host: &Host, before: Option<&Self>) -> Self {
        let watch = Instant::now();
        loop {
            let now = Self::of(host.pid().unwrap());
            if before.is_none_or(|before| before.descriptors == now.descriptors) {
                return now;
            }
            assert!(watch.elapsed() < TIME_LIMIT, "{before:?} became {now:?}");
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
            // A descriptor that was closed in the meantime is missing.
            let Ok(end) = std::fs::read_link(entry) else { continue };
            let kind = end.to_string_lossy().split(':').next().unwrap().to_owned();
            *descriptors.entry(kind).or_default() += 1;
        }
        let sockets = descriptors.remove("socket").unwrap_or_default();
        Self { memory_kib: figure("VmRSS"), threads: figure("Threads"), sockets, descriptors }
    }
}

/// No metric is higher at the end than at the start.
pub(super) fn assert_stable(metrics: &[ProcessMetrics]) {
    let first = &metrics[..metrics.len().div_ceil(3)];
    let most = first.iter().map(|metrics| metrics.memory_kib).max().unwrap();
    for now in metrics {
        assert!(now.memory_kib < MOST_KIB, "{now:?}");
        assert!(now.sockets < MOST_SOCKETS, "{now:?}");
        assert!(now.threads < MOST_THREADS, "{now:?}");
    }
    let last = &metrics[metrics.len() - 1];
    assert!(last.memory_kib < most + ALLOWED_GROWTH_KIB, "{most} KiB became {last:?}");
}
