//! Reservation of names and IDs by the running uploads of this process.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::layout;
use crate::error::{Code, Error, Result};

/// A bucket and folder, and a name or an ID in it.
type Here = (Arc<str>, String);

/// Names and IDs of running uploads.
#[derive(Debug, Default)]
struct Wanted {
    names: HashSet<Here>,
    ids: HashSet<Here>,
    /// Number of uploads that have ended.
    ended: u64,
}

/// Shared by the whole process: a target that is opened again has a new store, while uploads of the
/// earlier one may still run.
fn wanted() -> MutexGuard<'static, Wanted> {
    static WANTED: LazyLock<Mutex<Wanted>> = LazyLock::new(Mutex::default);
    WANTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Number of uploads of this process that have ended, successfully or not.
#[must_use]
pub fn ended() -> u64 {
    wanted().ended
}

/// Whether an upload to this place has reserved the name.
pub(super) fn is_reserved(place: &Arc<str>, name: &str) -> bool {
    wanted().names.contains(&(Arc::clone(place), name.to_owned()))
}

/// A name and an ID reserved by one running upload.
#[derive(Debug)]
pub struct Reserved {
    name: Here,
    id: Here,
}

impl Reserved {
    /// Reserves an ID and a free name. None when the number of ended uploads differs from `seen`.
    pub(super) fn new(
        place: &Arc<str>,
        (wished, id): (&str, &str),
        seen: u64,
        is_free: impl Fn(&str) -> bool,
    ) -> Result<Option<Self>> {
        let here = |what: &str| (Arc::clone(place), what.to_owned());
        let mut wanted = wanted();
        if wanted.ended != seen {
            return Ok(None);
        }
        if wanted.ids.contains(&here(id)) {
            let message = format!("a backup with the id \"{id}\" is being stored already");
            return Err(Error::new(Code::AlreadyExists, message).detail("backup_id", id));
        }
        let name = layout::candidates(wished, id)
            .find(|name| is_free(name) && !wanted.names.contains(&here(name)))
            .unwrap_or_else(|| layout::safe(id));
        let reserved = Self { name: here(&name), id: here(id) };
        wanted.names.insert(reserved.name.clone());
        wanted.ids.insert(reserved.id.clone());
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
        let mut wanted = wanted();
        wanted.names.remove(&self.name);
        wanted.names.insert(other.clone());
        self.name = other;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut wanted = wanted();
        wanted.names.remove(&self.name);
        wanted.ids.remove(&self.id);
        wanted.ended += 1;
    }
}
