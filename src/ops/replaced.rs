//! Backups that are replaced while an operation looks at them.

use crate::error::{Code, Result};

/// Finds a backup and works on it. If its objects are gone, it may have been replaced since it was listed:
/// then finds it again and works once more. A backup that is not listed is not looked for again.
///
/// # Errors
/// Those of `find` and `work`.
pub(super) async fn look_again<B, T, F, W>(find: impl Fn() -> F, work: impl Fn(B) -> W) -> Result<T>
where
    F: Future<Output = Result<B>>,
    W: Future<Output = Result<T>>,
{
    match work(find().await?).await {
        Err(error) if error.code() == Code::NotFound => work(find().await?).await,
        done => done,
    }
}
