//! What each operation makes of each fault: its code, how often the request was made that met the
//! fault, and what is left in the bucket.
//!
//! The tables say what is expected; a run with `--nocapture` prints what was seen, as Markdown. Where
//! a storage takes a request and loses its answer, more than one outcome would do; the tables say
//! which one it is.

mod moments;
mod operation;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::request::Parts;

use self::operation::Operation;
use crate::connection::wire::{Act, Wire};
use crate::connection::{address, connect};
use crate::support::TestServer;

/// So long may an operation take that met a fault.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    /// To the first request that it can come to.
    Once,
    /// To each of them.
    Always,
    /// From the first of them on to whatever is asked.
    FromThenOn,
}

/// Runs an operation with a fault in its way. `matches` are the requests that it can come to.
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
            false if times == Times::FromThenOn && count.load(Ordering::Relaxed) > 0 => 1,
            false => return Act::Pass,
        };
        if before > 0 && times == Times::Once { Act::Pass } else { act.clone() }
    };
    let wire = Wire::start(address(&server), rule).await;
    let host = connect(&server, &wire).await;
    // Nothing may take for ever; this is far beyond what anything takes.
    let running = tokio::time::timeout(PATIENCE, operation.run(&host, stalls)).await;
    let outcome = running.unwrap_or_else(|_| "no end".to_owned());
    let met = met.load(Ordering::Relaxed);
    let left = operation.left(&server, outcome == "ok").await;
    format!("{outcome} {met}{left}")
}

/// One line of a table in Markdown.
fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    format!("| {} |", cells.into_iter().collect::<Vec<_>>().join(" | "))
}
