//! Who may hold how many bytes: one budget for all transfers of a target.
//!
//! The formula: of `memory`, 20 MiB are set aside for the process itself (code,
//! runtime, connections, listings); the rest, but at least 24 MiB, is the pool for backup data. A
//! transfer first reserves what it needs to run at all, and waits in line until it gets that; it
//! then takes more from what is left, for one part and its connection at a time, to work on several
//! at once. What a download has fetched ahead for a host that does not take it is given up when
//! others wait.
//!
//! The budget may change at any time. A pool that grows has the new room at once. One that shrinks
//! takes nothing away from who holds it: what comes back is not given out again until the pool has its
//! new size, and who waits for more than that is refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::buffer_pool::{Pool, SpareGuard};
use crate::config::MIB;
use crate::error::{Code, Error, Result};

/// Set aside for the process itself.
const PROCESS: u64 = 20 * MIB;

/// What a connection takes beside the part that goes over it.
const CONNECTION: u64 = MIB / 2;

/// Smallest pool: one upload that may still become a single request, and its window.
const SMALLEST_POOL: u64 = 24 * MIB;

/// Bytes that a source may hold ready beside the part being filled.
pub const WINDOW: u64 = 4 * MIB;

/// What is counted: half a mebibyte.
const UNIT: u64 = MIB / 2;

/// The pool of one target.
#[derive(Debug)]
pub struct Budget {
    pool: Arc<Shared>,
    /// Bytes of the whole pool.
    size: watch::Sender<u64>,
    /// Transfers that wait in line.
    waiting: watch::Sender<usize>,
}

/// What reservations give back to.
#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    /// Permits that are out, and are not to be given out again since the pool has shrunk.
    owed: Mutex<usize>,
}

impl Shared {
    fn owed(&self) -> MutexGuard<'_, usize> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is owed out of what is free.
    fn settle(&self, owed: &mut usize) {
        if *owed > 0 {
            *owed -= self.free.forget_permits(*owed);
        }
    }
}

/// Bytes that may be held until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    permit: OwnedSemaphorePermit,
    pool: Arc<Shared>,
    _blocks: SpareGuard,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut owed = self.pool.owed();
        let lost = self.permit.num_permits().min(*owed);
        // First, as those who wait have what is free at once.
        if let Some(lost) = self.permit.split(lost) {
            *owed -= lost.num_permits();
            lost.forget();
        }
        // The rest, before the size can change again.
        let rest = self.permit.num_permits();
        drop(self.permit.split(rest));
    }
}

fn pool_of(memory_budget: u64) -> u64 {
    memory_budget.saturating_sub(PROCESS).max(SMALLEST_POOL) / UNIT * UNIT
}

fn all_permits(size: u64) -> usize {
    let permits = usize::try_from(size / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
    permits.min(Semaphore::MAX_PERMITS)
}

impl Budget {
    /// A budget within `memory` bytes for the whole process.
    #[must_use]
    pub fn new(memory: u64) -> Self {
        let size = pool_of(memory);
        let free = Arc::new(Semaphore::new(all_permits(size)));
        Self {
            pool: Arc::new(Shared { free, owed: Mutex::default() }),
            size: watch::Sender::new(size),
            waiting: watch::Sender::new(0),
        }
    }

    /// Makes the pool that of another budget.
    pub(super) fn resize(&self, memory_budget: u64) {
        let size = pool_of(memory_budget);
        let mut owed = self.pool.owed();
        let (before, after) = (all_permits(self.size.send_replace(size)), all_permits(size));
        let more = after.saturating_sub(before);
        let kept = more.min(*owed);
        *owed = *owed - kept + before.saturating_sub(after);
        self.pool.free.add_permits(more - kept);
        self.pool.settle(&mut owed);
    }

    fn given(&self, permit: OwnedSemaphorePermit) -> Reservation {
        let pool = Arc::clone(&self.pool);
        Reservation { permit, pool, _blocks: Pool::of_process().keep_spare() }
    }

    /// Waits in line for `bytes`.
    ///
    /// # Errors
    /// `too_large` when the whole pool has less, or comes to have less.
    pub(super) async fn reserve(&self, bytes: u64) -> Result<Reservation> {
        let mut size = self.size.subscribe();
        let too_small = async { size.wait_for(|size| *size < bytes).await.map(|size| *size) };
        let _in_line = InLine::new(self);
        let free = Arc::clone(&self.pool.free);
        // A pool that changes takes nobody's place in line.
        tokio::select! {
            biased;
            Ok(size) = too_small => Err(too_large(bytes, size)),
            permit = free.acquire_many_owned(permits(bytes)) => match permit {
                Ok(permit) => Ok(self.given(permit)),
                Err(_) => Err(Error::new(Code::ShuttingDown, "the agent is ending")),
            },
        }
    }

    /// Ends as soon as some transfer waits in line.
    pub(super) async fn wanted(&self) {
        // The sender lives as long as the budget.
        let _ = self.waiting.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Takes what a part of `bytes` needs on a connection of its own, if that is free and nobody waits.
    pub(super) fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        let needed = permits(bytes.saturating_add(CONNECTION));
        let permit = Arc::clone(&self.pool.free).try_acquire_many_owned(needed).ok()?;
        Some(self.given(permit))
    }
}

fn too_large(bytes: u64, size: u64) -> Error {
    let needed = bytes.div_ceil(MIB) * MIB + PROCESS;
    let message =
        format!("the parts of this backup need a memory budget of {needed} bytes: raise it");
    Error::new(Code::TooLarge, message)
        .field("memory")
        .detail("limit", size + PROCESS)
        .detail("needed", needed)
}

/// Counts somebody who waits, for as long as it lives.
struct InLine<'a>(&'a Budget);

impl<'a> InLine<'a> {
    fn new(budget: &'a Budget) -> Self {
        budget.waiting.send_modify(|count| *count += 1);
        Self(budget)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let Budget { pool, waiting, .. } = self.0;
        waiting.send_modify(|count| *count = count.saturating_sub(1));
        // Who gives up may have had a part of it already.
        pool.settle(&mut pool.owed());
    }
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::{FutureExt as _, poll};

    use super::*;

    /// A pool of so many mebibytes.
    fn budget(pool: u64) -> Budget {
        Budget::new(pool * MIB + PROCESS)
    }

    fn resize(budget: &Budget, pool: u64) {
        budget.resize(pool * MIB + PROCESS);
    }

    /// Mebibytes that are free, and those that are owed.
    fn free(budget: &Budget) -> (u64, u64) {
        let mib = |permits| permits as u64 * UNIT / MIB;
        (mib(budget.pool.free.available_permits()), mib(*budget.pool.owed()))
    }

    fn take(budget: &Budget, mib: u64) -> Reservation {
        budget.reserve(mib * MIB).now_or_never().unwrap().unwrap()
    }

    #[tokio::test]
    async fn memory_pool_grows_at_once() {
        let budget = budget(30);
        let _held = take(&budget, 30);
        let mut waiting = Box::pin(budget.reserve(20 * MIB));
        assert!(poll!(waiting.as_mut()).is_pending());
        resize(&budget, 60);
        let _more = waiting.now_or_never().unwrap().unwrap();
        assert_eq!(free(&budget), (10, 0));
        let refused = budget.reserve(61 * MIB).now_or_never().unwrap();
        assert_eq!(refused.unwrap_err().code(), Code::TooLarge);
    }

    #[test]
    fn memory_pool_shrinks_as_memory_is_returned() {
        let budget = budget(60);
        let (one, two) = (take(&budget, 25), take(&budget, 25));
        resize(&budget, 30);
        assert_eq!(free(&budget), (0, 20));
        assert!(budget.try_reserve(0).is_none());
        drop(one);
        assert_eq!(free(&budget), (5, 0));
        drop(two);
        assert_eq!(free(&budget), (30, 0));
    }

    #[test]
    fn memory_pool_resized_repeatedly_ends_at_the_right_size() {
        let budget = budget(24);
        let mut held = VecDeque::new();
        for step in 0..1000_u64 {
            let pools = [24, 100, 31, 64, 24, 47];
            resize(&budget, pools[usize::try_from(step).unwrap() % pools.len()]);
            if step % 3 > 0
                && let Some(Ok(reservation)) = budget.reserve((step % 5 + 1) * MIB).now_or_never()
            {
                held.push_back(reservation);
            }
            if step % 7 > 2 {
                held.pop_front();
            }
        }
        assert!(!held.is_empty());
        held.clear();
        assert_eq!(free(&budget), (64, 0));
        resize(&budget, 50);
        assert_eq!(free(&budget), (50, 0));
        budget.resize(u64::MAX);
        resize(&budget, 24);
        assert_eq!(free(&budget), (24, 0));
    }

    #[tokio::test]
    async fn memory_request_larger_than_the_shrunk_pool_is_refused() {
        let budget = budget(60);
        let held = take(&budget, 20);
        // Has 40 of its 50 already.
        let mut large = Box::pin(budget.reserve(50 * MIB));
        let mut small = Box::pin(budget.reserve(24 * MIB));
        assert!(poll!(large.as_mut()).is_pending() && poll!(small.as_mut()).is_pending());
        resize(&budget, 24);
        let refused = large.await.unwrap_err();
        assert_eq!(refused.code(), Code::TooLarge);
        assert_eq!(refused.data().field.as_deref(), Some("memory"));
        drop(held);
        drop(small.now_or_never().unwrap().unwrap());
        assert_eq!(free(&budget), (24, 0));
    }
}
