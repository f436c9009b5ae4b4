//! Deletion of a backup.

use std::sync::Arc;

use super::{Cancel, Target, cleanup, start_cleanup};
use crate::error::Result;
use crate::journal::{Intent, Record, Replacement, is_upload_marker};

/// Deletes the backup with this ID: its metadata first, then its archive. A missing archive is not
/// an error. If several backups have the ID, the current one is deleted last. A deletion that has
/// begun continues even if canceled, so that no half-deleted backup remains.
///
/// # Errors
/// `not_found` when there is no such backup, `access_denied` or `object_locked` when the server
/// refuses.
pub async fn delete(target: &Arc<Target>, id: &str, cancel: &Cancel) -> Result<()> {
    let names = cancel.cancellable(target.store.names_of(id)).await?;
    let target = Arc::clone(target);
    let deleting = async move {
        for name in names.into_iter().rev() {
            let mut removal = Removal::plan(&target, name).await?;
            removal.record(&target, None).await;
            let removed = removal.run(&target).await;
            removal.finish(&target, removed.is_ok()).await;
            removed?;
        }
        Ok(())
    };
    cancel.finish(tokio::spawn(deleting)).await
}

/// Deletion of one backup, with a journal record. If the process is killed, the next one finishes
/// the deletion; if the server is unreachable, this one retries later.
#[derive(Debug)]
pub(super) struct Removal {
    name: String,
    /// Upload marker of the archive. None if another program wrote the archive, or if there is no
    /// journal.
    mark: Option<String>,
    /// The backup that replaces it. None when a user deletes it.
    replacement: Option<Replacement>,
    record: Option<Arc<Record>>,
}

impl Removal {
    /// Reads the upload marker of the archive, by which a later cleanup identifies it.
    ///
    /// # Errors
    /// When a retry may help.
    pub(super) async fn plan(target: &Target, name: String) -> Result<Self> {
        let mut mark = None;
        if target.journal.is_on() {
            let archive = target.store.layout().archive_key(&name);
            mark = match target.store.bucket().upload_marker(&archive).await {
                Err(error) if error.code().retryable() => return Err(error),
                // No agent writes another format, so it identifies nothing.
                found => found.ok().flatten().filter(|mark| is_upload_marker(mark)),
            };
        }
        Ok(Self { name, mark, replacement: None, record: None })
    }

    /// Name of the backup.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Records the deletion in the journal. With `by`, the name and ID of its replacement, a backup
    /// that is still complete is deleted as well.
    pub(super) async fn record(&mut self, target: &Target, by: Option<(&str, &str)>) {
        let keys = |name: &str| {
            let layout = target.store.layout();
            (layout.archive_key(name), layout.metadata_key(name))
        };
        self.replacement = by.map(|(name, id)| {
            let (archive, metadata_key) = keys(name);
            Replacement { backup_id: id.to_owned(), archive, metadata_key }
        });
        let (Some(mark), replacement) = (self.mark.clone(), self.replacement.clone()) else {
            return;
        };
        let (archive, metadata_key) = keys(&self.name);
        let intent = target.journal.intent(archive, metadata_key, mark);
        let record = target.journal.begin(Intent { replacement, ..intent }).await;
        self.record = record.map(Arc::new);
    }

    /// Deletes the backup, unless it was to be replaced and has changed. Safe to repeat.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
    pub(super) async fn run(&self, target: &Target) -> Result<()> {
        let Some(by) = &self.replacement else { return target.store.remove(&self.name).await };
        let removed = target.store.remove_replaced(&self.name, self.mark.as_deref(), by).await?;
        if !removed {
            let name = &self.name;
            tracing::warn!(name, "the replaced backup has changed and is kept");
        }
        Ok(())
    }

    /// Deletes the record if the deletion `is_done`; otherwise starts a cleanup.
    pub(super) async fn finish(self, target: &Arc<Target>, is_done: bool) {
        match self.record {
            Some(record) if is_done => cleanup::delete_record(record).await,
            Some(record) => {
                // The cleanup finds only records without an owner.
                drop(record);
                start_cleanup(target);
            }
            None => {}
        }
    }
}
