//! Memory budget shared by the transfers of a target.
//!
//! 20 MiB of `memory` are set aside for the process (code, runtime, connections, listings). The
//! rest, at least 24 MiB, is the pool for backup data. Each transfer first waits in a queue for the
//! minimum that it needs; then it takes more for parallel parts, one part and its connection at a
//! time, if the pool has free memory. A download gives up the parts that it has prefetched for a
//! slow host when other transfers wait.
//!
//! The budget can change at any time. A pool that grows has the memory at once. A pool that shrinks
//! revokes nothing: returned memory is withheld until the pool has its new size, and a waiting
//! transfer that needs more than that fails.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::buffer_pool::{Pool, SpareGuard};
use crate::config::MIB;
use crate::error::{Code, Error, Result};

/// Set aside for the process, in bytes.
const PROCESS: u64 = 20 * MIB;

/// Memory of a connection, besides its part.
const CONNECTION: u64 = MIB / 2;

/// Smallest pool: one upload that may still become a single request, and its window.
const SMALLEST_POOL: u64 = 24 * MIB;

/// Bytes that a source may have ready besides the part being filled.
pub const WINDOW: u64 = 4 * MIB;

/// Bytes of one permit.
const UNIT: u64 = MIB / 2;

/// The pool of one target.
#[derive(Debug)]
pub struct Budget {
    pool: Arc<Shared>,
    /// Size of the pool in bytes.
    size: watch::Sender<u64>,
    /// Number of transfers in the queue.
    waiting: watch::Sender<usize>,
}

/// State that reservations share with the pool.
#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    /// Permits in use that are not returned to the pool, because the pool has shrunk.
    owed: Mutex<usize>,
}

impl Shared {
    fn owed(&self) -> MutexGuard<'_, usize> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Withholds owed permits from the free ones.
    fn withhold(&self, owed: &mut usize) {
        if *owed > 0 {
            *owed -= self.free.forget_permits(*owed);
        }
    }
}

/// Reserved memory; dropping it returns it to the pool.
#[derive(Debug)]
pub(super) struct Reservation {
    permit: OwnedSemaphorePermit,
    pool: Arc<Shared>,
    _blocks: SpareGuard,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut owed = self.pool.owed();
        let withheld = self.permit.num_permits().min(*owed);
        // Before the rest, because waiting transfers take free permits at once.
        if let Some(withheld) = self.permit.split(withheld) {
            *owed -= withheld.num_permits();
            withheld.forget();
        }
        // Before the size can change again.
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

/// The memory for each of several targets that share `memory` bytes, so that their pools together fit into it.
/// Shares, and not one pool: two transfers that wait for each other must never wait for each other's memory.
///
/// # Errors
/// `too_large` when there is not enough for the smallest pools.
pub fn share(memory: u64, targets: usize) -> Result<u64> {
    let targets = targets.max(1) as u64;
    if targets == 1 {
        return Ok(memory);
    }
    let needed = targets.saturating_mul(SMALLEST_POOL).saturating_add(PROCESS);
    if memory < needed {
        let message = format!("{targets} targets need {} of memory", mebibytes(needed));
        return Err(Error::new(Code::TooLarge, message)
            .hint(format!("raise memory to {}, or name fewer targets", mebibytes(needed)))
            .field("memory")
            .detail("limit", memory)
            .detail("needed", needed));
    }
    Ok(PROCESS + (memory - PROCESS) / targets / UNIT * UNIT)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes / MIB)
}

impl Budget {
    /// A budget of `memory` bytes for the whole process.
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

    /// Changes the size to that of a budget of `memory_budget` bytes.
    pub(super) fn resize(&self, memory_budget: u64) {
        let size = pool_of(memory_budget);
        let mut owed = self.pool.owed();
        let (before, after) = (all_permits(self.size.send_replace(size)), all_permits(size));
        let more = after.saturating_sub(before);
        let kept = more.min(*owed);
        *owed = *owed - kept + before.saturating_sub(after);
        self.pool.free.add_permits(more - kept);
        self.pool.withhold(&mut owed);
    }

    fn reservation(&self, permit: OwnedSemaphorePermit) -> Reservation {
        let pool = Arc::clone(&self.pool);
        Reservation { permit, pool, _blocks: Pool::of_process().keep_spare() }
    }

    /// Waits in the queue for `bytes`.
    ///
    /// # Errors
    /// `too_large` when the pool is smaller, or becomes smaller while waiting.
    pub(super) async fn reserve(&self, bytes: u64) -> Result<Reservation> {
        let mut size = self.size.subscribe();
        let too_small = async { size.wait_for(|size| *size < bytes).await.map(|size| *size) };
        let _queued = Queued::new(self);
        let free = Arc::clone(&self.pool.free);
        // The position in the queue is kept when the size changes.
        tokio::select! {
            biased;
            Ok(size) = too_small => Err(too_large(bytes, size)),
            permit = free.acquire_many_owned(permits(bytes)) => match permit {
                Ok(permit) => Ok(self.reservation(permit)),
                Err(_) => Err(Error::new(Code::ShuttingDown, "the agent is shutting down")),
            },
        }
    }

    /// Completes when a transfer waits in the queue.
    pub(super) async fn wanted(&self) {
        // The sender lives as long as the budget.
        let _ = self.waiting.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Reserves memory for a part of `bytes` and its connection, if it is free and no transfer
    /// waits.
    pub(super) fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        let needed = permits(bytes.saturating_add(CONNECTION));
        let permit = Arc::clone(&self.pool.free).try_acquire_many_owned(needed).ok()?;
        Some(self.reservation(permit))
    }
}

fn too_large(bytes: u64, size: u64) -> Error {
    let needed = bytes.div_ceil(MIB) * MIB + PROCESS;
    let message = format!("the parts of this backup need {needed} bytes of memory");
    Error::new(Code::TooLarge, message)
        .hint("raise memory")
        .field("memory")
        .detail("limit", size + PROCESS)
        .detail("needed", needed)
}

/// Counts a transfer in the queue until dropped.
struct Queued<'a>(&'a Budget);

impl<'a> Queued<'a> {
    fn new(budget: &'a Budget) -> Self {
        budget.waiting.send_modify(|count| *count += 1);
        Self(budget)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let Budget { pool, waiting, .. } = self.0;
        waiting.send_modify(|count| *count = count.saturating_sub(1));
        // A waiting transfer that gives up may have held some permits.
        pool.withhold(&mut pool.owed());
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

    /// A budget with a pool of `pool` MiB.
    fn budget(pool: u64) -> Budget {
        Budget::new(pool * MIB + PROCESS)
    }

    fn resize(budget: &Budget, pool: u64) {
        budget.resize(pool * MIB + PROCESS);
    }

    /// MiB that are free, and MiB that are owed.
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
        // Holds 40 of its 50 MiB already.
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
    #[test]
    fn memory_of_several_targets_is_divided() {
        let pool = |memory, targets| *Budget::new(share(memory, targets).unwrap()).size.borrow();
        for (memory, targets, expected) in [
            (96 * MIB, 2, 38 * MIB),
            (96 * MIB, 3, 25 * MIB),
            (116 * MIB, 4, 24 * MIB),
            (97 * MIB + UNIT - 1, 2, 38 * MIB + UNIT),
            (68 * MIB, 2, 24 * MIB),
        ] {
            assert_eq!(pool(memory, targets), expected, "{memory} for {targets}");
        }
        for memory in (44..400).map(|mib| mib * MIB + 12_345) {
            for targets in 2..10 {
                if share(memory, targets).is_ok() {
                    let all = PROCESS + pool(memory, targets) * targets as u64;
                    assert!(all <= memory && all + UNIT * targets as u64 > memory, "{memory}");
                }
            }
        }
    }

    #[test]
    fn memory_of_one_target_is_not_divided() {
        for memory in [32 * MIB, 96 * MIB, u64::MAX] {
            assert_eq!(share(memory, 1).unwrap(), memory);
        }
    }

    #[test]
    fn memory_too_small_for_all_targets_is_refused() {
        for (memory, targets, needed) in
            [(96 * MIB, 4, 116 * MIB), (68 * MIB - 1, 2, 68 * MIB), (96 * MIB, 20, 500 * MIB)]
        {
            let error = share(memory, targets).unwrap_err();
            assert_eq!(error.code(), Code::TooLarge);
            let data = error.data();
            assert_eq!(data.field.as_deref(), Some("memory"));
            let details = ["needed", "limit"].map(|name| data.details[name].to_string());
            assert_eq!(details, [needed.to_string(), memory.to_string()]);
        }
        assert!(share(u64::MAX - 1, usize::MAX).is_err());
    }
}
