//! Checks with test objects: write, read, multipart upload and delete, as for a backup.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::checks::{CheckName, Checks, Outcome};
use super::{PAUSE, is_temporary};
use crate::archives::Layout;
use crate::archives::deletion::probe;
use crate::buffer_pool::BlockBuffer;
use crate::error::{Code, Error, Result};
use crate::journal::Record;
use crate::ops::{Cancel, Target, cleanup};
use crate::s3::{
    Bucket, Conditional, ObjectInfo, Operation, Pagination, Part, Payload, Stored, Upload, Write,
};

/// Content of the test object.
const PROBE: &[u8] = b"This object was written to test the storage and can be deleted.\n";

/// Range of the content that is read separately.
const PART: std::ops::Range<u64> = 5..11;

/// Writes, reads and deletes one small object, in a single request and in parts.
pub(super) async fn run(target: &Target, bucket: &Bucket, checks: &mut Checks, cancel: &Cancel) {
    let probe = Probe::begin(target, bucket).await;
    let mut versions = Vec::new();
    let written = probe.run(target, checks, &mut versions, cancel).await;
    if written.is_err() || cancel.is_cancelled() {
        checks.skip_to(CheckName::Overwrite);
    }
    // Even after a failure: the object may exist.
    let kept = &mut false;
    let delete = patiently!(probe.remember_retry(probe.delete(&mut versions, kept)));
    let deleted = checks.run(CheckName::Delete, delete).await;
    probe.end(&written, &deleted).await;
    if written.is_ok() && deleted.is_ok() {
        let versions = async { Ok(versions_found(*kept)) };
        // Neither of these two can fail.
        let _ = checks.run(CheckName::Versioning, versions).await;
        let _ = checks.run(CheckName::Lock, async { Ok(lock(bucket).await) }).await;
    }
    checks.skip_rest();
}

/// The test object of one validation.
struct Probe<'a> {
    bucket: &'a Bucket,
    layout: &'a Layout,
    key: String,
    mark: String,
    record: Option<Arc<Record>>,
    /// Whether a check was repeated. Then it is unknown what the first attempt stored.
    repeated: AtomicBool,
}

impl<'a> Probe<'a> {
    /// Records the test object in the journal, in case the process is killed.
    async fn begin(target: &'a Target, bucket: &'a Bucket) -> Self {
        let layout = target.store.layout();
        let key = layout.probe_key();
        let mark = format!("{:032x}", fastrand::u128(..));
        // Metadata with this name never exists, so the object is never listed as a backup.
        let metadata_key = format!("{key}.metadata.json");
        let intent = target.journal.intent(key.clone(), metadata_key, mark.clone());
        let record = target.journal.begin(intent).await;
        let repeated = AtomicBool::new(false);
        Self { bucket, layout, key, mark, record: record.map(Arc::new), repeated }
    }

    /// Deletes the record, unless something may be left for a later cleanup: the object, or an
    /// upload whose response was lost.
    async fn end(&self, written: &Result<()>, deleted: &Result<()>) {
        let passes =
            |ended: &Result<()>| ended.as_ref().is_err_and(|error| error.code().retryable());
        let repeated = self.repeated.load(Ordering::Relaxed);
        let for_later = repeated || passes(written) || passes(deleted);
        if let Some(record) = self.record.clone()
            && !for_later
        {
            cleanup::delete_record(record).await;
        }
    }

    async fn run(
        &self,
        target: &Target,
        checks: &mut Checks,
        versions: &mut Vec<String>,
        cancel: &Cancel,
    ) -> Result<()> {
        let go_on = || if cancel.is_cancelled() { Err(cancel.error()) } else { Ok(()) };
        let etag = &mut String::new();
        let write = patiently!(self.remember_retry(self.write(versions, etag)));
        checks.run(CheckName::Write, write).await?;
        go_on()?;
        let read = patiently!(self.remember_retry(self.read(target, etag)));
        checks.run(CheckName::Read, read).await?;
        go_on()?;
        checks.run(CheckName::Multipart, self.multipart(versions)).await?;
        go_on()?;
        checks.run(CheckName::Overwrite, self.overwrite(versions)).await
    }

    /// Makes one attempt, and remembers if the check may be repeated.
    async fn remember_retry(
        &self,
        check: impl Future<Output = Result<Outcome>>,
    ) -> Result<Outcome> {
        let found = check.await;
        if found.as_ref().is_err_and(is_temporary) {
            self.repeated.store(true, Ordering::Relaxed);
        }
        found
    }

    fn object(&self) -> Write<'_> {
        Write {
            key: &self.key,
            content_type: "text/plain",
            storage_class: None,
            upload_marker: Some(&self.mark),
            may_replace: false,
        }
    }

    async fn write(&self, versions: &mut Vec<String>, etag: &mut String) -> Result<Outcome> {
        let stored = self.bucket.put(self.object(), &content()).await?;
        versions.extend(version(&stored));
        *etag = stored.etag;
        if !self.bucket.lacks_confirmed_encryption() {
            return Ok(Outcome::passed());
        }
        // A server that requires encryption has read the header, even if its response does not
        // confirm it.
        let plain = Write { may_replace: true, ..self.object() };
        match self.bucket.without_encryption().put(plain, &content()).await {
            Ok(stored) => {
                versions.extend(version(&stored));
                Err(self.bucket.encryption_ignored())
            }
            Err(error) if error.code() == Code::AccessDenied => Ok(Outcome::passed()),
            Err(error) => Ok(Outcome::warning_from(error)),
        }
    }

    /// Reads the object as a whole and a part of it.
    async fn read(&self, target: &Target, etag: &str) -> Result<Outcome> {
        let other = |what: &str| {
            let message =
                format!("the server returned {what}: it does not return what was written");
            Err(Error::new(Code::IntegrityMismatch, message).detail("where", "object"))
        };
        if self.bucket.get(&self.key, 1 << 20).await? != PROBE {
            return other("different bytes");
        }
        // As for a finished upload.
        let object = self.bucket.head(&self.key).await?;
        if object.size != PROBE.len() as u64 {
            return other("a different number of bytes");
        }
        let mut part = BlockBuffer::new(&target.pool);
        let object = ObjectInfo { etag: etag.to_owned(), ..object };
        self.bucket.get_range(&object, PART, &mut part).await?;
        let expected = PROBE.iter().skip(5).take(6);
        if !part.slices().flatten().eq(expected) {
            return other("a different part of the bytes");
        }
        self.measured(self.bucket.head(&self.key).await?.size)?;
        self.pages_lead_on().await?;
        let (listed, at_once) = self.bucket.find_new(&self.key).await?;
        let Some(object) = listed else {
            let message = "the server does not list a new object for several seconds: a new backup \
                           cannot be found until it is listed";
            return Ok(Outcome::warning_from(Error::new(Code::NotFound, message)));
        };
        self.measured(object.size)?;
        if at_once {
            return Ok(Outcome::passed());
        }
        let message =
            "the server lists a new object late: each upload waits until the backup is listed";
        Ok(Outcome::warning(message))
    }

    /// Whether the second page of a listing can be read, if there is one.
    async fn pages_lead_on(&self) -> Result<()> {
        let mut pagination = Pagination::new(Operation::ListObjectsV2);
        let (folder, mut next, mut last) = (self.layout.folder(), None, None);
        for _ in 0..2 {
            let page = self.bucket.list(folder, next).await?;
            let furthest = page.last_name().map(str::to_owned);
            let is_new = furthest > last;
            last = furthest.max(last);
            let Some(more) = page.next else { return Ok(()) };
            pagination.advance(more.marker(), is_new)?;
            next = Some(more);
        }
        Ok(())
    }

    /// Checks the reported size: backups are recognized by it.
    fn measured(&self, size: u64) -> Result<()> {
        let expected = PROBE.len() as u64;
        if size == expected {
            return Ok(());
        }
        let message =
            format!("the server reports {size} instead of {expected} bytes for {}", self.key);
        let error = Error::new(Code::LengthMismatch, message);
        Err(error.detail("expected", expected).detail("actual", size))
    }

    /// Aborts one upload, and completes another one that replaces the object.
    async fn multipart(&self, versions: &mut Vec<String>) -> Result<Outcome> {
        let found = patiently!(self.remember_retry(self.abort_one())).await?;
        patiently!(self.remember_retry(self.complete(versions))).await?;
        Ok(found)
    }

    /// Not in the journal, which records one upload: this one has no parts.
    async fn abort_one(&self) -> Result<Outcome> {
        let upload = self.open().await?;
        let listed = self.listed(&upload).await;
        upload.abort().await?;
        Ok(Outcome::passed().detail("uploads_listed", listed))
    }

    async fn complete(&self, versions: &mut Vec<String>) -> Result<Outcome> {
        let upload = self.open().await?;
        if let Some(record) = self.record.clone() {
            let id = upload.id().to_owned();
            cleanup::append(record, move |record| record.add_upload(&id, Duration::ZERO)).await;
        }
        let stored = match upload.send_part(1, &content()).await {
            Ok(part) => Self::completed(&upload, part).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(stored) => versions.extend(version(&stored)),
            Err(error) => {
                upload.abort().await?;
                return Err(error);
            }
        }
        self.measured(self.bucket.head(&self.key).await?.size)?;
        Ok(Outcome::passed())
    }

    /// Completes an upload, with a retry, because some servers need one. Conditional writes are
    /// another check.
    async fn completed(upload: &Upload, part: Part) -> Result<Stored> {
        let parts = [part];
        let error = match upload.replace(&parts).await {
            Err(error) if is_temporary(&error) => error,
            completed => return completed,
        };
        tokio::time::sleep(PAUSE).await;
        match upload.replace(&parts).await {
            // The upload was completed and the response was lost: the lost response is the failure.
            Err(again) if again.code() == Code::Modified => Err(error),
            completed => completed,
        }
    }

    async fn open(&self) -> Result<Upload> {
        if self.repeated.load(Ordering::Relaxed) {
            self.abort_left().await;
        }
        self.bucket.create_upload(self.object()).await
    }

    /// Aborts uploads that an earlier attempt may have left open, as far as the server allows. Only
    /// this probe uses the key.
    async fn abort_left(&self) {
        let listed = self.bucket.open_uploads(&self.key).await.unwrap_or_default();
        for open in listed.into_iter().filter(|open| open.key == self.key) {
            if let Err(error) = self.bucket.upload(&open.key, &open.id).abort().await {
                tracing::debug!(%error, "cannot abort a test upload");
            }
        }
    }

    /// Whether an open upload is listed by its folder, by its key or not at all.
    async fn listed(&self, upload: &Upload) -> &'static str {
        for (prefix, answer) in [(self.layout.folder(), "by_folder"), (self.key.as_str(), "by_key")]
        {
            match self.bucket.open_uploads(prefix).await {
                Ok(found) if found.iter().any(|open| open.id == upload.id()) => return answer,
                Ok(_) => {}
                Err(_) => return "refused",
            }
        }
        "never"
    }

    /// Checks whether the server supports conditional writes.
    async fn overwrite(&self, versions: &mut Vec<String>) -> Result<Outcome> {
        let mut written = self.bucket.try_to_replace(self.object(), &content()).await;
        if written.as_ref().is_err_and(|error| error.code() == Code::Throttled) {
            tokio::time::sleep(PAUSE).await;
            written = self.bucket.try_to_replace(self.object(), &content()).await;
        }
        let (message, detail) = match written {
            Ok(Conditional::Enforced) => ("conditional writes (If-None-Match) work", "enforced"),
            Ok(Conditional::Ignored(stored)) => {
                versions.extend(version(&stored));
                (
                    "conditional writes (If-None-Match) are not supported: the last write wins",
                    "ignored",
                )
            }
            Ok(Conditional::Refused(stored)) => {
                versions.extend(version(&stored));
                (
                    "conditional writes (If-None-Match) are not supported: the last write wins",
                    "refused",
                )
            }
            // Useful to know, but not a failure.
            Err(error) => return Ok(Outcome::warning_from(error)),
        };
        Ok(Outcome::passed_with(message).detail("conditional_writes", detail))
    }

    /// Deletes the object, and its versions if there are any.
    async fn delete(&self, versions: &mut Vec<String>, kept: &mut bool) -> Result<Outcome> {
        let deleted = probe(self.layout, self.bucket, &self.key, None).await?;
        // Garage returns a version ID for every object and keeps no versions.
        *kept = deleted.marker;
        let still_there = match self.bucket.head(&self.key).await {
            Ok(_) => true,
            Err(error) if error.code() == Code::NotFound => false,
            // Without the permission to list, a missing object is answered with 403.
            Err(error) if error.code() == Code::AccessDenied => false,
            Err(error) => return Err(error),
        };
        versions.extend(deleted.version_id.filter(|_| deleted.marker));
        for version in versions.iter().filter(|_| *kept) {
            // Needs an extra permission; a version that stays is small, and is reported.
            let deleted = probe(self.layout, self.bucket, &self.key, Some(version)).await;
            if let Err(error) = deleted {
                tracing::debug!(version, %error, "cannot delete a version of the test object");
            }
        }
        if still_there {
            return Ok(Outcome::warning("a deleted object can still be read for a while"));
        }
        Ok(Outcome::passed())
    }
}

fn content() -> Payload {
    Payload::new(vec![Bytes::from_static(PROBE)])
}

/// Ceph and others return "null" in buckets without versioning.
fn version(stored: &Stored) -> Option<String> {
    stored.version_id.clone().filter(|version| version != "null")
}

fn versions_found(kept: bool) -> Outcome {
    if kept {
        let message = "the bucket keeps old versions: deleted backups take up space until a \
                       lifecycle rule removes old versions";
        Outcome::warning(message).detail("versions", "kept")
    } else {
        Outcome::passed().detail("versions", "none")
    }
}

async fn lock(bucket: &Bucket) -> Outcome {
    match bucket.default_retention().await {
        Ok(Some(retention)) => {
            let days = retention.days;
            let message = format!("the bucket locks objects for {days} days");
            let error = Error::new(
                Code::ObjectLocked,
                format!("{message}: backups cannot be deleted before that"),
            );
            Outcome::warning_from(error.detail("days", days).detail("mode", retention.mode))
        }
        Ok(None) => Outcome::passed(),
        Err(_) => Outcome::skipped("the server does not tell"),
    }
}
