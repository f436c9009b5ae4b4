//! The table of running requests: who can be cancelled, and where stream messages go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::stream::Inbound;
use crate::ops::{Cancel, Cause};

/// One running request.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) cancel: Cancel,
    /// Of an upload.
    pub(super) inbound: Option<Arc<Inbound>>,
    /// Of a download.
    pub(super) credit: Option<watch::Sender<u64>>,
}

/// All running requests by id. Clones share the table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    requests: Arc<Mutex<HashMap<u64, Running>>>,
    count: Arc<watch::Sender<usize>>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { requests: Arc::default(), count: Arc::new(watch::Sender::new(0)) }
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<u64, Running>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.requests().len()
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.requests().contains_key(&id)
    }

    pub(super) fn insert(&self, id: u64, running: Running) {
        let mut requests = self.requests();
        requests.insert(id, running);
        self.count.send_replace(requests.len());
    }

    pub(super) fn remove(&self, id: u64) {
        let mut requests = self.requests();
        requests.remove(&id);
        self.count.send_replace(requests.len());
    }

    /// Looks at a running request; nothing for one that has ended.
    pub(super) fn with<T>(&self, id: u64, look: impl FnOnce(&Running) -> T) -> Option<T> {
        self.requests().get(&id).map(look)
    }

    /// Tells all requests to stop; says which they were.
    pub(super) fn cancel_all(&self, cause: &Cause) -> Vec<u64> {
        let requests = self.requests();
        let mut ids: Vec<u64> = requests.keys().copied().collect();
        ids.sort_unstable();
        for running in requests.values() {
            running.cancel.cancel(cause.clone());
        }
        ids
    }

    /// Waits until nothing runs; says whether that came to pass in time.
    pub(super) async fn idle(&self, patience: Duration) -> bool {
        let mut count = self.count.subscribe();
        tokio::time::timeout(patience, count.wait_for(|count| *count == 0)).await.is_ok()
    }
}
