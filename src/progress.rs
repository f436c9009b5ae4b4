//! How far a transfer has come: written by the operation, read by whoever shows it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// What a request is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waiting for others to end.
    Queued,
    /// Looking around before the first byte.
    Starting,
    /// Bytes are moving.
    Transferring,
    /// All bytes are there; making it a backup.
    Finalizing,
    /// Comparing.
    Verifying,
    /// Taking back what was begun.
    Aborting,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, schemars(rename = "WaitingFor"))]
pub enum Waiting {
    /// The host's: to send, or to grant credit.
    Host,
    /// The storage's.
    Remote,
}

/// The state at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Snapshot {
    /// What the request is doing.
    pub phase: Phase,
    /// Bytes that are safe on the far side. Never decreases.
    pub done: u64,
    /// Bytes in all, if known.
    pub total: Option<u64>,
    /// Whose turn it is, if anybody's.
    pub waiting_for: Option<Waiting>,
    /// Calls that had to be repeated so far.
    pub retries: u32,
}

/// A shared, cheap to clone progress value.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    phase: Mutex<Phase>,
    done: AtomicU64,
    /// `u64::MAX` stands for unknown.
    total: AtomicU64,
    waiting: AtomicU8,
    /// Whether the storage is away, which counts before all else that is waited for.
    away: AtomicBool,
    retries: AtomicU32,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            phase: Mutex::new(Phase::Queued),
            done: AtomicU64::new(0),
            total: AtomicU64::new(u64::MAX),
            waiting: AtomicU8::new(0),
            away: AtomicBool::new(false),
            retries: AtomicU32::new(0),
        }
    }
}

impl Progress {
    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// Sets the number of bytes in all.
    pub fn expect(&self, total: Option<u64>) {
        self.0.total.store(total.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts bytes that are safe on the far side.
    pub fn add(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says whose turn it is.
    pub fn wait_for(&self, whom: Option<Waiting>) {
        let whom = match whom {
            None => 0,
            Some(Waiting::Host) => 1,
            Some(Waiting::Remote) => 2,
        };
        self.0.waiting.store(whom, Ordering::Relaxed);
    }

    /// Says whether the storage has to come back before the transfer can go on.
    pub fn away(&self, away: bool) {
        self.0.away.store(away, Ordering::Relaxed);
    }

    /// Counts a call that is made again.
    pub fn retried(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// The state now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let total = self.0.total.load(Ordering::Relaxed);
        Snapshot {
            phase: *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner),
            done: self.0.done.load(Ordering::Relaxed),
            total: (total != u64::MAX).then_some(total),
            waiting_for: match self.0.waiting.load(Ordering::Relaxed) {
                _ if self.0.away.load(Ordering::Relaxed) => Some(Waiting::Remote),
                1 => Some(Waiting::Host),
                2 => Some(Waiting::Remote),
                _ => None,
            },
            retries: self.0.retries.load(Ordering::Relaxed),
        }
    }
}
