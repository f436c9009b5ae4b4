//! Names and ids of running uploads, so that no two of this process take the same.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::layout;
use crate::error::{Code, Error, Result};

/// A name or an id, and the place where it stands for something.
type Here = (Arc<str>, String);

/// Names and ids of running uploads.
#[derive(Debug, Default)]
struct Wanted {
    names: HashSet<Here>,
    ids: HashSet<Here>,
    /// How many had one and gave it back.
    ended: u64,
}

/// Those of the whole process: a target that is opened again is another store of the same place,
/// while uploads to the one before may still run.
fn wanted() -> MutexGuard<'static, Wanted> {
    static WANTED: LazyLock<Mutex<Wanted>> = LazyLock::new(Mutex::default);
    WANTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many uploads of this process have ended, whatever became of them.
#[must_use]
pub fn ended() -> u64 {
    wanted().ended
}

/// Whether an upload to this place is using the name.
pub(super) fn is_reserved(place: &Arc<str>, name: &str) -> bool {
    wanted().names.contains(&(Arc::clone(place), name.to_owned()))
}

/// A name and an id that belong to one running upload.
#[derive(Debug)]
pub struct Reserved {
    name: Here,
    id: Here,
}

impl Reserved {
    /// Takes an id, and a name that is free and wanted by nobody else; nothing when any upload has
    /// ended since there were `seen` of them.
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

    /// Takes another name in place of this one.
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
