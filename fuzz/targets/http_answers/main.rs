//! Arbitrary answers over HTTP, through the connections, the pool and the parsers of the agent, to
//! every operation: it ends in time and with few requests, and reports what failed.
#![no_main]

mod bucket;
mod host;
mod plan;
mod server;

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use s3_backup_agent::net::fuzzing::install_server;
use tokio::time::timeout;

use crate::plan::{Plan, operations};
use crate::server::Server;

/// The longest time for an operation, in virtual time: each of the 64 answers of a plan may be a
/// body that the agent reads for five minutes.
const LIMIT: Duration = Duration::from_secs(12 * 3600);

/// Most requests of one operation. None has more than 16 calls here; each is made at most five
/// times, and a read with a broken connection four times as often. Most operations repeat both once
/// after an error.
const MOST_REQUESTS: usize = 400;

fuzz_target!(|input: &[u8]| {
    fastrand::seed(0);
    let plan = Plan::read(input);
    let (operation, settings) = (plan.operation, plan.settings);
    let server = Arc::new(Server::new(plan));
    install_server(Arc::clone(&server) as _);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let running = host::run(operations(operation), settings);
        let ended = timeout(LIMIT, running).await;
        assert!(ended.is_ok(), "{} does not end", operations(operation).method);
    });
    let requests = server.requests();
    assert!(requests <= MOST_REQUESTS, "{requests} requests");
});
