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

use super::Target;
use super::leftovers::{Again, settle};

/// Longest that one turn takes. What is not done by then is left to the next one.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Records that one turn looks at.
pub(super) const MOST_RECORDS: usize = 32;

/// Multipart uploads of one archive that one turn looks at.
pub(super) const MOST_UPLOADS: usize = 100;

/// Pause before the place of a target is looked at again for what was left there. It doubles each
/// time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Longest pause of all: somebody has to change the keys or bring back the storage, which takes time.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Shortest wait for something that is kept: its time goes by another clock than the wait.
const AT_LEAST: Duration = Duration::from_secs(1);

/// The tasks in the background of one target.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Number of the latest of those that clean up; only that one goes on.
    latest: AtomicU64,
    is_refreshing: AtomicBool,
}

/// Takes back in the background what was left at the place of a target, see [`settle`], until
/// nothing is left or the target is closed. Nobody has to wait for it.
pub fn tend(target: &Arc<Target>) {
    let turn = target.turns.latest.fetch_add(1, Ordering::Relaxed) + 1;
    let target = Arc::downgrade(target);
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        while let Some(target) = target.upgrade() {
            let is_latest = target.turns.latest.load(Ordering::Relaxed) == turn;
            if !is_latest {
                return;
            }
            let wait = match settle(&target).await {
                Again::Never => return,
                Again::Soon => pause,
                Again::After(rest) => rest.max(AT_LEAST),
            };
            drop(target);
            tokio::time::sleep(wait).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    });
}

/// Reads the bucket in the background, so that the next listing is a new one.
pub(super) fn refresh(target: &Arc<Target>) {
    if target.turns.is_refreshing.swap(true, Ordering::AcqRel) {
        return;
    }
    let target = Arc::clone(target);
    tokio::spawn(async move {
        // Lowered on every way out, a panic in a listing included.
        let refreshing = Refreshing(&target.turns.is_refreshing);
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
