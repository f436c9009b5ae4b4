//! Work in the background while a target is open, which nobody has asked for and nobody waits for:
//! cleaning up after uploads that were killed, and reading the bucket again behind a listing that was
//! given from the cache.
//!
//! The rule for all of it: one task of each kind at a time for each target; each turn ends within
//! [`LIMIT`] and looks at no more than [`MOST_RECORDS`] records with [`MOST_UPLOADS`] multipart uploads
//! each, or at one listing; between two turns of cleaning up lies a pause that doubles up to a quarter
//! of an hour; no turn begins once the target is closed, and all ends with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::orphans::{LIMIT, NextRun, clean_up, write};
use crate::journal::Record;
use crate::ops::Target;

/// Pause before the place of a target is looked at again for what was left there. It doubles each
/// time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Longest pause of all: somebody has to change the keys or bring back the storage, which takes time.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Shortest wait for something that is kept: its time goes by another clock than the wait.
const AT_LEAST: Duration = Duration::from_secs(1);

/// The tasks in the background of one target.
#[derive(Debug, Default)]
pub(in crate::ops) struct Background {
    /// Number of the latest of those that clean up; only that one goes on.
    latest: AtomicU64,
    is_refreshing: AtomicBool,
}

/// Takes back in the background what was left at the place of a target, see [`clean_up`], until
/// nothing is left or the target is closed. Nobody has to wait for it.
pub fn start_cleanup(target: &Arc<Target>) {
    let turn = target.background.latest.fetch_add(1, Ordering::Relaxed) + 1;
    let target = Arc::downgrade(target);
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        while let Some(target) = target.upgrade() {
            let is_latest = target.background.latest.load(Ordering::Relaxed) == turn;
            if !is_latest {
                return;
            }
            let wait = match clean_up(&target).await {
                NextRun::Never => return,
                NextRun::Soon => pause,
                NextRun::After(rest) => rest.max(AT_LEAST),
            };
            drop(target);
            tokio::time::sleep(wait).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    });
}

/// Reads the bucket in the background, so that the next listing is a new one.
pub(in crate::ops) fn refresh(target: &Arc<Target>) {
    if target.background.is_refreshing.swap(true, Ordering::AcqRel) {
        return;
    }
    let target = Arc::clone(target);
    tokio::spawn(async move {
        // Lowered on every way out, a panic in a listing included.
        let refreshing = Refreshing(&target.background.is_refreshing);
        match tokio::time::timeout(LIMIT, target.store.listing(false)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::info!(%error, "an old listing was given, and there is no new one");
            }
            Err(_) => tracing::info!("an old listing was given, and a new one takes too long"),
        }
        drop(refreshing);
    });
}

struct Refreshing<'a>(&'a AtomicBool);

impl Drop for Refreshing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Leaves a record to whoever goes on with it within this time; with zero it is to be taken back. Says
/// whether that could be noted.
pub(in crate::ops) async fn leave(
    target: &Arc<Target>,
    record: Arc<Record>,
    keep: Duration,
) -> bool {
    let left = write(record, move |record| {
        let kept = record.keep(keep);
        record.release();
        kept
    });
    let left = left.await;
    start_cleanup(target);
    left
}
