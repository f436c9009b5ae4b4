//! Listing of a bucket: backups, incomplete backups and orphaned objects.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::layout::{Half, Layout};
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
        let Store { bucket, layout, documents, limits, .. } = store;
        let most_bytes = most_bytes(limits);
        let known = documents.last_keys().await;
        let pairs: Mutex<BTreeMap<String, Pair>> = Mutex::default();
        let all = || pairs.lock().unwrap_or_else(PoisonError::into_inner);
        // Listing and reading are two futures that are always polled together: if one waited inside
        // the stream of the other, it would stop, with everything it holds, whenever the other is
        // full. The queue between them holds entries that are kept anyway.
        let (line, documents_in_line) = mpsc::unbounded_channel();
        let keys = async {
            let line = line;
            let mut pages = std::pin::pin!(pages(bucket, layout, known, most_bytes));
            while let Some(page) = pages.try_next().await? {
                let mut pairs = all();
                for object in page.objects {
                    let Some(half) = layout.half(&object.key) else { continue };
                    let pair = pairs.entry(half.name().to_owned()).or_default();
                    match half {
                        Half::Archive(_) => pair.archive = Some(object),
                        // A server may list an object several times; it is read once.
                        Half::Metadata(_) if pair.is_asked_for => {}
                        Half::Metadata(_) => {
                            pair.is_asked_for = true;
                            line.send(object).ok();
                        }
                    }
                }
                for unreadable in page.unreadable {
                    let Some(half) = layout.half(&unreadable.key) else { continue };
                    let pair = pairs.entry(half.name().to_owned()).or_default();
                    pair.unreadable = Some(unreadable);
                }
            }
            Ok(())
        };
        let summaries = async {
            let objects = stream::unfold(documents_in_line, async |mut line| {
                Some((line.recv().await?, line))
            });
            let looks = objects.map(|object| look(store, object)).buffer_unordered(READERS);
            let mut looks = std::pin::pin!(looks);
            let mut room = Room::new(most_bytes);
            while let Some((object, summary)) = looks.try_next().await? {
                let Some(name) = layout.half(&object.key).map(|half| half.name().to_owned()) else {
                    continue;
                };
                let summary = room.take(summary);
                if let Ok(summary) = &summary {
                    documents.keep(&object, summary);
                }
                all().entry(name).or_default().document = Some((object, summary));
            }
            Ok(())
        };
        tokio::try_join!(keys, summaries)?;
        let pairs = pairs.into_inner().unwrap_or_else(PoisonError::into_inner);
        documents.save(pairs.values().filter_map(Pair::summary)).await;
        let mut found: Vec<(i64, String, Entry)> = pairs
            .into_iter()
            .filter_map(|(name, pair)| {
                let modified = pair.document.as_ref().map_or(0, |(object, _)| object.modified);
                let entry = pair.judge(&name)?;
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
            let is_whole = |entry: &Entry| matches!(entry, Entry::Backup(_));
            let counts =
                names.first().filter(|first| self.entries.get(*first).is_some_and(is_whole));
            match (counts, is_whole(&entry)) {
                (Some(first), true) => {
                    let message = format!(
                        "the backup \"{first}\" has the same id, and is the one that counts"
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
const USUAL: usize = 8 << 10;

/// Remaining bytes for metadata.
struct Room {
    all: usize,
    /// For metadata larger than typical, so that it does not use up the rest.
    large: usize,
}

impl Room {
    fn new(bytes: usize) -> Self {
        Self { all: bytes, large: bytes / 2 }
    }

    /// Counts a summary; an error if there is no memory left for it.
    fn take(&mut self, summary: Result<Arc<Summary>>) -> Result<Arc<Summary>> {
        let summary = summary?;
        let weight = summary.weight();
        let of_large = if weight > USUAL { weight } else { 0 };
        match (self.all.checked_sub(weight), self.large.checked_sub(of_large)) {
            (Some(all), Some(large)) => {
                *self = Self { all, large };
                Ok(summary)
            }
            _ => {
                let message = "there is no room for its metadata: raise memory";
                Err(Error::new(Code::TooLarge, message).field("memory"))
            }
        }
    }
}

/// Reads a metadata object. Returns its summary or its problem.
async fn look(store: &Store, object: ObjectInfo) -> Result<(ObjectInfo, Result<Arc<Summary>>)> {
    let summary = store.documents.summary(&store.bucket, &object).await;
    if let Err(error) = &summary
        && error.code() != Code::NotFound
        && !is_about_the_document(error)
    {
        return Err(error.clone());
    }
    Ok((object, summary))
}

/// Whether the error concerns one metadata object only. Any other error, such as a broken
/// connection or expired credentials, must not hide backups for as long as the listing is cached.
fn is_about_the_document(error: &Error) -> bool {
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
    is_asked_for: bool,
    document: Option<(ObjectInfo, Result<Arc<Summary>>)>,
    /// An object of the pair whose listing entry is invalid.
    unreadable: Option<Unreadable>,
}

impl Pair {
    fn summary(&self) -> Option<(&ObjectInfo, &Arc<Summary>)> {
        let (object, summary) = self.document.as_ref()?;
        Some((object, summary.as_ref().ok()?))
    }

    /// The entry for the pair; None when it was deleted during the listing.
    fn judge(self, name: &str) -> Option<Entry> {
        if let Some(Unreadable { key, member }) = self.unreadable {
            let message =
                format!("the listing of the bucket names it, and its {member} cannot be read");
            return Some(skip(&key, None, &Error::new(Code::CorruptMetadata, message)));
        }
        let Some((document, summary)) = self.document else { return Some(Entry::Archive) };
        let summary = match summary {
            Ok(summary) => summary,
            Err(error) if error.code() == Code::NotFound => return None,
            Err(error) => return Some(skip(&document.key, None, &error)),
        };
        let id = Some(summary.id.clone());
        let Some(archive) = self.archive else {
            let error =
                Error::new(Code::NotFound, "the archive that belongs to this metadata is missing");
            return Some(skip(&document.key, id, &error));
        };
        if let Some(fault) = &summary.fault {
            return Some(skip(&document.key, id, fault));
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
