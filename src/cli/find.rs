//! The backup that an ID or a name on the command line means.

use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::ops::{self, Cancel, Target};
use crate::protocol::Backup;

/// The backup with this ID, else the only one with this name.
///
/// # Errors
/// `not_found`; `invalid_params` when several have the name.
pub(super) async fn backup(target: &Arc<Target>, wanted: &str, cancel: &Cancel) -> Result<Backup> {
    let error = match Box::pin(ops::get(target, wanted, cancel)).await {
        Ok(backup) => return Ok(backup.as_ref().clone()),
        Err(error) if error.code() == Code::NotFound => error,
        Err(error) => return Err(error),
    };
    let listing = Box::pin(ops::list(target, false, cancel)).await?;
    let named: Vec<_> = listing.backups().filter(|backup| has_name(backup, wanted)).collect();
    match named.as_slice() {
        [] if listing.find(wanted).is_some() => Err(error),
        [] => Err(Error::new(
            Code::NotFound,
            format!("there is no backup with the ID or name \"{wanted}\""),
        )
        .detail("backup_id", wanted)),
        [backup] => Ok(backup.as_ref().clone()),
        several => {
            let ids: Vec<_> = several.iter().map(|backup| backup.id.as_str()).collect();
            let message = format!("{} backups are called \"{wanted}\"", ids.len());
            Err(Error::new(Code::InvalidParams, message)
                .hint(format!("give one of their IDs, {}", ids.join(", ")))
                .field("id")
                .detail("member", "id"))
        }
    }
}

fn has_name(backup: &Backup, wanted: &str) -> bool {
    let values = backup.metadata.values();
    let title = values.get("name").and_then(serde_json::Value::as_str);
    title == Some(wanted) || backup.name == wanted.strip_suffix(".tar").unwrap_or(wanted)
}
