//! Soak test: one agent works for a long time through faults of all kinds, with several requests at
//! once. The bucket matches the answers, and the agent does not grow.
//!
//! The test alternates between phases with faults and quiet phases in which everything is checked.
//! `SOAK_SECONDS` sets the duration, and the counts are printed; `SOAK_SEED` repeats the choices of
//! a run, but not its timing.

mod checkpoint;
mod expected_backup;
mod process_metrics;
mod random_faults;
mod worker;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use s3_backup_agent::demo::host::Host;
use serde_json::json;

use self::checkpoint::LateBackups;
use self::process_metrics::ProcessMetrics;
use self::random_faults::RandomFaults;
use self::worker::Worker;
use crate::connection::address;
use crate::connection::wire::Wire;
use crate::e2e::crash_cleanup::connect_to;
use crate::link_faults::{FaultyLink, State};
use crate::support::TestServer;

/// Requests that the host runs at the same time.
const WORKERS: u64 = 12;

/// The longest phase with faults.
const FAULT_PHASE: Duration = Duration::from_secs(30);

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// The server works while the test waits, or the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_under_faults_matches_answers_and_does_not_grow() {
    let total = Duration::from_secs(setting("SOAK_SECONDS").unwrap_or(8));
    let seed = setting("SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SOAK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let server = TestServer::embedded().await;
    let state = tempfile::tempdir().unwrap();
    let faults = RandomFaults::default();
    let wire = Wire::start(address(&server), faults.rule(random.u64(..))).await;
    let link = FaultyLink::start(wire.address).await;
    let mut config = server.config();
    config["endpoint"] = format!("http://{}", link.address).into();
    let mut host = connect_to(config, state.path()).await;
    let mut workers: Vec<_> =
        (0..WORKERS).map(|number| Worker::new(number, random.u64(..))).collect();
    let mut late_backups = LateBackups::default();
    let mut metrics: Vec<ProcessMetrics> = Vec::new();
    let start = Instant::now();
    while start.elapsed() < total || metrics.len() < 2 {
        faults.set_active(true);
        let length = (total / 2).min(FAULT_PHASE);
        let until = Instant::now() + length;
        tokio::join!(join_all(workers.iter_mut().map(|worker| worker.work(&host, until))), async {
            tokio::time::sleep(length).await;
            faults.set_active(false);
            // Stalled requests would stay stalled.
            link.set(State::Broken);
            link.set(State::Working);
        });
        checkpoint::check_bucket(&host, &server, &mut workers, &mut late_backups).await;
        metrics.push(ProcessMetrics::when_idle(&host, metrics.first()).await);
        wire.take_requests();
    }
    println!("{}", worker::report(&workers));
    println!("faults: {:?}; {} arrived late", faults.counts(), late_backups.arrived);
    println!("metrics: {:?} ... {:?}", metrics[0], metrics[metrics.len() - 1]);
    process_metrics::assert_stable(&metrics);
    checkpoint::delete_everything(&host, &server, &mut workers, &mut late_backups).await;
    end(&mut host).await;
}

/// No request runs any more.
async fn end(host: &mut Host) {
    let shutdown = host.call("shutdown", json!({"mode": "drain", "timeout_ms": 0})).await.unwrap();
    assert_eq!(shutdown, json!({"aborted": []}));
    host.close_stdin().await;
    assert_eq!(host.wait().await.unwrap().code(), Some(0));
}
