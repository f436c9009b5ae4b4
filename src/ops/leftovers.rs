//! What uploads and deletions that came to no end have left in the bucket, and taking it back.
//!
//! An upload notes in the journal what it is about to store, a deletion what it is about to delete.
//! When its process is gone, whoever opens the same place next finds the note; when only the storage
//! was away, its own process does. What is kept for a later upload is left alone until its time is
//! over. The journal is a help and no condition: a backup is stored even where it cannot be written.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;

use super::{Target, tend};
use crate::error::{Code, Result};
use crate::journal::{Beginning, Journal, Orphans, Owner, Record, Replacement};
use crate::s3::{Bucket, OpenUpload, Upload};
use crate::store::layout::Half;
use crate::store::{Layout, MAX_DOCUMENT, metadata};

/// So long after an upload was killed, what it had already sent may still arrive: the system goes on
/// sending what is in its buffers, and the storage goes on storing. So the bucket is looked at again
/// until then.
const ON_THE_WAY: Duration = Duration::from_secs(120);

/// The journal of this process, as one target uses it.
#[derive(Debug)]
pub(super) struct Leftovers {
    journal: Option<Journal>,
    endpoint: String,
    bucket: String,
    /// Held while something is taken back.
    settling: Mutex<()>,
}

impl Leftovers {
    pub(super) fn new(journal: Option<Journal>, endpoint: &str, bucket: &str) -> Self {
        let (endpoint, bucket) = (endpoint.to_owned(), bucket.to_owned());
        Self { journal, endpoint, bucket, settling: Mutex::default() }
    }

    /// Whether there is a journal.
    pub(super) fn can_note(&self) -> bool {
        self.journal.is_some()
    }

    /// The archive with this key, known by `mark`, which nobody may go on with and nothing replaces.
    pub(super) fn beginning(&self, archive: String, document: String, mark: String) -> Beginning {
        let (endpoint, bucket) = (self.endpoint.clone(), self.bucket.clone());
        let (resumable, replacement) = (None, None);
        Beginning { endpoint, bucket, archive, document, mark, resumable, replacement }
    }

    /// Notes what is about to be done. None where nothing can be noted, or it is noted already.
    pub(super) async fn begin(&self, beginning: Beginning) -> Option<Record> {
        self.ask(move |journal| journal.begin(beginning)).await.flatten()
    }

    /// Keys of archives that this machine is storing, or was when it was killed.
    pub(super) async fn archives(&self) -> HashMap<String, Owner> {
        self.ask(|journal| journal.archives()).await.unwrap_or_default()
    }

    /// What is kept of an upload of the backup `id` into this folder. It belongs to the caller now.
    pub(super) async fn kept(&self, layout: &Layout, id: &str) -> Option<Record> {
        let (endpoint, bucket) = (self.endpoint.clone(), self.bucket.clone());
        let (layout, id) = (layout.clone(), id.to_owned());
        let wanted = move |beginning: &Beginning| {
            beginning.resumable.as_ref().is_some_and(|it| it.backup_id == id)
                && matches!(layout.half(&beginning.archive), Some(Half::Archive(_)))
        };
        self.ask(move |journal| journal.kept(&endpoint, &bucket, wanted)).await.flatten()
    }

    async fn orphans(&self) -> Option<Orphans> {
        let (endpoint, bucket) = (self.endpoint.clone(), self.bucket.clone());
        self.ask(move |journal| journal.orphans(&endpoint, &bucket)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Journal) -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let journal = self.journal.clone()?;
        let asking = tokio::task::spawn_blocking(move || question(&journal));
        match asking.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be used: what a killed upload leaves \
                    behind is only found by its age");
                None
            }
        }
    }
}

/// Adds something to a record. Says whether that could be done.
pub(super) async fn note(
    record: Arc<Record>,
    what: impl FnOnce(&Record) -> io::Result<()> + Send + 'static,
) -> bool {
    let noting = tokio::task::spawn_blocking(move || what(&record));
    let noted = noting.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    if let Err(error) = &noted {
        tracing::warn!(%error, "the journal cannot be written");
    }
    noted.is_ok()
}

/// Leaves a record to whoever goes on with it within this time; with zero it is to be taken back. Says
/// whether that could be noted.
pub(super) async fn leave(target: &Arc<Target>, record: Arc<Record>, keep: Duration) -> bool {
    let left = note(record, move |record| {
        let kept = record.keep(keep);
        record.release();
        kept
    });
    let left = left.await;
    tend(target);
    left
}

/// Forgets a beginning.
pub(super) async fn end(record: Arc<Record>) {
    // Only fails when the runtime is ending; then the record is looked at once more.
    let _ = tokio::task::spawn_blocking(move || record.end()).await;
}

/// When to look for leftovers once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// There are none.
    Never,
    /// In a while: something may still arrive, or could not be taken back.
    Soon,
    /// After this time, when something that is kept will be due.
    After(Duration),
}

/// Takes back what killed processes of this machine have left in the bucket, or waits until that is
/// done. May be dropped at any time; what is not done by then is done the next time.
pub(super) async fn settle(target: &Target) -> Again {
    let _settling = target.leftovers.settling.lock().await;
    let Some(Orphans { due, next }) = target.leftovers.orphans().await else { return Again::Never };
    let mut again = next.map_or(Again::Never, Again::After);
    for record in due {
        let key = record.beginning.archive.clone();
        let orphan_since = record.orphan_since.unwrap_or(SystemTime::UNIX_EPOCH);
        let may_still_come = orphan_since.elapsed().unwrap_or_default() < ON_THE_WAY;
        match take_back(target, &record).await {
            Ok(Found::Backup) => end(Arc::new(record)).await,
            Ok(Found::Rest) if may_still_come => again = Again::Soon,
            Ok(Found::Rest) => end(Arc::new(record)).await,
            Err(error) => {
                tracing::warn!(key, %error, "what was left behind stays for now");
                again = Again::Soon;
            }
        }
    }
    again
}

/// What a killed upload has left.
enum Found {
    /// Everything: it was killed right after its end.
    Backup,
    /// Some of it, which is gone now, or nothing.
    Rest,
}

async fn take_back(target: &Target, record: &Record) -> Result<Found> {
    let bucket = target.store.bucket();
    let Beginning { archive, document, mark, .. } = &record.beginning;
    if !bucket.exists(archive).await? {
        // A document that was still on its way when its archive was deleted.
        if bucket.exists(document).await? && !bucket.exists(archive).await? {
            bucket.delete(document).await?;
            tracing::info!(document, "deleted metadata that was left behind");
            target.store.changed();
        }
    } else if marked(bucket.mark(archive).await)?.as_ref() == Some(mark) {
        if bucket.exists(document).await? {
            let Some(replacement) = &record.beginning.replacement else { return Ok(Found::Backup) };
            if !is_whole(bucket, replacement).await? {
                return Ok(Found::Rest);
            }
            bucket.delete(document).await?;
            target.store.changed();
        }
        bucket.delete(archive).await?;
        tracing::info!(archive, "deleted an archive that was left behind");
        target.store.changed();
    }
    match &record.upload_id {
        Some(id) => bucket.upload(archive, id).abort().await?,
        None => abort_empty(target, archive).await?,
    }
    Ok(Found::Rest)
}

/// Whether what was to take the place of a backup has become one.
async fn is_whole(bucket: &Bucket, replacement: &Replacement) -> Result<bool> {
    let Replacement { backup_id, archive, document } = replacement;
    if !bucket.exists(document).await? {
        return Ok(false);
    }
    let content = match bucket.get(document, MAX_DOCUMENT).await {
        Err(error) if error.code() == Code::NotFound => return Ok(false),
        content => content?,
    };
    let is_it =
        metadata::read(&content).is_ok_and(|read| read.id == *backup_id && read.fault.is_none());
    Ok(is_it && bucket.exists(archive).await?)
}

/// Aborts an upload whose id was not noted any more. It cannot have got a part by then, which tells
/// it from one that somebody else is filling.
async fn abort_empty(target: &Target, archive: &str) -> Result<()> {
    let bucket = target.store.bucket();
    let uploads = uploads_of(bucket, archive).await?;
    // Asked after the uploads: a new one is noted before it is opened.
    if target.leftovers.archives().await.get(archive) == Some(&Owner::Alive) {
        return Ok(());
    }
    for upload in uploads {
        abort_if_empty(&upload).await?;
    }
    Ok(())
}

/// The same for an archive of ours that is being stored: what was opened by a call whose answer did
/// not arrive. The upload `known` stays.
pub(super) async fn abort_unnamed(
    bucket: &Bucket,
    archive: &str,
    known: Option<&Upload>,
) -> Result<()> {
    for upload in uploads_of(bucket, archive).await? {
        if known.is_none_or(|known| known.id() != upload.id()) {
            abort_if_empty(&upload).await?;
        }
    }
    Ok(())
}

async fn abort_if_empty(upload: &Upload) -> Result<()> {
    match upload.newest_part().await? {
        None => upload.abort().await,
        Some(_) => Ok(()),
    }
}

async fn uploads_of(bucket: &Bucket, archive: &str) -> Result<Vec<Upload>> {
    let uploads = match bucket.open_uploads(archive).await {
        // Looking is a right that not every policy gives; the bucket's own rules have to do it.
        Err(error) if error.code() == Code::AccessDenied => return Ok(Vec::new()),
        uploads => uploads?,
    };
    let ours = uploads.into_iter().filter(|upload| upload.key == archive);
    Ok(ours.map(|OpenUpload { key, id, .. }| bucket.upload(&key, &id)).collect())
}

/// It may be gone by now.
fn marked(looked: Result<Option<String>>) -> Result<Option<String>> {
    match looked {
        Err(error) if error.code() == Code::NotFound => Ok(None),
        looked => looked,
    }
}
