//! Upload of a backup: archive, check, metadata, in this order.
//!
//! An archive under 20 MiB is one request; a larger one is a multipart upload with equal parts,
//! sent in parallel within the memory budget. When an upload ends early (canceled, failed source,
//! failed server, lost host), one code path cleans up, or keeps the parts for a later upload that
//! resumes.

mod guard;
mod measured;
mod parts;
mod resume;
mod sent;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;

use self::guard::UploadGuard;
use self::measured::Measured;
use self::parts::{Archive, Plan};
use self::sent::Sent;
use super::delete::Removal;
use super::retry::Retry;
use super::{Cancel, Place, Target, clean_up};
use crate::archives::metadata::{self, Checksums};
use crate::archives::{self, ReservedName, taken};
use crate::error::{CleanupOutcome, Code, Error, Result};
use crate::journal::Resumable;
use crate::platform::utc;
use crate::progress::{Phase, Progress};
use crate::protocol::{
    IfExists, MAX_BACKUP_ID, MAX_METADATA, MAX_METADATA_DEPTH, MAX_RESUME_S, Metadata, NewBackup,
    UploadResult,
};
use crate::s3::{self, Stored};

/// Longest wait until the server lists a finished upload.
const LISTED_LIMIT: Duration = Duration::from_secs(20);

/// Where the bytes of an upload come from.
pub trait Source: Send {
    /// The next bytes, or `None` after the last. The first call means that the upload is ready for
    /// data. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>>> + Send;
}

impl<S: Source> Source for &mut S {
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>>> + Send {
        S::next(self)
    }
}

/// Parameters of an upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// ID, wanted name and metadata.
    pub backup: NewBackup,
    /// Announced length in bytes; a shorter source is refused.
    pub size: Option<u64>,
    /// Whether a longer source is refused as well.
    pub exact: bool,
    /// What to do when the backup exists.
    pub if_exists: IfExists,
    /// Keep retrying for this long if the server becomes unreachable during the upload. At most an
    /// hour.
    pub retry_for: Duration,
    /// How long stored parts are kept for another upload of the same backup, after an error that a
    /// retry may solve. At most a day; with zero the upload is always cleaned up.
    pub resume: Duration,
    /// Other buckets that get the same backup at the same time: their names for it are not taken here.
    pub beside: Vec<Place>,
}

/// Stores a backup from `source`. The backup is listed once this returns, not before. The source is dropped
/// as soon as no more of it is wanted, before a failed upload is cleaned up.
///
/// # Errors
/// `already_exists`; `length_mismatch` when the source has fewer bytes than announced, or none;
/// `too_large`; the error of the source; every code that a server or a connection can cause. The
/// error contains the outcome of the cleanup.
pub async fn upload(
    target: &Arc<Target>,
    request: Upload,
    source: impl Source,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<UploadResult> {
    check(&request)?;
    let retry = Retry::new(request.retry_for, progress, cancel)?;
    let mut guard = UploadGuard::new(retry);
    let storing = store(target, &request, source, progress, cancel, &mut guard);
    // Objects in the bucket must be cleaned up even after a panic.
    let stored = AssertUnwindSafe(storing).catch_unwind().await;
    let stored = stored.unwrap_or_else(|_| {
        Err(Error::new(Code::Internal, "the upload failed inside the agent").hint("see its log"))
    });
    let error = match stored {
        Ok(uploaded) => return Ok(uploaded),
        Err(error) => error,
    };
    progress.enter(Phase::Aborting);
    let may_stay = error.code().retryable() && !cancel.is_requested();
    match guard.roll_back(target, may_stay).await {
        guard::RollBack::Committed(uploaded) => Ok(*uploaded),
        guard::RollBack::Kept(time) => {
            let until = utc(SystemTime::now().checked_add(time).unwrap_or(SystemTime::UNIX_EPOCH));
            let until = until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            Err(error.cleanup(CleanupOutcome::Kept).detail("kept_until", until))
        }
        guard::RollBack::Nothing => Err(error),
        guard::RollBack::Tried(cleanup) => Err(error.cleanup(cleanup)),
    }
}

fn check(request: &Upload) -> Result<()> {
    let NewBackup { id, metadata, .. } = &request.backup;
    let invalid = |member: &'static str, message: &str| {
        Err(Error::new(Code::InvalidParams, message).field(member).detail("member", member))
    };
    if !is_id(id) {
        return invalid(
            "backup.id",
            &format!("the ID must have 1 to {MAX_BACKUP_ID} characters and no control characters"),
        );
    }
    if metadata.get("backup_id").is_some_and(|given| given.as_str() != Some(id)) {
        return invalid(
            "backup.metadata",
            "backup_id in the metadata must be the ID of the backup",
        );
    }
    if serde_json::to_vec(metadata).map_or(0, |json| json.len()) > MAX_METADATA {
        return invalid("backup.metadata", "the metadata must not be larger than 32 KiB");
    }
    if metadata::depth(metadata) > MAX_METADATA_DEPTH {
        return invalid("backup.metadata", "the metadata must not be nested deeper than 24 levels");
    }
    if request.size == Some(0) {
        return invalid("size", "an empty backup cannot be stored");
    }
    if request.resume > Duration::from_secs(MAX_RESUME_S) {
        let message = format!("the member \"resume_s\" must be 0 to {MAX_RESUME_S}");
        return Err(Error::new(Code::InvalidParams, message).detail("member", "resume_s"));
    }
    Ok(())
}

/// Whether a backup can have this ID.
pub(super) fn is_id(id: &str) -> bool {
    (1..=MAX_BACKUP_ID).contains(&id.chars().count()) && !id.chars().any(char::is_control)
}

async fn store(
    target: &Arc<Target>,
    request: &Upload,
    source: impl Source,
    progress: &Progress,
    cancel: &Cancel,
    guard: &mut UploadGuard,
) -> Result<UploadResult> {
    let plan = Plan::new(target.config.part_size, target.config.max_parts(), request.size)?;
    progress.enter(Phase::Queued);
    progress.expect(request.size);
    let reservation = cancel.cancellable(target.budget.reserve(plan.reservation())).await?;
    progress.enter(Phase::Starting);
    cancel
        .cancellable(async {
            clean_up(target).await;
            Ok(())
        })
        .await?;
    let id = &request.backup.id;
    let (old, name) = cancel.cancellable(choose_names(target, request)).await?;
    let mut replaced = Vec::new();
    for old in old {
        replaced.push(cancel.cancellable(Removal::plan(target, old)).await?);
    }
    let resumable = Resumable {
        backup_id: id.clone(),
        part_size: plan.part_size,
        storage_class: target.config.storage_class.clone(),
    };
    let name = match cancel.cancellable(resume::find(target, &resumable)).await? {
        Some(kept) => guard.resume(kept, name, request.resume).await,
        None => guard.begin(target, name, resumable, request.resume).await,
    };
    let archive = Archive {
        target,
        bucket: target.store.bucket().reporting_to(progress),
        key: target.store.layout().archive_key(&name),
        plan,
        progress,
        retry: guard.retry().clone(),
    };
    let mut source = Measured::new(source, request);
    let sent = cancel.cancellable(archive.send(&mut source, reservation, guard)).await?;
    progress.enter(Phase::Finalizing);
    let commit = Commit {
        target: Arc::clone(target),
        name,
        id: id.clone(),
        title: request.backup.name.clone(),
        metadata: request.backup.metadata.clone(),
        checksums: sent.checksums.clone(),
        replaced,
        retry: guard.retry().clone(),
        may_arrive: Arc::default(),
        uploaded: Arc::default(),
    };
    cancel.cancellable(guard.commit(commit, sent, &archive.key)).await
}

/// The names of the backups that are replaced, and the name of the new one.
async fn choose_names(target: &Target, request: &Upload) -> Result<(Vec<String>, ReservedName)> {
    let NewBackup { id, name: wished, .. } = &request.backup;
    loop {
        let ended = archives::ended();
        let listing = target.store.listing(true).await?;
        let old = listing.names(id).to_vec();
        if request.if_exists == IfExists::Fail && !old.is_empty() {
            return Err(Error::new(
                Code::AlreadyExists,
                format!("a backup with the ID \"{id}\" exists already"),
            )
            .detail("backup_id", id.as_str()));
        }
        // Data of a killed upload may still arrive, so its name is not free yet.
        let known = target.journal.archives_outside(&request.beside).await;
        let is_taken = |archive: &str| known.contains_key(archive);
        if let Some(name) = target.store.reserve((&listing, ended), wished, id, is_taken)? {
            return Ok((old, name));
        }
    }
}

/// The steps that turn an archive into a backup.
struct Commit {
    target: Arc<Target>,
    name: String,
    id: String,
    title: String,
    metadata: Metadata,
    checksums: Checksums,
    /// The backups that it replaces.
    replaced: Vec<Removal>,
    retry: Retry,
    /// Set while the metadata may arrive after a failed request.
    may_arrive: Arc<AtomicBool>,
    /// Set as soon as the backup is complete: from then on nothing is rolled back.
    uploaded: Arc<OnceLock<UploadResult>>,
}

impl Commit {
    /// Completes a multipart upload. Safe to repeat: when the response is lost, the upload marker
    /// of the object shows that it was completed.
    async fn complete(
        &self,
        upload: &s3::Upload,
        sent: &Sent,
        key: &str,
        mark: &str,
    ) -> Result<Stored> {
        let error = match upload.complete(&sent.parts).await {
            Ok(stored) => return Ok(stored),
            Err(error) => error,
        };
        match self.target.store.bucket().head_with_marker(key).await {
            Ok((object, Some(found))) if found == mark && object.size == sent.checksums.size => {
                Ok(Stored { etag: object.etag, version_id: None })
            }
            _ => Err(error),
        }
    }

    /// Checks the stored archive, writes the metadata, then deletes the replaced backups.
    async fn run(
        mut self,
        mark: &str,
        archive: Stored,
        resumed_bytes: Option<u64>,
    ) -> Result<UploadResult> {
        #[cfg(feature = "demo")]
        crate::fault_injection::trip("commit");
        let mut replaced = std::mem::take(&mut self.replaced);
        let Self { retry, name, .. } = &self;
        let store = &self.target.store;
        let key = store.layout().archive_key(name);
        let (stored, stored_mark) = retry.run(|| store.bucket().head_with_marker(&key)).await?;
        if stored_mark.is_some_and(|stored| stored != mark) {
            // The server does not support conditional writes, and another upload wrote the name
            // later.
            return Err(taken(name));
        }
        if stored.size != self.checksums.size {
            return Err(Error::new(
                Code::LengthMismatch,
                format!(
                    "the server stored {} of the {} bytes that were sent",
                    stored.size, self.checksums.size
                ),
            )
            .detail("expected", self.checksums.size)
            .detail("actual", stored.size));
        }
        for removal in &mut replaced {
            removal.record(&self.target, Some((name, &self.id))).await;
        }
        // From here on a failed request may still write the metadata.
        self.may_arrive.store(true, Ordering::Relaxed);
        // Safe to repeat: only this upload has the name, and the metadata is always the same.
        let commit =
            || store.commit(name, &self.id, &self.title, self.metadata.clone(), &self.checksums);
        let committed = retry.run(commit).await.map(|backup| {
            let etag = Some(archive.etag).filter(|etag| !etag.is_empty());
            UploadResult { backup, etag, version_id: archive.version_id, resumed_bytes }
        });
        match &committed {
            Ok(uploaded) => _ = self.uploaded.set(uploaded.clone()),
            Err(error) => self.may_arrive.store(error.code().retryable(), Ordering::Relaxed),
        }
        #[cfg(feature = "demo")]
        crate::fault_injection::trip("replacement");
        for removal in replaced {
            self.replace(removal, committed.is_ok()).await;
        }
        if committed.is_ok() {
            self.wait_until_listed().await;
        }
        committed
    }

    /// Waits a while until the server lists the backup, because the caller may list next.
    async fn wait_until_listed(&self) {
        let store = &self.target.store;
        let key = store.layout().metadata_key(&self.name);
        match tokio::time::timeout(LISTED_LIMIT, store.bucket().find_new(&key)).await {
            Ok(Ok((Some(_), _))) => {}
            Ok(Ok((None, _))) => {
                tracing::warn!(name = %self.name, "the server does not list the backup yet");
            }
            Ok(Err(error)) => tracing::debug!(%error, "cannot check whether the backup is listed"),
            Err(_) => tracing::debug!("cannot check in time whether the backup is listed"),
        }
    }

    /// Deletes a replaced backup, if the new one is committed.
    async fn replace(&self, removal: Removal, is_committed: bool) {
        let mut is_done = true;
        if is_committed && let Err(error) = self.retry.run(|| removal.run(&self.target)).await {
            // The new backup is complete and newer, so it is the current one.
            let name = removal.name();
            tracing::warn!(name, %error, "cannot delete the replaced backup");
            is_done = false;
        }
        removal.finish(&self.target, is_done).await;
    }
}
