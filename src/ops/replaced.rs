//! Backups that are replaced while an operation looks at them.

use crate::error::{Code, Result};

/// Looks again once if a backup is not found where it was listed: it may have been replaced since then.
///
/// # Errors
/// Those of `look`.
pub(super) async fn look_again<T, F>(look: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    match look().await {
        Err(error) if error.code() == Code::NotFound => look().await,
        found => found,
    }
}
