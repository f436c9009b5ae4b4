//! Soak test: one agent works for a long time through faults of all kinds, with several requests at
//! once. The bucket matches the answers, and the agent does not grow.
//!
//! The test alternates between phases with faults and quiet phases in which everything is checked.
//! `SOAK_SECONDS` sets the duration, and the counts are printed; `SOAK_SEED` repeats the choices of
//! a run, but not its timing.

mod checkpoint;
mod known;
mod storm;
mod vitals;
mod worker;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use s3_backup_agent::demo::host::Host;
use serde_json::json;

use self::checkpoint::Ghosts;
use self::storm::Storm;
use self::vitals::Vitals;
use self::worker::Worker;
use crate::cable::{Cable, State};
use crate::connection::address;
use crate::connection::wire::Wire;
use crate::e2e::leftovers::connect_to;
use crate::support::TestServer;

/// Requests that the host runs at the same time.
const WORKERS: u64 = 12;

/// The longest phase with faults.
const STORM: Duration = Duration::from_secs(30);

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// The server works while the test waits, or the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_the_bucket_is_what_was_answered_and_nothing_grows() {
    let total = Duration::from_secs(setting("SOAK_SECONDS").unwrap_or(8));
    let seed = setting("SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SOAK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let server = TestServer::embedded().await;
    let state = tempfile::tempdir().unwrap();
    let storm = Storm::default();
    let wire = Wire::start(address(&server), storm.rule(random.u64(..))).await;
    let cable = Cable::to(wire.address).await;
    let mut config = server.config();
    config["endpoint"] = format!("http://{}", cable.address).into();
    let mut host = connect_to(config, state.path()).await;
    let mut workers: Vec<_> =
        (0..WORKERS).map(|number| Worker::new(number, random.u64(..))).collect();
    let mut ghosts = Ghosts::default();
    let mut vitals: Vec<Vitals> = Vec::new();
    let start = Instant::now();
    while start.elapsed() < total || vitals.len() < 2 {
        storm.rage(true);
        let length = (total / 2).min(STORM);
        let until = Instant::now() + length;
        tokio::join!(join_all(workers.iter_mut().map(|worker| worker.work(&host, until))), async {
            tokio::time::sleep(length).await;
            storm.rage(false);
            // Stalled requests would stay stalled.
            cable.set(State::Cut);
            cable.set(State::Whole);
        });
        checkpoint::look(&host, &server, &mut workers, &mut ghosts).await;
        vitals.push(Vitals::at_rest(&host, vitals.first()).await);
        wire.seen();
    }
    println!("{}", worker::report(&workers));
    println!("faults: {:?}; {} came late", storm.counts(), ghosts.came);
    println!("vitals: {:?} ... {:?}", vitals[0], vitals[vitals.len() - 1]);
    vitals::assert_level(&vitals);
    checkpoint::empty(&host, &server, &mut workers, &mut ghosts).await;
    end(&mut host).await;
}

/// No request runs any more.
async fn end(host: &mut Host) {
    let shutdown = host.call("shutdown", json!({"mode": "drain", "timeout_ms": 0})).await.unwrap();
    assert_eq!(shutdown, json!({"aborted": []}));
    host.close_stdin().await;
    assert_eq!(host.wait().await.unwrap().code(), Some(0));
}
