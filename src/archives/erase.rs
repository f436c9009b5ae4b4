//! Every deletion in a bucket, and what must be true before it.
//!
//! The rule:
//!
//! 1. **The key is one of the target's own**: an archive, a metadata object or a test object directly
//!    in its folder. Nothing else is deleted, whatever a record or a listing names.
//! 2. **HEAD has seen the object**, and the object that would make a backup of it is missing by HEAD
//!    and by a listing. Each of the two can be behind the other.
//! 3. **An archive that a record names carries the upload marker of that record.** A record alone
//!    deletes nothing.
//! 4. **An object that is deleted because of its age** is old by what HEAD says, at the younger of
//!    the clocks of the server and of this machine.
//! 5. **A backup that was replaced** still has the id of the backup that takes its place, and its
//!    own marker, and the other one is whole.
//!
//! `delete ID` is the word of the user, and only the first point holds for it. The same is true for
//! the test object of a validation that runs, whose random name is a moment old. In a backup the
//! metadata object goes first, so that a half-deleted one is not listed.

use std::time::Duration;

use super::layout::{Half, Layout};
use super::{MAX_DOCUMENT, Store, metadata};
use crate::error::{Code, Error, Result};
use crate::journal::{Beginning, Replacement};
use crate::s3::{Bucket, Deleted, ObjectInfo};

/// What makes an object one that is deleted.
#[derive(Clone, Copy, Debug)]
pub enum Why<'a> {
    /// A record names it, and the archive carries this marker.
    Marked(&'a str),
    /// A record names it as a metadata object whose archive is missing.
    Lone,
    /// It is no part of a backup, and was stored at least so long ago, by what HEAD says and by the
    /// moment that a listing has.
    Idle(Duration, i64),
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may be deleted, or was.
    Goes,
    /// It is what was looked for, and a part of a backup.
    IsBackup,
    /// It is missing, or another one.
    Stays,
}

/// Whether a record is about a backup, or a test object, in the folder of this layout.
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

/// Time from one moment in seconds since 1970 to another; none for 0, which stands for an unknown one.
#[must_use]
pub fn idle_since(moment: i64, now: i64) -> Option<Duration> {
    let passed = u64::try_from(now.saturating_sub(moment)).unwrap_or_default();
    (moment > 0).then(|| Duration::from_secs(passed))
}

/// Deletes the test object of a validation that runs, or a version of it.
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
    /// Deletes an object if the rule allows it.
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

    /// What the rule says of an object. Deletes nothing.
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

    /// What HEAD says of an object, with its upload marker. None when it is missing.
    async fn look(&self, key: &str) -> Result<Option<(ObjectInfo, Option<String>)>> {
        match self.bucket.head_with_marker(key).await {
            Err(error) if error.code() == Code::NotFound => Ok(None),
            // To keys that may list only one folder, AWS forbids what is missing.
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

    /// Whether an object is missing both by HEAD and by a listing. To be asked after HEAD has seen
    /// another object of the folder: where HEAD is then forbidden, it is for a missing object.
    pub(super) async fn is_missing(&self, key: &str) -> Result<bool> {
        match self.bucket.head(key).await {
            Ok(_) => Ok(false),
            Err(error) if matches!(error.code(), Code::NotFound | Code::AccessDenied) => {
                Ok(!self.bucket.exists(key).await?)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes the backup of this name, whose archive carries `marker` if that is known, because
    /// another one, which is whole, has taken its place. False when it has to stay.
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
        // In the time of an upload, another backup may have got the name.
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

    /// Whether there is a backup as a record says of the one that takes the place of another.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
    pub async fn is_whole(&self, by: &Replacement) -> Result<bool> {
        let Replacement { backup_id, archive, document } = by;
        let content = match self.bucket.get(document, MAX_DOCUMENT).await {
            Err(error) if matches!(error.code(), Code::NotFound | Code::TooLarge) => {
                return Ok(false);
            }
            // Forbidden where it is missing, as in `look`.
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

    /// The id in a metadata object. None when it is missing or cannot be understood.
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

    /// Deletes a backup because the user says so: the metadata object first.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.changed();
        self.delete_own(&self.layout.metadata_key(name)).await?;
        self.delete_own(&self.layout.archive_key(name)).await
    }

    /// Deletes an object of this target about which everything is known.
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
    fn unknown_time_does_not_count_as_old() {
        assert_eq!(idle_since(0, 7), None);
        assert_eq!(idle_since(1, 7), Some(Duration::from_secs(6)));
        assert_eq!(idle_since(i64::MAX, 7), Some(Duration::ZERO));
        assert_eq!(idle_since(i64::MIN, i64::MAX), None);
    }

    #[test]
    fn record_belongs_to_its_own_folder_only() {
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
