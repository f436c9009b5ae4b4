//! Deletes a backup.

use std::sync::Arc;

use super::{Cancel, Target, cleanup, start_cleanup};
use crate::error::Result;
use crate::journal::{Beginning, Record, Replacement, is_mark};

/// Deletes the backup with this id: its metadata first, then its archive. A missing archive is
/// fine. Where it lies there more than once, the one that counts goes last. Once begun it goes on even
/// when cancelled, because half a deletion helps nobody.
///
/// # Errors
/// `not_found` when there is no such backup, `access_denied` or `object_locked` when the storage keeps it.
pub async fn delete(target: &Arc<Target>, id: &str, cancel: &Cancel) -> Result<()> {
    let names = cancel.cancellable(target.store.names_of(id)).await?;
    let target = Arc::clone(target);
    let deleting = async move {
        for name in names.into_iter().rev() {
            let mut removal = Removal::plan(&target, name).await?;
            removal.note(&target, None).await;
            let removed = removal.attempt(&target).await;
            removal.close(&target, removed.is_ok()).await;
            removed?;
        }
        Ok(())
    };
    cancel.finish(tokio::spawn(deleting)).await
}

/// A backup that is to be deleted. When this process is killed half way, the next one goes on; when
/// the storage is away, this one tries again later.
#[derive(Debug)]
pub(super) struct Removal {
    name: String,
    /// What its archive is known by; none where that is somebody else's, or nothing can be noted.
    mark: Option<String>,
    /// What takes its place; none when a user deletes it.
    replacement: Option<Replacement>,
    record: Option<Arc<Record>>,
}

impl Removal {
    /// Looks at the archive, so that it could be found again when only half of it is deleted.
    ///
    /// # Errors
    /// When that cannot be done for now.
    pub(super) async fn plan(target: &Target, name: String) -> Result<Self> {
        let mut mark = None;
        if target.journal.is_on() {
            let archive = target.store.layout().archive_key(&name);
            mark = match target.store.bucket().upload_marker(&archive).await {
                Err(error) if error.code().retryable() => return Err(error),
                // No agent has given another one, so that it tells nothing apart.
                found => found.ok().flatten().filter(|mark| is_mark(mark)),
            };
        }
        Ok(Self { name, mark, replacement: None, record: None })
    }

    /// The backup that is to be deleted.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Notes in the journal that it begins: what is half deleted will be deleted, and what has been
    /// replaced `by` the backup of this name and id.
    pub(super) async fn note(&mut self, target: &Target, by: Option<(&str, &str)>) {
        let keys = |name: &str| {
            let layout = target.store.layout();
            (layout.archive_key(name), layout.metadata_key(name))
        };
        self.replacement = by.map(|(name, id)| {
            let (archive, document) = keys(name);
            Replacement { backup_id: id.to_owned(), archive, document }
        });
        let (Some(mark), replacement) = (self.mark.clone(), self.replacement.clone()) else {
            return;
        };
        let (archive, document) = keys(&self.name);
        let beginning = target.journal.beginning(archive, document, mark);
        let record = target.journal.begin(Beginning { replacement, ..beginning }).await;
        self.record = record.map(Arc::new);
    }

    /// Deletes it, unless it was to be replaced and is another backup by now. Safe to repeat.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub(super) async fn attempt(&self, target: &Target) -> Result<()> {
        let Some(by) = &self.replacement else { return target.store.remove(&self.name).await };
        let removed = target.store.remove_replaced(&self.name, self.mark.as_deref(), by).await?;
        if !removed {
            let name = &self.name;
            tracing::warn!(name, "the replaced backup is another one by now, and stays");
        }
        Ok(())
    }

    /// Forgets it when nothing is left to be done, and comes back for it otherwise.
    pub(super) async fn close(self, target: &Arc<Target>, is_done: bool) {
        match self.record {
            Some(record) if is_done => cleanup::forget(record).await,
            Some(record) => {
                // Without an owner it is found by who comes back for it.
                drop(record);
                start_cleanup(target);
            }
            None => {}
        }
    }
}
