//! How each operation ends with each fault: its code, how often the affected request was made, and
//! what remains in the bucket.
//!
//! The tables contain the expected results; a run with `--nocapture` prints the actual ones as
//! Markdown. Where a server executes a request and its answer is lost, more than one outcome would
//! be acceptable; the tables say which one it is.

mod operation;
mod table;
mod upload_requests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::request::Parts;

use self::operation::Operation;
use crate::connection::wire::{Act, Wire};
use crate::connection::{address, connect};
use crate::support::TestServer;

/// The longest time for an operation that met a fault.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// How often a fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    /// For the first matching request.
    Once,
    /// For each of them.
    Always,
    /// From the first of them on, for every request.
    FromFirstOn,
}

/// Runs an operation with a fault. `matches` selects the requests that it can affect.
async fn run(
    operation: Operation,
    matches: impl Fn(&Parts) -> bool + Send + 'static,
    act: Act,
    times: Times,
) -> String {
    let stalls = matches!(act, Act::StallRequest | Act::StallAnswer(_));
    let server = TestServer::embedded().await;
    operation.prepare(&server).await;
    let met = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&met);
    let rule = move |head: &Parts| {
        let before = match matches(head) {
            true => count.fetch_add(1, Ordering::Relaxed),
            false if times == Times::FromFirstOn && count.load(Ordering::Relaxed) > 0 => 1,
            false => return Act::Pass,
        };
        if before > 0 && times == Times::Once { Act::Pass } else { act.clone() }
    };
    let wire = Wire::start(address(&server), rule).await;
    let host = connect(&server, &wire).await;
    // No operation may take forever; this is far longer than any of them takes.
    let running = tokio::time::timeout(TIME_LIMIT, operation.run(&host, stalls)).await;
    let outcome = running.unwrap_or_else(|_| "no end".to_owned());
    let met = met.load(Ordering::Relaxed);
    let left = operation.wrong_objects(&server, outcome == "ok").await;
    format!("{outcome} {met}{left}")
}

/// One line of a table in Markdown.
fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    format!("| {} |", cells.into_iter().collect::<Vec<_>>().join(" | "))
}
