//! Journal of unfinished uploads and deletions, on disk, so that the next process can clean up or
//! resume after a crash.
//!
//! One small file for each of them, synced before the bucket is changed, without secrets, and
//! locked while its owner runs. A record without a lock is an orphan; a kept record waits for an
//! upload that resumes, until it expires. No backup is lost with the journal; without it,
//! incomplete uploads are found later by their age.
//!
//! The agent deletes objects that a record names, so it trusts only records that no other user of
//! the machine can have written: the folder and each record belong to the user of the agent or to
//! root, and no other user can write them. Otherwise the agent works without the journal, or
//! without that record, logs it once, and leaves the files unchanged.

mod folder_lock;
mod record;
mod validation;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::folder_lock::acquire;
pub use self::record::Record;
pub use self::validation::is_upload_marker;
use crate::platform::{
    env_path, make_trusted_folder, state_dir, sync_folder, trusted_folder, within,
};

/// Longest time that a record is kept, whatever it says: a day.
pub const MAX_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Time limit of a journal operation. Each record is synced, which takes time on a slow disk.
const LIMIT: Duration = Duration::from_secs(15);

/// Time limit after the file system has exceeded [`LIMIT`].
const LIMIT_ONCE_STUCK: Duration = Duration::from_secs(1);

/// Most files in the folder: many times what uploads and deletions can leave.
const MAX_FILES: usize = 1000;

const ENDING: &str = "json";

/// File name extension of separate lock files.
const LOCK_ENDING: &str = "lock";

/// A folder of records. Nothing is read or written before it is used.
#[derive(Clone, Debug)]
pub struct Journal {
    folder: PathBuf,
    /// Whether the last operation timed out. Clones share it, and the sentences that were logged.
    is_stuck: Arc<AtomicBool>,
    warned: Arc<Mutex<BTreeSet<String>>>,
}

/// First line of a record: an archive that is about to be stored or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Endpoint of the service.
    pub endpoint: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Key of the archive.
    pub archive: String,
    /// Key of the metadata object that completes the backup.
    #[serde(rename = "document")]
    pub metadata_key: String,
    /// Upload marker of the archive; another writer may take the key.
    #[serde(rename = "mark")]
    pub marker: String,
    /// Conditions for an upload that resumes this one; None if it cannot be resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumable: Option<Resumable>,
    /// The replacement of this backup, which is then deleted even if it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
}

/// A backup that replaces another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// ID of both.
    pub backup_id: String,
    /// Key of its archive.
    pub archive: String,
    /// Key of its metadata object.
    #[serde(rename = "document")]
    pub metadata_key: String,
}

/// Properties that a resumed upload must share with the interrupted one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumable {
    /// ID of the backup.
    pub backup_id: String,
    /// Length of each part except the last, in bytes.
    pub part_size: u64,
    /// Storage class of the archive, if one is set.
    pub storage_class: Option<String>,
}

/// A part that the server has stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPart {
    /// From 1 to 10,000.
    pub number: u16,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the bytes, in base64.
    pub sha256: String,
    /// ETag, as the server returned it.
    pub etag: String,
}

/// Whether the owner of a record is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A running process.
    Alive,
    /// The process was killed or has given up; data that it sent may still arrive.
    Gone,
}

/// Records without an owner.
#[derive(Debug)]
pub struct Orphans {
    /// Due for cleanup. This process owns them from now on.
    pub due: Vec<Record>,
    /// Time until the first kept record expires.
    pub next: Option<Duration>,
}

impl Journal {
    /// The journal in `folder`, which need not exist.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        let (is_stuck, warned) = (Arc::default(), Arc::default());
        Self { folder: folder.join("uploads"), is_stuck, warned }
    }

    /// A folder beside the journal, for other state.
    #[must_use]
    pub fn sibling_folder(&self, name: &str) -> PathBuf {
        self.folder.with_file_name(name)
    }

    /// The default state directory of this user, if it is known: `STATE_DIRECTORY` (set by
    /// systemd), or the platform's directory for program state.
    #[must_use]
    pub fn usual_folder() -> Option<PathBuf> {
        env_path("STATE_DIRECTORY").or_else(|| Some(state_dir()?.join(env!("CARGO_PKG_NAME"))))
    }

    /// Runs a journal operation that may block, on a thread outside the runtime and with a time
    /// limit. A result that comes later is passed to `late`.
    ///
    /// # Errors
    /// The error of the operation; `TimedOut`.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> io::Result<T> {
        let stuck = self.is_stuck.load(Ordering::Relaxed);
        let limit = if stuck { LIMIT_ONCE_STUCK } else { LIMIT };
        let journal = self.clone();
        let working = move || within(limit, move || work(&journal), late);
        let result = tokio::task::spawn_blocking(working).await;
        let result = result.unwrap_or_else(|error| Err(io::Error::other(error)));
        let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        self.is_stuck.store(result.as_ref().is_err_and(timed_out), Ordering::Relaxed);
        result
    }

    /// Logs that a part of the journal is not used. Once for each sentence.
    pub fn warn_once(&self, message: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() < MAX_FILES && warned.insert(message.to_owned()) {
            tracing::warn!("{message}");
        }
    }

    /// Writes a record; it is on disk when this returns. None if the record exists already, from an
    /// unfinished deletion, or if its upload marker is not from an agent. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be written or trusted.
    pub fn begin(&self, intent: Intent) -> io::Result<Option<Record>> {
        // The upload marker of an archive comes from the bucket, and becomes a file name here.
        if !intent.is_valid() {
            return Ok(None);
        }
        make_trusted_folder(&self.folder)?;
        let _lock = self.lock_folder()?;
        let path = self.folder.join(&intent.marker).with_extension(ENDING);
        let record = match Record::create(path, intent) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            created => created?,
        };
        // Until the folder is synced too, the file may be lost in a power failure.
        sync_folder(&self.folder).inspect_err(|_| record.delete())?;
        Ok(Some(record))
    }

    /// The `wanted` records of this bucket without an owner, except those that are kept. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read or trusted.
    pub fn orphans(
        &self,
        endpoint: &str,
        bucket: &str,
        wanted: impl Fn(&Intent) -> bool,
    ) -> io::Result<Orphans> {
        let mut orphans = Orphans { due: Vec::new(), next: None };
        let Some((_lock, paths)) = self.paths()? else { return Ok(orphans) };
        for mut record in self.adopted(paths, endpoint, bucket) {
            if !wanted(&record.intent) {
                // Usually a record of a target with another prefix in the same bucket.
                let path = record.path().display();
                tracing::debug!(%path, "a journal record names objects outside of the folder of this target");
            } else if let Some(rest) = record.kept_for() {
                orphans.next = Some(orphans.next.map_or(rest, |next| next.min(rest)));
            } else if record.add_orphan_since().is_ok() {
                orphans.due.push(record);
            }
        }
        Ok(orphans)
    }

    /// The `wanted` record of this bucket that is kept; of several, the one with the most bytes.
    /// This process owns it from now on, and it stays kept. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read or trusted.
    pub fn kept(
        &self,
        endpoint: &str,
        bucket: &str,
        wanted: impl Fn(&Intent) -> bool,
    ) -> io::Result<Option<Record>> {
        let Some((_lock, paths)) = self.paths()? else { return Ok(None) };
        let kept = self
            .adopted(paths, endpoint, bucket)
            .filter(|record| wanted(&record.intent) && record.kept_for().is_some());
        Ok(kept.max_by_key(Record::stored_bytes))
    }

    /// The archive keys of the `wanted` records, in any bucket, and whether their owners are running.
    /// Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read or trusted.
    pub fn archives(&self, wanted: impl Fn(&Intent) -> bool) -> io::Result<HashMap<String, Owner>> {
        let Some((_lock, paths)) = self.paths()? else { return Ok(HashMap::new()) };
        let owners = paths.into_iter().filter_map(|path| record::owner(&path));
        let owners = owners.filter(|(intent, _)| wanted(intent));
        Ok(owners.map(|(intent, owner)| (intent.archive, owner)).collect())
    }

    /// All records, and the lock that keeps other processes from adding or adopting records.
    fn paths(&self) -> io::Result<Option<(File, Vec<PathBuf>)>> {
        if !trusted_folder(&self.folder)? {
            return Ok(None);
        }
        let lock = self.lock_folder()?;
        let mut paths = Vec::new();
        for (number, entry) in fs::read_dir(&self.folder)?.enumerate() {
            if number == MAX_FILES {
                let folder = self.folder.display();
                let message = format!("{folder} has more than {MAX_FILES} files: delete old ones");
                return Err(io::Error::other(message));
            }
            let path = entry?.path();
            let ending = path.extension().unwrap_or_default();
            if ending == ENDING {
                paths.push(path);
            } else if ending == LOCK_ENDING && !path.with_extension(ENDING).exists() {
                // Left by a process that was killed between two steps. Another process may delete
                // it first.
                let _ = fs::remove_file(path);
            }
        }
        Ok(Some((lock, paths)))
    }

    /// The lock on the journal, held while a record is not locked yet, or is locked only to be
    /// checked.
    fn lock_folder(&self) -> io::Result<File> {
        acquire(&self.folder, self.is_stuck.load(Ordering::Relaxed))
    }

    /// The records of this bucket without an owner.
    fn adopted(
        &self,
        paths: Vec<PathBuf>,
        endpoint: &str,
        bucket: &str,
    ) -> impl Iterator<Item = Record> {
        let adopted = paths.into_iter().filter_map(|path| self.adopt(&path));
        adopted.filter(move |record| {
            record.intent.endpoint == endpoint && record.intent.bucket == bucket
        })
    }

    fn adopt(&self, path: &Path) -> Option<Record> {
        Record::adopt(path).unwrap_or_else(|error| {
            self.warn_once(&format!("a journal record is not used: {error}"));
            None
        })
    }
}

#[cfg(test)]
mod tests;
