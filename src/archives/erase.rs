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

use super::layout::{Half, Layout};
use super::{MAX_DOCUMENT, Store, metadata};
use crate::error::{Code, Error, Result};
use crate::journal::{Beginning, Replacement};
use crate::s3::{Bucket, Deleted, ObjectInfo};

/// Why an object may be deleted.
#[derive(Clone, Copy, Debug)]
pub enum Why<'a> {
    /// A record names the archive, and the archive carries this upload marker.
    Marked(&'a str),
    /// A record names the metadata object, and its archive is missing.
    Lone,
    /// It is not part of a complete backup, and is at least this old, by its HEAD time and by this
    /// time from a listing (seconds since 1970).
    Idle(Duration, i64),
}

/// Whether an object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The rules allow it; [`Store::erase`] has deleted it.
    Goes,
    /// The object matches, and is part of a backup.
    IsBackup,
    /// The object is missing, or does not match.
    Stays,
}

/// Whether a record names a backup or a test object in the folder of this layout.
#[must_use]
pub fn belongs(layout: &Layout, beginning: &Beginning) -> bool {
    let Beginning { archive, document, replacement, .. } = beginning;
    let is_pair = |archive: &str, document: &str| match layout.half(archive) {
        Some(Half::Archive(name)) => document == layout.metadata_key(name),
        Some(Half::Metadata(_)) | None => false,
    };
    let is_probe = layout.is_probe(archive) && replacement.is_none();
    let replaces = replacement
        .as_ref()
        .is_none_or(|by| is_pair(&by.archive, &by.document) && by.archive != *archive);
    (is_probe || is_pair(archive, document)) && replaces
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
    pub async fn erase(&self, key: &str, why: Why<'_>) -> Result<Fate> {
        let fate = self.fate(key, why).await?;
        if fate == Fate::Goes {
            self.delete_own(key).await?;
        }
        Ok(fate)
    }

    /// Applies the rules to an object without deleting it.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
    pub async fn fate(&self, key: &str, why: Why<'_>) -> Result<Fate> {
        let other = match self.layout.half(key) {
            Some(Half::Archive(name)) => Some(self.layout.metadata_key(name)),
            Some(Half::Metadata(name)) => Some(self.layout.archive_key(name)),
            None if self.layout.is_probe(key) => None,
            None => return Ok(Fate::Stays),
        };
        let Some((object, marker)) = self.look(key).await? else { return Ok(Fate::Stays) };
        let is_it = match why {
            Why::Marked(expected) => marker.as_deref() == Some(expected),
            Why::Lone => matches!(self.layout.half(key), Some(Half::Metadata(_))),
            Why::Idle(least, listed) => {
                let idle = idle_since(object.modified.max(listed), self.bucket.now());
                idle.is_some_and(|idle| idle >= least)
            }
        };
        if !is_it {
            return Ok(Fate::Stays);
        }
        match other {
            Some(other) if !self.is_missing(&other).await? => Ok(Fate::IsBackup),
            _ => Ok(Fate::Goes),
        }
    }

    /// HEAD of an object, with its upload marker. None when it is missing.
    async fn look(&self, key: &str) -> Result<Option<(ObjectInfo, Option<String>)>> {
        match self.bucket.look(key).await {
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
        let (archive, document) = (self.layout.archive_key(name), self.layout.metadata_key(name));
        if archive == by.archive {
            return Ok(false);
        }
        // During the upload, another backup may have taken the name.
        match self.id_of(&document).await? {
            Some(id) if id != by.backup_id => return Ok(false),
            None if !self.is_missing(&document).await? => return Ok(false),
            _ => {}
        }
        if let Some(expected) = marker {
            match self.look(&archive).await? {
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
    pub async fn is_whole(&self, by: &Replacement) -> Result<bool> {
        let Replacement { backup_id, archive, document } = by;
        let content = match self.bucket.get(document, MAX_DOCUMENT).await {
            Err(error) if matches!(error.code(), Code::NotFound | Code::TooLarge) => {
                return Ok(false);
            }
            // 403 for a missing object, as in `head`.
            Err(error) if error.code() == Code::AccessDenied => {
                return if self.bucket.exists(document).await? { Err(error) } else { Ok(false) };
            }
            content => content?,
        };
        let Ok(read) = metadata::read(&content) else { return Ok(false) };
        if read.id != *backup_id || read.fault.is_some() {
            return Ok(false);
        }
        let Some((stored, _)) = self.look(archive).await? else { return Ok(false) };
        Ok(read.digests.is_none_or(|digests| digests.size == stored.size))
    }

    /// The ID in a metadata object. None when it is missing or invalid.
    async fn id_of(&self, document: &str) -> Result<Option<String>> {
        match self.bucket.get(document, MAX_DOCUMENT).await {
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
        if self.layout.half(key).is_none() && !self.layout.is_probe(key) {
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
    fn unknown_moment_is_not_long_ago() {
        assert_eq!(idle_since(0, 7), None);
        assert_eq!(idle_since(1, 7), Some(Duration::from_secs(6)));
        assert_eq!(idle_since(i64::MAX, 7), Some(Duration::ZERO));
        assert_eq!(idle_since(i64::MIN, i64::MAX), None);
    }

    #[test]
    fn record_belongs_to_the_layout_of_its_own_folder_only() {
        let record = |archive: &str, document: &str| Beginning {
            endpoint: "e".to_owned(),
            bucket: "b".to_owned(),
            archive: archive.to_owned(),
            document: document.to_owned(),
            mark: "m".to_owned(),
            resumable: None,
            replacement: None,
        };
        let layout = Layout::new("ha", "backups").unwrap();
        let whole = record("ha/backups/a.tar", "ha/backups/a.metadata.json");
        assert!(belongs(&layout, &whole));
        let probe = "ha/backups/.probe-0123456789abcdef";
        assert!(belongs(&layout, &record(probe, &format!("{probe}.metadata.json"))));
        for (archive, document) in [
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
            assert!(!belongs(&layout, &record(archive, document)), "{archive} {document}");
        }
        for (archive, document, expected) in [
            ("ha/backups/b.tar", "ha/backups/b.metadata.json", true),
            ("ha/backups/a.tar", "ha/backups/a.metadata.json", false),
            ("ha/backups/b.tar", "ha/backups/c.metadata.json", false),
            ("other/b.tar", "other/b.metadata.json", false),
        ] {
            let (backup_id, archive, document) =
                ("b".to_owned(), archive.to_owned(), document.to_owned());
            let replacement = Some(Replacement { backup_id, archive, document });
            let replaced = Beginning { replacement, ..whole.clone() };
            assert_eq!(belongs(&layout, &replaced), expected);
        }
    }
}
