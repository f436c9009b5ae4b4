//! What an upload may have left in the bucket, and taking it back.
//!
//! Calls that must not be given up half-way (storing an object, opening a multipart upload,
//! committing) run as tasks of their own, so that a cancelled upload can wait for their outcome and
//! then undo it. Otherwise an object could arrive after it was deleted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};

use super::Commit;
use super::resume::{Kept, Ledger};
use super::sent::Sent;
use crate::archives::Reserved;
use crate::error::{CleanupOutcome, Code, Error, Result};
use crate::journal::{Beginning, Record, Resumable};
use crate::ops::cancel::PATIENCE;
use crate::ops::retry::Retry;
use crate::ops::{Target, cleanup, start_cleanup};
use crate::protocol::UploadResult;
use crate::s3::{Bucket, Payload, Stored, Upload, Write};

/// Time for an object that is on its way to arrive before it is cut off.
const GRACE: Duration = Duration::from_secs(3);

/// MIME type of an archive.
const ARCHIVE_TYPE: &str = "application/x-tar";

/// [`Write`] for an archive, to be taken into a task.
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

/// What may be in the bucket by now.
pub(super) struct UploadGuard {
    retry: Retry,
    opening: Option<JoinHandle<Result<Upload>>>,
    upload: Option<Upload>,
    /// Key of an upload that may have been opened without our learning its id.
    unnamed: Option<String>,
    putting: Option<JoinHandle<Result<Stored>>>,
    committing: Option<JoinHandle<Result<UploadResult>>>,
    /// Whether the document may still be on its way.
    may_arrive: Arc<AtomicBool>,
    /// The backup, once it is one.
    uploaded: Arc<OnceLock<UploadResult>>,
    /// In the order in which they are deleted.
    objects: Vec<String>,
    /// Kept until everything is taken back, so that no other upload takes the name before.
    name: Option<Reserved>,
    /// What the archive is known by.
    mark: String,
    /// Entity tag of the archive, once the storage has said it.
    etag: Arc<OnceLock<String>>,
    record: Option<Arc<Record>>,
    ledger: Ledger,
}

/// How taking back went.
pub(super) enum RollBack {
    /// There was nothing to take back.
    Nothing,
    /// The backup is complete: it was cancelled too late, or failed at what comes after.
    Committed(Box<UploadResult>),
    /// What is stored of the archive waits for so long for an upload that goes on with it.
    Kept(Duration),
    /// It was tried.
    Tried(CleanupOutcome),
}

fn panicked(error: JoinError) -> Error {
    Error::new(Code::Internal, "the upload failed inside the agent").source(error)
}

impl UploadGuard {
    /// There is nothing yet.
    pub(super) fn new(retry: Retry) -> Self {
        Self {
            retry,
            opening: None,
            upload: None,
            unnamed: None,
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

    /// What the upload puts up with.
    pub(super) fn retry(&self) -> &Retry {
        &self.retry
    }

    /// Keeps the name until the end, and notes in the journal that it is about to be used. What is
    /// stored is kept for so long after an interruption.
    pub(super) async fn begin(
        &mut self,
        target: &Target,
        name: Reserved,
        resumable: Resumable,
        keep: Duration,
    ) -> String {
        let name = self.name.insert(name).name().to_owned();
        self.mark = format!("{:032x}", fastrand::u128(..));
        let layout = target.store.layout();
        let (archive, document) = (layout.archive_key(&name), layout.metadata_key(&name));
        let resumable = Some(resumable).filter(|_| !keep.is_zero());
        let beginning = target.journal.beginning(archive, document, self.mark.clone());
        let record = target.journal.begin(Beginning { resumable, ..beginning }).await;
        self.record = record.map(Arc::new);
        self.ledger = Ledger::new(keep, self.record.clone());
        name
    }

    /// Goes on with what is kept of an earlier upload, under the name of that.
    pub(super) async fn resume(
        &mut self,
        kept: Kept,
        mut name: Reserved,
        keep: Duration,
    ) -> String {
        name.change(&kept.name);
        self.name = Some(name);
        self.mark.clone_from(&kept.record.beginning.mark);
        self.upload = Some(kept.upload);
        let (ledger, record) = Ledger::resumed(keep, kept.record).await;
        (self.ledger, self.record) = (ledger, Some(record));
        kept.name
    }

    /// The multipart upload, once it is open.
    pub(super) fn upload(&self) -> Option<Upload> {
        self.upload.clone()
    }

    /// What is known of its parts.
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

    /// Stores the whole archive.
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
            // Safe to repeat: the name is this upload's alone, and the bytes are the same.
            let stored = retry.run(|| bucket.put(archive.write(), &payload)).await?;
            etag.get_or_init(|| stored.etag.clone());
            Ok(stored)
        }));
        let stored = putting.await.map_err(panicked);
        self.putting = None;
        stored?
    }

    /// Opens a multipart upload.
    pub(super) async fn open(
        &mut self,
        bucket: &Bucket,
        key: &str,
        storage_class: Option<&str>,
    ) -> Result<Upload> {
        let (bucket, archive) = (bucket.clone(), self.archive(key, storage_class));
        let ledger = self.ledger.clone();
        let retry = self.retry.clone();
        self.unnamed = Some(key.to_owned());
        let opening = self.opening.insert(tokio::spawn(async move {
            // Safe to repeat: what an answer that was lost has opened is looked for afterwards.
            let repeats = retry.repeats();
            let upload = retry.run(|| bucket.create_upload(archive.write())).await?;
            ledger.opened(&upload).await;
            if retry.repeats() != repeats {
                let others = cleanup::abort_unnamed(&bucket, &archive.key, Some(&upload)).await;
                report("an upload that was opened in vain", others);
            }
            Ok(upload)
        }));
        let opened = opening.await.map_err(panicked);
        self.opening = None;
        let opened = opened?;
        if opened.as_ref().err().is_none_or(|error| !error.code().retryable()) {
            self.unnamed = None;
        }
        let upload = opened?;
        self.upload = Some(upload.clone());
        Ok(upload)
    }

    /// Completes the archive and makes it a backup.
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
                cleanup::forget(record).await;
            }
            Ok(uploaded)
        }));
        let committed = committing.await.map_err(panicked);
        self.committing = None;
        committed?
    }

    /// Takes back whatever there may be, within [`PATIENCE`]; what is not done by then goes on. When it
    /// `may_stay`, what can be gone on with is left where it is.
    pub(super) async fn roll_back(mut self, target: &Arc<Target>, may_stay: bool) -> RollBack {
        if self.unnamed.is_none() && self.upload.is_none() && self.objects.is_empty() {
            if let Some(record) = self.record {
                cleanup::forget(record).await;
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
                // What it replaces, if it ended before that was deleted.
                start_cleanup(&target);
                return RollBack::Committed(Box::new(uploaded));
            }
            let mut clean = true;
            let mut arrives_late = self.may_arrive.load(Ordering::Relaxed);
            if let Some(opening) = &mut self.opening
                && let Ok(Ok(upload)) = opening.await
            {
                self.upload = Some(upload);
                self.unnamed = None;
            }
            if may_stay
                && self.upload.is_some()
                && let Some(keep) = self.ledger.leave(&target).await
            {
                return RollBack::Kept(keep);
            }
            if let Some(key) = &self.unnamed {
                let aborted = cleanup::abort_unnamed(target.store.bucket(), key, None).await;
                clean &= report("an upload whose id is not known", aborted);
            }
            if let Some(mut putting) = self.putting.take()
                && tokio::time::timeout(GRACE, &mut putting).await.is_err()
            {
                putting.abort();
                arrives_late = true;
            }
            if let Some(upload) = &self.upload {
                // Parts that were on their way may arrive after the first abort.
                for _ in 0..2 {
                    clean &= report("the upload", upload.abort().await);
                }
            }
            if let Some(archive) = self.objects.last() {
                // Somebody else may have taken the name, and then it is all theirs.
                let ours = self.is_ours(&target, archive).await;
                clean &= report(archive, ours.as_ref().map(|_| ()).map_err(Clone::clone));
                for key in self.objects.iter().filter(|_| matches!(ours, Ok(true))) {
                    let deleted = report(key, target.store.delete_own(key).await);
                    clean &= deleted;
                    // An archive must not go before its document.
                    if !deleted {
                        break;
                    }
                }
            }
            target.store.changed();
            match self.record {
                Some(record) if clean && !arrives_late => cleanup::forget(record).await,
                // Without an owner it is found by who comes back for it.
                Some(record) => {
                    cleanup::leave(&target, record, Duration::ZERO).await;
                }
                None => {}
            }
            RollBack::Tried(if clean { CleanupOutcome::Complete } else { CleanupOutcome::Failed })
        };
        // As a task, so that it goes on when the time is up.
        match tokio::time::timeout(PATIENCE, tokio::spawn(work)).await {
            Ok(Ok(erased)) => erased,
            Ok(Err(_)) => RollBack::Tried(CleanupOutcome::Failed),
            Err(_) => RollBack::Tried(CleanupOutcome::Pending),
        }
    }

    /// Whether there is an archive under this key, and it is the one that this upload has stored.
    async fn is_ours(&self, target: &Target, key: &str) -> Result<bool> {
        let bucket = target.store.bucket();
        let refusal = match bucket.upload_marker(key).await {
            Err(error) if error.code() == Code::NotFound => return Ok(false),
            Err(error) if error.code() == Code::AccessDenied => error,
            mark => return Ok(mark?.as_ref() == Some(&self.mark)),
        };
        // To keys that may list only one folder, AWS forbids what is missing.
        let Some(listed) = bucket.find(key).await? else { return Ok(false) };
        // The same bytes of somebody else have the same tag, but soon a document, which we have not
        // written before we could look at the archive.
        let same = self.etag.get().is_some_and(|etag| !etag.is_empty() && *etag == listed.etag);
        let (Some(name), true) = (&self.name, same) else { return Err(refusal) };
        let document = target.store.layout().metadata_key(name.name());
        if bucket.exists(&document).await? { Err(refusal) } else { Ok(true) }
    }
}

fn report(what: &str, result: Result<()>) -> bool {
    if let Err(error) = &result {
        tracing::warn!(what, %error, "could not be taken back");
    }
    result.is_ok()
}
