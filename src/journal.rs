//! What this program has begun in buckets and not yet brought to an end, on disk, so that the next
//! one can take it back when this one is killed.
//!
//! One small file per beginning, synced before the bucket is touched, without secrets, and locked
//! for as long as its owner lives. A record without a lock is an orphan. Losing the journal loses
//! no backup; what it would have named is found later by its age.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Version of the records. Those with another one are left alone.
const FORMAT: u32 = 1;

/// Longest record that is read, in bytes.
const LONGEST: u64 = 16 << 10;

const GATE: &str = "gate";
const ENDING: &str = "json";

/// A folder of records. Nothing is read or written before it is used.
#[derive(Clone, Debug)]
pub struct Journal {
    folder: PathBuf,
}

/// An archive that is about to be stored.
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
}

#[derive(Serialize, Deserialize)]
struct Line {
    format: u32,
    #[serde(flatten)]
    beginning: Beginning,
}

/// What became known later, each on a line of its own.
#[derive(Default, Serialize, Deserialize)]
struct Later {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload_id: Option<String>,
    /// When it was first seen without an owner, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    orphan_since: Option<u64>,
}

/// Who is storing an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process that runs.
    Alive,
    /// One that was killed; what it sent may still be on its way.
    Gone,
}

/// A beginning that belongs to this process. Dropping it makes it an orphan.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    /// Locked.
    file: File,
    /// What was begun.
    pub beginning: Beginning,
    /// The multipart upload, as far as it was noted.
    pub upload_id: Option<String>,
    /// When it was first seen without an owner; none while it has one.
    pub orphan_since: Option<SystemTime>,
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
    /// systemd), `XDG_STATE_HOME`, `HOME`.
    #[must_use]
    pub fn usual_folder() -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        variable("STATE_DIRECTORY").or_else(|| {
            let states = variable("XDG_STATE_HOME");
            let states = states.or_else(|| Some(variable("HOME")?.join(".local/state")))?;
            Some(states.join(env!("CARGO_PKG_NAME")))
        })
    }

    /// Notes a beginning. When this returns it is on the disk. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn begin(&self, beginning: Beginning) -> io::Result<Record> {
        create_private(&self.folder)?;
        let _gate = self.gate()?;
        let path = self.folder.join(&beginning.mark).with_extension(ENDING);
        let file = OpenOptions::new().read(true).append(true).create_new(true).open(&path)?;
        file.try_lock()?;
        let record = Record { path, file, beginning, upload_id: None, orphan_since: None };
        record.write(&Line { format: FORMAT, beginning: record.beginning.clone() })?;
        // Until the folder is synced too, the file may be gone after a power failure.
        File::open(&self.folder)?.sync_all()?;
        Ok(record)
    }

    /// The records of this bucket whose owners are gone. They belong to this process from now on.
    /// Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn orphans(&self, endpoint: &str, bucket: &str) -> io::Result<Vec<Record>> {
        let Some((_gate, paths)) = self.paths()? else { return Ok(Vec::new()) };
        let orphans = paths.into_iter().filter_map(|path| adopt(path, endpoint, bucket));
        Ok(orphans.collect())
    }

    /// The keys of the archives of all records, in any bucket, and whether a living process is
    /// storing them. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn archives(&self) -> io::Result<HashMap<String, Owner>> {
        let Some((_gate, paths)) = self.paths()? else { return Ok(HashMap::new()) };
        let archives = paths.into_iter().filter_map(|path| {
            let file = File::open(path).ok()?;
            let is_locked = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            let (beginning, later) = parse(&text_of(&file)?)?;
            // An orphan is locked as well while somebody takes care of it.
            let is_running = is_locked && later.orphan_since.is_none();
            Some((beginning.archive, if is_running { Owner::Alive } else { Owner::Gone }))
        });
        Ok(archives.collect())
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
            if path.extension().is_some_and(|ending| ending == ENDING) {
                paths.push(path);
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

impl Record {
    /// Notes the multipart upload that was opened. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn opened(&self, upload_id: &str) -> io::Result<()> {
        self.write(&Later { upload_id: Some(upload_id.to_owned()), orphan_since: None })
    }

    /// Forgets the beginning: it came to a good end, or was taken back. Blocks.
    pub fn end(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "a record of the journal could not be removed");
        }
    }

    fn write(&self, line: &impl Serialize) -> io::Result<()> {
        let mut json = serde_json::to_vec(line)?;
        json.push(b'\n');
        (&self.file).write_all(&json)?;
        self.file.sync_all()
    }
}

/// Takes a record over, if it has no owner and is about this bucket.
fn adopt(path: PathBuf, endpoint: &str, bucket: &str) -> Option<Record> {
    let file = OpenOptions::new().read(true).append(true).open(&path).ok()?;
    file.try_lock().ok()?;
    let text = text_of(&file)?;
    if !text.contains('\n') {
        // Cut off while it was written: nothing was begun after it.
        fs::remove_file(path).ok()?;
        return None;
    }
    let (beginning, Later { upload_id, orphan_since }) = parse(&text)?;
    if beginning.endpoint != endpoint || beginning.bucket != bucket {
        return None;
    }
    let mut record = Record { path, file, beginning, upload_id, orphan_since: None };
    let since = orphan_since
        .map_or_else(SystemTime::now, |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
    if orphan_since.is_none() {
        let secs = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        record.write(&Later { upload_id: None, orphan_since: Some(secs) }).ok()?;
    }
    record.orphan_since = Some(since);
    Some(record)
}

fn text_of(file: &File) -> Option<String> {
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// None for a record of another version.
fn parse(text: &str) -> Option<(Beginning, Later)> {
    let mut lines = text.lines();
    let line: Line = serde_json::from_str(lines.next()?).ok()?;
    if line.format != FORMAT {
        return None;
    }
    // A line that was cut off was not yet known to anybody.
    let later = lines.filter_map(|line| serde_json::from_str::<Later>(line).ok());
    let later = later.fold(Later::default(), |known, new| Later {
        upload_id: known.upload_id.or(new.upload_id),
        orphan_since: known.orphan_since.or(new.orphan_since),
    });
    Some((line.beginning, later))
}

#[cfg(unix)]
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
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
        }
    }

    fn journal() -> (tempfile::TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().join("state"));
        (folder, journal)
    }

    fn orphans(journal: &Journal) -> Vec<Record> {
        journal.orphans("https://s3.example.org", "backups").unwrap()
    }

    #[test]
    fn an_orphan_is_taken_over_once() {
        let (_folder, journal) = journal();
        assert!(orphans(&journal).is_empty());
        let record = journal.begin(beginning("1")).unwrap();
        record.opened("upload-1").unwrap();
        assert!(orphans(&journal).is_empty());
        let owner = || journal.archives().unwrap().get("backups/a.tar").copied();
        assert_eq!(owner(), Some(Owner::Alive));
        drop(record);
        assert_eq!(owner(), Some(Owner::Gone));
        assert!(journal.orphans("https://s3.example.org", "others").unwrap().is_empty());
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
        let record = journal.begin(beginning("1")).unwrap();
        record.opened("upload-1").unwrap();
        let path = record.path.clone();
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
        drop(journal.begin(beginning("1")).unwrap());
        let path = journal.folder.join("1.json");
        let text = fs::read_to_string(&path).unwrap().replace("\"format\":1", "\"format\":2");
        fs::write(&path, text).unwrap();
        assert!(orphans(&journal).is_empty());
        assert!(path.exists());
    }
}
