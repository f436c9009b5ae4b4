//! Reservation of names and IDs by the running uploads of this process.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::layout;
use crate::error::{Code, Error, Result};

/// A bucket and folder, and a name or an ID in it.
type Placed = (Arc<str>, String);

/// Names and IDs of running uploads.
#[derive(Debug, Default)]
struct Reservations {
    names: HashSet<Placed>,
    ids: HashSet<Placed>,
    /// Number of uploads that have ended.
    ended: u64,
}

/// Shared by the whole process: a target that is opened again has a new store, while uploads of the
/// earlier one may still run.
fn reservations() -> MutexGuard<'static, Reservations> {
    static RESERVATIONS: LazyLock<Mutex<Reservations>> = LazyLock::new(Mutex::default);
    RESERVATIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Number of uploads of this process that have ended, successfully or not.
#[must_use]
pub fn ended() -> u64 {
    reservations().ended
}

/// Whether an upload to this place has reserved the name.
pub(super) fn is_reserved(place: &Arc<str>, name: &str) -> bool {
    reservations().names.contains(&(Arc::clone(place), name.to_owned()))
}

/// A name and an ID reserved by one running upload.
#[derive(Debug)]
pub struct ReservedName {
    name: Placed,
    id: Placed,
}

impl ReservedName {
    /// Reserves an ID and a free name. None when the number of ended uploads differs from `seen`.
    pub(super) fn new(
        place: &Arc<str>,
        (wished, id): (&str, &str),
        seen: u64,
        is_free: impl Fn(&str) -> bool,
    ) -> Result<Option<Self>> {
        let here = |what: &str| (Arc::clone(place), what.to_owned());
        let mut reservations = reservations();
        if reservations.ended != seen {
            return Ok(None);
        }
        if reservations.ids.contains(&here(id)) {
            let message = format!("a backup with the ID \"{id}\" is already being uploaded");
            return Err(Error::new(Code::AlreadyExists, message).detail("backup_id", id));
        }
        let name = layout::candidates(wished, id)
            .find(|name| is_free(name) && !reservations.names.contains(&here(name)))
            .unwrap_or_else(|| layout::safe(id));
        let reserved = Self { name: here(&name), id: here(id) };
        reservations.names.insert(reserved.name.clone());
        reservations.ids.insert(reserved.id.clone());
        Ok(Some(reserved))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name.1
    }

    /// Replaces the reserved name.
    pub fn change(&mut self, name: &str) {
        let other = (Arc::clone(&self.name.0), name.to_owned());
        let mut reservations = reservations();
        reservations.names.remove(&self.name);
        reservations.names.insert(other.clone());
        self.name = other;
    }
}

impl Drop for ReservedName {
    fn drop(&mut self) {
        let mut reservations = reservations();
        reservations.names.remove(&self.name);
        reservations.ids.remove(&self.id);
        reservations.ended += 1;
    }
}
