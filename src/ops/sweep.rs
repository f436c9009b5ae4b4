//! Finds and removes what nobody will ever finish.

use std::time::Duration;

use chrono::Utc;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::leftovers::settle;
use super::{Cancel, Target};
use crate::error::{Code, Error, Result};
use crate::journal::Owner;
use crate::protocol::{
    CheckError, Leftover, LeftoverKind, LeftoverStatus, MAX_OLDER_THAN_S, Swept,
};
use crate::s3::OpenUpload;
use crate::store::layout::Half;

/// Uploads looked at the same time.
const AT_ONCE: usize = 8;

/// What to sweep.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// What nobody has touched for so long is nobody's. At most a year.
    pub older_than: Duration,
    /// Only look.
    pub dry_run: bool,
}

/// Aborts the multipart uploads of archives to which no part was added for a while, so that they
/// cost no more. Uploads of this machine that are running are left alone, whatever their age, and so
/// are those of which the storage does not say when somebody touched them. Safe to repeat, and to
/// give up at any time.
///
/// # Errors
/// `access_denied` without the right to list uploads, and every other code that a storage or a
/// connection can cause. What cannot be removed is a result.
pub async fn sweep(target: &Target, request: Sweep, cancel: &Cancel) -> Result<Swept> {
    if request.older_than > Duration::from_secs(MAX_OLDER_THAN_S) {
        return Err(Error::new(
            Code::InvalidParams,
            format!("the member \"older_than_s\" must be 0 to {MAX_OLDER_THAN_S}"),
        )
        .fact("member", "older_than_s"));
    }
    cancel.guard(run(target, request)).await
}

async fn run(target: &Target, request: Sweep) -> Result<Swept> {
    if !request.dry_run {
        settle(target).await;
    }
    let layout = target.store.layout();
    let mut uploads = target.store.bucket().open_uploads(layout.folder()).await?;
    // Not every storage lists them in order.
    uploads.sort_unstable_by(|one, other| (&one.key, &one.id).cmp(&(&other.key, &other.id)));
    let known = target.leftovers.archives().await;
    let ours = uploads.into_iter().filter(|upload| {
        let name = match layout.half(&upload.key) {
            Some(Half::Archive(name)) => name,
            Some(Half::Metadata(_)) | None => return false,
        };
        !target.store.is_reserved(name) && known.get(&upload.key) != Some(&Owner::Alive)
    });
    let looking = stream::iter(ours).map(|upload| look(target, upload, request));
    let leftovers = looking.buffered(AT_ONCE).try_filter_map(async |found| Ok(found));
    Ok(Swept { leftovers: leftovers.try_collect().await?, more: false })
}

/// What is left over of an upload, if it is stale, and is gone now unless this is a dry run.
async fn look(target: &Target, found: OpenUpload, request: Sweep) -> Result<Option<Leftover>> {
    let upload = target.store.bucket().upload(&found.key, &found.id);
    let leftover = |idle: Duration, status, error| {
        let (kind, key, idle_s) = (LeftoverKind::Upload, found.key.clone(), idle.as_secs());
        Ok(Some(Leftover { kind, key, idle_s, status, error }))
    };
    let mut idle = idle_since(found.opened);
    if idle.is_none_or(|idle| idle >= request.older_than) {
        match upload.newest_part().await {
            Ok(newest) => idle = idle_since(found.opened.max(newest.unwrap_or_default())),
            // It has come to its end since it was listed.
            Err(error) if matches!(error.code(), Code::NotFound | Code::Changed) => {
                return Ok(None);
            }
            // One storage or another has no words for this upload; that is no reason to leave the rest.
            Err(error) if matches!(error.code(), Code::RemoteError | Code::UnsupportedFeature) => {
                let idle = idle.unwrap_or_default();
                return leftover(idle, LeftoverStatus::Failed, Some(CheckError::from(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    let Some(idle) = idle.filter(|idle| *idle >= request.older_than) else { return Ok(None) };
    let (status, error) = match request.dry_run {
        true => (LeftoverStatus::Found, None),
        false => match upload.abort().await {
            Ok(()) => (LeftoverStatus::Removed, None),
            Err(error) => (LeftoverStatus::Failed, Some(CheckError::from(&error))),
        },
    };
    leftover(idle, status, error)
}

/// Time since a moment in seconds since 1970; none for 0, which stands for an unknown one.
fn idle_since(moment: i64) -> Option<Duration> {
    let passed = u64::try_from(Utc::now().timestamp() - moment).unwrap_or_default();
    (moment > 0).then(|| Duration::from_secs(passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_moment_is_not_long_ago() {
        assert_eq!(idle_since(0), None);
        assert!(idle_since(1).is_some_and(|idle| idle > Duration::from_secs(1 << 30)));
        assert_eq!(idle_since(i64::MAX), Some(Duration::ZERO));
    }
}
