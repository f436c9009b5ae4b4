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
use tokio::time::Instant;

use crate::archives::Layout;
use crate::archives::erase::{Fate, Why, belongs};
use crate::archives::layout::Half;
use crate::error::{Code, Result};
use crate::journal::{Beginning, Journal, Orphans, Owner, Record};
use crate::ops::Target;
use crate::s3::{Bucket, OpenUpload, Upload};

/// So long after an upload was killed, what it had already sent may still arrive: the system goes on
/// sending what is in its buffers, and the storage goes on storing. So the bucket is looked at again
/// until then.
const ON_THE_WAY: Duration = Duration::from_secs(120);

/// Longest that one turn takes. What is not done by then is left to the next one.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Records that one turn looks at.
pub(super) const MOST_RECORDS: usize = 32;

/// Multipart uploads of one archive that one turn looks at.
pub(super) const MOST_UPLOADS: usize = 100;

/// The journal of this process, as one target uses it.
#[derive(Debug)]
pub(in crate::ops) struct TargetJournal {
    journal: Option<Journal>,
    endpoint: String,
    bucket: String,
    /// Held while something is taken back.
    running: Mutex<()>,
}

impl TargetJournal {
    pub(in crate::ops) fn new(journal: Option<Journal>, endpoint: &str, bucket: &str) -> Self {
        let (endpoint, bucket) = (endpoint.to_owned(), bucket.to_owned());
        Self { journal, endpoint, bucket, running: Mutex::default() }
    }

    /// Whether there is a journal.
    pub(in crate::ops) fn is_on(&self) -> bool {
        self.journal.is_some()
    }

    /// The archive with this key, known by `mark`, which nobody may go on with and nothing replaces.
    pub(in crate::ops) fn beginning(
        &self,
        archive: String,
        document: String,
        mark: String,
    ) -> Beginning {
        let (endpoint, bucket) = (self.endpoint.clone(), self.bucket.clone());
        let (resumable, replacement) = (None, None);
        Beginning { endpoint, bucket, archive, document, mark, resumable, replacement }
    }

    /// Notes what is about to be done. None where nothing can be noted, or it is noted already.
    pub(in crate::ops) async fn begin(&self, beginning: Beginning) -> Option<Record> {
        // Nobody uses a record that comes too late.
        let late = |record: Option<Record>| {
            if let Some(record) = record {
                record.end();
            }
        };
        self.ask_with(move |journal| journal.begin(beginning), late).await.flatten()
    }

    /// Keys of archives that this machine is storing, or was when it was killed.
    pub(in crate::ops) async fn archives(&self) -> HashMap<String, Owner> {
        self.ask(|journal| journal.archives()).await.unwrap_or_default()
    }

    /// What is kept of an upload of the backup `id` into this folder. It belongs to the caller now.
    pub(in crate::ops) async fn kept(&self, layout: &Layout, id: &str) -> Option<Record> {
        let (endpoint, bucket) = (self.endpoint.clone(), self.bucket.clone());
        let (layout, id) = (layout.clone(), id.to_owned());
        let wanted = move |beginning: &Beginning| {
            beginning.resumable.as_ref().is_some_and(|it| it.backup_id == id)
                && matches!(layout.half(&beginning.archive), Some(Half::Archive(_)))
                && belongs(&layout, beginning)
        };
        self.ask(move |journal| journal.kept(&endpoint, &bucket, wanted)).await.flatten()
    }

    async fn orphans(&self, layout: &Layout) -> Option<Orphans> {
        let (endpoint, bucket) = (self.endpoint.clone(), self.bucket.clone());
        let layout = layout.clone();
        let wanted = move |beginning: &Beginning| belongs(&layout, beginning);
        self.ask(move |journal| journal.orphans(&endpoint, &bucket, wanted)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Journal) -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        self.ask_with(question, drop).await
    }

    async fn ask_with<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Journal) -> io::Result<T> + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> Option<T> {
        let journal = self.journal.as_ref()?;
        match journal.ask(question, late).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                journal.say(&format!(
                    "the journal cannot be used: {error}. The agent works without it, and finds what \
                     a killed upload leaves behind by its age only"
                ));
                None
            }
        }
    }
}

/// Adds something to a record. Says whether that could be done.
pub(in crate::ops) async fn write(
    record: Arc<Record>,
    what: impl FnOnce(&Record) -> io::Result<()> + Send + 'static,
) -> bool {
    let noted = record.add_within(what).await;
    if let Err(error) = &noted {
        tracing::warn!(%error, "the journal cannot be written");
    }
    noted.is_ok()
}

/// Forgets a beginning.
pub(in crate::ops) async fn forget(record: Arc<Record>) {
    let ended = record.add_within(|record| {
        record.end();
        Ok(())
    });
    // Otherwise the record is looked at once more.
    let _ = ended.await;
}

/// When to look for leftovers once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum NextRun {
    /// There are none.
    Never,
    /// In a while: something may still arrive, or could not be taken back.
    Soon,
    /// After this time, when something that is kept will be due.
    After(Duration),
}

/// Takes back what killed processes of this machine have left in the bucket, or waits until that is
/// done. May be dropped at any time; what is not done by then is done the next time. Costs no more
/// than [`tend`] says.
pub(in crate::ops) async fn clean_up(target: &Target) -> NextRun {
    let end = Instant::now() + LIMIT;
    let running = tokio::time::timeout_at(end, target.journal.running.lock()).await;
    let Ok(_running) = running else { return NextRun::Soon };
    let orphans = target.journal.orphans(target.store.layout()).await;
    let Some(Orphans { due, next }) = orphans else { return NextRun::Never };
    let mut again = next.map_or(NextRun::Never, NextRun::After);
    let more = due.len() > MOST_RECORDS;
    for record in due.into_iter().take(MOST_RECORDS) {
        let key = record.beginning.archive.clone();
        let orphan_since = record.orphan_since.unwrap_or(SystemTime::UNIX_EPOCH);
        let may_still_come = orphan_since.elapsed().unwrap_or_default() < ON_THE_WAY;
        let taking = tokio::time::timeout_at(end, roll_back(target, &record));
        let Ok(taken) = taking.await else { return NextRun::Soon };
        match taken {
            Ok(Found::Backup) => end_record(record).await,
            Ok(Found::Rest) if may_still_come => again = NextRun::Soon,
            Ok(Found::Rest) => end_record(record).await,
            Err(error) => {
                tracing::warn!(key, %error, "what was left behind stays for now");
                again = NextRun::Soon;
            }
        }
    }
    if more { NextRun::Soon } else { again }
}

async fn end_record(record: Record) {
    forget(Arc::new(record)).await;
}

/// What a killed upload has left.
enum Found {
    /// Everything: it was killed right after its end.
    Backup,
    /// Some of it, which is gone now, or nothing.
    Rest,
}

async fn roll_back(target: &Target, record: &Record) -> Result<Found> {
    let store = &target.store;
    let Beginning { archive, document, mark, replacement, .. } = &record.beginning;
    match (store.erase(archive, Why::Marked(mark)).await?, replacement) {
        (Fate::Goes, _) => tracing::info!(archive, "deleted an archive that was left behind"),
        (Fate::IsBackup, None) => return Ok(Found::Backup),
        (Fate::IsBackup, Some(by)) => {
            let Some(Half::Archive(name)) = store.layout().half(archive) else {
                return Ok(Found::Rest);
            };
            let goes = store.is_whole(by).await?;
            if !(goes && store.remove_replaced(name, Some(mark), by).await?) {
                return Ok(Found::Rest);
            }
        }
        // A metadata object that was still on its way when its archive was deleted.
        (Fate::Stays, _) => {
            if store.erase(document, Why::Lone).await? == Fate::Goes {
                tracing::info!(document, "deleted metadata that was left behind");
            }
        }
    }
    match &record.upload_id {
        Some(id) => store.bucket().upload(archive, id).abort().await?,
        None => abort_empty(target, archive).await?,
    }
    Ok(Found::Rest)
}

/// Aborts an upload whose id was not noted any more. It cannot have got a part by then, which tells
/// it from one that somebody else is filling.
async fn abort_empty(target: &Target, archive: &str) -> Result<()> {
    let bucket = target.store.bucket();
    let uploads = uploads_of(bucket, archive).await?;
    // Asked after the uploads: a new one is noted before it is opened.
    if target.journal.archives().await.get(archive) == Some(&Owner::Alive) {
        return Ok(());
    }
    for upload in uploads {
        abort_if_empty(&upload).await?;
    }
    Ok(())
}

/// The same for an archive of ours that is being stored: what was opened by a call whose answer did
/// not arrive. The upload `known` stays.
pub(in crate::ops) async fn abort_unnamed(
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
    let ours = uploads.into_iter().filter(|upload| upload.key == archive).take(MOST_UPLOADS);
    Ok(ours.map(|OpenUpload { key, id, .. }| bucket.upload(&key, &id)).collect())
}
