//! Looks: all backups, or one.

use std::sync::Arc;

use super::{Cancel, Target};
use crate::error::Result;
use crate::protocol::Backup;
use crate::store::Listing;

/// All backups of a target, at most five minutes old unless `refresh` is set. Changes nothing.
///
/// # Errors
/// Every code that a storage or a connection can cause.
pub async fn list(target: &Target, refresh: bool, cancel: &Cancel) -> Result<Arc<Listing>> {
    cancel.guard(target.store.listing(refresh)).await
}

/// One backup. Changes nothing.
///
/// # Errors
/// `not_found`, and every code that a storage or a connection can cause.
pub async fn get(target: &Target, id: &str, cancel: &Cancel) -> Result<Arc<Backup>> {
    cancel.guard(target.store.find(id)).await
}
