//! Metadata that was read before: in memory, and on disk for the next process.
//!
//! A document is the same for as long as its key, entity tag, size and time stay the same, and the
//! listing tells these. So nothing here is ever out of date, and all of it may be deleted at any time.
//! A file that another user of the machine can have written would show backups that are not there, so
//! the agent does not read it.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, Semaphore};

use super::metadata::{self, Document};
use super::{MAX_DOCUMENT, most_bytes};
use crate::config::LiveLimits;
use crate::error::{Code, Error, Result};
use crate::platform::{create_own, make_trusted_folder, open_own, trusted_folder, within};
use crate::protocol::{Backup, MetadataText};
use crate::s3::{Bucket, ObjectInfo};

/// Time to read or write the file.
const LIMIT: Duration = Duration::from_secs(10);

/// Entries of the folder that are looked at when room is made.
const MOST_ENTRIES: usize = 1000;

/// KiB that documents may take at the same time while they are read, if there are several.
const READING: u32 = 2 << 10;

/// Times its length a document takes while it is read: as it arrives, as a whole, taken apart, and as
/// it is kept.
const COPIES: u64 = 4;

/// Bytes that a document takes at least while it is read.
const SHORTEST: u64 = 16 << 10;

/// The longest file.
const MOST_BYTES: u64 = 8 << 20;

/// Files kept: so many places are remembered.
const MOST_FILES: usize = 16;

/// Version of the files. Those with another one are passed over, and written anew.
const FORMAT: u32 = 1;

/// Characters of the digest before the lines.
const LONGEST_DIGEST: u64 = 65;

const ENDING: &str = "jsonl";

/// What makes a document the one that was read before.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Identity {
    key: String,
    etag: String,
    size: u64,
    modified: i64,
}

impl From<&ObjectInfo> for Identity {
    fn from(object: &ObjectInfo) -> Self {
        let ObjectInfo { key, size, etag, modified } = object.clone();
        Self { key, etag, size, modified }
    }
}

/// A document without its digests, which can be long and are only needed for a download.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) id: String,
    /// Length of the archive as the host has it.
    length: Option<u64>,
    /// Length of the archive as our digests have it.
    pub(super) recorded_length: Option<u64>,
    metadata: MetadataText,
    /// What is wrong with our digests.
    #[serde(skip)]
    pub(super) fault: Option<Error>,
}

impl Summary {
    /// What a listing shows of the content of a metadata object.
    ///
    /// # Errors
    /// `corrupt_metadata`, `too_large`.
    pub(super) fn read(content: &[u8]) -> Result<Self> {
        Self::of(metadata::read(content)?)
    }

    /// # Errors
    /// `corrupt_metadata` when the host's part of the document cannot be written again.
    pub(super) fn of(document: Document) -> Result<Self> {
        let metadata = MetadataText::of(&document.metadata).map_err(unreadable)?;
        Ok(Self {
            id: document.id,
            length: document.size,
            recorded_length: document.digests.map(|digests| digests.size),
            metadata,
            fault: document.fault,
        })
    }

    /// The backup that this is the document of.
    pub(super) fn backup(&self, name: &str, stored_size: u64) -> Backup {
        Backup {
            id: self.id.clone(),
            name: name.to_owned(),
            size: self.length.unwrap_or(stored_size),
            stored_size,
            has_checksums: self.recorded_length.is_some(),
            metadata: self.metadata.clone(),
        }
    }

    /// Bytes it takes, roughly.
    pub(super) fn weight(&self) -> usize {
        self.id.len() + self.metadata.length() + 256
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::new(Code::CorruptMetadata, "the metadata is not a JSON object").source(error)
}

/// The documents of one place.
#[derive(Debug)]
pub(super) struct MetadataCache {
    known: Mutex<Known>,
    /// Say how many bytes the known ones may take.
    limits: LiveLimits,
    file: Option<PathBuf>,
    loaded: OnceCell<()>,
    /// Room for what is read of the bucket.
    reading: Semaphore,
}

/// What was read, by what it was read of: after a look at all, what was there, and nothing else.
#[derive(Debug, Default)]
struct Known {
    summaries: Arc<HashMap<Identity, Arc<Summary>>>,
    /// Bytes that they take.
    weight: usize,
    /// Whether there is anything that the file does not have.
    changed: bool,
}

impl Known {
    fn insert(&mut self, identity: Identity, summary: Arc<Summary>) {
        self.weight += summary.weight();
        let summaries = Arc::make_mut(&mut self.summaries);
        if let Some(replaced) = summaries.insert(identity, summary) {
            self.weight = self.weight.saturating_sub(replaced.weight());
        }
    }
}

impl MetadataCache {
    /// The documents of `place`, which are kept in `folder` too, if there is one. Reads nothing yet.
    pub(super) fn new(place: &str, folder: Option<&Path>, limits: LiveLimits) -> Self {
        let digest = Sha256::digest(place);
        let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self {
            known: Mutex::default(),
            limits,
            file: folder.map(|folder| folder.join(name).with_extension(ENDING)),
            loaded: OnceCell::new(),
            reading: Semaphore::new(READING as usize),
        }
    }

    /// The document of this object, read from the bucket if it was not read before.
    ///
    /// # Errors
    /// What is wrong with the document; every code that a storage or a connection can cause.
    pub(super) async fn summary(
        &self,
        bucket: &Bucket,
        object: &ObjectInfo,
    ) -> Result<Arc<Summary>> {
        self.load().await;
        // Without an entity tag nothing tells that a document is still the same.
        if !object.etag.is_empty()
            && let Some(summary) = self.known().summaries.get(&Identity::from(object))
        {
            return Ok(Arc::clone(summary));
        }
        // In a box, because most are known, and need not carry along what a request takes.
        Ok(Arc::new(Box::pin(self.read(bucket, object)).await?))
    }

    /// Keeps what a document says while there is room, so that a look that is broken off was not in vain.
    pub(super) fn keep(&self, object: &ObjectInfo, summary: &Arc<Summary>) {
        let mut known = self.known();
        let identity = Identity::from(object);
        let is_new = !identity.etag.is_empty() && !known.summaries.contains_key(&identity);
        if is_new && known.weight + summary.weight() <= most_bytes(&self.limits) {
            known.insert(identity, Arc::clone(summary));
            known.changed = true;
        }
    }

    async fn read(&self, bucket: &Bucket, object: &ObjectInfo) -> Result<Summary> {
        // The size that the listing told, as memory is set aside for no more.
        let most = object.size.max(SHORTEST);
        if most > MAX_DOCUMENT {
            let message = format!("metadata of {} bytes is too large to be listed", object.size);
            return Err(Error::new(Code::TooLarge, message).detail("limit", MAX_DOCUMENT));
        }
        let kib = u32::try_from((most * COPIES).div_ceil(1024)).unwrap_or(READING).min(READING);
        // Only fails when it is closed, which it never is.
        let _room = self.reading.acquire_many(kib).await.ok();
        Summary::read(&bucket.get(&object.key, most).await?)
    }

    /// The keys of all documents that were there the last time, now or before this process.
    pub(super) async fn last_keys(&self) -> Vec<String> {
        self.load().await;
        self.known().summaries.keys().map(|identity| identity.key.clone()).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what an earlier process has read; once.
    async fn load(&self) {
        let Some(file) = &self.file else { return };
        let load = || async {
            let file = file.clone();
            let lines = in_time(move || read(&file)).await.unwrap_or_else(|error| {
                tracing::info!(%error, "what an earlier run has read of the bucket is not used");
                Vec::new()
            });
            let mut known = self.known();
            for (identity, summary) in lines {
                if known.weight + summary.weight() <= most_bytes(&self.limits) {
                    known.insert(identity, Arc::new(summary));
                }
            }
        };
        self.loaded.get_or_init(load).await;
    }

    /// Takes these for all that are there, and keeps what they say for the next process, if that is
    /// not what it was. Failing to do so costs time and nothing else.
    pub(super) async fn save<'a>(
        &self,
        documents: impl Iterator<Item = (&'a ObjectInfo, &'a Arc<Summary>)>,
    ) {
        let mut there = Known::default();
        // A fault is not kept: the next version may know better.
        for (object, summary) in documents.filter(|(_, summary)| summary.fault.is_none()) {
            there.insert(Identity::from(object), Arc::clone(summary));
        }
        let changed = {
            let mut known = self.known();
            let changed = known.changed || known.summaries.len() != there.summaries.len();
            let summaries = Arc::clone(&there.summaries);
            *known = Known { summaries, weight: there.weight, changed: false };
            changed
        };
        let Some(file) = self.file.clone().filter(|_| changed) else { return };
        if let Err(error) = in_time(move || write(&file, &there.summaries)).await {
            tracing::info!(%error, "what was read of the bucket could not be kept for the next run");
        }
    }
}

/// Does work on the file that may hang, for a limited time.
async fn in_time<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let working = tokio::task::spawn_blocking(move || within(LIMIT, work, drop));
    working.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// The documents in a file; none when it is not as it was written.
///
/// # Errors
/// When the file, or its folder, can be of another user, or cannot be read.
fn read(file: &Path) -> io::Result<Vec<(Identity, Summary)>> {
    #[cfg(feature = "demo")]
    crate::fault_injection::delay("kept documents");
    if !trusted_folder(file.parent().unwrap_or(file))? {
        return Ok(Vec::new());
    }
    let opened = match open_own(file, MOST_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut text = String::new();
    opened.take(MOST_BYTES).read_to_string(&mut text)?;
    let Some((digest, lines)) = text.split_once('\n') else { return Ok(Vec::new()) };
    if digest != digest_of(lines.as_bytes()) {
        return Ok(Vec::new());
    }
    Ok(lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn write(file: &Path, documents: &HashMap<Identity, Arc<Summary>>) -> io::Result<()> {
    let folder = file.parent().unwrap_or(file);
    make_trusted_folder(folder)?;
    make_room(folder, file)?;
    // Several processes may write it at once; the last one counts.
    let draft = file.with_extension(format!("{:016x}.tmp", fastrand::u64(..)));
    let written = create_own(&draft).and_then(|open| {
        write_lines(open, documents)?;
        fs::rename(&draft, file)
    });
    if written.is_err() {
        fs::remove_file(&draft).ok();
    }
    written
}

/// Line by line, so that they are never all in memory once more; twice, as their digest comes first.
fn write_lines(open: fs::File, documents: &HashMap<Identity, Arc<Summary>>) -> io::Result<()> {
    let digest = lines(documents).try_fold(digest_before_lines(), |digest, line| {
        Ok::<_, serde_json::Error>(digest.chain_update(line?))
    })?;
    let mut out = BufWriter::new(open);
    out.write_all(format!("{}\n", hexadecimal(digest)).as_bytes())?;
    lines(documents).try_for_each(|line| out.write_all(&line?))?;
    out.flush()
}

/// As many as the file may have.
fn lines(
    documents: &HashMap<Identity, Arc<Summary>>,
) -> impl Iterator<Item = serde_json::Result<Vec<u8>>> + '_ {
    let lines = documents.iter().map(|(identity, summary)| {
        let mut line = serde_json::to_vec(&(identity, summary.as_ref()))?;
        line.push(b'\n');
        Ok(line)
    });
    let mut room = MOST_BYTES - LONGEST_DIGEST;
    lines.take_while(move |line| match line {
        Ok(line) => match room.checked_sub(line.len() as u64) {
            Some(rest) => {
                room = rest;
                true
            }
            None => false,
        },
        Err(_) => true,
    })
}

fn digest_of(lines: &[u8]) -> String {
    hexadecimal(digest_before_lines().chain_update(lines))
}

/// With the version of the lines, so that others are not taken for them, and with that of the
/// documents: what a newer agent has read, this one may have to refuse.
fn digest_before_lines() -> Sha256 {
    Sha256::new_with_prefix(format!("documents {FORMAT}, metadata {}\n", metadata::FORMAT))
}

fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Deletes what was written longest ago, and drafts that were left over, before `file` is written.
fn make_room(folder: &Path, file: &Path) -> io::Result<()> {
    let mut others = Vec::new();
    for entry in fs::read_dir(folder)?.take(MOST_ENTRIES) {
        let entry = entry?;
        let Ok(written) = entry.metadata().and_then(|metadata| metadata.modified()) else {
            continue;
        };
        if entry.path() != file {
            others.push((written, entry.path()));
        }
    }
    others.sort();
    let surplus = (others.len() + 1).saturating_sub(MOST_FILES);
    for (_, path) in others.into_iter().take(surplus) {
        fs::remove_file(path).ok();
    }
    Ok(())
}
