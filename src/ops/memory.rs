//! Who may hold how many bytes: one budget for all transfers of a target.
//!
//! The formula: of `memory_budget_bytes`, 20 MiB are set aside for the process itself (code,
//! runtime, connections, listings); the rest, but at least 24 MiB, is the pool for backup data. A
//! transfer first reserves what it needs to run at all, and waits in line until it gets that; it
//! then takes more from what is left, for one part and its connection at a time, to work on several
//! at once. What a download has fetched ahead for a host that does not take it is given up when
//! others wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::blocks::{Kept, Pool};
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
pub(super) struct Budget {
    pool: Arc<Semaphore>,
    size: u64,
    /// Transfers that wait in line.
    waiting: watch::Sender<usize>,
}

/// Bytes that may be held until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    _permit: OwnedSemaphorePermit,
    _blocks: Kept,
}

impl Reservation {
    fn of(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit, _blocks: Pool::of_process().keep() }
    }
}

impl Budget {
    pub(super) fn new(memory_budget: u64) -> Self {
        let size = memory_budget.saturating_sub(PROCESS).max(SMALLEST_POOL) / UNIT * UNIT;
        let permits = usize::try_from(size / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            pool: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            size,
            waiting: watch::Sender::new(0),
        }
    }

    /// Waits in line for `bytes`.
    ///
    /// # Errors
    /// `too_large` when the whole pool has less.
    pub(super) async fn reserve(&self, bytes: u64) -> Result<Reservation> {
        if bytes > self.size {
            let needed = bytes.div_ceil(MIB) * MIB + PROCESS;
            return Err(Error::new(
                Code::TooLarge,
                format!(
                    "the parts of this backup need a memory budget of {needed} bytes: raise it"
                ),
            )
            .field("memory_budget_bytes")
            .fact("limit", self.size + PROCESS)
            .fact("needed", needed));
        }
        let _in_line = InLine::new(&self.waiting);
        let permit = Arc::clone(&self.pool).acquire_many_owned(permits(bytes)).await;
        let permit = permit.map_err(|_| Error::new(Code::ShuttingDown, "the agent is ending"))?;
        Ok(Reservation::of(permit))
    }

    /// Ends as soon as some transfer waits in line.
    pub(super) async fn wanted(&self) {
        // The sender lives as long as the budget.
        let _ = self.waiting.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Takes what a part of `bytes` needs on a connection of its own, if that is free and nobody waits.
    pub(super) fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        let needed = permits(bytes.saturating_add(CONNECTION));
        let permit = Arc::clone(&self.pool).try_acquire_many_owned(needed).ok()?;
        Some(Reservation::of(permit))
    }
}

/// Counts somebody who waits, for as long as it lives.
struct InLine<'a>(&'a watch::Sender<usize>);

impl<'a> InLine<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|count| *count += 1);
        Self(waiting)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}
