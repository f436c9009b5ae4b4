//! Rules for deleting objects from a bucket.
//!
//! The rules:
//!
//! 1. **The key belongs to the target**: an archive, a metadata object or a test object directly in
//!    its folder. Nothing else is deleted, whatever a record or a listing names.
//! 2. **HEAD finds the object**, and neither HEAD nor a listing finds the object that would complete
//!    the backup. Either of the two may be outdated.
//! 3. **An archive that a record names carries the upload marker of that record.** A record alone
//!    deletes nothing.
//! 4. **An object that is deleted because of its age** is old enough by its HEAD time, measured by
//!    the clock of the server or of this machine, whichever gives the smaller age.
//! 5. **A replaced backup** still has the ID of its replacement and its own upload marker, and the
//!    replacement is complete.
//!
//! For `delete ID`, and for the test object of a running validation (its random name is seconds
//! old), only the first rule applies. In a backup the metadata object is deleted first, so that a
//! half-deleted backup is not listed.

use std::time::Duration;

use super::layout::{Layout, PairKey};
use super::{MAX_METADATA_OBJECT, Store, metadata};
use crate::error::{Code, Error, Result};
use crate::journal::{Intent, Replacement};
use crate::s3::{Bucket, Deleted, ObjectInfo};

/// Why an object may be deleted.
#[derive(Clone, Copy, Debug)]
pub enum DeleteIf<'a> {
    /// A record names the archive, and the archive carries this upload marker.
    HasMarker(&'a str),
    /// A record names the metadata object, and its archive is missing.
    LacksArchive,
    /// It is not part of a complete backup, and is at least this old, by its HEAD time and by this
    /// time from a listing (seconds since 1970).
    IsOlder(Duration, i64),
}

/// Whether an object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The rules allow it; [`Store::delete_if`] has deleted it.
    Delete,
    /// The object matches, and is part of a backup.
    IsBackup,
    /// The object is missing, or does not match.
    Keep,
}

/// Whether a record names a backup or a test object in the folder of this layout.
#[must_use]
pub fn belongs(layout: &Layout, intent: &Intent) -> bool {
    let Intent { archive, metadata_key, replacement, .. } = intent;
    let is_pair = |archive: &str, metadata_key: &str| match layout.pair_key(archive) {
        Some(PairKey::Archive(name)) => metadata_key == layout.metadata_key(name),
        Some(PairKey::Metadata(_)) | None => false,
    };
    let is_probe = layout.is_probe(archive) && replacement.is_none();
    let replaces = replacement
        .as_ref()
        .is_none_or(|by| is_pair(&by.archive, &by.metadata_key) && by.archive != *archive);
    (is_probe || is_pair(archive, metadata_key)) && replaces
}

/// Time between two moments in seconds since 1970. None if `moment` is 0, which means unknown.
#[must_use]
pub fn idle_since(moment: i64, now: i64) -> Option<Duration> {
    let passed = u64::try_from(now.saturating_sub(moment)).unwrap_or_default();
    (moment > 0).then(|| Duration::from_secs(passed))
}

/// Deletes the test object of a running validation, or a version of it.
///
/// # Errors
/// Every code that a server or a connection can cause.
pub async fn probe(
    layout: &Layout,
    bucket: &Bucket,
    key: &str,
    version: Option<&str>,
) -> Result<Deleted> {
    if !layout.is_probe(key) {
        return Err(not_ours(key));
    }
    bucket.delete_version(key, version).await
}

fn not_ours(key: &str) -> Error {
    let message = format!("{key} is not an object of this target: it is not deleted");
    Error::new(Code::Internal, message)
}

impl Store {
    /// Deletes an object if the rules allow it.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
    pub async fn delete_if(&self, key: &str, condition: DeleteIf<'_>) -> Result<Verdict> {
        let verdict = self.classify(key, condition).await?;
        if verdict == Verdict::Delete {
            self.delete_own(key).await?;
        }
        Ok(verdict)
    }

    /// Applies the rules to an object without deleting it.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
    pub async fn classify(&self, key: &str, condition: DeleteIf<'_>) -> Result<Verdict> {
        let other = match self.layout.pair_key(key) {
            Some(PairKey::Archive(name)) => Some(self.layout.metadata_key(name)),
            Some(PairKey::Metadata(name)) => Some(self.layout.archive_key(name)),
            None if self.layout.is_probe(key) => None,
            None => return Ok(Verdict::Keep),
        };
        let Some((object, marker)) = self.head(key).await? else { return Ok(Verdict::Keep) };
        let matches = match condition {
            DeleteIf::HasMarker(expected) => marker.as_deref() == Some(expected),
            DeleteIf::LacksArchive => {
                matches!(self.layout.pair_key(key), Some(PairKey::Metadata(_)))
            }
            DeleteIf::IsOlder(min_age, listed) => {
                let idle = idle_since(object.modified.max(listed), self.bucket.now());
                idle.is_some_and(|idle| idle >= min_age)
            }
        };
        if !matches {
            return Ok(Verdict::Keep);
        }
        match other {
            Some(other) if !self.is_missing(&other).await? => Ok(Verdict::IsBackup),
            _ => Ok(Verdict::Delete),
        }
    }

    /// HEAD of an object, with its upload marker. None when it is missing.
    async fn head(&self, key: &str) -> Result<Option<(ObjectInfo, Option<String>)>> {
        match self.bucket.head_with_marker(key).await {
            Err(error) if error.code() == Code::NotFound => Ok(None),
            // AWS answers 403 for a missing object if the credentials may list only one folder.
            Err(error) if error.code() == Code::AccessDenied => {
                if self.bucket.exists(key).await? {
                    Err(error)
                } else {
                    Ok(None)
                }
            }
            looked => looked.map(Some),
        }
    }

    /// Whether neither HEAD nor a listing finds an object. Call it after HEAD has found another
    /// object in the folder: then a 403 means that this one is missing.
    pub(super) async fn is_missing(&self, key: &str) -> Result<bool> {
        match self.bucket.head(key).await {
            Ok(_) => Ok(false),
            Err(error) if matches!(error.code(), Code::NotFound | Code::AccessDenied) => {
                Ok(!self.bucket.exists(key).await?)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a backup that was replaced by a complete one. `marker` is the upload marker of its
    /// archive, if known. False if the rules do not allow it.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
    pub async fn remove_replaced(
        &self,
        name: &str,
        marker: Option<&str>,
        by: &Replacement,
    ) -> Result<bool> {
        let (archive, metadata_key) =
            (self.layout.archive_key(name), self.layout.metadata_key(name));
        if archive == by.archive {
            return Ok(false);
        }
        // During the upload, another backup may have taken the name.
        match self.id_of(&metadata_key).await? {
            Some(id) if id != by.backup_id => return Ok(false),
            None if !self.is_missing(&metadata_key).await? => return Ok(false),
            _ => {}
        }
        if let Some(expected) = marker {
            match self.head(&archive).await? {
                Some((_, found)) if found.as_deref() != Some(expected) => return Ok(false),
                Some(_) => {}
                None if self.is_missing(&archive).await? => {}
                None => return Ok(false),
            }
        }
        self.remove(name).await?;
        Ok(true)
    }

    /// Whether the replacement named by a record exists and is complete.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
    pub async fn is_complete(&self, by: &Replacement) -> Result<bool> {
        let Replacement { backup_id, archive, metadata_key } = by;
        let content = match self.bucket.get(metadata_key, MAX_METADATA_OBJECT).await {
            Err(error) if matches!(error.code(), Code::NotFound | Code::TooLarge) => {
                return Ok(false);
            }
            // 403 for a missing object, as in `head`.
            Err(error) if error.code() == Code::AccessDenied => {
                return if self.bucket.exists(metadata_key).await? {
                    Err(error)
                } else {
                    Ok(false)
                };
            }
            content => content?,
        };
        let Ok(read) = metadata::read(&content) else { return Ok(false) };
        if read.id != *backup_id || read.fault.is_some() {
            return Ok(false);
        }
        let Some((stored, _)) = self.head(archive).await? else { return Ok(false) };
        Ok(read.checksums.is_none_or(|checksums| checksums.size == stored.size))
    }

    /// The ID in a metadata object. None when it is missing or invalid.
    async fn id_of(&self, metadata_key: &str) -> Result<Option<String>> {
        match self.bucket.get(metadata_key, MAX_METADATA_OBJECT).await {
            Ok(content) => Ok(metadata::read(&content).ok().map(|read| read.id)),
            Err(error)
                if matches!(error.code(), Code::NotFound | Code::TooLarge | Code::AccessDenied) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a backup at the user's request: the metadata object first.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.changed();
        self.delete_own(&self.layout.metadata_key(name)).await?;
        self.delete_own(&self.layout.archive_key(name)).await
    }

    /// Deletes an object of this target after all checks.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
    pub async fn delete_own(&self, key: &str) -> Result<()> {
        if self.layout.pair_key(key).is_none() && !self.layout.is_probe(key) {
            return Err(not_ours(key));
        }
        let deleted = self.bucket.delete(key).await;
        self.changed();
        deleted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_time_does_not_count_as_old() {
        assert_eq!(idle_since(0, 7), None);
        assert_eq!(idle_since(1, 7), Some(Duration::from_secs(6)));
        assert_eq!(idle_since(i64::MAX, 7), Some(Duration::ZERO));
        assert_eq!(idle_since(i64::MIN, i64::MAX), None);
    }

    #[test]
    fn record_belongs_to_its_own_folder_only() {
        let record = |archive: &str, metadata_key: &str| Intent {
            endpoint: "e".to_owned(),
            bucket: "b".to_owned(),
            archive: archive.to_owned(),
            metadata_key: metadata_key.to_owned(),
            marker: "m".to_owned(),
            resumable: None,
            replacement: None,
        };
        let layout = Layout::new("ha", "backups").unwrap();
        let whole = record("ha/backups/a.tar", "ha/backups/a.metadata.json");
        assert!(belongs(&layout, &whole));
        let probe = "ha/backups/.probe-0123456789abcdef";
        assert!(belongs(&layout, &record(probe, &format!("{probe}.metadata.json"))));
        for (archive, metadata_key) in [
            ("ha/backups/../x.tar", "ha/backups/../x.metadata.json"),
            ("other/backups/a.tar", "other/backups/a.metadata.json"),
            ("ha/backups/deeper/a.tar", "ha/backups/deeper/a.metadata.json"),
            ("ha/backups/a.zip", "ha/backups/a.metadata.json"),
            ("ha/backups/a.tar", "ha/backups/b.metadata.json"),
            ("ha/backups/a.tar", "ha/backups/a.json"),
            ("ha/backups/a.metadata.json", "ha/backups/a.metadata.json"),
            ("ha/backups/.tar", "ha/backups/.metadata.json"),
            ("", ""),
        ] {
            assert!(!belongs(&layout, &record(archive, metadata_key)), "{archive} {metadata_key}");
        }
        for (archive, metadata_key, expected) in [
            ("ha/backups/b.tar", "ha/backups/b.metadata.json", true),
            ("ha/backups/a.tar", "ha/backups/a.metadata.json", false),
            ("ha/backups/b.tar", "ha/backups/c.metadata.json", false),
            ("other/b.tar", "other/b.metadata.json", false),
        ] {
            let (backup_id, archive, metadata_key) =
                ("b".to_owned(), archive.to_owned(), metadata_key.to_owned());
            let replacement = Some(Replacement { backup_id, archive, metadata_key });
            let replaced = Intent { replacement, ..whole.clone() };
            assert_eq!(belongs(&layout, &replaced), expected);
        }
    }
}
