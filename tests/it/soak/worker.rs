//! One of the workers that use the agent at the same time: each has its own backups, so that it
//! knows which must exist.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use s3_backup_agent::demo::host::{Answer, Event, Host};
use s3_backup_agent::protocol::ErrorObject;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use super::expected_backup::{ExpectedBackup, length};
use crate::random_data::RandomData;

const MIB: u64 = 1 << 20;

/// Most backups of one worker.
const MOST: usize = 6;

/// Longer than the pauses of four retries, and much shorter than the time to detect a stall.
const DEADLINE_MS: u64 = 6000;

/// The errors that a request may end with while there are faults.
const TRANSIENT: [&str; 6] = [
    "cannot_connect",
    "integrity_mismatch",
    "network_lost",
    "remote_error",
    "throttled",
    "timeout",
];

/// A source that fails when it is read.
struct Failing;

impl AsyncRead for Failing {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        _buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Other.into()))
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    number: u64,
    random: fastrand::Rng,
    begun: u64,
    pub(super) known: BTreeMap<String, ExpectedBackup>,
    /// Ids of deleted backups that can never come back.
    deleted: BTreeSet<String>,
    /// How often each operation ended in each outcome.
    outcomes: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

/// All outcomes of all workers.
pub(super) fn report(workers: &[Worker]) -> String {
    let mut all = BTreeMap::<_, BTreeMap<_, u64>>::new();
    for (what, outcomes) in workers.iter().flat_map(|worker| &worker.outcomes) {
        for (outcome, count) in outcomes {
            *all.entry(*what).or_default().entry(outcome).or_default() += count;
        }
    }
    let sum: u64 = all.values().flat_map(BTreeMap::values).sum();
    let lines = all.iter().map(|(what, outcomes)| format!("\n  {what}: {outcomes:?}"));
    format!("{sum} operations:{}", lines.collect::<String>())
}

impl Worker {
    pub(super) fn new(number: u64, seed: u64) -> Self {
        Self {
            number,
            random: fastrand::Rng::with_seed(seed),
            begun: 0,
            known: BTreeMap::new(),
            deleted: BTreeSet::new(),
            outcomes: BTreeMap::new(),
        }
    }

    /// Runs one operation after the other.
    pub(super) async fn work(&mut self, host: &Host, until: Instant) {
        while Instant::now() < until {
            let any = self.random_backup();
            match (self.random.u8(0..24), any) {
                (0..=4, _) if self.known.len() < MOST => self.upload(host).await,
                (5 | 6, Some(id)) => self.replace(host, id).await,
                (7..=9, Some(id)) => self.download(host, &id).await,
                (10..=12, Some(id)) => self.delete(host, id).await,
                (13, Some(id)) => self.verify(host, &id).await,
                (14 | 15, Some(id)) => self.get(host, &id).await,
                (16..=18, _) => self.list(host).await,
                (19, _) => self.upload_from_failing_source(host).await,
                (20, Some(id)) => self.cancel_download(host, &id).await,
                (21, _) => self.validate(host).await,
                (22, _) => self.cleanup(host).await,
                (23, _) => self.ask(host, "ping", json!({})).await.map(|_| ()).unwrap(),
                _ => {}
            }
        }
    }

    fn random_backup(&mut self) -> Option<String> {
        let number = self.random.usize(0..self.known.len().max(1));
        self.known.keys().nth(number).cloned()
    }

    /// A number that no other worker uses: of a backup, and of a content.
    fn new_number(&mut self) -> u64 {
        self.begun += 1;
        self.begun * 1000 + self.number * 16 + self.random.u64(0..16)
    }

    /// Parameters of a request, usually with enough time.
    fn params(&mut self, own: Value) -> Value {
        let mut params = json!({"target": "t1", "deadline_ms": DEADLINE_MS});
        if self.random.u8(0..10) == 0 {
            params["deadline_ms"] = json!(self.random.u64(1..1000));
        }
        params.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        params
    }

    fn count(&mut self, what: &'static str, outcome: &str) {
        *self.outcomes.entry(what).or_default().entry(outcome.to_owned()).or_default() += 1;
    }

    /// Counts an answer; an error must be a transient one, or this one.
    fn record(&mut self, what: &'static str, answer: &Answer, other: Option<&str>) {
        let code = match answer {
            Ok(_) => "ok",
            Err(error) => {
                let code = error.data.code.as_str();
                assert!(TRANSIENT.contains(&code) || other == Some(code), "{what}: {error:?}");
                code
            }
        };
        self.count(what, code);
    }

    async fn ask(&mut self, host: &Host, what: &'static str, own: Value) -> Answer {
        let params = self.params(own);
        let answer = host.call(what, params).await;
        self.record(what, &answer, None);
        answer
    }

    /// The same for a backup that may be missing.
    async fn ask_about(&mut self, host: &Host, what: &'static str, own: Value, id: &str) -> Answer {
        let mut params = self.params(own);
        params["backup_id"] = json!(id);
        let answer = host.call(what, params).await;
        self.record(what, &answer, self.missing(id));
        answer
    }

    /// The error code for a backup that may be missing.
    fn missing(&self, id: &str) -> Option<&'static str> {
        self.known[id].may_be_missing.then_some("not_found")
    }

    async fn store(
        &mut self,
        host: &Host,
        what: &'static str,
        (id, seed): (&str, u64),
        if_exists: &str,
        source: impl AsyncRead + Unpin,
    ) -> Answer {
        // Some uploads share one name.
        let name = if self.random.bool() { "Nightly" } else { id };
        let backup = json!({"id": id, "name": name, "metadata": {"backup_id": id, "seed": seed}});
        let mut own = json!({"if_exists": if_exists});
        if self.random.bool() {
            own["size"] = json!(length(seed));
        }
        if self.random.bool() {
            own["retry_for_ms"] = json!(60_000);
        }
        let params = self.params(own);
        let answer = host.upload("t1", backup, params, source).await;
        self.record(what, &answer, Some("cancelled"));
        if let Err(error) = &answer {
            let cleanup = serde_json::to_value(error.data.cleanup).unwrap();
            self.count("cleanup", cleanup.as_str().unwrap_or("none"));
        }
        answer
    }

    async fn upload(&mut self, host: &Host) {
        let seed = self.new_number();
        let id = format!("w{}-{seed}", self.number);
        let source = RandomData::new(seed, length(seed));
        let answer = self.store(host, "backup.upload", (&id, seed), "fail", source).await;
        match answer {
            Ok(_) => {
                self.known.insert(id, ExpectedBackup { seeds: vec![seed], may_be_missing: false });
            }
            Err(error) if leaves_nothing(&error) => {
                self.deleted.insert(id);
            }
            Err(_) => {
                self.known.insert(id, ExpectedBackup { seeds: vec![seed], may_be_missing: true });
            }
        }
    }

    async fn replace(&mut self, host: &Host, id: String) {
        if self.known[&id].may_be_missing || self.known[&id].seeds.len() > 1 {
            return;
        }
        let seed = self.new_number();
        let source = RandomData::new(seed, length(seed));
        let answer =
            self.store(host, "backup.upload, replace", (&id, seed), "replace", source).await;
        let known = self.known.get_mut(&id).unwrap();
        match answer {
            Ok(_) => known.seeds = vec![seed],
            Err(error) if leaves_nothing(&error) => {}
            Err(_) => known.seeds.push(seed),
        }
    }

    /// The source fails sooner or later.
    async fn upload_from_failing_source(&mut self, host: &Host) {
        let seed = self.new_number();
        let id = format!("w{}-{seed}", self.number);
        let bytes = self.random.u64(0..=length(seed));
        let source = RandomData::new(seed, bytes).chain(Failing);
        let what = "backup.upload, failing";
        let answer = self.store(host, what, (&id, seed), "fail", source).await;
        let error = answer.expect_err("the source failed");
        // It never had an end, so nothing of it can be complete.
        self.count("cleanup", if leaves_nothing(&error) { "nothing" } else { "something" });
        self.deleted.insert(id);
    }

    async fn download(&mut self, host: &Host, id: &str) {
        let known = self.known[id].clone();
        let shortest = known.seeds.iter().map(|seed| length(*seed)).min().unwrap();
        let (mut offset, mut what) = (0, "backup.download");
        if self.random.bool() {
            (offset, what) = (self.random.u64(0..=shortest), "backup.download, offset");
        }
        let params = self.params(json!({"offset": offset}));
        let mut content = Vec::new();
        let window = self.random.u64(1000..8 * MIB);
        let take = |bytes: &[u8]| content.extend_from_slice(bytes);
        let answer = host.download("t1", id, params, window, take).await;
        self.record(what, &answer, self.missing(id));
        assert!(known.allows(&content, offset), "{id}: {} bytes from {offset}", content.len());
        if let Ok(result) = answer {
            let length = content.len() as u64;
            assert_eq!(result, json!({"length": length, "verified": true}));
            assert!(known.has_length(offset + length), "{id}: {length} from {offset}");
        }
    }

    async fn cancel_download(&mut self, host: &Host, id: &str) {
        let params = self.params(json!({"backup_id": id, "up_to": self.begun * 7919 % (4 * MIB)}));
        let mut request = host.start("backup.download", params).await.unwrap();
        let mut pings = self.random.u8(0..8);
        while pings > 0 {
            self.ask(host, "ping", json!({})).await.unwrap();
            pings -= 1;
        }
        host.notify("cancel", json!({"id": request.id}), None).await.unwrap();
        let known = self.known[id].clone();
        let (mut content, what) = (Vec::new(), "backup.download, cancelled");
        let answer = loop {
            match request.next_event().await.unwrap() {
                Event::Response(answer) => break answer,
                Event::Notification { payload, .. } => content.extend(payload.unwrap_or_default()),
            }
        };
        assert!(known.allows(&content, 0), "{id}: {} bytes", content.len());
        match self.missing(id) {
            Some(code) if answer.as_ref().is_err_and(|error| error.data.code == code) => {
                self.count(what, code);
            }
            _ => self.record(what, &answer, Some("cancelled")),
        }
    }

    async fn delete(&mut self, host: &Host, id: String) {
        let was_sure = !self.known[&id].may_be_missing && self.known[&id].seeds.len() == 1;
        match self.ask_about(host, "backup.delete", json!({}), &id).await {
            Ok(_) if was_sure => {
                self.known.remove(&id);
                self.deleted.insert(id);
            }
            // Data in flight may arrive later.
            _ => self.known.get_mut(&id).unwrap().may_be_missing = true,
        }
    }

    async fn verify(&mut self, host: &Host, id: &str) {
        let level = if self.random.bool() { "full" } else { "quick" };
        let answer = self.ask_about(host, "backup.verify", json!({"level": level}), id).await;
        if let Ok(result) = answer {
            let expected = if level == "full" { "ok" } else { "unverified" };
            let may_be_half = self.known[id].may_be_missing && result["status"] == "damaged";
            assert!(result["status"] == expected || may_be_half, "{id}: {result}");
        }
    }

    async fn get(&mut self, host: &Host, id: &str) {
        if let Ok(result) = self.ask_about(host, "backup.get", json!({}), id).await {
            assert_eq!(result["backup"]["id"], id);
            let stored = result["backup"]["stored_size"].as_u64().unwrap();
            assert!(self.known[id].has_length(stored), "{result}");
        }
    }

    /// Every required backup of this worker exists, and no impossible one.
    async fn list(&mut self, host: &Host) {
        let refresh = self.random.bool();
        let page_size = self.random.u64(1..40);
        let (mut listed, mut cursor) = (BTreeSet::new(), Value::Null);
        loop {
            let mut own = json!({"page_size": page_size, "refresh": refresh});
            if !cursor.is_null() {
                own["cursor"] = cursor;
            }
            let Ok(page) = self.ask(host, "backup.list", own).await else { return };
            let ids = page["backups"].as_array().unwrap().iter();
            listed.extend(ids.map(|backup| backup["id"].as_str().unwrap().to_owned()));
            cursor = page["next"].clone();
            if cursor.is_null() {
                break;
            }
        }
        let lost =
            self.known.iter().find(|(id, known)| !known.may_be_missing && !listed.contains(*id));
        assert!(lost.is_none(), "{lost:?} is not among {listed:?}");
        let back = listed.iter().find(|id| self.deleted.contains(*id));
        assert!(back.is_none(), "{back:?} is there again");
    }

    async fn validate(&mut self, host: &Host) {
        let _ = self.ask(host, "target.validate", json!({})).await;
    }

    async fn cleanup(&mut self, host: &Host) {
        if let Ok(cleaned) = self.ask(host, "target.cleanup", json!({})).await {
            assert_eq!(cleaned, json!({"items": [], "more": false}));
        }
    }
}

/// Whether a failed upload has left nothing that could become a backup.
fn leaves_nothing(error: &ErrorObject) -> bool {
    let cleanup = serde_json::to_value(error.data.cleanup).unwrap();
    cleanup.is_null() || cleanup == "complete"
}
