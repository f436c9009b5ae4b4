//! Metadata cache, in memory and on disk.
//!
//! A metadata object is unchanged as long as its key, ETag, size and time are unchanged, and a
//! listing contains these. So the cache is never outdated, and may be deleted at any time. The
//! agent does not read a cache file that another user of the machine could have written, because it
//! could show backups that do not exist.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, Semaphore};

use super::metadata::{self, MetadataObject};
use super::{MAX_METADATA_OBJECT, most_bytes};
use crate::config::LiveLimits;
use crate::error::{Code, Error, Result};
use crate::platform::{create_own, make_trusted_folder, open_own, trusted_folder, within};
use crate::protocol::{Backup, MetadataText};
use crate::s3::{Bucket, ObjectInfo};

/// Time limit to read or write the file.
const LIMIT: Duration = Duration::from_secs(10);

/// Most entries of the folder that are checked when old files are removed.
const MOST_ENTRIES: usize = 1000;

/// KiB for metadata objects that are being read at the same time.
const READ_KIB: u32 = 2 << 10;

/// Memory of a metadata object while it is read, as a multiple of its length: received, joined,
/// parsed and kept.
const COPIES: u64 = 4;

/// Least bytes counted for a metadata object while it is read.
const LEAST_BYTES: u64 = 16 << 10;

/// Longest cache file in bytes.
const MOST_BYTES: u64 = 8 << 20;

/// Most cache files, one for each place.
const MOST_FILES: usize = 16;

/// Version of the files. Files of other versions are ignored and overwritten.
const FORMAT: u32 = 1;

/// Length of the first line: a SHA-256 in hexadecimal and a line feed.
const HASH_LINE: u64 = 65;

const ENDING: &str = "jsonl";

/// Identifies one version of a metadata object.
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

/// A metadata object without its checksums, which can be long and are needed only for a download.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) id: String,
    /// Length of the archive according to the host, in bytes.
    length: Option<u64>,
    /// Length of the archive according to the agent's checksums, in bytes.
    pub(super) recorded_length: Option<u64>,
    metadata: MetadataText,
    /// The problem with the agent's member.
    #[serde(skip)]
    pub(super) fault: Option<Error>,
}

impl Summary {
    /// The listed part of a metadata object.
    ///
    /// # Errors
    /// `corrupt_metadata`, `too_large`.
    pub(super) fn read(content: &[u8]) -> Result<Self> {
        Self::of(metadata::read(content)?)
    }

    /// # Errors
    /// `corrupt_metadata` when the host's metadata cannot be serialized.
    pub(super) fn of(object: MetadataObject) -> Result<Self> {
        let metadata = MetadataText::of(&object.metadata).map_err(unreadable)?;
        Ok(Self {
            id: object.id,
            length: object.size,
            recorded_length: object.checksums.map(|checksums| checksums.size),
            metadata,
            fault: object.fault,
        })
    }

    /// The backup that this metadata describes.
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

    /// Approximate memory in bytes.
    pub(super) fn weight(&self) -> usize {
        self.id.len() + self.metadata.length() + 256
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::new(Code::CorruptMetadata, "the metadata is not a JSON object").source(error)
}

/// The metadata cache of one place.
#[derive(Debug)]
pub(super) struct MetadataCache {
    cached: Mutex<Cached>,
    /// The memory setting limits the cache.
    limits: LiveLimits,
    file: Option<PathBuf>,
    loaded: OnceCell<()>,
    /// Memory for metadata objects that are being read, in KiB.
    read_memory: Semaphore,
}

/// The cached metadata. After a complete listing it holds the listed objects and no others.
#[derive(Debug, Default)]
struct Cached {
    summaries: Arc<HashMap<Identity, Arc<Summary>>>,
    /// Their memory in bytes.
    weight: usize,
    /// Whether the file is outdated.
    changed: bool,
}

impl Cached {
    fn insert(&mut self, identity: Identity, summary: Arc<Summary>) {
        self.weight += summary.weight();
        let summaries = Arc::make_mut(&mut self.summaries);
        if let Some(replaced) = summaries.insert(identity, summary) {
            self.weight = self.weight.saturating_sub(replaced.weight());
        }
    }
}

impl MetadataCache {
    /// The cache of `place`, stored in `folder` if there is one. Reads nothing yet.
    pub(super) fn new(place: &str, folder: Option<&Path>, limits: LiveLimits) -> Self {
        let hash = Sha256::digest(place);
        let name: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self {
            cached: Mutex::default(),
            limits,
            file: folder.map(|folder| folder.join(name).with_extension(ENDING)),
            loaded: OnceCell::new(),
            read_memory: Semaphore::new(READ_KIB as usize),
        }
    }

    /// The metadata of this object, read from the bucket if it is not cached.
    ///
    /// # Errors
    /// The problem with the metadata object; every code that a server or a connection can cause.
    pub(super) async fn summary(
        &self,
        bucket: &Bucket,
        object: &ObjectInfo,
    ) -> Result<Arc<Summary>> {
        self.load().await;
        // Without an ETag it is unknown whether the object has changed.
        if !object.etag.is_empty()
            && let Some(summary) = self.cached().summaries.get(&Identity::from(object))
        {
            return Ok(Arc::clone(summary));
        }
        // Boxed, because most objects are cached and need no memory for a request.
        Ok(Arc::new(Box::pin(self.read(bucket, object)).await?))
    }

    /// Caches metadata while there is memory, so that an interrupted listing is not wasted.
    pub(super) fn keep(&self, object: &ObjectInfo, summary: &Arc<Summary>) {
        let mut cached = self.cached();
        let identity = Identity::from(object);
        let is_new = !identity.etag.is_empty() && !cached.summaries.contains_key(&identity);
        if is_new && cached.weight + summary.weight() <= most_bytes(&self.limits) {
            cached.insert(identity, Arc::clone(summary));
            cached.changed = true;
        }
    }

    async fn read(&self, bucket: &Bucket, object: &ObjectInfo) -> Result<Summary> {
        // Limited to the size from the listing, as memory is reserved for no more.
        let most = object.size.max(LEAST_BYTES);
        if most > MAX_METADATA_OBJECT {
            let message = format!("metadata of {} bytes is too large to be listed", object.size);
            return Err(Error::new(Code::TooLarge, message).detail("limit", MAX_METADATA_OBJECT));
        }
        let kib = u32::try_from((most * COPIES).div_ceil(1024)).unwrap_or(READ_KIB).min(READ_KIB);
        // Fails only when it is closed, which never happens.
        let _memory = self.read_memory.acquire_many(kib).await.ok();
        Summary::read(&bucket.get(&object.key, most).await?)
    }

    /// The keys of all metadata objects at the last listing, by this process or an earlier one.
    pub(super) async fn last_keys(&self) -> Vec<String> {
        self.load().await;
        self.cached().summaries.keys().map(|identity| identity.key.clone()).collect()
    }

    fn cached(&self) -> MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the file of an earlier process, once.
    async fn load(&self) {
        let Some(file) = &self.file else { return };
        let load = || async {
            let file = file.clone();
            let lines = with_limit(move || read(&file)).await.unwrap_or_else(|error| {
                tracing::info!(%error, "the metadata cache of an earlier run is not used");
                Vec::new()
            });
            let mut cached = self.cached();
            for (identity, summary) in lines {
                if cached.weight + summary.weight() <= most_bytes(&self.limits) {
                    cached.insert(identity, Arc::new(summary));
                }
            }
        };
        self.loaded.get_or_init(load).await;
    }

    /// Replaces the cache with these metadata objects, all that exist, and writes the file if they
    /// have changed. A failure costs time only.
    pub(super) async fn save<'a>(
        &self,
        summaries: impl Iterator<Item = (&'a ObjectInfo, &'a Arc<Summary>)>,
    ) {
        let mut listed = Cached::default();
        // Problems are not cached: the next version may handle them.
        for (object, summary) in summaries.filter(|(_, summary)| summary.fault.is_none()) {
            listed.insert(Identity::from(object), Arc::clone(summary));
        }
        let changed = {
            let mut cached = self.cached();
            let changed = cached.changed || cached.summaries.len() != listed.summaries.len();
            let summaries = Arc::clone(&listed.summaries);
            *cached = Cached { summaries, weight: listed.weight, changed: false };
            changed
        };
        let Some(file) = self.file.clone().filter(|_| changed) else { return };
        if let Err(error) = with_limit(move || write(&file, &listed.summaries)).await {
            tracing::info!(%error, "cannot write the metadata cache");
        }
    }
}

/// Does file work that may hang, with a time limit.
async fn with_limit<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let working = tokio::task::spawn_blocking(move || within(LIMIT, work, drop));
    working.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Reads the metadata in a file; None when the file is damaged.
///
/// # Errors
/// When another user could have written the file or its folder, or the file cannot be read.
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
    let Some((hash, lines)) = text.split_once('\n') else { return Ok(Vec::new()) };
    if hash != hash_of(lines.as_bytes()) {
        return Ok(Vec::new());
    }
    Ok(lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn write(file: &Path, summaries: &HashMap<Identity, Arc<Summary>>) -> io::Result<()> {
    let folder = file.parent().unwrap_or(file);
    make_trusted_folder(folder)?;
    delete_old_files(folder, file)?;
    // Several processes may write the file at the same time; the last one counts.
    let draft = file.with_extension(format!("{:016x}.tmp", fastrand::u64(..)));
    let written = create_own(&draft).and_then(|open| {
        write_lines(open, summaries)?;
        fs::rename(&draft, file)
    });
    if written.is_err() {
        fs::remove_file(&draft).ok();
    }
    written
}

/// Line by line, so that the lines are never all in memory; twice, because their SHA-256 comes
/// first.
fn write_lines(open: fs::File, summaries: &HashMap<Identity, Arc<Summary>>) -> io::Result<()> {
    let hash = lines(summaries).try_fold(hash_of_versions(), |hash, line| {
        Ok::<_, serde_json::Error>(hash.chain_update(line?))
    })?;
    let mut out = BufWriter::new(open);
    out.write_all(format!("{}\n", hexadecimal(hash)).as_bytes())?;
    lines(summaries).try_for_each(|line| out.write_all(&line?))?;
    out.flush()
}

/// As many lines as the file may have.
fn lines(
    summaries: &HashMap<Identity, Arc<Summary>>,
) -> impl Iterator<Item = serde_json::Result<Vec<u8>>> + '_ {
    let lines = summaries.iter().map(|(identity, summary)| {
        let mut line = serde_json::to_vec(&(identity, summary.as_ref()))?;
        line.push(b'\n');
        Ok(line)
    });
    let mut remaining = MOST_BYTES - HASH_LINE;
    lines.take_while(move |line| match line {
        Ok(line) => match remaining.checked_sub(line.len() as u64) {
            Some(rest) => {
                remaining = rest;
                true
            }
            None => false,
        },
        Err(_) => true,
    })
}

fn hash_of(lines: &[u8]) -> String {
    hexadecimal(hash_of_versions().chain_update(lines))
}

/// Includes the version of the lines, and that of the metadata: an older agent may have to refuse
/// what a newer one has read.
fn hash_of_versions() -> Sha256 {
    Sha256::new_with_prefix(format!("documents {FORMAT}, metadata {}\n", metadata::FORMAT))
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Deletes the oldest files and abandoned drafts before `file` is written.
fn delete_old_files(folder: &Path, file: &Path) -> io::Result<()> {
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
