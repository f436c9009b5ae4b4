//! Coming back, while the target is open, for what could not be taken back at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Target;
use super::leftovers::{Again, settle};

/// Pause before the place of a target is looked at again for what was left there. It doubles each
/// time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Longest pause of all: somebody has to change the keys or bring back the storage, which takes time.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Shortest wait for something that is kept: its time goes by another clock than the wait.
const AT_LEAST: Duration = Duration::from_secs(1);

/// Number of the latest of the tasks that come back for one target; only that one goes on.
#[derive(Debug, Default)]
pub(super) struct Turns(AtomicU64);

/// Takes back in the background what was left at the place of a target, see [`settle`], until
/// nothing is left or the target is closed. Nobody has to wait for it.
pub fn tend(target: &Arc<Target>) {
    let turn = target.turns.0.fetch_add(1, Ordering::Relaxed) + 1;
    let target = Arc::downgrade(target);
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        while let Some(target) = target.upgrade() {
            let is_latest = target.turns.0.load(Ordering::Relaxed) == turn;
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
