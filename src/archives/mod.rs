//! A *backup* in a bucket: a pair of objects, written archive first and deleted metadata first, so
//! that the metadata is the record that the backup is whole.
//!
//! Owns the listing and its caches. A listing is kept for five minutes and dropped by our own
//! writes; metadata is kept for as long as it stays the same, on disk as well, so that a fresh listing
//! costs one LIST per 1,000 objects plus what changed.

pub mod backup_json;
mod changes;
pub mod erase;
pub mod layout;
mod listing;
pub mod metadata;
mod metadata_cache;
mod names;
mod pages;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::Stream;
use moka::future::Cache;

pub use self::layout::Layout;
pub use self::listing::{Entry, Listing};
use self::metadata::{Digests, Document};
use self::metadata_cache::{MetadataCache, Summary};
pub use self::names::{Reserved, ended};
use crate::config::{LiveLimits, TargetConfig};
use crate::error::{Code, Error, Result};
use crate::protocol::{Backup, Metadata};
use crate::s3::{Bucket, ObjectInfo, Page, Payload, Write};

/// How long a listing is good for.
const LISTING_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Largest metadata document that is read: the digests of 10,000 parts and the host's own.
pub const MAX_DOCUMENT: u64 = 2 << 20;

/// Bytes that a listing may take at least for its keys, and as many for its metadata.
const LEAST_LISTING: u64 = 4 << 20;

/// The part of the memory setting that a listing may take for each of these.
const LISTING_PART: u64 = 8;

/// Bytes that the keys of a listing may take now, and as many that its metadata may.
fn most_bytes(limits: &LiveLimits) -> usize {
    let part = limits.get().memory_budget / LISTING_PART;
    usize::try_from(part.max(LEAST_LISTING)).unwrap_or(usize::MAX)
}

/// A listing, and what it is good for.
#[derive(Debug)]
struct Last {
    generation: u64,
    begun: Instant,
    listing: Arc<Listing>,
}

/// The backups of one target.
#[derive(Debug)]
pub struct Store {
    bucket: Bucket,
    layout: Layout,
    listings: Cache<u64, Arc<Listing>>,
    /// The last one, for those who would rather have an old one than wait.
    last: Mutex<Option<Last>>,
    /// Grows with every change of ours, so that a listing begun before it is never kept as newer.
    generation: Arc<AtomicU64>,
    documents: MetadataCache,
    /// The place itself, wherever a store of it comes from.
    place: Arc<str>,
    limits: LiveLimits,
}

impl Store {
    /// The store of a target. Does not use the network. Metadata that was read is kept in the folder
    /// `kept` too, if there is one.
    ///
    /// # Errors
    /// `invalid_config` for a bad prefix, folder or CA certificate.
    pub fn new(config: &TargetConfig, kept: Option<&Path>) -> Result<Self> {
        let layout = Layout::new(&config.prefix, &config.folder)?;
        let (endpoint, bucket) = (&config.endpoint, &config.bucket);
        let place: Arc<str> = format!("{endpoint} {bucket} {}", layout.folder()).into();
        let generation = changes::of(&place);
        Ok(Self {
            documents: MetadataCache::new(&place, kept, config.limits.clone()),
            place,
            limits: config.limits.clone(),
            bucket: Bucket::new(config)?,
            layout,
            listings: Cache::builder().max_capacity(1).time_to_live(LISTING_LIFETIME).build(),
            last: Mutex::default(),
            generation,
        })
    }

    /// The bucket itself.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Names and keys of this target.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The listing, at most five minutes old; with `refresh` it is made anew. Callers that ask at
    /// the same time share one answer.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn listing(&self, refresh: bool) -> Result<Arc<Listing>> {
        if refresh {
            self.changed();
        }
        let generation = self.generation.load(Ordering::Acquire);
        self.listings
            .try_get_with(generation, async {
                let begun = Instant::now();
                let loaded = Listing::load(self).await;
                let listing = Arc::new(loaded?);
                *self.last() = Some(Last { generation, begun, listing: Arc::clone(&listing) });
                Ok(listing)
            })
            .await
            .map_err(|error: Arc<Error>| Error::clone(&error))
    }

    /// The last listing, if we have changed nothing since and it is at most so much older than one
    /// that is simply kept; and whether it is older. Does not use the network.
    #[must_use]
    pub fn stale_listing(&self, most: Duration) -> Option<(Arc<Listing>, bool)> {
        let last = self.last();
        let last = last.as_ref()?;
        let age = last.begun.elapsed();
        let is_ours = last.generation == self.generation.load(Ordering::Acquire);
        (is_ours && age <= LISTING_LIFETIME.saturating_add(most))
            .then(|| (Arc::clone(&last.listing), age >= LISTING_LIFETIME))
    }

    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the listing, because the bucket has changed.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.listings.invalidate_all();
        *self.last() = None;
    }

    /// All objects in the folder, page by page, as they are now.
    pub fn pages(&self) -> impl Stream<Item = Result<Page>> + Send + '_ {
        pages::pages(&self.bucket, &self.layout, Vec::new(), most_bytes(&self.limits))
    }

    /// The whole backup of this id. Looks again when a kept listing does not have it.
    ///
    /// # Errors
    /// `not_found`, or what is wrong with the backup when it is not whole.
    pub async fn find(&self, id: &str) -> Result<Arc<Backup>> {
        let listing = self.listing(false).await?;
        if let Some((_, Entry::Backup(backup))) = listing.find(id) {
            return Ok(Arc::clone(backup));
        }
        let listing = self.listing(true).await?;
        match listing.find(id) {
            Some((_, Entry::Backup(backup))) => Ok(Arc::clone(backup)),
            Some((_, Entry::Skipped { skipped, .. })) => {
                Err(Error::new(skipped.code, skipped.message.clone()).detail("backup_id", id))
            }
            Some((_, Entry::Archive)) | None => Err(not_seen(&listing, id)),
        }
    }

    /// The name under which the backup of this id lies, even if it is not whole.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn name_of(&self, id: &str) -> Result<String> {
        let names = self.names_of(id).await?;
        names.into_iter().next().ok_or_else(|| no_such_backup(id))
    }

    /// The names under which the backup of this id lies, even if it is not whole; the first is the one
    /// that counts.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn names_of(&self, id: &str) -> Result<Vec<String>> {
        let mut listing = self.listing(false).await?;
        if listing.names(id).is_empty() {
            listing = self.listing(true).await?;
        }
        match listing.names(id) {
            [] => Err(not_seen(&listing, id)),
            names => Ok(names.to_vec()),
        }
    }

    /// Reads the document of this name, of the backup `id`, again, with the digests that a listing
    /// does not keep.
    ///
    /// # Errors
    /// `not_found` when it was deleted meanwhile or is another one now, `corrupt_metadata` when it
    /// cannot be read, `unsupported_feature` when a newer agent wrote it.
    pub async fn document(&self, name: &str, id: &str) -> Result<Document> {
        let key = self.layout.metadata_key(name);
        let content = match self.bucket.get(&key, MAX_DOCUMENT).await {
            Ok(content) => content,
            Err(error) => return Err(self.vanished(error, &key, id).await),
        };
        let document = metadata::read(&content)?;
        if document.id != id {
            self.changed();
            return Err(no_such_backup(id));
        }
        match document.fault {
            Some(fault) => Err(fault),
            None => Ok(document),
        }
    }

    /// Looks at the archive of this name, of the backup `id`.
    ///
    /// # Errors
    /// `not_found` when it was deleted meanwhile.
    pub async fn archive(&self, name: &str, id: &str) -> Result<ObjectInfo> {
        let key = self.layout.archive_key(name);
        match self.bucket.head(&key).await {
            Ok(archive) => Ok(archive),
            Err(error) => Err(self.vanished(error, &key, id).await),
        }
    }

    /// A missing object means that somebody else deleted the backup since it was listed. To keys that
    /// may list only one folder, AWS forbids what is missing.
    async fn vanished(&self, error: Error, key: &str, id: &str) -> Error {
        let gone = error.code() == Code::NotFound
            || (error.code() == Code::AccessDenied
                && self.bucket.exists(key).await.is_ok_and(|exists| !exists));
        if !gone {
            return error;
        }
        self.changed();
        no_such_backup(id)
    }

    /// Takes the id and a name for a new backup: a name that no object has, no other upload of ours
    /// wants, and of which `is_taken` does not say that its archive is. None when more uploads have
    /// [`ended`] by now: what they stored is not in a listing that was begun before.
    ///
    /// # Errors
    /// `already_exists` while another upload of ours has the id.
    pub fn reserve(
        &self,
        (listing, ended): (&Listing, u64),
        wished: &str,
        id: &str,
        is_taken: impl Fn(&str) -> bool,
    ) -> Result<Option<Reserved>> {
        let is_free =
            |name: &str| !listing.has_name(name) && !is_taken(&self.layout.archive_key(name));
        Reserved::new(&self.place, (wished, id), ended, is_free)
    }

    /// Whether nobody has taken the name of this archive since it was chosen.
    ///
    /// # Errors
    /// `already_exists`, and every code that a storage or a connection can cause.
    pub async fn check_free(&self, name: &str) -> Result<()> {
        let keys = [self.layout.archive_key(name), self.layout.metadata_key(name)];
        match self.bucket.any_exists(&self.layout.start_of_keys(name), &keys).await? {
            true => Err(taken(name)),
            false => Ok(()),
        }
    }

    /// Whether an upload of this process is using the name.
    #[must_use]
    pub fn is_reserved(&self, name: &str) -> bool {
        names::is_reserved(&self.place, name)
    }

    /// Writes the metadata of a backup whose archive is stored: from now on it is listed.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause; the document may be stored all the
    /// same.
    pub async fn commit(
        &self,
        name: &str,
        id: &str,
        title: &str,
        given: Metadata,
        digests: &Digests,
    ) -> Result<Backup> {
        let content = metadata::write(given, id, title, digests.size, Some(digests));
        let backup = Summary::of(metadata::read(&content)?)?.backup(name, digests.size);
        let key = self.layout.metadata_key(name);
        let stored = self.bucket.put(of_document(&key), &Payload::new(vec![content])).await;
        self.changed();
        stored.map(|_| backup)
    }

    /// Writes the metadata of an archive of `size` bytes whose document is lost: from now on it is
    /// listed, without digests. Says false where somebody else has written one meanwhile.
    ///
    /// # Errors
    /// What keeps it from being listed; every code that a storage or a connection can cause, after
    /// which the document may be stored all the same.
    pub async fn recommit(&self, name: &str, id: &str, given: Metadata, size: u64) -> Result<bool> {
        let key = self.layout.metadata_key(name);
        if !self.is_missing(&key).await? {
            return Ok(false);
        }
        let content = metadata::write(given, id, name, size, None);
        // Nothing is written that no listing would show.
        Summary::read(&content)?;
        let content = Payload::new(vec![content]);
        let write = Write { may_replace: false, ..of_document(&key) };
        let stored = self.bucket.put(write, &content).await;
        self.changed();
        match stored {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Code::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How a metadata document is stored. Its name belongs to the archive, and that is in place.
fn of_document(key: &str) -> Write<'_> {
    Write {
        key,
        content_type: "application/json",
        storage_class: None,
        upload_marker: None,
        may_replace: true,
    }
}

/// Whoever may not read a document cannot say that it is not the one in question.
fn not_seen(listing: &Listing, id: &str) -> Error {
    match listing.forbidden() {
        Some(skipped) => Error::new(
            Code::AccessDenied,
            format!("there is no backup with the id \"{id}\" that these keys may read"),
        )
        .field("bucket")
        .detail("backup_id", id)
        .detail("action", "s3:GetObject")
        .detail("resource", skipped.key.as_str()),
        None => no_such_backup(id),
    }
}

/// Somebody else was faster.
pub(crate) fn taken(name: &str) -> Error {
    let message =
        format!("another upload has taken the name \"{name}\" meanwhile: start this one again");
    Error::new(Code::AlreadyExists, message)
}

fn no_such_backup(id: &str) -> Error {
    Error::new(Code::NotFound, format!("there is no backup with the id \"{id}\""))
        .detail("backup_id", id)
}
