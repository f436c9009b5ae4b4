//! One journal record: a file of JSON lines. The first line says what was begun; later facts are
//! appended, one line each.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::validation::is_upload_id;
use super::{Intent, LIMIT, LOCK_ENDING, MAX_KEPT, Owner, StoredPart};
use crate::platform::{create_own, open_own, within};

/// Version of the records. Records with another version are left alone. A new member needs a new
/// version if an agent that does not know it would lose something.
const FORMAT: u32 = 1;

/// Longest record that is read, in bytes: twice the size of 10,000 parts.
const LONGEST: u64 = 4 << 20;

/// Length from which parts are no longer recorded, to leave space for more important lines.
const FULL: u64 = LONGEST - (64 << 10);

#[derive(Serialize, Deserialize)]
struct FirstLine {
    format: u32,
    #[serde(flatten)]
    intent: Intent,
}

/// An appended line.
#[derive(Default, Serialize, Deserialize)]
struct Update {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<StoredPart>,
    /// Whether the multipart upload is about to be completed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    completing: bool,
    /// Time until which the record is kept without an owner, in seconds since 1970. The last one
    /// counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_until: Option<u64>,
    /// Time at which the record was first seen without an owner, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    orphan_since: Option<u64>,
}

/// A record that this process owns. Dropping it makes it an orphan.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    /// Locked, except on Windows.
    file: File,
    /// The lock file on Windows.
    lock_file: Option<LockFile>,
    /// The first line.
    pub intent: Intent,
    /// ID of the multipart upload, if it was recorded.
    pub upload_id: Option<String>,
    /// The recorded parts by number.
    pub parts: BTreeMap<u16, StoredPart>,
    /// Time at which it was first seen without an owner; None while it has one.
    pub orphan_since: Option<SystemTime>,
    completing: bool,
    keep_until: Option<u64>,
    /// Whether a write timed out; then nothing is appended any more.
    is_stuck: AtomicBool,
}

impl Record {
    pub(super) fn create(path: PathBuf, intent: Intent) -> io::Result<Self> {
        let file = create_own(&path)?;
        let created = Self::write_first(path.clone(), file, intent);
        if created.is_err() {
            // It would look like the record of a killed process.
            let _ = fs::remove_file(path);
        }
        created
    }

    fn write_first(path: PathBuf, file: File, intent: Intent) -> io::Result<Self> {
        let lock_file = lock(&path, &file)?;
        let first = FirstLine { format: FORMAT, intent };
        let record = Self::new(path, file, lock_file, first.intent.clone());
        let mut line = serde_json::to_vec(&first)?;
        line.push(b'\n');
        record.append(&line)?;
        record.file.sync_all()?;
        Ok(record)
    }

    fn new(path: PathBuf, file: File, lock_file: Option<LockFile>, intent: Intent) -> Self {
        Self {
            path,
            file,
            lock_file,
            intent,
            upload_id: None,
            parts: BTreeMap::new(),
            orphan_since: None,
            completing: false,
            keep_until: None,
            is_stuck: AtomicBool::new(false),
        }
    }

    /// Takes ownership of a record. None when it has an owner or is gone.
    ///
    /// # Errors
    /// The reason why it cannot be used.
    pub(super) fn adopt(path: &Path) -> io::Result<Option<Self>> {
        let file = match open_own(path, LONGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let Ok(lock_file) = lock(path, &file) else { return Ok(None) };
        let Some(text) = read_text(&file) else { return Ok(None) };
        if !text.contains('\n') {
            // Truncated while it was written: the bucket was not changed yet.
            fs::remove_file(path)?;
            return Ok(None);
        }
        let unusable = |why: &str| Err(io::Error::other(format!("{} {why}", path.display())));
        let Some((intent, lines)) = parse(&text) else {
            return unusable("is damaged, or was written by another version of the agent");
        };
        let has_its_name = path.file_stem().is_some_and(|stem| *stem == *intent.marker);
        if !has_its_name || !intent.is_valid() {
            return unusable("contains values that no agent writes");
        }
        let mut record = Self::new(path.to_owned(), file, lock_file, intent);
        lines.for_each(|line| record.apply(line));
        Ok(Some(record))
    }

    /// Path of the record.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the recorded parts.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.parts.values().fold(0, |sum: u64, part| sum.saturating_add(part.length))
    }

    fn apply(&mut self, line: Update) {
        let Update { upload_id, part, completing, keep_until, orphan_since } = line;
        let upload_id = upload_id.filter(|id| is_upload_id(id));
        self.upload_id = self.upload_id.take().or(upload_id);
        let part = part.filter(StoredPart::is_valid);
        self.parts.extend(part.map(|part| (part.number, part)));
        self.completing |= completing;
        self.keep_until = keep_until.or(self.keep_until);
        self.orphan_since = orphan_since.map(moment).or(self.orphan_since);
    }

    /// Remaining time in which an upload can resume from it; None when it cannot be resumed or has
    /// expired. After a completion has begun it cannot be resumed: that completion may still
    /// succeed, with other parts than those of the next upload.
    pub(super) fn kept_for(&self) -> Option<Duration> {
        let resumable = self.intent.resumable.is_some() && self.upload_id.is_some();
        if !resumable || self.completing || self.orphan_since.is_some() {
            return None;
        }
        let rest = self.keep_until?.saturating_sub(seconds(SystemTime::now()));
        let rest = Duration::from_secs(rest);
        if rest > MAX_KEPT {
            // The clock was ahead when this was recorded.
            self.keep(MAX_KEPT).ok()?;
        }
        Some(rest.min(MAX_KEPT)).filter(|rest| !rest.is_zero())
    }

    /// Records the first time it was seen without an owner, again if the clock was ahead.
    pub(super) fn add_orphan_since(&mut self) -> io::Result<()> {
        let now = SystemTime::now();
        if self.orphan_since.is_none_or(|since| since > now) {
            let now = seconds(now);
            self.write(&Update { orphan_since: Some(now), ..Update::default() })?;
            self.orphan_since = Some(moment(now));
        }
        Ok(())
    }

    /// Records the ID of the created multipart upload, and how long to keep it for resuming.
    /// Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_upload(&self, upload_id: &str, keep: Duration) -> io::Result<()> {
        let (upload_id, keep_until) = (Some(upload_id.to_owned()), until(keep));
        self.write(&Update { upload_id, keep_until, ..Update::default() })
    }

    /// Records a stored part, and how long to keep the upload from now on. Not synced: a part that
    /// is missing in the record is sent again. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_part(&self, part: StoredPart, keep: Duration) -> io::Result<()> {
        if self.file.metadata()?.len() > FULL {
            return Ok(());
        }
        self.add(&Update { part: Some(part), keep_until: until(keep), ..Update::default() })
    }

    /// Records how long to keep the upload from now on; zero means not at all. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, keep: Duration) -> io::Result<()> {
        let keep_until = Some(until(keep).unwrap_or_default());
        self.write(&Update { keep_until, ..Update::default() })
    }

    /// Records that the multipart upload is about to be completed. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_completion(&self) -> io::Result<()> {
        self.write(&Update { completing: true, ..Update::default() })
    }

    /// Appends to the record, with a time limit.
    ///
    /// # Errors
    /// When it cannot be written; `TimedOut`, after which nothing is appended any more.
    pub async fn add_within(
        self: Arc<Self>,
        what: impl FnOnce(&Self) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        if self.is_stuck.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let record = Arc::clone(&self);
        let adding = move || within(LIMIT, move || what(&record), drop);
        let added = tokio::task::spawn_blocking(adding).await;
        let added = added.unwrap_or_else(|error| Err(io::Error::other(error)));
        let is_stuck = added.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        self.is_stuck.fetch_or(is_stuck, Ordering::Relaxed);
        added
    }

    /// Gives up ownership, even while a task still holds the record to append a part. Blocks.
    pub fn release(&self) {
        let locked = self.lock_file.as_ref().map_or(&self.file, |lock_file| &lock_file.0);
        // Fails only if it is not locked.
        let _ = locked.unlock();
    }

    /// Deletes the record, after success or a cleanup. Blocks.
    pub fn delete(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "cannot delete a journal record");
        } else if self.lock_file.is_some() {
            // A lock file that stays is removed later, with others that have no record.
            let _ = fs::remove_file(self.path.with_extension(LOCK_ENDING));
        }
    }

    fn write(&self, line: &Update) -> io::Result<()> {
        self.add(line)?;
        self.file.sync_all()
    }

    fn add(&self, line: &Update) -> io::Result<()> {
        // The line before may be truncated.
        let mut bytes = vec![b'\n'];
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
        self.append(&bytes)
    }

    /// In a single write, because several tasks may append at the same time.
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }
}

/// A lock file that stands in for its record.
#[derive(Debug)]
struct LockFile(File);

impl Drop for LockFile {
    fn drop(&mut self) {
        // The system may release the lock of a closed file late.
        let _ = self.0.unlock();
    }
}

/// Locks an open record, unless it is locked. Windows does not allow reading a locked file, so
/// there a separate file is locked, and exists as long as the returned value.
fn lock(path: &Path, record: &File) -> Result<Option<LockFile>, TryLockError> {
    if cfg!(not(windows)) {
        return record.try_lock().map(|()| None);
    }
    let options = OpenOptions::new().write(true).create(true).truncate(false).clone();
    let file = options.open(path.with_extension(LOCK_ENDING)).map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(Some(LockFile(file)))
}

/// What a record is about, and whether its owner is running.
pub(super) fn owner(path: &Path) -> Option<(Intent, Owner)> {
    let file = open_own(path, LONGEST).ok()?;
    let is_locked = lock(path, &file).is_err();
    let text = read_text(&file)?;
    let (intent, mut lines) = parse(&text).filter(|(intent, _)| intent.is_valid())?;
    // An orphan is locked too, while a process cleans up.
    let is_running = is_locked && lines.all(|line| line.orphan_since.is_none());
    Some((intent, if is_running { Owner::Alive } else { Owner::Gone }))
}

/// Not all of it was synced, so after a power failure it may contain anything.
fn read_text(file: &File) -> Option<String> {
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// None for a record of another version.
fn parse(text: &str) -> Option<(Intent, impl Iterator<Item = Update> + '_)> {
    let mut lines = text.lines();
    let first: FirstLine = serde_json::from_str(lines.next()?).ok()?;
    if first.format != FORMAT {
        return None;
    }
    // A truncated line was never confirmed to its writer.
    Some((first.intent, lines.filter_map(|line| serde_json::from_str(line).ok())))
}

fn until(keep: Duration) -> Option<u64> {
    (!keep.is_zero()).then(|| seconds(SystemTime::now()).saturating_add(keep.as_secs()))
}

fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn moment(seconds: u64) -> SystemTime {
    // An intact record has no time that the clock cannot represent.
    let since = Duration::from_secs(seconds);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
