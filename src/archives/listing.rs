//! Listing of a bucket: backups, incomplete backups and orphaned objects.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::layout::{Layout, PairKey};
use super::metadata_cache::Summary;
use super::pages::pages;
use super::{Store, most_bytes};
use crate::error::{Code, Error, Kind, Result};
use crate::protocol::{Backup, Skipped};
use crate::s3::{ObjectInfo, Unreadable};

/// Metadata objects read at the same time.
const READERS: usize = 32;

/// The backups of a target at one moment.
#[derive(Debug, Default)]
pub struct Listing {
    /// By object name: the backup, or why there is none.
    pub entries: BTreeMap<String, Entry>,
    /// The names that have an ID. The first is the current one.
    by_id: HashMap<String, Vec<String>>,
}

/// The objects of one name.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A complete backup.
    Backup(Arc<Backup>),
    /// A metadata object without a complete backup.
    Skipped {
        /// The ID of the backup, if it can be read.
        id: Option<String>,
        /// The object and its problem.
        skipped: Skipped,
    },
    /// An archive without metadata: a running or an interrupted upload.
    Archive,
}

impl Listing {
    /// Name and entry of the backup with this ID, complete or not.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<(&str, &Entry)> {
        let (name, entry) = self.entries.get_key_value(self.names(id).first()?)?;
        Some((name, entry))
    }

    /// All names of backups with this ID, complete or not. The first is the current one.
    #[must_use]
    pub fn names(&self, id: &str) -> &[String] {
        self.by_id.get(id).map_or(&[], Vec::as_slice)
    }

    /// Whether an object with this name exists.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The backups, in the order of their names.
    pub fn backups(&self) -> impl Iterator<Item = &Arc<Backup>> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Backup(backup) => Some(backup),
            Entry::Skipped { .. } | Entry::Archive => None,
        })
    }

    /// A metadata object that the credentials may not read.
    pub(super) fn forbidden(&self) -> Option<&Skipped> {
        self.entries.values().find_map(|entry| match entry {
            Entry::Skipped { skipped, .. } if skipped.code == Code::AccessDenied => Some(skipped),
            Entry::Skipped { .. } | Entry::Backup(_) | Entry::Archive => None,
        })
    }

    pub(super) async fn load(store: &Store) -> Result<Self> {
        let Store { bucket, layout, cache, limits, .. } = store;
        let most_bytes = most_bytes(limits);
        let known = cache.last_keys().await;
        let pairs: Mutex<BTreeMap<String, Pair>> = Mutex::default();
        let all = || pairs.lock().unwrap_or_else(PoisonError::into_inner);
        // Listing and reading are two futures that are always polled together: if one waited inside
        // the stream of the other, it would stop, with everything it holds, whenever the other is
        // full. The queue between them holds entries that are kept anyway.
        let (queue, queued_objects) = mpsc::unbounded_channel();
        let keys = async {
            let queue = queue;
            let mut pages = std::pin::pin!(pages(bucket, layout, known, most_bytes));
            while let Some(page) = pages.try_next().await? {
                let mut pairs = all();
                for object in page.objects {
                    let Some(pair_key) = layout.pair_key(&object.key) else { continue };
                    let pair = pairs.entry(pair_key.name().to_owned()).or_default();
                    match pair_key {
                        PairKey::Archive(_) => pair.archive = Some(object),
                        // A server may list an object several times; it is read once.
                        PairKey::Metadata(_) if pair.is_requested => {}
                        PairKey::Metadata(_) => {
                            pair.is_requested = true;
                            queue.send(object).ok();
                        }
                    }
                }
                for unreadable in page.unreadable {
                    let Some(pair_key) = layout.pair_key(&unreadable.key) else { continue };
                    let pair = pairs.entry(pair_key.name().to_owned()).or_default();
                    pair.unreadable = Some(unreadable);
                }
            }
            Ok(())
        };
        let summaries = async {
            let objects = stream::unfold(queued_objects, async |mut queue| {
                Some((queue.recv().await?, queue))
            });
            let read = objects.map(|object| read_summary(store, object)).buffer_unordered(READERS);
            let mut read = std::pin::pin!(read);
            let mut memory = MetadataMemory::new(most_bytes);
            while let Some((object, summary)) = read.try_next().await? {
                let Some(name) =
                    layout.pair_key(&object.key).map(|pair_key| pair_key.name().to_owned())
                else {
                    continue;
                };
                let summary = memory.take(summary);
                if let Ok(summary) = &summary {
                    cache.keep(&object, summary);
                }
                all().entry(name).or_default().metadata = Some((object, summary));
            }
            Ok(())
        };
        tokio::try_join!(keys, summaries)?;
        let pairs = pairs.into_inner().unwrap_or_else(PoisonError::into_inner);
        cache.save(pairs.values().filter_map(Pair::summary)).await;
        let mut found: Vec<(i64, String, Entry)> = pairs
            .into_iter()
            .filter_map(|(name, pair)| {
                let modified = pair.metadata.as_ref().map_or(0, |(object, _)| object.modified);
                let entry = pair.into_entry(&name)?;
                Some((modified, name, entry))
            })
            .collect();
        // Newest first: the first one is the current one.
        found.sort_by(|(one, name, _), (other, other_name, _)| {
            other.cmp(one).then_with(|| name.cmp(other_name))
        });
        let mut listing = Self::default();
        for (_, name, entry) in found {
            listing.insert(layout, name, entry);
        }
        Ok(listing)
    }

    /// Of several backups with one ID, the newest is the current one, but a complete one goes
    /// before a damaged one.
    fn insert(&mut self, layout: &Layout, name: String, mut entry: Entry) {
        let id = match &entry {
            Entry::Backup(backup) => Some(backup.id.clone()),
            Entry::Skipped { id, .. } => id.clone(),
            Entry::Archive => None,
        };
        if let Some(id) = id {
            let names = self.by_id.entry(id).or_default();
            let is_complete = |entry: &Entry| matches!(entry, Entry::Backup(_));
            let current =
                names.first().filter(|first| self.entries.get(*first).is_some_and(is_complete));
            match (current, is_complete(&entry)) {
                (Some(first), true) => {
                    let message = format!(
                        "the backup \"{first}\" has the same ID and is newer: this one is ignored"
                    );
                    let error = Error::new(Code::AlreadyExists, message);
                    entry = skip(&layout.metadata_key(&name), None, &error);
                    names.push(name.clone());
                }
                (None, true) => names.insert(0, name.clone()),
                (_, false) => names.push(name.clone()),
            }
        }
        self.entries.insert(name, entry);
    }
}

fn skip(key: &str, id: Option<String>, error: &Error) -> Entry {
    let skipped =
        Skipped { key: key.to_owned(), code: error.code(), message: error.message().to_owned() };
    Entry::Skipped { id, skipped }
}

/// Bytes of metadata of a typical backup, at most.
const TYPICAL_METADATA: usize = 8 << 10;

/// Remaining bytes for metadata.
struct MetadataMemory {
    all: usize,
    /// For metadata larger than typical, so that it does not use up the rest.
    large: usize,
}

impl MetadataMemory {
    fn new(bytes: usize) -> Self {
        Self { all: bytes, large: bytes / 2 }
    }

    /// Counts a summary; an error if there is no memory left for it.
    fn take(&mut self, summary: Result<Arc<Summary>>) -> Result<Arc<Summary>> {
        let summary = summary?;
        let weight = summary.weight();
        let of_large = if weight > TYPICAL_METADATA { weight } else { 0 };
        match (self.all.checked_sub(weight), self.large.checked_sub(of_large)) {
            (Some(all), Some(large)) => {
                *self = Self { all, large };
                Ok(summary)
            }
            _ => {
                let message = "no memory is left for its metadata";
                Err(Error::new(Code::TooLarge, message).hint("raise memory").field("memory"))
            }
        }
    }
}

/// Reads a metadata object. Returns its summary or its problem.
async fn read_summary(
    store: &Store,
    object: ObjectInfo,
) -> Result<(ObjectInfo, Result<Arc<Summary>>)> {
    let summary = store.cache.summary(&store.bucket, &object).await;
    if let Err(error) = &summary
        && error.code() != Code::NotFound
        && !is_about_metadata(error)
    {
        return Err(error.clone());
    }
    Ok((object, summary))
}

/// Whether the error concerns one metadata object only. Any other error, such as a broken
/// connection or expired credentials, must not hide backups for as long as the listing is cached.
fn is_about_metadata(error: &Error) -> bool {
    let code = error.code();
    match code.kind() {
        Kind::Integrity | Kind::Permission | Kind::Conflict => true,
        Kind::Limit => code == Code::TooLarge,
        Kind::Config => code == Code::UnsupportedFeature,
        Kind::Connect
        | Kind::Auth
        | Kind::NotFound
        | Kind::Transient
        | Kind::Cancelled
        | Kind::Protocol
        | Kind::Internal => false,
    }
}

/// The two objects of one name.
#[derive(Default)]
struct Pair {
    archive: Option<ObjectInfo>,
    /// Whether the metadata object was read, or is being read.
    is_requested: bool,
    metadata: Option<(ObjectInfo, Result<Arc<Summary>>)>,
    /// An object of the pair whose listing entry is invalid.
    unreadable: Option<Unreadable>,
}

impl Pair {
    fn summary(&self) -> Option<(&ObjectInfo, &Arc<Summary>)> {
        let (object, summary) = self.metadata.as_ref()?;
        Some((object, summary.as_ref().ok()?))
    }

    /// The entry for the pair; None when it was deleted during the listing.
    fn into_entry(self, name: &str) -> Option<Entry> {
        if let Some(Unreadable { key, member }) = self.unreadable {
            let message = format!("its {member} in the listing of the bucket is invalid");
            return Some(skip(&key, None, &Error::new(Code::CorruptMetadata, message)));
        }
        let Some((metadata, summary)) = self.metadata else { return Some(Entry::Archive) };
        let summary = match summary {
            Ok(summary) => summary,
            Err(error) if error.code() == Code::NotFound => return None,
            Err(error) => return Some(skip(&metadata.key, None, &error)),
        };
        let id = Some(summary.id.clone());
        let Some(archive) = self.archive else {
            let error =
                Error::new(Code::NotFound, "the archive that belongs to this metadata is missing");
            return Some(skip(&metadata.key, id, &error));
        };
        if let Some(fault) = &summary.fault {
            return Some(skip(&metadata.key, id, fault));
        }
        if let Some(recorded) = summary.recorded_length
            && recorded != archive.size
        {
            let error = Error::new(
                Code::LengthMismatch,
                format!(
                    "the archive has {} bytes instead of {recorded}: it was damaged or replaced",
                    archive.size
                ),
            );
            return Some(skip(&archive.key, id, &error));
        }
        Some(Entry::Backup(Arc::new(summary.backup(name, archive.size))))
    }
}
