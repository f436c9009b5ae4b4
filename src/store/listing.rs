//! One look at the bucket: which pairs of objects are backups, and what is no part of one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use moka::future::Cache;

use super::MAX_DOCUMENT;
use super::layout::{Half, Layout};
use super::metadata::{self, Document};
use crate::error::{Code, Error, Kind, Result};
use crate::protocol::{Backup, MAX_METADATA, Metadata, Skipped};
use crate::s3::{Bucket, ObjectInfo};

/// Metadata documents read at the same time.
const READERS: usize = 16;

/// Metadata of other tools that still fits into a line of the protocol.
const LONGEST_METADATA: usize = MAX_METADATA + (8 << 10);

/// Key, entity tag and size: what makes a document the one that was read before.
pub(super) type DocumentKey = (String, String, u64);

/// A document without its digests, which can be long and are only needed for a download.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    id: String,
    size: Option<u64>,
    metadata: Metadata,
    /// Length of the archive as our digests have it.
    recorded_size: Option<u64>,
    /// What is wrong with our digests.
    fault: Option<Error>,
    bytes: usize,
}

impl From<Document> for Summary {
    fn from(document: Document) -> Self {
        Self {
            bytes: serde_json::to_vec(&document.metadata).map_or(0, |json| json.len()),
            id: document.id,
            size: document.size,
            metadata: document.metadata,
            recorded_size: document.digests.map(|digests| digests.size),
            fault: document.fault,
        }
    }
}

impl Summary {
    /// The backup that this is the document of.
    pub(super) fn into_backup(self, name: &str, stored_size: u64) -> Backup {
        Backup {
            id: self.id,
            name: name.to_owned(),
            size: self.size.unwrap_or(stored_size),
            stored_size,
            verifiable: self.recorded_size.is_some(),
            metadata: self.metadata,
        }
    }

    /// Memory it takes, roughly: JSON as a tree is about four times its text.
    pub(super) fn weight(&self) -> u32 {
        u32::try_from(self.bytes * 4 + 256).unwrap_or(u32::MAX)
    }
}

/// The backups of a target at one moment.
#[derive(Debug, Default)]
pub struct Listing {
    /// By name of the objects: the backup, or why there is none.
    pub entries: BTreeMap<String, Entry>,
    by_id: HashMap<String, String>,
}

/// What is there under one name.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A whole backup.
    Backup(Arc<Backup>),
    /// A metadata document that does not lead to a whole backup.
    Skipped {
        /// The id of the backup that it belonged to, if it can be read.
        id: Option<String>,
        /// Which object it is and what is wrong with it.
        skipped: Skipped,
    },
    /// An archive without metadata: an upload that still runs, or the rest of a broken one.
    Archive,
}

impl Listing {
    /// Name and entry of the backup with this id, whole or not.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<(&str, &Entry)> {
        let (name, entry) = self.entries.get_key_value(self.by_id.get(id)?)?;
        Some((name, entry))
    }

    /// Whether any object of this name exists.
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

    /// A document that the keys may not read.
    pub(super) fn forbidden(&self) -> Option<&Skipped> {
        self.entries.values().find_map(|entry| match entry {
            Entry::Skipped { skipped, .. } if skipped.code == Code::AccessDenied => Some(skipped),
            Entry::Skipped { .. } | Entry::Backup(_) | Entry::Archive => None,
        })
    }

    pub(super) async fn load(
        bucket: &Bucket,
        layout: &Layout,
        documents: &Cache<DocumentKey, Arc<Summary>>,
    ) -> Result<Self> {
        let pairs = Pairs::load(bucket, layout).await?;
        let mut found: Vec<(i64, String, Option<Entry>)> = stream::iter(pairs.0)
            .map(|(name, pair)| async move {
                let modified = pair.metadata.as_ref().map_or(0, |object| object.modified);
                let entry = pair.judge(bucket, &name, documents).await?;
                Ok::<_, Error>((modified, name, entry))
            })
            .buffer_unordered(READERS)
            .try_collect()
            .await?;
        // Newest first, so that it is the one that counts.
        found.sort_by(|(one, name, _), (other, other_name, _)| {
            other.cmp(one).then_with(|| name.cmp(other_name))
        });
        let mut listing = Self::default();
        for (_, name, entry) in found {
            if let Some(entry) = entry {
                listing.insert(layout, name, entry);
            }
        }
        Ok(listing)
    }

    /// Of several backups with one id the newest counts, but a whole one before a damaged one.
    fn insert(&mut self, layout: &Layout, name: String, mut entry: Entry) {
        let id = match &entry {
            Entry::Backup(backup) => Some(backup.id.clone()),
            Entry::Skipped { id, .. } => id.clone(),
            Entry::Archive => None,
        };
        if let Some(id) = id {
            let first = self.by_id.get(&id).cloned();
            let first_is_whole = first
                .as_ref()
                .is_some_and(|first| matches!(self.entries.get(first), Some(Entry::Backup(_))));
            match first {
                Some(first) if first_is_whole => {
                    if matches!(entry, Entry::Backup(_)) {
                        let error = Error::new(
                            Code::AlreadyExists,
                            format!(
                                "the backup \"{first}\" has the same id: delete one of the two"
                            ),
                        );
                        entry = skip(&layout.metadata_key(&name), None, &error);
                    }
                }
                _ => {
                    self.by_id.insert(id, name.clone());
                }
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

/// The objects in the folder, by name.
struct Pairs(BTreeMap<String, Pair>);

#[derive(Default)]
struct Pair {
    archive: Option<ObjectInfo>,
    metadata: Option<ObjectInfo>,
}

impl Pairs {
    async fn load(bucket: &Bucket, layout: &Layout) -> Result<Self> {
        let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
        let mut next = None;
        loop {
            let page = bucket.list(layout.folder(), next.take()).await?;
            for object in page.objects {
                let (name, is_archive) = match layout.half(&object.key) {
                    Some(Half::Archive(name)) => (name.to_owned(), true),
                    Some(Half::Metadata(name)) => (name.to_owned(), false),
                    None => continue,
                };
                let pair = pairs.entry(name).or_default();
                if is_archive {
                    pair.archive = Some(object);
                } else {
                    pair.metadata = Some(object);
                }
            }
            next = page.next;
            if next.is_none() {
                return Ok(Self(pairs));
            }
        }
    }
}

impl Pair {
    /// What the pair is; nothing when it was deleted while we looked.
    async fn judge(
        self,
        bucket: &Bucket,
        name: &str,
        documents: &Cache<DocumentKey, Arc<Summary>>,
    ) -> Result<Option<Entry>> {
        let Some(metadata) = self.metadata else { return Ok(Some(Entry::Archive)) };
        let summary = match summary(bucket, &metadata, documents).await {
            Ok(summary) => summary,
            Err(error) if error.code() == Code::NotFound => return Ok(None),
            Err(error) if !is_about_the_document(&error) => return Err(error),
            Err(error) => return Ok(Some(skip(&metadata.key, None, &error))),
        };
        let id = Some(summary.id.clone());
        let Some(archive) = self.archive else {
            let error =
                Error::new(Code::NotFound, "the archive that belongs to this metadata is missing");
            return Ok(Some(skip(&metadata.key, id, &error)));
        };
        if let Some(fault) = &summary.fault {
            return Ok(Some(skip(&metadata.key, id, fault)));
        }
        if let Some(recorded) = summary.recorded_size
            && recorded != archive.size
        {
            let error = Error::new(
                Code::LengthMismatch,
                format!(
                    "the archive has {} bytes instead of {recorded}: it was damaged or replaced",
                    archive.size
                ),
            );
            return Ok(Some(skip(&archive.key, id, &error)));
        }
        let backup = Summary::clone(&summary).into_backup(name, archive.size);
        Ok(Some(Entry::Backup(Arc::new(backup))))
    }
}

/// Whether one document is to blame. Anything else, such as a broken connection or keys that have
/// expired, must not make backups disappear for as long as the listing is kept.
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

async fn summary(
    bucket: &Bucket,
    object: &ObjectInfo,
    documents: &Cache<DocumentKey, Arc<Summary>>,
) -> Result<Arc<Summary>> {
    let key = (object.key.clone(), object.etag.clone(), object.size);
    // Without an entity tag nothing tells that a document is still the same.
    let known = !object.etag.is_empty();
    if known && let Some(summary) = documents.get(&key).await {
        return Ok(summary);
    }
    let document = metadata::read(&bucket.get(&object.key, MAX_DOCUMENT).await?)?;
    let summary = Arc::new(Summary::from(document));
    if summary.bytes > LONGEST_METADATA {
        return Err(Error::new(Code::TooLarge, "the metadata is too large to be listed"));
    }
    if known {
        documents.insert(key, Arc::clone(&summary)).await;
    }
    Ok(summary)
}
