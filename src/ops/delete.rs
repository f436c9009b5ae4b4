//! Deletes a backup.

use std::sync::Arc;

use super::{Cancel, Target, leftovers};
use crate::error::Result;

/// Deletes the backup with this id: its metadata first, then its archive. A missing archive is
/// fine. Once begun it goes on even when cancelled, because half a deletion helps nobody.
///
/// # Errors
/// `not_found` when there is no such backup, `access_denied` or `locked` when the storage keeps it.
pub async fn delete(target: &Arc<Target>, id: &str, cancel: &Cancel) -> Result<()> {
    let name = cancel.guard(target.store.name_of(id)).await?;
    let target = Arc::clone(target);
    cancel.finish(tokio::spawn(async move { leftovers::remove(&target, &name).await })).await
}
