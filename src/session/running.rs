//! Table of running requests, used to cancel them and to deliver stream messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::stream::Inbound;
use crate::ops::{Cancel, Cause};

/// Kind of a running request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An operation on a target, which the host can cancel.
    Work,
    /// Opening, changing or closing a target; only the end of the session cancels it.
    Target,
}

/// One running request.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) kind: Kind,
    pub(super) cancel: Cancel,
    /// For an upload.
    pub(super) inbound: Option<Arc<Inbound>>,
    /// For a download.
    pub(super) credit: Option<watch::Sender<u64>>,
}

impl Running {
    /// A request without a stream.
    pub(super) fn new(kind: Kind, cancel: Cancel) -> Self {
        Self { kind, cancel, inbound: None, credit: None }
    }

    /// Cancels the request because of a message of the host, if its kind allows that.
    pub(super) fn stop(&self, cause: Cause) {
        if self.kind == Kind::Work {
            self.cancel.cancel(cause);
        }
    }
}

/// All running requests by ID. Clones share the table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    requests: Arc<Mutex<HashMap<u64, Running>>>,
    count: Arc<watch::Sender<usize>>,
    unanswered: Arc<watch::Sender<usize>>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            requests: Arc::default(),
            count: Arc::new(watch::Sender::new(0)),
            unanswered: Arc::new(watch::Sender::new(0)),
        }
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<u64, Running>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.requests().values().filter(|running| running.kind == kind).count()
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.requests().contains_key(&id)
    }

    pub(super) fn insert(&self, id: u64, running: Running) {
        let mut requests = self.requests();
        requests.insert(id, running);
        self.count.send_replace(requests.len());
        self.unanswered.send_modify(|unanswered| *unanswered += 1);
    }

    pub(super) fn remove(&self, id: u64) {
        let mut requests = self.requests();
        requests.remove(&id);
        self.count.send_replace(requests.len());
    }

    /// Records that the response of a removed request is queued.
    pub(super) fn answered(&self) {
        self.unanswered.send_modify(|unanswered| *unanswered -= 1);
    }

    /// Calls `look` with a running request; None for one that has ended.
    pub(super) fn with<T>(&self, id: u64, look: impl FnOnce(&Running) -> T) -> Option<T> {
        self.requests().get(&id).map(look)
    }

    /// Cancels all requests; returns their IDs.
    pub(super) fn cancel_all(&self, cause: &Cause) -> Vec<u64> {
        let requests = self.requests();
        let mut ids: Vec<u64> = requests.keys().copied().collect();
        ids.sort_unstable();
        for running in requests.values() {
            running.cancel.cancel(cause.clone());
        }
        ids
    }

    /// Waits until all responses are queued, at most for `limit`.
    pub(super) async fn all_answered(&self, limit: Duration) {
        let mut unanswered = self.unanswered.subscribe();
        let _ = tokio::time::timeout(limit, unanswered.wait_for(|left| *left == 0)).await;
    }

    /// Waits until no request runs, at most for `limit`. Returns whether none runs.
    pub(super) async fn idle(&self, limit: Duration) -> bool {
        let mut count = self.count.subscribe();
        tokio::time::timeout(limit, count.wait_for(|count| *count == 0)).await.is_ok()
    }
}
