//! Cleanup of incomplete uploads and orphaned objects.
//!
//! An age is measured by the clocks of the server and of this machine, and the smaller value
//! counts, so that one wrong clock does not make a running upload look abandoned.

mod background;
mod objects;
mod orphans;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

pub use self::background::start_cleanup;
pub(in crate::ops) use self::background::{Background, refresh, release};
pub use self::orphans::Place;
pub(in crate::ops) use self::orphans::{
    TargetJournal, abort_unknown, append, clean_up, delete_record,
};
use super::{Cancel, Target};
use crate::archives::deletion::idle_since;
use crate::archives::layout::PairKey;
use crate::error::{Code, Error, Result};
use crate::journal::Owner;
use crate::protocol::{
    CheckError, CleanupItem, CleanupItemKind, CleanupItemStatus, CleanupResult, MAX_OLDER_THAN_S,
};
use crate::s3::OpenUpload;

/// How long a command that is about something else cleans up.
const A_MOMENT: Duration = Duration::from_secs(15);

/// Uploads checked at the same time.
const AT_ONCE: usize = 8;

/// Parameters of a cleanup.
#[derive(Clone, Copy, Debug)]
pub struct Cleanup {
    /// Minimum age: time since the last change. At most a year.
    pub older_than: Duration,
    /// Only report.
    pub dry_run: bool,
    /// Also delete archives without metadata and metadata without an archive. Otherwise they are
    /// only reported, because an archive alone may be a complete backup.
    pub objects: bool,
}

/// Cleans up after uploads of this machine that were interrupted, which the journal knows. Asks the server
/// for nothing when there are none. Takes at most [`A_MOMENT`]; what is left is tried again the next time.
pub async fn clean_up_interrupted(target: &Arc<Target>) {
    // It may be dropped at any time.
    let _ = tokio::time::timeout(A_MOMENT, clean_up(target)).await;
}

/// Aborts multipart uploads of archives that received no part for `older_than`, so that they cost
/// nothing. Uploads that this machine is running are left alone whatever their age, and so are
/// uploads whose age the server does not report. Deletes test objects, and reports or deletes
/// orphaned objects. Safe to repeat and to interrupt.
///
/// # Errors
/// `access_denied` without the permission to list uploads, and every code that a server or a
/// connection can cause. A failed removal is a result.
pub async fn cleanup(target: &Target, request: Cleanup, cancel: &Cancel) -> Result<CleanupResult> {
    if request.older_than > Duration::from_secs(MAX_OLDER_THAN_S) {
        return Err(Error::new(
            Code::InvalidParams,
            format!("the member \"older_than_s\" must be 0 to {MAX_OLDER_THAN_S}"),
        )
        .detail("member", "older_than_s"));
    }
    cancel.cancellable(run(target, request)).await
}

async fn run(target: &Target, request: Cleanup) -> Result<CleanupResult> {
    if !request.dry_run {
        clean_up(target).await;
    }
    let layout = target.store.layout();
    let mut uploads = target.store.bucket().open_uploads(layout.folder()).await?;
    // Some servers do not list them in order.
    uploads.sort_unstable_by(|one, other| (&one.key, &one.id).cmp(&(&other.key, &other.id)));
    let known = target.journal.archives().await;
    let ours = uploads.into_iter().filter(|upload| {
        let running = match layout.pair_key(&upload.key) {
            Some(PairKey::Archive(name)) => target.store.is_reserved(name),
            Some(PairKey::Metadata(_)) => return false,
            None if layout.is_probe(&upload.key) => false,
            None => return false,
        };
        !running && known.get(&upload.key) != Some(&Owner::Alive)
    });
    let checks = stream::iter(ours).map(|upload| check_upload(target, upload, request));
    let items = checks.buffered(AT_ONCE).try_filter_map(async |found| Ok(found));
    let mut items: Vec<_> = items.try_collect().await?;
    items.extend(objects::cleanup(target, request).await?);
    items.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(CleanupResult { items, more: false })
}

/// Checks an upload and, unless this is a dry run, aborts it. None when it is not stale.
async fn check_upload(
    target: &Target,
    found: OpenUpload,
    request: Cleanup,
) -> Result<Option<CleanupItem>> {
    let bucket = target.store.bucket();
    let upload = bucket.upload(&found.key, &found.id);
    let item = |idle: Duration, status, error| {
        let (kind, key, idle_s) = (CleanupItemKind::Upload, found.key.clone(), idle.as_secs());
        Ok(Some(CleanupItem { kind, key, idle_s, status, error }))
    };
    let mut idle = idle_since(found.opened, bucket.now());
    if idle.is_none_or(|idle| idle >= request.older_than) {
        match upload.newest_part().await {
            Ok(newest) => {
                idle = idle_since(found.opened.max(newest.unwrap_or_default()), bucket.now());
            }
            // The upload was completed or aborted after the listing.
            Err(error) if matches!(error.code(), Code::NotFound | Code::Modified) => {
                return Ok(None);
            }
            // Some servers cannot list the parts of an upload; the other uploads are still handled.
            Err(error) if matches!(error.code(), Code::RemoteError | Code::UnsupportedFeature) => {
                let idle = idle.unwrap_or_default();
                return item(idle, CleanupItemStatus::Failed, Some(CheckError::from(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    let Some(idle) = idle.filter(|idle| *idle >= request.older_than) else { return Ok(None) };
    let (status, error) = match request.dry_run {
        true => (CleanupItemStatus::Found, None),
        false => match upload.abort().await {
            Ok(()) => (CleanupItemStatus::Removed, None),
            Err(error) => (CleanupItemStatus::Failed, Some(CheckError::from(&error))),
        },
    };
    item(idle, status, error)
}
