//! How often this process has changed a place. A target that is opened again is another store of the
//! same place, while transfers of the one before go on: none of them may show a listing from before a
//! change of another.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

type Places = HashMap<Arc<str>, Weak<AtomicU64>>;

/// The count of this place, which all stores of it have in common.
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
