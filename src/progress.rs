//! Progress of a request: the operation writes it, the session or the command line reads it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// The phase of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waiting for other requests to end.
    Queued,
    /// Preparing, before the first byte.
    Starting,
    /// Transferring bytes.
    Transferring,
    /// All bytes are transferred; completing the backup.
    Finalizing,
    /// Comparing bytes.
    Verifying,
    /// Cleaning up after a failure or cancellation.
    Aborting,
}

/// The side that the request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, schemars(rename = "WaitingFor"))]
pub enum Waiting {
    /// The host, to send data or to grant credit.
    Host,
    /// The server.
    Remote,
}

/// The progress at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Snapshot {
    /// What the request is doing.
    pub phase: Phase,
    /// Bytes that have reached the server (upload) or the host (download). Never decreases.
    pub done: u64,
    /// Total number of bytes, if known.
    pub total: Option<u64>,
    /// The side that the request waits for, if any.
    pub waiting_for: Option<Waiting>,
    /// Number of retried requests so far.
    pub retries: u32,
}

/// Shared progress; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    phase: Mutex<Phase>,
    done: AtomicU64,
    /// `u64::MAX`: unknown.
    total: AtomicU64,
    waiting: AtomicU8,
    /// Whether the server is unreachable, which takes precedence over `waiting`.
    unreachable: AtomicBool,
    retries: AtomicU32,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            phase: Mutex::new(Phase::Queued),
            done: AtomicU64::new(0),
            total: AtomicU64::new(u64::MAX),
            waiting: AtomicU8::new(0),
            unreachable: AtomicBool::new(false),
            retries: AtomicU32::new(0),
        }
    }
}

impl Progress {
    /// Sets the phase.
    pub fn enter(&self, phase: Phase) {
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// Sets the total number of bytes.
    pub fn expect(&self, total: Option<u64>) {
        self.0.total.store(total.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Adds bytes that have reached the server or the host.
    pub fn add(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Sets the side that the request waits for.
    pub fn wait_for(&self, side: Option<Waiting>) {
        let side = match side {
            None => 0,
            Some(Waiting::Host) => 1,
            Some(Waiting::Remote) => 2,
        };
        self.0.waiting.store(side, Ordering::Relaxed);
    }

    /// Sets whether the server is unreachable, so that the transfer cannot continue.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.0.unreachable.store(unreachable, Ordering::Relaxed);
    }

    /// Counts a retried request.
    pub fn retried(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// The progress now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let total = self.0.total.load(Ordering::Relaxed);
        Snapshot {
            phase: *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner),
            done: self.0.done.load(Ordering::Relaxed),
            total: (total != u64::MAX).then_some(total),
            waiting_for: match self.0.waiting.load(Ordering::Relaxed) {
                _ if self.0.unreachable.load(Ordering::Relaxed) => Some(Waiting::Remote),
                1 => Some(Waiting::Host),
                2 => Some(Waiting::Remote),
                _ => None,
            },
            retries: self.0.retries.load(Ordering::Relaxed),
        }
    }
}
