//! What this program has begun in buckets and not yet brought to an end, on disk, so that the next
//! one can take it back when this one is killed, or go on with it.
//!
//! One small file per beginning, synced before the bucket is touched, without secrets, and locked
//! for as long as its owner lives. A record without a lock is an orphan; one that is kept waits for
//! somebody who goes on with it, until its time is over. Losing the journal loses no backup; what it
//! would have named is found later by its age.

mod record;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::record::{Record, StoredPart};
use crate::system::{create_private, folder_in, states, sync_folder};

/// Longest time that a record can be kept, whatever it says: a day.
pub const MAX_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

const GATE: &str = "gate";
const ENDING: &str = "json";

/// Of locks that are files of their own.
const LOCK_ENDING: &str = "lock";

/// A folder of records. Nothing is read or written before it is used.
#[derive(Clone, Debug)]
pub struct Journal {
    folder: PathBuf,
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
        Self { folder: folder.join("uploads") }
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
        folder_in("STATE_DIRECTORY").or_else(|| Some(states()?.join(env!("CARGO_PKG_NAME"))))
    }

    /// Notes a beginning. When this returns it is on the disk. None where it is noted already, by a
    /// deletion that came to no end. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn begin(&self, beginning: Beginning) -> io::Result<Option<Record>> {
        create_private(&self.folder)?;
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

    /// The records of this bucket whose owners are gone, but for those that are kept. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn orphans(&self, endpoint: &str, bucket: &str) -> io::Result<Orphans> {
        let mut orphans = Orphans { due: Vec::new(), next: None };
        let Some((_gate, paths)) = self.paths()? else { return Ok(orphans) };
        for mut record in here(paths, endpoint, bucket) {
            if let Some(rest) = record.kept_for() {
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
    /// When the folder cannot be read.
    pub fn kept(
        &self,
        endpoint: &str,
        bucket: &str,
        wanted: impl Fn(&Beginning) -> bool,
    ) -> io::Result<Option<Record>> {
        let Some((_gate, paths)) = self.paths()? else { return Ok(None) };
        let kept = here(paths, endpoint, bucket)
            .filter(|record| wanted(&record.beginning) && record.kept_for().is_some());
        Ok(kept.max_by_key(|record| record.parts.values().map(|part| part.length).sum::<u64>()))
    }

    /// The keys of the archives of all records, in any bucket, and whether a living process is
    /// storing them. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn archives(&self) -> io::Result<HashMap<String, Owner>> {
        let Some((_gate, paths)) = self.paths()? else { return Ok(HashMap::new()) };
        Ok(paths.into_iter().filter_map(|path| record::owner(&path)).collect())
    }

    /// All records, and the gate that keeps others from making and adopting some meanwhile.
    fn paths(&self) -> io::Result<Option<(File, Vec<PathBuf>)>> {
        if !self.folder.exists() {
            return Ok(None);
        }
        let gate = self.gate()?;
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
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
        let options = OpenOptions::new().write(true).create(true).truncate(false).clone();
        let gate = options.open(self.folder.join(GATE))?;
        gate.lock()?;
        Ok(gate)
    }
}

/// Those that are about this bucket and have no owner.
fn here(paths: Vec<PathBuf>, endpoint: &str, bucket: &str) -> impl Iterator<Item = Record> {
    paths.into_iter().filter_map(Record::adopt).filter(move |record| {
        record.beginning.endpoint == endpoint && record.beginning.bucket == bucket
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(mark: &str) -> Beginning {
        Beginning {
            endpoint: "https://s3.example.org".to_owned(),
            bucket: "backups".to_owned(),
            archive: "backups/a.tar".to_owned(),
            document: "backups/a.metadata.json".to_owned(),
            mark: mark.to_owned(),
            resumable: None,
            replacement: None,
        }
    }

    fn journal() -> (tempfile::TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().join("state"));
        (folder, journal)
    }

    fn orphans(journal: &Journal) -> Vec<Record> {
        journal.orphans("https://s3.example.org", "backups").unwrap().due
    }

    #[test]
    fn what_is_noted_already_is_told_from_what_cannot_be_noted() {
        let (_folder, journal) = journal();
        let _record = journal.begin(beginning("1")).unwrap().unwrap();
        assert!(journal.begin(beginning("1")).unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("uploads"), "a file").unwrap();
        Journal::new(folder.path().to_owned()).begin(beginning("1")).unwrap_err();
    }

    #[test]
    fn a_lock_without_a_record_goes() {
        let (_folder, journal) = journal();
        let _record = journal.begin(beginning("1")).unwrap().unwrap();
        let lock = |mark: &str| journal.folder.join(mark).with_extension(LOCK_ENDING);
        for mark in ["1", "2"] {
            File::options().append(true).create(true).open(lock(mark)).unwrap();
        }
        assert_eq!(journal.archives().unwrap().len(), 1);
        assert_eq!((lock("1").exists(), lock("2").exists()), (true, false));
    }

    #[test]
    fn an_orphan_is_taken_over_once() {
        let (_folder, journal) = journal();
        assert!(orphans(&journal).is_empty());
        let record = journal.begin(beginning("1")).unwrap().unwrap();
        record.opened("upload-1", Duration::ZERO).unwrap();
        assert!(orphans(&journal).is_empty());
        let owner = || journal.archives().unwrap().get("backups/a.tar").copied();
        assert_eq!(owner(), Some(Owner::Alive));
        drop(record);
        assert_eq!(owner(), Some(Owner::Gone));
        assert!(journal.orphans("https://s3.example.org", "others").unwrap().due.is_empty());
        let found = orphans(&journal);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].beginning, beginning("1"));
        assert_eq!(found[0].upload_id.as_deref(), Some("upload-1"));
        let since = found[0].orphan_since.unwrap();
        assert!(orphans(&journal).is_empty());
        drop(found);
        let found = orphans(&journal);
        assert_eq!(owner(), Some(Owner::Gone));
        assert!(since.duration_since(found[0].orphan_since.unwrap()).unwrap().as_secs() < 2);
        found[0].end();
        drop(found);
        assert!(orphans(&journal).is_empty());
        assert_eq!(owner(), None);
    }

    #[test]
    fn a_record_that_was_cut_off_counts_as_far_as_it_goes() {
        let (_folder, journal) = journal();
        let record = journal.begin(beginning("1")).unwrap().unwrap();
        record.opened("upload-1", Duration::ZERO).unwrap();
        let path = journal.folder.join("1.json");
        drop(record);
        let text = fs::read(&path).unwrap();
        let first = text.iter().position(|byte| *byte == b'\n').unwrap();
        for length in 0..text.len() {
            fs::write(&path, &text[..length]).unwrap();
            let found = orphans(&journal);
            let whole = length > first;
            assert_eq!((found.len(), path.exists()), (usize::from(whole), whole), "{length}");
            assert!(found.iter().all(|record| record.beginning == beginning("1")));
            let ids = found.iter().filter(|record| record.upload_id.is_some()).count();
            assert_eq!(ids, usize::from(length + 1 == text.len()), "{length}");
        }
    }

    #[test]
    fn records_of_another_version_are_left_alone() {
        let (_folder, journal) = journal();
        drop(journal.begin(beginning("1")).unwrap().unwrap());
        let path = journal.folder.join("1.json");
        let text = fs::read_to_string(&path).unwrap().replace("\"format\":1", "\"format\":2");
        fs::write(&path, text).unwrap();
        assert!(orphans(&journal).is_empty());
        assert!(path.exists());
    }
}
