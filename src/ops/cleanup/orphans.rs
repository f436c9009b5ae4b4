//! Cleanup after interrupted uploads and deletions, based on the journal.
//!
//! An upload records in the journal what it is about to store, a deletion what it is about to
//! delete. After a crash, the next process that opens the same target finds the record and cleans
//! up; after a network failure, the same process does. Uploads that are kept for resuming are left
//! alone until they expire. The journal is optional: a backup is stored even if the journal cannot
//! be written.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::archives::Layout;
use crate::archives::deletion::{DeleteIf, Verdict, belongs};
use crate::archives::layout::PairKey;
use crate::error::{Code, Result};
use crate::journal::{Intent, Journal, Orphans, Owner, Record};
use crate::ops::Target;
use crate::s3::{Bucket, OpenUpload, Upload};

/// Time in which the data of a killed upload may still arrive, from the buffers of the operating
/// system or the server. A record is checked again until this time is over.
const IN_FLIGHT: Duration = Duration::from_secs(120);

/// Time limit of one run. The next run does the rest.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Records that one run handles.
pub(super) const MAX_RECORDS: usize = 32;

/// Multipart uploads of one archive that one run handles.
pub(super) const MAX_UPLOADS: usize = 100;

/// The address of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// URL of the service.
    pub endpoint: String,
    /// Name of the bucket.
    pub bucket: String,
}

/// The journal, limited to the bucket of one target.
#[derive(Debug)]
pub(in crate::ops) struct TargetJournal {
    journal: Option<Journal>,
    endpoint: String,
    bucket: String,
    /// Held during a cleanup run.
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

    /// The record of the archive with this key and upload marker, neither resumable nor replaced.
    pub(in crate::ops) fn intent(
        &self,
        archive: String,
        metadata_key: String,
        marker: String,
    ) -> Intent {
        let (endpoint, bucket) = (self.endpoint.clone(), self.bucket.clone());
        let (resumable, replacement) = (None, None);
        Intent { endpoint, bucket, archive, metadata_key, marker, resumable, replacement }
    }

    /// Writes a record. None if the journal cannot be written, or has such a record already.
    pub(in crate::ops) async fn begin(&self, intent: Intent) -> Option<Record> {
        // The caller has given up on this record.
        let late = |record: Option<Record>| {
            if let Some(record) = record {
                record.delete();
            }
        };
        self.run_with(move |journal| journal.begin(intent), late).await.flatten()
    }

    /// Keys of archives that a process of this machine is storing, or was storing when it was
    /// killed. Those of other buckets as well: one bucket may have several addresses.
    pub(in crate::ops) async fn archives(&self) -> HashMap<String, Owner> {
        self.archives_outside(&[]).await
    }

    /// The same without those in the buckets of `others`, which are known to be other ones.
    pub(in crate::ops) async fn archives_outside(
        &self,
        others: &[Place],
    ) -> HashMap<String, Owner> {
        let others = others.to_vec();
        let wanted = move |intent: &Intent| {
            let is_there =
                |it: &Place| it.endpoint == intent.endpoint && it.bucket == intent.bucket;
            !others.iter().any(is_there)
        };
        self.run(move |journal| journal.archives(wanted)).await.unwrap_or_default()
    }

    /// The record of a kept upload of the backup `id` into this folder. The caller owns it from now
    /// on.
    pub(in crate::ops) async fn kept(&self, layout: &Layout, id: &str) -> Option<Record> {
        let (endpoint, bucket) = (self.endpoint.clone(), self.bucket.clone());
        let (layout, id) = (layout.clone(), id.to_owned());
        let wanted = move |intent: &Intent| {
            intent.resumable.as_ref().is_some_and(|it| it.backup_id == id)
                && matches!(layout.pair_key(&intent.archive), Some(PairKey::Archive(_)))
                && belongs(&layout, intent)
        };
        self.run(move |journal| journal.kept(&endpoint, &bucket, wanted)).await.flatten()
    }

    async fn orphans(&self, layout: &Layout) -> Option<Orphans> {
        let (endpoint, bucket) = (self.endpoint.clone(), self.bucket.clone());
        let layout = layout.clone();
        let wanted = move |intent: &Intent| belongs(&layout, intent);
        self.run(move |journal| journal.orphans(&endpoint, &bucket, wanted)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Journal) -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        self.run_with(work, drop).await
    }

    async fn run_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Journal) -> io::Result<T> + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> Option<T> {
        let journal = self.journal.as_ref()?;
        match journal.run(work, late).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                journal.warn_once(&format!(
                    "the journal cannot be used: {error}: incomplete uploads of a killed agent are \
                     found only by their age"
                ));
                None
            }
        }
    }
}

/// Adds to a record. Returns whether that succeeded.
pub(in crate::ops) async fn append(
    record: Arc<Record>,
    what: impl FnOnce(&Record) -> io::Result<()> + Send + 'static,
) -> bool {
    let written = record.add_within(what).await;
    if let Err(error) = &written {
        tracing::warn!(%error, "cannot write the journal");
    }
    written.is_ok()
}

/// Deletes a record.
pub(in crate::ops) async fn delete_record(record: Arc<Record>) {
    let ended = record.add_within(|record| {
        record.delete();
        Ok(())
    });
    // On failure, the next run handles the record again.
    let _ = ended.await;
}

/// When the next cleanup run is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum NextRun {
    /// Nothing is left.
    Never,
    /// After a pause: data may still arrive, or something could not be deleted.
    Soon,
    /// After this time, when a kept upload expires.
    After(Duration),
}

/// Cleans up after interrupted uploads and deletions of this machine, or waits for a run that does
/// so. May be dropped at any time; the next run does the rest. For the limits see [`LIMIT`],
/// [`MAX_RECORDS`] and [`MAX_UPLOADS`].
pub(in crate::ops) async fn clean_up(target: &Target) -> NextRun {
    let end = Instant::now() + LIMIT;
    let running = tokio::time::timeout_at(end, target.journal.running.lock()).await;
    let Ok(_running) = running else { return NextRun::Soon };
    let orphans = target.journal.orphans(target.store.layout()).await;
    let Some(Orphans { due, next }) = orphans else { return NextRun::Never };
    let mut next_run = next.map_or(NextRun::Never, NextRun::After);
    let more = due.len() > MAX_RECORDS;
    for record in due.into_iter().take(MAX_RECORDS) {
        let key = record.intent.archive.clone();
        let orphan_since = record.orphan_since.unwrap_or(SystemTime::UNIX_EPOCH);
        let may_arrive = orphan_since.elapsed().unwrap_or_default() < IN_FLIGHT;
        let rolling_back = tokio::time::timeout_at(end, roll_back(target, &record));
        let Ok(outcome) = rolling_back.await else { return NextRun::Soon };
        match outcome {
            Ok(Outcome::Committed) => end_record(record).await,
            Ok(Outcome::Deleted) if may_arrive => next_run = NextRun::Soon,
            Ok(Outcome::Deleted) => end_record(record).await,
            Err(error) => {
                tracing::warn!(key, %error, "cannot clean up an interrupted upload: it is tried again later");
                next_run = NextRun::Soon;
            }
        }
    }
    if more { NextRun::Soon } else { next_run }
}

async fn end_record(record: Record) {
    delete_record(Arc::new(record)).await;
}

/// Result of cleaning up after one record.
enum Outcome {
    /// The upload is a complete backup: the process was killed right after the commit.
    Committed,
    /// Whatever existed is deleted.
    Deleted,
}

async fn roll_back(target: &Target, record: &Record) -> Result<Outcome> {
    let store = &target.store;
    let Intent { archive, metadata_key, marker, replacement, .. } = &record.intent;
    match (store.delete_if(archive, DeleteIf::HasMarker(marker)).await?, replacement) {
        (Verdict::Delete, _) => {
            tracing::info!(archive, "deleted the archive of an interrupted upload")
        }
        (Verdict::IsBackup, None) => return Ok(Outcome::Committed),
        (Verdict::IsBackup, Some(by)) => {
            let Some(PairKey::Archive(name)) = store.layout().pair_key(archive) else {
                return Ok(Outcome::Deleted);
            };
            let is_complete = store.is_complete(by).await?;
            if !(is_complete && store.remove_replaced(name, Some(marker), by).await?) {
                return Ok(Outcome::Deleted);
            }
        }
        // A metadata object that arrived after its archive was deleted.
        (Verdict::Keep, _) => {
            if store.delete_if(metadata_key, DeleteIf::LacksArchive).await? == Verdict::Delete {
                tracing::info!(metadata_key, "deleted the metadata of an interrupted upload");
            }
        }
    }
    match &record.upload_id {
        Some(id) => store.bucket().upload(archive, id).abort().await?,
        None => abort_empty(target, archive).await?,
    }
    Ok(Outcome::Deleted)
}

/// Aborts an upload whose ID is not in the record. Such an upload cannot have parts, unlike an
/// upload of another program.
async fn abort_empty(target: &Target, archive: &str) -> Result<()> {
    let bucket = target.store.bucket();
    let uploads = uploads_of(bucket, archive).await?;
    // Checked after listing the uploads: a new upload is recorded before it is created.
    if target.journal.archives().await.get(archive) == Some(&Owner::Alive) {
        return Ok(());
    }
    for upload in uploads {
        abort_if_empty(&upload).await?;
    }
    Ok(())
}

/// Aborts the empty uploads of an archive that this process is storing, except `known`: a lost
/// response leaves an upload without a known ID.
pub(in crate::ops) async fn abort_unknown(
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
        // Without the permission to list uploads, a lifecycle rule of the bucket has to abort them.
        Err(error) if error.code() == Code::AccessDenied => return Ok(Vec::new()),
        uploads => uploads?,
    };
    let ours = uploads.into_iter().filter(|upload| upload.key == archive).take(MAX_UPLOADS);
    Ok(ours.map(|OpenUpload { key, id, .. }| bucket.upload(&key, &id)).collect())
}
