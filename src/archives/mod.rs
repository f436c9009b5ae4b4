//! Backups in a bucket. A backup is a pair of objects, written archive first and deleted metadata
//! first: the metadata object means that the backup is complete.
//!
//! Owns the listing and its caches. A listing is cached for five minutes and dropped by the agent's
//! own writes. Metadata is cached until it changes, on disk too, so that a fresh listing costs one
//! LIST request per 1,000 objects plus the changed metadata.

pub mod backup_json;
mod changes;
pub mod deletion;
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
use self::metadata::{Checksums, MetadataObject};
use self::metadata_cache::{MetadataCache, Summary};
pub use self::names::{ReservedName, ended};
use crate::config::{LiveLimits, TargetConfig};
use crate::error::{Code, Error, Result};
use crate::protocol::{Backup, Metadata};
use crate::s3::{Bucket, ObjectInfo, Page, Payload, Write};

/// How long a listing is cached.
const LISTING_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Largest metadata object that is read, in bytes: the checksums of 10,000 parts and the host's
/// metadata.
pub const MAX_METADATA_OBJECT: u64 = 2 << 20;

/// Least bytes that a listing may take for its keys, and as many for its metadata.
const LEAST_LISTING: u64 = 4 << 20;

/// Each of the two may take this fraction of the memory setting.
const LISTING_PART: u64 = 8;

/// Bytes that the keys of a listing may take, and as many for its metadata.
fn most_bytes(limits: &LiveLimits) -> usize {
    let part = limits.get().memory_budget / LISTING_PART;
    usize::try_from(part.max(LEAST_LISTING)).unwrap_or(usize::MAX)
}

/// A cached listing.
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
    /// The last listing, for callers that prefer an old one to waiting.
    last: Mutex<Option<Last>>,
    /// Grows with every change by this process, so that a listing begun before a change is not
    /// cached.
    generation: Arc<AtomicU64>,
    cache: MetadataCache,
    /// Identifies the bucket and folder, independent of the store.
    place: Arc<str>,
    limits: LiveLimits,
}

impl Store {
    /// The store of a target. Does not use the network. The folder `kept`, if any, holds the
    /// metadata cache.
    ///
    /// # Errors
    /// `invalid_config` for a bad prefix, folder or CA certificate.
    pub fn new(config: &TargetConfig, kept: Option<&Path>) -> Result<Self> {
        let layout = Layout::new(&config.prefix, &config.folder)?;
        let (endpoint, bucket) = (&config.endpoint, &config.bucket);
        let place: Arc<str> = format!("{endpoint} {bucket} {}", layout.folder()).into();
        let generation = changes::of(&place);
        Ok(Self {
            cache: MetadataCache::new(&place, kept, config.limits.clone()),
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

    /// The listing, at most five minutes old; with `refresh`, a new one. Concurrent callers share
    /// one result.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
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

    /// The last listing, if this process has changed nothing since and it expired at most `most`
    /// ago; and whether it has expired. Does not use the network.
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

    /// Drops the cached listing, because the bucket has changed.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.listings.invalidate_all();
        *self.last() = None;
    }

    /// All objects in the folder, page by page, without a cache.
    pub fn pages(&self) -> impl Stream<Item = Result<Page>> + Send + '_ {
        pages::pages(&self.bucket, &self.layout, Vec::new(), most_bytes(&self.limits))
    }

    /// The complete backup with this ID. Lists again when a cached listing does not have it.
    ///
    /// # Errors
    /// `not_found`, or the problem with an incomplete backup.
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
            Some((_, Entry::Archive)) | None => Err(not_found_or_forbidden(&listing, id)),
        }
    }

    /// The name of the backup with this ID, complete or not.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn name_of(&self, id: &str) -> Result<String> {
        let names = self.names_of(id).await?;
        names.into_iter().next().ok_or_else(|| no_such_backup(id))
    }

    /// The names of the backups with this ID, complete or not; the first is the current one.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn names_of(&self, id: &str) -> Result<Vec<String>> {
        let mut listing = self.listing(false).await?;
        if listing.names(id).is_empty() {
            listing = self.listing(true).await?;
        }
        match listing.names(id) {
            [] => Err(not_found_or_forbidden(&listing, id)),
            names => Ok(names.to_vec()),
        }
    }

    /// Reads the metadata object of the backup `id` with this name again, with the checksums that a
    /// listing does not keep.
    ///
    /// # Errors
    /// `not_found` when it was deleted or replaced since the listing, `corrupt_metadata` when it
    /// cannot be read, `unsupported_feature` when a newer agent wrote it.
    pub async fn metadata_object(&self, name: &str, id: &str) -> Result<MetadataObject> {
        let key = self.layout.metadata_key(name);
        let content = match self.bucket.get(&key, MAX_METADATA_OBJECT).await {
            Ok(content) => content,
            Err(error) => return Err(self.vanished(error, &key, id).await),
        };
        let object = metadata::read(&content)?;
        if object.id != id {
            self.changed();
            return Err(no_such_backup(id));
        }
        match object.fault {
            Some(fault) => Err(fault),
            None => Ok(object),
        }
    }

    /// HEAD of the archive of the backup `id` with this name.
    ///
    /// # Errors
    /// `not_found` when it was deleted since the listing.
    pub async fn archive(&self, name: &str, id: &str) -> Result<ObjectInfo> {
        let key = self.layout.archive_key(name);
        match self.bucket.head(&key).await {
            Ok(archive) => Ok(archive),
            Err(error) => Err(self.vanished(error, &key, id).await),
        }
    }

    /// A missing object means that the backup was deleted since it was listed. AWS answers 403 for
    /// a missing object if the credentials may list only one folder.
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

    /// Reserves the ID and a free name for a new backup: no object has the name, no other upload of
    /// this process has reserved it, and `is_taken` is false for its archive. None when more
    /// uploads than `ended` have finished: their objects may be missing in the listing.
    ///
    /// # Errors
    /// `already_exists` while another upload of this process has the ID.
    pub fn reserve(
        &self,
        (listing, ended): (&Listing, u64),
        wished: &str,
        id: &str,
        is_taken: impl Fn(&str) -> bool,
    ) -> Result<Option<ReservedName>> {
        let is_free =
            |name: &str| !listing.has_name(name) && !is_taken(&self.layout.archive_key(name));
        ReservedName::new(&self.place, (wished, id), ended, is_free)
    }

    /// Checks that no object has taken the name since it was chosen.
    ///
    /// # Errors
    /// `already_exists`, and every code that a server or a connection can cause.
    pub async fn check_free(&self, name: &str) -> Result<()> {
        let keys = [self.layout.archive_key(name), self.layout.metadata_key(name)];
        match self.bucket.any_exists(&self.layout.common_prefix(name), &keys).await? {
            true => Err(taken(name)),
            false => Ok(()),
        }
    }

    /// Whether an upload of this process is using the name.
    #[must_use]
    pub fn is_reserved(&self, name: &str) -> bool {
        names::is_reserved(&self.place, name)
    }

    /// Writes the metadata of a stored archive: from now on the backup is listed.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause; the metadata may be stored all the same.
    pub async fn commit(
        &self,
        name: &str,
        id: &str,
        title: &str,
        given: Metadata,
        checksums: &Checksums,
    ) -> Result<Backup> {
        let content = metadata::write(given, id, title, checksums.size, Some(checksums));
        let backup = Summary::of(metadata::read(&content)?)?.backup(name, checksums.size);
        let key = self.layout.metadata_key(name);
        let stored = self.bucket.put(metadata_write(&key), &Payload::new(vec![content])).await;
        self.changed();
        stored.map(|_| backup)
    }

    /// Writes the metadata of an archive of `size` bytes that has lost it: from now on the backup
    /// is listed, without checksums. False if the archive has metadata by now.
    ///
    /// # Errors
    /// Any problem that would keep the backup from being listed; every code that a server or a
    /// connection can cause, after which the metadata may be stored all the same.
    pub async fn recommit(&self, name: &str, id: &str, given: Metadata, size: u64) -> Result<bool> {
        let key = self.layout.metadata_key(name);
        if !self.is_missing(&key).await? {
            return Ok(false);
        }
        let content = metadata::write(given, id, name, size, None);
        // Metadata that no listing would show is not written.
        Summary::read(&content)?;
        let content = Payload::new(vec![content]);
        let write = Write { may_replace: false, ..metadata_write(&key) };
        let stored = self.bucket.put(write, &content).await;
        self.changed();
        match stored {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Code::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How a metadata object is stored. It may be overwritten: its name belongs to the archive, which
/// is stored already.
fn metadata_write(key: &str) -> Write<'_> {
    Write {
        key,
        content_type: "application/json",
        storage_class: None,
        upload_marker: None,
        may_replace: true,
    }
}

/// An unreadable metadata object may be the one in question.
fn not_found_or_forbidden(listing: &Listing, id: &str) -> Error {
    match listing.forbidden() {
        Some(skipped) => Error::new(
            Code::AccessDenied,
            format!("there is no backup with the ID \"{id}\" that these access keys may read"),
        )
        .field("bucket")
        .detail("backup_id", id)
        .detail("action", "s3:GetObject")
        .detail("resource", skipped.key.as_str()),
        None => no_such_backup(id),
    }
}

/// Another upload has taken the name.
pub(crate) fn taken(name: &str) -> Error {
    let message = format!("another upload took the name \"{name}\" at the same time");
    Error::new(Code::AlreadyExists, message).hint("start this upload again")
}

fn no_such_backup(id: &str) -> Error {
    Error::new(Code::NotFound, format!("there is no backup with the ID \"{id}\""))
        .detail("backup_id", id)
}
