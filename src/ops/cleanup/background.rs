//! Background work while a target is open: cleanup of interrupted uploads, and refreshing a listing
//! that was served from the cache.
//!
//! Limits: for each target, one task of each kind at a time. A cleanup run takes at most [`LIMIT`]
//! and handles at most [`MAX_RECORDS`] records with [`MAX_UPLOADS`] multipart uploads each; a
//! refresh reads one listing. The pause between two cleanup runs doubles, up to 15 minutes. No run
//! begins after the target is closed, and the tasks end with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::orphans::{LIMIT, NextRun, append, clean_up};
use crate::journal::Record;
use crate::ops::Target;

/// Pause after the first cleanup run. It doubles with each run, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Longest pause: new access keys or a server that returns take time.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Shortest wait for a kept upload: its expiry and the wait use different clocks.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The background tasks of one target.
#[derive(Debug, Default)]
pub(in crate::ops) struct Background {
    /// Number of the latest cleanup task; older ones stop.
    latest: AtomicU64,
    is_refreshing: AtomicBool,
}

/// Starts the cleanup of interrupted uploads of a target, see [`clean_up`]. It runs until nothing
/// is left or the target is closed, and replaces an earlier task of the target.
pub fn start_cleanup(target: &Arc<Target>) {
    let run = target.background.latest.fetch_add(1, Ordering::Relaxed) + 1;
    let target = Arc::downgrade(target);
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        while let Some(target) = target.upgrade() {
            let is_latest = target.background.latest.load(Ordering::Relaxed) == run;
            if !is_latest {
                return;
            }
            let wait = match clean_up(&target).await {
                NextRun::Never => return,
                NextRun::Soon => pause,
                NextRun::After(rest) => rest.max(SHORTEST_PAUSE),
            };
            drop(target);
            tokio::time::sleep(wait).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    });
}

/// Refreshes the listing of a target in the background.
pub(in crate::ops) fn refresh(target: &Arc<Target>) {
    if target.background.is_refreshing.swap(true, Ordering::AcqRel) {
        return;
    }
    let target = Arc::clone(target);
    tokio::spawn(async move {
        // Reset on every exit, including a panic in the listing.
        let refreshing = Refreshing(&target.background.is_refreshing);
        match tokio::time::timeout(LIMIT, target.store.listing(false)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::info!(%error, "the cached listing was used, and cannot be refreshed");
            }
            Err(_) => {
                tracing::info!("the cached listing was used, and refreshing it takes too long")
            }
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

/// Releases a record: for `keep`, another upload can resume from it; with zero it is due for
/// cleanup. Returns whether the record could be written.
pub(in crate::ops) async fn release(
    target: &Arc<Target>,
    record: Arc<Record>,
    keep: Duration,
) -> bool {
    let left = append(record, move |record| {
        let kept = record.keep(keep);
        record.release();
        kept
    });
    let left = left.await;
    start_cleanup(target);
    left
}
