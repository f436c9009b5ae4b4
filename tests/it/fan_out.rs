//! One read of a source, stored on two servers. In this process, so that the source can count how it is read.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use s3_backup_agent::error::CleanupOutcome;
use s3_backup_agent::jobs::fan_out;
use s3_backup_agent::ops::{Budget, Cancel, Cause, Source, Target, Upload};
use s3_backup_agent::progress::{Progress, Waiting};
use s3_backup_agent::protocol::{IfExists, NewBackup, UploadResult};
use s3_backup_agent::{Code, Error};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::connection::address;
use crate::connection::recorded_request::part;
use crate::connection::wire::{Act, Wire};
use crate::e2e::assert_empty;
use crate::link_faults::{FaultyLink, State};
use crate::random_data::RandomData;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;

/// More than the targets can have in memory.
const SIZE: u64 = 60 * MIB;

/// The memory of each target. All but 20 MiB is for the data of its upload.
const MEMORY: u64 = 48 * MIB;

/// Length of the pieces of a source. Not all parts end with one.
const PIECE: usize = 60_000;

/// What was seen of a source.
#[derive(Debug, Default)]
struct Seen {
    calls: AtomicUsize,
    bytes: AtomicU64,
    /// When it told its end or its error.
    end: OnceLock<Instant>,
    calls_after_end: AtomicUsize,
}

impl Seen {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Asserts that all bytes were read, and nothing was asked for afterwards.
    fn assert_read_once(&self, length: u64) {
        assert_eq!(self.bytes(), length);
        assert!(self.end.get().is_some());
        assert_eq!(self.calls_after_end.load(Ordering::Relaxed), 0);
    }

    /// Asserts that reading stopped before the end.
    fn assert_not_read_to_end(&self, length: u64) {
        assert!(self.bytes() < length, "{} bytes were read", self.bytes());
        assert!(self.end.get().is_none());
    }

    /// Waits until nothing has been read for a second.
    async fn standstill(&self) -> u64 {
        let (mut bytes, mut since) = (self.bytes(), Instant::now());
        while since.elapsed() < Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if self.bytes() != bytes {
                (bytes, since) = (self.bytes(), Instant::now());
            }
        }
        bytes
    }
}

/// How a source ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Whole,
    Fails,
    Panics,
}

/// A stop in the middle of a source.
#[derive(Clone, Debug, Default)]
struct Stop {
    at: u64,
    reached: Arc<Notify>,
    go: Arc<Notify>,
}

/// Random data that counts how it is read.
struct Counted {
    data: RandomData,
    seen: Arc<Seen>,
    stop: Option<Stop>,
    ending: Ending,
}

impl Counted {
    fn new(length: u64) -> Self {
        let data = RandomData::new(1, length);
        Self { data, seen: Arc::default(), stop: None, ending: Ending::Whole }
    }

    fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    fn stopping_at(mut self, at: u64) -> (Self, Stop) {
        let stop = Stop { at, ..Stop::default() };
        self.stop = Some(stop.clone());
        (self, stop)
    }
}

impl Source for Counted {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let seen = &self.seen;
        seen.calls.fetch_add(1, Ordering::Relaxed);
        if seen.end.get().is_some() {
            seen.calls_after_end.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(stop) = self.stop.take_if(|stop| seen.bytes() >= stop.at) {
            stop.reached.notify_one();
            stop.go.notified().await;
        }
        let piece = self.data.bytes(PIECE);
        seen.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if !piece.is_empty() {
            return Ok(Some(piece.into()));
        }
        seen.end.get_or_init(Instant::now);
        match self.ending {
            Ending::Whole => Ok(None),
            Ending::Fails => Err(Error::new(Code::SourceFailed, "the program failed")),
            Ending::Panics => panic!("a panic that was asked for"),
        }
    }
}

fn request(size: Option<u64>) -> Upload {
    Upload {
        backup: NewBackup { id: "b".into(), name: "Backup".into(), metadata: Default::default() },
        size,
        exact: true,
        if_exists: IfExists::Fail,
        retry_for: Duration::ZERO,
        resume: Duration::ZERO,
        beside: Vec::new(),
    }
}

fn retrying(retry_for: Duration) -> Upload {
    Upload { retry_for, ..request(Some(SIZE)) }
}

fn open(server: &TestServer, changes: Value) -> Arc<Target> {
    Target::open(server.target(changes), Budget::new(MEMORY), None).unwrap()
}

async fn servers() -> [TestServer; 2] {
    [TestServer::embedded().await, TestServer::embedded().await]
}

/// A fan-out to two targets that can be watched.
struct Run {
    targets: [Arc<Target>; 2],
    progress: [Progress; 2],
    cancel: Cancel,
}

impl Run {
    fn new(targets: [Arc<Target>; 2]) -> Self {
        Self { targets, progress: Default::default(), cancel: Cancel::default() }
    }

    /// Both servers without faults.
    fn plain(servers: &[TestServer; 2]) -> Self {
        Self::new([open(&servers[0], json!({})), open(&servers[1], json!({}))])
    }

    /// The second server has another endpoint.
    fn behind(servers: &[TestServer; 2], endpoint: String) -> Self {
        Self::new([open(&servers[0], json!({})), open(&servers[1], json!({"endpoint": endpoint}))])
    }

    async fn upload(&self, request: &Upload, mut source: Counted) -> [Outcome; 2] {
        let Self { targets, progress, cancel } = self;
        let results = fan_out(targets, request, &mut source, progress, cancel).await;
        results.try_into().unwrap()
    }
}

type Outcome = Result<UploadResult, Error>;

fn codes(results: &[Outcome; 2]) -> [Option<Code>; 2] {
    results.each_ref().map(|result| result.as_ref().err().map(Error::code))
}

/// Asserts that both failed with this code, and nothing is left on either server.
async fn assert_nowhere(servers: &[TestServer; 2], results: &[Outcome; 2], code: Code) {
    assert_eq!(codes(results), [Some(code), Some(code)], "{results:?}");
    for server in servers {
        assert_empty(server).await;
    }
}

async fn assert_whole(server: &TestServer, result: &Outcome, length: u64) {
    let backup = &result.as_ref().unwrap().backup;
    assert_eq!((backup.id.as_str(), backup.stored_size), ("b", length));
    assert_eq!(server.open_uploads().await, []);
    let objects = server.objects().await;
    assert_eq!(objects.len(), 2, "{objects:?}");
    let (key, _) = objects.iter().find(|(key, _)| key.ends_with(".tar")).unwrap();
    let content = server.get(key).await.unwrap();
    assert!(content == RandomData::new(1, length).bytes(content.len() + 1), "{key} differs");
}

/// A server that refuses all parts from this number on.
async fn refusing_parts_from(server: &TestServer, first: u32) -> Wire {
    let rule = move |head: &Parts| match part(&head.uri) {
        Some(number) if number >= first => Act::Answer(403, "AccessDenied"),
        _ => Act::Pass,
    };
    Wire::start(address(server), rule).await
}

async fn link_to(server: &TestServer) -> (FaultyLink, String) {
    let link = FaultyLink::start(address(server)).await;
    let endpoint = format!("http://{}", link.address);
    (link, endpoint)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fan_out_reads_once_and_stores_everywhere() {
    for length in [1, 3 * MIB, 20 * MIB, 33 * MIB + 5] {
        for size in [Some(length), None] {
            let servers = servers().await;
            let source = Counted::new(length);
            let seen = Arc::clone(&source.seen);
            let results = Run::plain(&servers).upload(&request(size), source).await;
            for (server, result) in servers.iter().zip(&results) {
                assert_whole(server, result, length).await;
            }
            seen.assert_read_once(length);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fan_out_without_refused_target_stores_on_the_other() {
    let servers = servers().await;
    let wrong = open(&servers[1], json!({"secret_access_key": "wrong"}));
    let run = Run::new([open(&servers[0], json!({})), wrong]);
    let source = Counted::new(SIZE);
    let seen = Arc::clone(&source.seen);
    let results = run.upload(&request(Some(SIZE)), source).await;
    assert_eq!(codes(&results), [None, Some(Code::InvalidCredentials)]);
    assert_whole(&servers[0], &results[0], SIZE).await;
    assert_empty(&servers[1]).await;
    seen.assert_read_once(SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fan_out_with_all_targets_refused_never_opens_source() {
    let servers = servers().await;
    let wrong = || json!({"secret_access_key": "wrong"});
    let run = Run::new([open(&servers[0], wrong()), open(&servers[1], wrong())]);
    let source = Counted::new(SIZE);
    let seen = Arc::clone(&source.seen);
    let results = run.upload(&request(None), source).await;
    assert_nowhere(&servers, &results, Code::InvalidCredentials).await;
    assert_eq!(seen.calls(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_that_fails_in_the_middle_is_cleaned_up_alone() {
    let servers = servers().await;
    let wire = refusing_parts_from(&servers[1], 3).await;
    let source = Counted::new(SIZE);
    let seen = Arc::clone(&source.seen);
    let run = Run::behind(&servers, wire.http());
    let results = run.upload(&request(Some(SIZE)), source).await;
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.code(), Code::AccessDenied);
    assert_eq!(error.data().cleanup, Some(CleanupOutcome::Complete));
    assert_whole(&servers[0], &results[0], SIZE).await;
    assert_empty(&servers[1]).await;
    seen.assert_read_once(SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_is_read_on_while_failed_target_is_cleaned_up() {
    let servers = servers().await;
    let rule = |head: &Parts| match part(&head.uri) {
        Some(2) => Act::Answer(403, "AccessDenied"),
        _ if head.method == Method::DELETE => Act::StallRequest,
        _ => Act::Pass,
    };
    let wire = Wire::start(address(&servers[1]), rule).await;
    let source = Counted::new(SIZE);
    let seen = Arc::clone(&source.seen);
    let run = Run::behind(&servers, wire.http());
    let results = run.upload(&request(Some(SIZE)), source).await;
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.code(), Code::AccessDenied);
    // The cleanup took all of its ten seconds.
    assert_eq!(error.data().cleanup, Some(CleanupOutcome::Pending));
    assert_whole(&servers[0], &results[0], SIZE).await;
    let since_end = seen.end.get().unwrap().elapsed();
    assert!(since_end > Duration::from_secs(3), "reading took until {since_end:?} before the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_targets_that_fail_in_the_middle_end_the_reading() {
    let servers = servers().await;
    let wires =
        [refusing_parts_from(&servers[0], 2).await, refusing_parts_from(&servers[1], 4).await];
    let endpoint = |at: usize| json!({"endpoint": wires[at].http()});
    let run = Run::new([open(&servers[0], endpoint(0)), open(&servers[1], endpoint(1))]);
    let source = Counted::new(4 * SIZE);
    let seen = Arc::clone(&source.seen);
    let results = run.upload(&request(None), source).await;
    assert_nowhere(&servers, &results, Code::AccessDenied).await;
    seen.assert_not_read_to_end(4 * SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_that_does_not_end_well_leaves_nothing_anywhere() {
    let announced = [None, Some(SIZE), Some(SIZE - 1), Some(SIZE + 1)];
    for (ending, size, code) in [
        (Ending::Fails, announced[0], Code::SourceFailed),
        (Ending::Fails, announced[1], Code::SourceFailed),
        (Ending::Panics, announced[1], Code::Internal),
        (Ending::Whole, announced[2], Code::LengthMismatch),
        (Ending::Whole, announced[3], Code::LengthMismatch),
    ] {
        let servers = servers().await;
        let source = Counted::new(SIZE).ending(ending);
        let results = Run::plain(&servers).upload(&request(size), source).await;
        assert_nowhere(&servers, &results, code).await;
        for result in &results {
            let cleanup = result.as_ref().unwrap_err().data().cleanup;
            assert_eq!(cleanup, Some(CleanupOutcome::Complete), "{ending:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_target_holds_the_others_within_its_memory() {
    let servers = servers().await;
    let (link, endpoint) = link_to(&servers[1]).await;
    let (source, stop) = Counted::new(2 * SIZE).stopping_at(20 * MIB);
    let seen = Arc::clone(&source.seen);
    let run = Run::behind(&servers, endpoint);
    let request = request(Some(2 * SIZE));
    let watching = async {
        stop.reached.notified().await;
        link.set(State::Silent);
        stop.go.notify_one();
        let read = seen.standstill().await;
        link.set(State::Working);
        read
    };
    let (results, read) = tokio::join!(run.upload(&request, source), watching);
    // The rest of its memory and no more: 28 MiB.
    assert!(read <= stop.at + MEMORY - 20 * MIB, "{} MiB were read", read / MIB);
    for (server, result) in servers.iter().zip(&results) {
        assert_whole(server, result, 2 * SIZE).await;
    }
    seen.assert_read_once(2 * SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_in_the_middle_leaves_nothing_anywhere() {
    let servers = servers().await;
    let (source, stop) = Counted::new(SIZE).stopping_at(30 * MIB);
    let seen = Arc::clone(&source.seen);
    let run = Run::plain(&servers);
    let request = request(Some(SIZE));
    let canceling = async {
        stop.reached.notified().await;
        // The source has nothing to give at the moment, and is not waited for.
        run.cancel.cancel(Cause::Requested(None));
    };
    let (results, ()) = tokio::join!(run.upload(&request, source), canceling);
    assert_nowhere(&servers, &results, Code::Cancelled).await;
    seen.assert_not_read_to_end(SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_that_returns_within_retry_for_is_waited_for() {
    let servers = servers().await;
    let (link, endpoint) = link_to(&servers[1]).await;
    let (source, stop) = Counted::new(SIZE).stopping_at(20 * MIB);
    let seen = Arc::clone(&source.seen);
    let run = Run::behind(&servers, endpoint);
    let request = retrying(Duration::from_secs(120));
    let interrupting = async {
        stop.reached.notified().await;
        link.set(State::Broken);
        stop.go.notify_one();
        let read = seen.standstill().await;
        assert!(read < SIZE, "the others did not wait");
        assert_eq!(run.progress[1].snapshot().waiting_for, Some(Waiting::Remote));
        link.set(State::Working);
    };
    let (results, ()) = tokio::join!(run.upload(&request, source), interrupting);
    for (server, result) in servers.iter().zip(&results) {
        assert_whole(server, result, SIZE).await;
    }
    assert!(run.progress[1].snapshot().retries > 0);
    seen.assert_read_once(SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_that_stays_away_is_given_up_after_retry_for() {
    let servers = servers().await;
    let (link, endpoint) = link_to(&servers[1]).await;
    let (source, stop) = Counted::new(SIZE).stopping_at(20 * MIB);
    let seen = Arc::clone(&source.seen);
    let run = Run::behind(&servers, endpoint);
    let request = retrying(Duration::from_secs(2));
    let interrupting = async {
        stop.reached.notified().await;
        link.set(State::Broken);
        stop.go.notify_one();
    };
    let (results, ()) = tokio::join!(run.upload(&request, source), interrupting);
    assert!(results[1].as_ref().is_err_and(|error| error.code().retryable()), "{results:?}");
    assert_whole(&servers[0], &results[0], SIZE).await;
    seen.assert_read_once(SIZE);
}
