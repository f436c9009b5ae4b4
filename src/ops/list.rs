//! Listing of backups.

use std::sync::Arc;
use std::time::Duration;

use super::{Cancel, Target, cleanup};
use crate::archives::Listing;
use crate::error::{Code, Error, Result};
use crate::protocol::{Backup, MAX_STALE_S};

/// All backups of a target, at most five minutes old unless `refresh` is set. Read-only.
///
/// # Errors
/// Every code that a server or a connection can cause.
pub async fn list(target: &Target, refresh: bool, cancel: &Cancel) -> Result<Arc<Listing>> {
    #[cfg(feature = "demo")]
    crate::fault_injection::trip("list");
    cancel.cancellable(target.store.listing(refresh)).await
}

/// Like [`list`], but returns a listing that is up to `stale` older without waiting, and refreshes
/// it in the background. With `refresh` it always waits.
///
/// # Errors
/// `invalid_params` when `stale` is more than a day, and those of [`list`].
pub async fn list_soon(
    target: &Arc<Target>,
    refresh: bool,
    stale: Duration,
    cancel: &Cancel,
) -> Result<Arc<Listing>> {
    if stale > Duration::from_secs(MAX_STALE_S) {
        let message = format!("the member \"stale_s\" must be 0 to {MAX_STALE_S}");
        return Err(Error::new(Code::InvalidParams, message).detail("member", "stale_s"));
    }
    let kept = if refresh { None } else { target.store.stale_listing(stale) };
    let Some((listing, is_old)) = kept else { return list(target, refresh, cancel).await };
    if is_old {
        cleanup::refresh(target);
    }
    Ok(listing)
}

/// One backup. Read-only.
///
/// # Errors
/// `not_found`, and every code that a server or a connection can cause.
pub async fn get(target: &Target, id: &str, cancel: &Cancel) -> Result<Arc<Backup>> {
    cancel.cancellable(target.store.find(id)).await
}
