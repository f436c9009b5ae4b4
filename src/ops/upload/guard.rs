//! Upload guard: tracks what an upload may have stored, and rolls it back.
//!
//! Calls that must not be dropped halfway (storing an object, creating a multipart upload,
//! committing) run as tasks, so that a canceled upload can wait for their outcome and undo it.
//! Otherwise an object could arrive after it was deleted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};

use super::Commit;
use super::resume::{KeptUpload, Ledger};
use super::sent::Sent;
use crate::archives::ReservedName;
use crate::error::{CleanupOutcome, Code, Error, Result};
use crate::journal::{Intent, Record, Resumable};
use crate::ops::cancel::CLEANUP_LIMIT;
use crate::ops::retry::Retry;
use crate::ops::{Target, cleanup, start_cleanup};
use crate::protocol::UploadResult;
use crate::s3::{Bucket, Payload, Stored, Upload, Write};

/// Time for a request in flight to finish before it is aborted.
const GRACE: Duration = Duration::from_secs(3);

/// MIME type of an archive.
const ARCHIVE_TYPE: &str = "application/x-tar";

/// Owned version of [`Write`] for an archive, to move into a task.
struct ArchiveName {
    key: String,
    storage_class: Option<String>,
    mark: String,
}

impl ArchiveName {
    fn write(&self) -> Write<'_> {
        Write {
            key: &self.key,
            content_type: ARCHIVE_TYPE,
            storage_class: self.storage_class.as_deref(),
            upload_marker: Some(&self.mark),
            may_replace: false,
        }
    }
}

/// What an upload may have stored so far.
pub(super) struct UploadGuard {
    retry: Retry,
    opening: Option<JoinHandle<Result<Upload>>>,
    upload: Option<Upload>,
    /// Key of a multipart upload that may exist without a known ID.
    unknown_upload: Option<String>,
    putting: Option<JoinHandle<Result<Stored>>>,
    committing: Option<JoinHandle<Result<UploadResult>>>,
    /// Whether the metadata may still arrive.
    may_arrive: Arc<AtomicBool>,
    /// The backup, once it is complete.
    uploaded: Arc<OnceLock<UploadResult>>,
    /// Keys to delete, in this order.
    objects: Vec<String>,
    /// Held until the roll back is done, so that no other upload takes the name before.
    name: Option<ReservedName>,
    /// Upload marker of the archive.
    mark: String,
    /// ETag of the archive, once known.
    etag: Arc<OnceLock<String>>,
    record: Option<Arc<Record>>,
    ledger: Ledger,
}

/// Result of a roll back.
pub(super) enum RollBack {
    /// Nothing was stored.
    Nothing,
    /// The backup is complete: the cancellation came too late, or a later step failed.
    Committed(Box<UploadResult>),
    /// The parts are kept for this time, for an upload that resumes.
    Kept(Duration),
    /// A cleanup was tried, with this outcome.
    Tried(CleanupOutcome),
}

fn panicked(error: JoinError) -> Error {
    Error::new(Code::Internal, "the upload failed inside the agent").source(error)
}

impl UploadGuard {
    /// A guard of an upload that has stored nothing.
    pub(super) fn new(retry: Retry) -> Self {
        Self {
            retry,
            opening: None,
            upload: None,
            unknown_upload: None,
            putting: None,
            committing: None,
            may_arrive: Arc::default(),
            uploaded: Arc::default(),
            objects: Vec::new(),
            name: None,
            mark: String::new(),
            etag: Arc::default(),
            record: None,
            ledger: Ledger::default(),
        }
    }

    /// The retry policy of the upload.
    pub(super) fn retry(&self) -> &Retry {
        &self.retry
    }

    /// Reserves the name until the end, and records the upload in the journal. After an
    /// interruption the parts are kept for `keep`.
    pub(super) async fn begin(
        &mut self,
        target: &Target,
        name: ReservedName,
        resumable: Resumable,
        keep: Duration,
    ) -> String {
        let name = self.name.insert(name).name().to_owned();
        self.mark = format!("{:032x}", fastrand::u128(..));
        let layout = target.store.layout();
        let (archive, metadata_key) = (layout.archive_key(&name), layout.metadata_key(&name));
        let resumable = Some(resumable).filter(|_| !keep.is_zero());
        let intent = target.journal.intent(archive, metadata_key, self.mark.clone());
        let record = target.journal.begin(Intent { resumable, ..intent }).await;
        self.record = record.map(Arc::new);
        self.ledger = Ledger::new(keep, self.record.clone());
        name
    }

    /// Resumes a kept upload, under its name.
    pub(super) async fn resume(
        &mut self,
        kept: KeptUpload,
        mut name: ReservedName,
        keep: Duration,
    ) -> String {
        name.change(&kept.name);
        self.name = Some(name);
        self.mark.clone_from(&kept.record.intent.marker);
        self.upload = Some(kept.upload);
        let (ledger, record) = Ledger::resumed(keep, kept.record).await;
        (self.ledger, self.record) = (ledger, Some(record));
        kept.name
    }

    /// The multipart upload, once it is created.
    pub(super) fn upload(&self) -> Option<Upload> {
        self.upload.clone()
    }

    /// The ledger of its parts.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn archive(&self, key: &str, storage_class: Option<&str>) -> ArchiveName {
        ArchiveName {
            key: key.to_owned(),
            storage_class: storage_class.map(str::to_owned),
            mark: self.mark.clone(),
        }
    }

    /// Stores the archive in a single request.
    pub(super) async fn put(
        &mut self,
        target: &Target,
        bucket: &Bucket,
        key: &str,
        storage_class: Option<&str>,
        payload: Payload,
    ) -> Result<Stored> {
        if let Some(name) = &self.name {
            self.retry.run(|| target.store.check_free(name.name())).await?;
        }
        self.objects.push(key.to_owned());
        let (bucket, archive) = (bucket.clone(), self.archive(key, storage_class));
        let (retry, etag) = (self.retry.clone(), Arc::clone(&self.etag));
        let putting = self.putting.insert(tokio::spawn(async move {
            // Safe to repeat: only this upload has the name, and the bytes are the same.
            let stored = retry.run(|| bucket.put(archive.write(), &payload)).await?;
            etag.get_or_init(|| stored.etag.clone());
            Ok(stored)
        }));
        let stored = putting.await.map_err(panicked);
        self.putting = None;
        stored?
    }

    /// Creates a multipart upload.
    pub(super) async fn open(
        &mut self,
        bucket: &Bucket,
        key: &str,
        storage_class: Option<&str>,
    ) -> Result<Upload> {
        let (bucket, archive) = (bucket.clone(), self.archive(key, storage_class));
        let ledger = self.ledger.clone();
        let retry = self.retry.clone();
        self.unknown_upload = Some(key.to_owned());
        let opening = self.opening.insert(tokio::spawn(async move {
            // Safe to repeat: uploads created by a lost response are aborted afterwards.
            let repeats = retry.repeats();
            let upload = retry.run(|| bucket.create_upload(archive.write())).await?;
            ledger.opened(&upload).await;
            if retry.repeats() != repeats {
                let others = cleanup::abort_unknown(&bucket, &archive.key, Some(&upload)).await;
                report("a multipart upload whose response was lost", others);
            }
            Ok(upload)
        }));
        let opened = opening.await.map_err(panicked);
        self.opening = None;
        let opened = opened?;
        if opened.as_ref().err().is_none_or(|error| !error.code().retryable()) {
            self.unknown_upload = None;
        }
        let upload = opened?;
        self.upload = Some(upload.clone());
        Ok(upload)
    }

    /// Completes the archive and commits the backup.
    pub(super) async fn commit(
        &mut self,
        commit: Commit,
        sent: Sent,
        key: &str,
    ) -> Result<UploadResult> {
        let layout = commit.target.store.layout();
        let metadata_key = layout.metadata_key(&commit.name);
        self.objects = vec![metadata_key, key.to_owned()];
        self.may_arrive = Arc::clone(&commit.may_arrive);
        self.uploaded = Arc::clone(&commit.uploaded);
        let upload = self.upload.clone();
        let (key, mark) = (key.to_owned(), self.mark.clone());
        let (record, ledger) = (self.record.clone(), self.ledger.clone());
        let known_etag = Arc::clone(&self.etag);
        let committing = self.committing.insert(tokio::spawn(async move {
            let stored = match (upload, sent.stored.clone()) {
                (Some(upload), None) => {
                    let free = || commit.target.store.check_free(&commit.name);
                    commit.retry.run(free).await?;
                    ledger.complete(&upload, &sent.parts, &commit.retry).await?;
                    let complete = || commit.complete(&upload, &sent, &key, &mark);
                    let completed = commit.retry.run(complete).await;
                    completed.map_err(|error| ledger.given_up(error))?
                }
                (_, Some(stored)) => stored,
                (None, None) => return Err(Error::new(Code::Internal, "nothing was sent")),
            };
            known_etag.get_or_init(|| stored.etag.clone());
            let uploaded = commit.run(&mark, stored, ledger.resumed_bytes()).await?;
            if let Some(record) = record {
                cleanup::delete_record(record).await;
            }
            Ok(uploaded)
        }));
        let committed = committing.await.map_err(panicked);
        self.committing = None;
        committed?
    }

    /// Deletes what was stored, within [`CLEANUP_LIMIT`]; the rest goes on in the background. If
    /// `may_stay`, a resumable upload is kept.
    pub(super) async fn roll_back(mut self, target: &Arc<Target>, may_stay: bool) -> RollBack {
        if self.unknown_upload.is_none() && self.upload.is_none() && self.objects.is_empty() {
            if let Some(record) = self.record {
                cleanup::delete_record(record).await;
            }
            return RollBack::Nothing;
        }
        let target = Arc::clone(target);
        let work = async move {
            if let Some(committing) = &mut self.committing {
                let _ = committing.await;
            }
            if let Some(uploaded) = self.uploaded.get().cloned() {
                drop(self);
                // The replaced backups may not be deleted yet.
                start_cleanup(&target);
                return RollBack::Committed(Box::new(uploaded));
            }
            let mut clean = true;
            let mut arrives_late = self.may_arrive.load(Ordering::Relaxed);
            if let Some(opening) = &mut self.opening
                && let Ok(Ok(upload)) = opening.await
            {
                self.upload = Some(upload);
                self.unknown_upload = None;
            }
            if may_stay
                && self.upload.is_some()
                && let Some(keep) = self.ledger.leave(&target).await
            {
                return RollBack::Kept(keep);
            }
            if let Some(key) = &self.unknown_upload {
                let aborted = cleanup::abort_unknown(target.store.bucket(), key, None).await;
                clean &= report("a multipart upload whose ID is not known", aborted);
            }
            if let Some(mut putting) = self.putting.take()
                && tokio::time::timeout(GRACE, &mut putting).await.is_err()
            {
                putting.abort();
                arrives_late = true;
            }
            if let Some(upload) = &self.upload {
                // Parts in flight may arrive after the first abort.
                for _ in 0..2 {
                    clean &= report("the upload", upload.abort().await);
                }
            }
            if let Some(archive) = self.objects.last() {
                // Another upload may have taken the name; then the objects are not ours.
                let ours = self.is_ours(&target, archive).await;
                clean &= report(archive, ours.as_ref().map(|_| ()).map_err(Clone::clone));
                for key in self.objects.iter().filter(|_| matches!(ours, Ok(true))) {
                    let deleted = report(key, target.store.delete_own(key).await);
                    clean &= deleted;
                    // The archive must not be deleted before its metadata.
                    if !deleted {
                        break;
                    }
                }
            }
            target.store.changed();
            match self.record {
                Some(record) if clean && !arrives_late => cleanup::delete_record(record).await,
                // The cleanup finds only records without an owner.
                Some(record) => {
                    cleanup::release(&target, record, Duration::ZERO).await;
                }
                None => {}
            }
            RollBack::Tried(if clean { CleanupOutcome::Complete } else { CleanupOutcome::Failed })
        };
        // As a task, so that it continues after the time limit.
        match tokio::time::timeout(CLEANUP_LIMIT, tokio::spawn(work)).await {
            Ok(Ok(rolled_back)) => rolled_back,
            Ok(Err(_)) => RollBack::Tried(CleanupOutcome::Failed),
            Err(_) => RollBack::Tried(CleanupOutcome::Pending),
        }
    }

    /// Whether an archive exists under this key, and this upload stored it.
    async fn is_ours(&self, target: &Target, key: &str) -> Result<bool> {
        let bucket = target.store.bucket();
        let refusal = match bucket.upload_marker(key).await {
            Err(error) if error.code() == Code::NotFound => return Ok(false),
            Err(error) if error.code() == Code::AccessDenied => error,
            mark => return Ok(mark?.as_ref() == Some(&self.mark)),
        };
        // AWS answers 403 for a missing object if the credentials may list only one folder.
        let Some(listed) = bucket.find(key).await? else { return Ok(false) };
        // The same bytes from another upload have the same ETag. But that upload writes metadata
        // soon, and this one does not before it has checked its archive.
        let same = self.etag.get().is_some_and(|etag| !etag.is_empty() && *etag == listed.etag);
        let (Some(name), true) = (&self.name, same) else { return Err(refusal) };
        let metadata_key = target.store.layout().metadata_key(name.name());
        if bucket.exists(&metadata_key).await? { Err(refusal) } else { Ok(true) }
    }
}

fn report(what: &str, result: Result<()>) -> bool {
    if let Err(error) = &result {
        tracing::warn!(what, %error, "cannot clean up");
    }
    result.is_ok()
}
