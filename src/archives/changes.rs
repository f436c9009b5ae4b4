//! Change counters of this process, one per bucket and folder. A target that is opened again has a
//! new store, while transfers of the earlier one continue: neither may serve a listing from before
//! a change of the other.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

type Places = HashMap<Arc<str>, Weak<AtomicU64>>;

/// The counter of a place, shared by all its stores.
pub(super) fn of(place: &Arc<str>) -> Arc<AtomicU64> {
    static PLACES: LazyLock<Mutex<Places>> = LazyLock::new(Mutex::default);
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(count) = places.get(place).and_then(Weak::upgrade) {
        return count;
    }
    places.retain(|_, count| count.strong_count() > 0);
    let count = Arc::default();
    places.insert(Arc::clone(place), Arc::downgrade(&count));
    count
}
