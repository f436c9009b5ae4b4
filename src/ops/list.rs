//! Looks: all backups, or one.

use std::sync::Arc;
use std::time::Duration;

use super::{Cancel, Target, cleanup};
use crate::archives::Listing;
use crate::error::{Code, Error, Result};
use crate::protocol::{Backup, MAX_STALE_S};

/// All backups of a target, at most five minutes old unless `refresh` is set. Changes nothing.
///
/// # Errors
/// Every code that a storage or a connection can cause.
pub async fn list(target: &Target, refresh: bool, cancel: &Cancel) -> Result<Arc<Listing>> {
    #[cfg(feature = "demo")]
    crate::fault_injection::trip("list");
    cancel.cancellable(target.store.listing(refresh)).await
}

/// The same without waiting for the storage, while there is a listing that is at most `stale` older;
/// then a new one is made meanwhile. With `refresh` it is waited for all the same.
///
/// # Errors
/// `invalid_params` when that is more than a day, and those of [`list`].
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

/// One backup. Changes nothing.
///
/// # Errors
/// `not_found`, and every code that a storage or a connection can cause.
pub async fn get(target: &Target, id: &str, cancel: &Cancel) -> Result<Arc<Backup>> {
    cancel.cancellable(target.store.find(id)).await
}
