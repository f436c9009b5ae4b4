//! The operations that run while processes are killed, and the state that must exist afterwards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use s3_backup_agent::demo::host::{Answer, Host};
use serde_json::json;

use crate::e2e::crash_cleanup::wait_for_run_cleanup;
use crate::e2e::{fetch, ids};
use crate::random_data::RandomData;
use crate::support::TestServer;

const SMALL: u64 = 200_000;
const LARGE: u64 = 22 << 20;

/// Most backups that stay from one step to the next.
const KEPT: usize = 4;

/// The longest time for data in flight to arrive and to be cleaned up.
const TIME_LIMIT: Duration = Duration::from_secs(150);

/// What is known of a backup: the seeds that its content may have, and whether it may be missing.
#[derive(Clone, Debug)]
struct ExpectedBackup {
    seeds: Vec<u64>,
    may_be_missing: bool,
}

/// What an agent is doing when a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Upload,
    Replace,
    Download,
    Delete,
    List,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// Successfully, before the disruption.
    Before,
    /// Successfully, despite the disruption.
    Despite,
    /// With an error.
    Failed,
    /// Without an answer: the agent was killed.
    Killed,
}

/// One operation to run.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) work: Work,
    pub(crate) id: String,
    seed: u64,
    /// How long the agent may retry in the middle of it.
    retry_for_ms: u64,
}

impl Step {
    pub(crate) async fn run(&self, host: &Host) -> Answer {
        let Self { work, id, seed, retry_for_ms } = self;
        match work {
            Work::Upload | Work::Replace => {
                let if_exists = if *work == Work::Replace { "replace" } else { "fail" };
                let backup = json!({"id": id, "name": id, "metadata": {"seed": seed}});
                let options = json!({
                    "size": length(*seed), "if_exists": if_exists, "retry_for_ms": retry_for_ms
                });
                host.upload("t1", backup, options, RandomData::new(*seed, length(*seed))).await
            }
            Work::Download => {
                let options = json!({"retry_for_ms": retry_for_ms});
                host.download("t1", id, options, 4 << 20, |_| {}).await
            }
            Work::Delete => delete(host, id).await,
            Work::List => host.call("backup.list", json!({"target": "t1", "refresh": true})).await,
        }
    }
}

async fn delete(host: &Host, id: &str) -> Answer {
    host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await
}

/// Large and small ones alternate.
fn length(seed: u64) -> u64 {
    if seed.is_multiple_of(3) { LARGE + seed } else { SMALL + seed }
}

/// How often a process is killed: `KILLS`, or this default.
pub(crate) fn kills(default_count: u64) -> u64 {
    std::env::var("KILLS").map_or(default_count, |count| count.parse().unwrap())
}

/// All operations so far, and all backups that may exist because of them.
#[derive(Debug)]
pub(crate) struct History {
    /// Chooses the operations and the moments of disruption: from `KILLS_SEED`, or at random.
    pub(crate) random: fastrand::Rng,
    steps: u64,
    known: BTreeMap<String, ExpectedBackup>,
    /// Seeds of content that was in flight at a kill: it may arrive later.
    late: BTreeMap<String, Vec<u64>>,
    counts: BTreeMap<(Work, End), u64>,
    compared: usize,
}

impl History {
    pub(crate) fn new() -> Self {
        let seed = std::env::var("KILLS_SEED")
            .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
        println!("KILLS_SEED={seed}");
        Self {
            random: fastrand::Rng::with_seed(seed),
            steps: 0,
            known: BTreeMap::new(),
            late: BTreeMap::new(),
            counts: BTreeMap::new(),
            compared: 0,
        }
    }

    /// The next operation.
    pub(crate) fn next(&mut self) -> Step {
        self.steps += 1;
        let any = self.random.usize(0..self.known.len().max(1));
        let any = self.known.keys().nth(any).cloned();
        let (work, id) = match (self.random.u8(0..8), any) {
            (0, Some(id)) => (Work::Download, id),
            (1, _) => (Work::List, String::new()),
            (2 | 3, Some(id)) => (Work::Delete, id),
            (4, Some(id)) => (Work::Replace, id),
            _ => (Work::Upload, format!("b{}", self.steps)),
        };
        let retry_for_ms = if self.random.bool() { 60_000 } else { 0 };
        Step { work, id, seed: self.steps, retry_for_ms }
    }

    /// How long to let it run: up to about as long as it takes, rather less than more.
    pub(crate) fn pause(&mut self, step: &Step) -> Duration {
        let stores = matches!(step.work, Work::Upload | Work::Replace);
        let whole =
            Duration::from_millis(if stores && length(step.seed) > LARGE { 500 } else { 50 });
        whole.mul_f64(self.random.f64().powi(2))
    }

    /// Records how it ended.
    pub(crate) fn ended(&mut self, step: Step, end: End) {
        let Step { work, id, seed, .. } = step;
        *self.counts.entry((work, end)).or_default() += 1;
        let is_over = matches!(end, End::Before | End::Despite);
        if !is_over && matches!(work, Work::Upload | Work::Replace) {
            // A replaced backup shows again when the new one is deleted, if both exist.
            let old = self.known.get(&id).map_or(Vec::new(), |known| known.seeds.clone());
            let late = self.late.entry(id.clone()).or_default();
            late.extend(old.into_iter().chain([seed]));
        }
        match work {
            Work::Upload => {
                self.known
                    .insert(id, ExpectedBackup { seeds: vec![seed], may_be_missing: !is_over });
            }
            Work::Replace if is_over => self.known.get_mut(&id).unwrap().seeds = vec![seed],
            Work::Replace => self.known.get_mut(&id).unwrap().seeds.push(seed),
            Work::Delete if is_over => {
                self.known.remove(&id);
            }
            Work::Delete => self.known.get_mut(&id).unwrap().may_be_missing = true,
            Work::Download | Work::List => {}
        }
    }

    /// Every listed backup is intact and allowed, and every required backup exists. Content that
    /// was in flight at a kill may still arrive.
    pub(crate) async fn check(&mut self, host: &Host) {
        let listed = ids(host).await;
        for id in &listed {
            let mut seeds = self.known.get(id).map_or(Vec::new(), |known| known.seeds.clone());
            seeds.extend(self.late.get(id).into_iter().flatten());
            assert!(!seeds.is_empty(), "{id} is listed");
            let (content, result) = fetch(host, id).await;
            assert_eq!(result["verified"], true);
            let seed = seeds.into_iter().find(|seed| length(*seed) == content.len() as u64);
            let seed = seed.unwrap_or_else(|| panic!("{id} has {} bytes", content.len()));
            assert!(content == RandomData::new(seed, length(seed)).bytes(content.len() + 1));
            self.known
                .insert(id.clone(), ExpectedBackup { seeds: vec![seed], may_be_missing: false });
        }
        for (id, known) in &self.known {
            assert!(known.may_be_missing || listed.contains(id), "{id} is lost: {known:?}");
        }
        self.known.retain(|id, _| listed.contains(id));
        self.compared += listed.len();
    }

    /// Deletes the first ones, so that only a few stay.
    pub(crate) async fn delete_excess(&mut self, host: &Host) {
        self.keep(host, KEPT).await;
    }

    async fn keep(&mut self, host: &Host, most: usize) {
        while self.known.len() > most {
            let (id, _) = self.known.pop_first().unwrap();
            let deleted = delete(host, &id).await;
            assert!(deleted.is_ok(), "{id}: {deleted:?}");
        }
    }

    /// Deletes everything; after everything in flight has arrived, nothing may remain.
    pub(crate) async fn end(&mut self, host: &Host, server: &TestServer) {
        let watch = Instant::now();
        loop {
            wait_for_run_cleanup(host).await;
            self.check(host).await;
            self.keep(host, 0).await;
            let (objects, uploads) = (server.objects().await, server.open_uploads().await);
            if objects.is_empty() && uploads.is_empty() {
                break;
            }
            assert!(watch.elapsed() < TIME_LIMIT, "still stored: {objects:?}, {uploads:?}");
        }
    }
}

/// Printed on success and on failure.
impl Drop for History {
    fn drop(&mut self) {
        let Self { steps, counts, compared, .. } = self;
        println!("{steps} times: {counts:?}; {compared} backups compared");
    }
}
