//! What this program has begun in buckets and not yet brought to an end, on disk, so that the next
//! one can take it back when this one is killed, or go on with it.
//!
//! One small file per beginning, synced before the bucket is touched, without secrets, and locked
//! for as long as its owner lives. A record without a lock is an orphan; one that is kept waits for
//! somebody who goes on with it, until its time is over. Losing the journal loses no backup; what it
//! would have named is found later by its age.
//!
//! The agent deletes objects that a record names, so it believes only records that no other user of
//! the machine can have written: the folder and each record belong to the user of the agent or to
//! root, and no other user can write them. Otherwise the agent works without the journal, or without
//! that record, says so once, and leaves all of it as it is.

mod gate;
mod record;
mod sound;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::gate::pass;
pub use self::record::{Record, StoredPart};
pub use self::sound::is_mark;
use crate::platform::{
    env_path, make_trusted_folder, state_dir, sync_folder, trusted_folder, within,
};

/// Longest time that a record can be kept, whatever it says: a day.
pub const MAX_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Time for a question to the journal. Each record is synced, which takes a slow disk a while.
const LIMIT: Duration = Duration::from_secs(15);

/// The same once the file system has not answered in that time.
const LIMIT_ONCE_STUCK: Duration = Duration::from_secs(1);

/// Files looked at in the folder: many times what uploads and deletions can leave there.
const MOST_FILES: usize = 1000;

const ENDING: &str = "json";

/// Of locks that are files of their own.
const LOCK_ENDING: &str = "lock";

/// A folder of records. Nothing is read or written before it is used.
#[derive(Clone, Debug)]
pub struct Journal {
    folder: PathBuf,
    /// Whether the file system did not answer the last time. Clones share it, and what was said.
    is_stuck: Arc<AtomicBool>,
    said: Arc<Mutex<BTreeSet<String>>>,
}

/// An archive that is about to be stored or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// Address of the service.
    pub endpoint: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Key of the archive.
    pub archive: String,
    /// Key of the document that will make it a backup.
    pub document: String,
    /// What the stored archive is known by, because another writer may take the key.
    pub mark: String,
    /// What another upload has to agree in to go on with this one; none where none may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumable: Option<Resumable>,
    /// What takes the place of this backup, so that it is to be deleted even while it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
}

/// A backup that takes the place of another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// Identity of both.
    pub backup_id: String,
    /// Key of its archive.
    pub archive: String,
    /// Key of its document.
    pub document: String,
}

/// What two uploads of one backup have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumable {
    /// Identity of the backup.
    pub backup_id: String,
    /// Length of each part but the last.
    pub part_size: u64,
    /// Storage class of the archive, if one is asked for.
    pub storage_class: Option<String>,
}

/// Who is storing an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process that runs.
    Alive,
    /// One that was killed or has given up; what it sent may still be on its way.
    Gone,
}

/// Records that nobody owned.
#[derive(Debug)]
pub struct Orphans {
    /// To be taken back. They belong to this process from now on.
    pub due: Vec<Record>,
    /// When the first of those that are kept will be due.
    pub next: Option<Duration>,
}

impl Journal {
    /// The journal in `folder`, which need not exist.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        let (is_stuck, said) = (Arc::default(), Arc::default());
        Self { folder: folder.join("uploads"), is_stuck, said }
    }

    /// A folder beside the journal, for what else is kept between runs.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.with_file_name(name)
    }

    /// Where a program of this user keeps its state, if that can be told: `STATE_DIRECTORY` (set by
    /// systemd), or its folder where the states of programs are.
    #[must_use]
    pub fn usual_folder() -> Option<PathBuf> {
        env_path("STATE_DIRECTORY").or_else(|| Some(state_dir()?.join(env!("CARGO_PKG_NAME"))))
    }

    /// Asks the journal something that may block, for a limited time, and without a thread of the
    /// runtime. What comes later is given to `late`.
    ///
    /// # Errors
    /// What the answer ends in; `TimedOut`.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> io::Result<T> {
        let stuck = self.is_stuck.load(Ordering::Relaxed);
        let limit = if stuck { LIMIT_ONCE_STUCK } else { LIMIT };
        let journal = self.clone();
        let asking = move || within(limit, move || question(&journal), late);
        let answer = tokio::task::spawn_blocking(asking).await;
        let answer = answer.unwrap_or_else(|error| Err(io::Error::other(error)));
        let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        self.is_stuck.store(answer.as_ref().is_err_and(timed_out), Ordering::Relaxed);
        answer
    }

    /// Says in the log that something of the journal is not used. Once for each sentence.
    pub fn say(&self, sentence: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < MOST_FILES && said.insert(sentence.to_owned()) {
            tracing::warn!("{sentence}");
        }
    }

    /// Notes a beginning. When this returns it is on the disk. None where it is noted already, by a
    /// deletion that came to no end, or has a mark that no agent gives. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be written or trusted.
    pub fn begin(&self, beginning: Beginning) -> io::Result<Option<Record>> {
        // The mark of an archive comes from the bucket, and names a file here.
        if !beginning.is_sound() {
            return Ok(None);
        }
        make_trusted_folder(&self.folder)?;
        let _gate = self.gate()?;
        let path = self.folder.join(&beginning.mark).with_extension(ENDING);
        let record = match Record::create(path, beginning) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            created => created?,
        };
        // Until the folder is synced too, the file may be gone after a power failure.
        sync_folder(&self.folder).inspect_err(|_| record.end())?;
        Ok(Some(record))
    }

    /// The records of this bucket that are `wanted` and whose owners are gone, except those that are
    /// kept. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read or trusted.
    pub fn orphans(
        &self,
        endpoint: &str,
        bucket: &str,
        wanted: impl Fn(&Beginning) -> bool,
    ) -> io::Result<Orphans> {
        let mut orphans = Orphans { due: Vec::new(), next: None };
        let Some((_gate, paths)) = self.paths()? else { return Ok(orphans) };
        for mut record in self.here(paths, endpoint, bucket) {
            if !wanted(&record.beginning) {
                // Mostly that of a target with another prefix in the same bucket.
                let path = record.path().display();
                tracing::debug!(%path, "a record about objects outside of the folder of this target");
            } else if let Some(rest) = record.kept_for() {
                orphans.next = Some(orphans.next.map_or(rest, |next| next.min(rest)));
            } else if record.orphaned().is_ok() {
                orphans.due.push(record);
            }
        }
        Ok(orphans)
    }

    /// The record of this bucket that is kept and `wanted`; of several, the one with the most bytes.
    /// It belongs to this process from now on, and stays kept. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read or trusted.
    pub fn kept(
        &self,
        endpoint: &str,
        bucket: &str,
        wanted: impl Fn(&Beginning) -> bool,
    ) -> io::Result<Option<Record>> {
        let Some((_gate, paths)) = self.paths()? else { return Ok(None) };
        let kept = self
            .here(paths, endpoint, bucket)
            .filter(|record| wanted(&record.beginning) && record.kept_for().is_some());
        Ok(kept.max_by_key(Record::stored_bytes))
    }

    /// The keys of the archives of all records, in any bucket, and whether a living process is
    /// storing them. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read or trusted.
    pub fn archives(&self) -> io::Result<HashMap<String, Owner>> {
        let Some((_gate, paths)) = self.paths()? else { return Ok(HashMap::new()) };
        Ok(paths.into_iter().filter_map(|path| record::owner(&path)).collect())
    }

    /// All records, and the gate that keeps others from making and adopting some meanwhile.
    fn paths(&self) -> io::Result<Option<(File, Vec<PathBuf>)>> {
        if !trusted_folder(&self.folder)? {
            return Ok(None);
        }
        let gate = self.gate()?;
        let mut paths = Vec::new();
        for (number, entry) in fs::read_dir(&self.folder)?.enumerate() {
            if number == MOST_FILES {
                let folder = self.folder.display();
                let message = format!("{folder} has more than {MOST_FILES} files: delete old ones");
                return Err(io::Error::other(message));
            }
            let path = entry?.path();
            let ending = path.extension().unwrap_or_default();
            if ending == ENDING {
                paths.push(path);
            } else if ending == LOCK_ENDING && !path.with_extension(ENDING).exists() {
                // Of a process that was killed between two steps. Another one may be as quick.
                let _ = fs::remove_file(path);
            }
        }
        Ok(Some((gate, paths)))
    }

    /// Held while a record is not locked yet, or locked only to be looked at.
    fn gate(&self) -> io::Result<File> {
        pass(&self.folder, self.is_stuck.load(Ordering::Relaxed))
    }

    /// Those that are about this bucket and have no owner.
    fn here(
        &self,
        paths: Vec<PathBuf>,
        endpoint: &str,
        bucket: &str,
    ) -> impl Iterator<Item = Record> {
        let adopted = paths.into_iter().filter_map(|path| self.adopt(&path));
        adopted.filter(move |record| {
            record.beginning.endpoint == endpoint && record.beginning.bucket == bucket
        })
    }

    fn adopt(&self, path: &Path) -> Option<Record> {
        Record::adopt(path).unwrap_or_else(|error| {
            self.say(&format!("a record of the journal is not used: {error}"));
            None
        })
    }
}

#[cfg(test)]
mod tests;
