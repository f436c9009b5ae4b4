//! Going on with an upload that was interrupted. The host streams the archive again from its first
//! byte, and a part that the storage still has is not sent once more. What is in a part decides, so
//! that nothing hangs on the archive being the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::archives::layout::Half;
use crate::error::{Code, Error, Kind, Result};
use crate::journal::{Record, Resumable, StoredPart};
use crate::ops::retry::Retry;
use crate::ops::{Target, cleanup};
use crate::s3::{ListedPart, Part, Payload, Upload, same_etag};

/// What is still there of an earlier upload of the same backup.
pub(super) struct Kept {
    pub(super) record: Record,
    pub(super) upload: Upload,
    /// Name of the backup that it was to become.
    pub(super) name: String,
}

/// What is kept of an upload of this backup, as far as the storage still has it. What does not fit is
/// taken back.
///
/// # Errors
/// When the storage cannot be asked for the moment.
pub(super) async fn find(target: &Arc<Target>, wanted: &Resumable) -> Result<Option<Kept>> {
    let layout = target.store.layout();
    let kept = target.journal.kept(layout, &wanted.backup_id).await;
    let Some(mut record) = kept else { return Ok(None) };
    let archive = record.beginning.archive.clone();
    if let Some(Half::Archive(name)) = layout.half(&archive)
        && let Some(id) = &record.upload_id
        && record.beginning.resumable.as_ref() == Some(wanted)
    {
        let upload = target.store.bucket().upload(&archive, id);
        match upload.parts().await {
            Ok(listed) => {
                let listed = ListedParts::of(&listed);
                record.parts.retain(|_, part| listed.has(part.number, part.length, &part.etag));
                return Ok(Some(Kept { record, upload, name: name.to_owned() }));
            }
            // It stays kept. A storage that has no words for its parts often calls that its fault.
            Err(error) if passes(&error) && error.code() != Code::RemoteError => return Err(error),
            Err(error) => {
                tracing::info!(archive, %error, "an interrupted upload is not to be used")
            }
        }
    }
    cleanup::leave(target, Arc::new(record), Duration::ZERO).await;
    cleanup::clean_up(target).await;
    Ok(None)
}

fn passes(error: &Error) -> bool {
    matches!(error.code().kind(), Kind::Connect | Kind::Transient) && error.code().retryable()
}

/// The parts of one upload: those that an earlier one has stored, and a note of those that this one
/// stores. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// How long all of it is kept after an interruption.
    keep: Duration,
    record: Option<Arc<Record>>,
    is_resumed: bool,
    before: BTreeMap<u16, StoredPart>,
    /// Bytes that were not sent, because they had been stored before.
    resumed: AtomicU64,
    /// Whether nobody is to go on with it any more.
    is_given_up: AtomicBool,
}

impl Ledger {
    /// Of an upload that begins.
    pub(super) fn new(keep: Duration, record: Option<Arc<Record>>) -> Self {
        Self(Arc::new(Inner { keep, record, ..Inner::default() }))
    }

    /// Of one that goes on. From now on it is kept for as long as this one says.
    pub(super) async fn resumed(keep: Duration, mut record: Record) -> (Self, Arc<Record>) {
        let before = std::mem::take(&mut record.parts);
        let record = Arc::new(record);
        cleanup::write(Arc::clone(&record), move |record| record.keep(keep)).await;
        let held = Some(Arc::clone(&record));
        let inner = Inner { keep, record: held, is_resumed: true, before, ..Inner::default() };
        (Self(Arc::new(inner)), record)
    }

    /// Notes which multipart upload it is.
    pub(super) async fn opened(&self, upload: &Upload) {
        let Inner { keep, record: Some(record), .. } = &*self.0 else { return };
        let (id, keep) = (upload.id().to_owned(), *keep);
        cleanup::write(Arc::clone(record), move |record| record.opened(&id, keep)).await;
    }

    /// Sends a part, unless it is there.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub(super) async fn send(
        &self,
        upload: &Upload,
        number: u16,
        payload: &Payload,
        retry: &Retry,
    ) -> Result<Part> {
        let (length, sha256) =
            (payload.length(), BASE64_STANDARD.encode(payload.checksums().sha256));
        let before = self.0.before.get(&number);
        if let Some(same) = before.filter(|part| part.length == length && part.sha256 == sha256) {
            self.0.resumed.fetch_add(length, Ordering::Relaxed);
            return Ok(Part { number, etag: same.etag.clone() });
        }
        // Safe to repeat: the last one of a number counts.
        let sent = retry.run(|| upload.send_part(number, payload)).await;
        let part = sent.map_err(|error| self.given_up(error))?;
        if let Inner { keep, record: Some(record), .. } = &*self.0
            && !keep.is_zero()
        {
            let (keep, etag) = (*keep, part.etag.clone());
            let stored = StoredPart { number, length, sha256, etag };
            cleanup::write(Arc::clone(record), move |record| record.stored(stored, keep)).await;
        }
        Ok(part)
    }

    /// Bytes that were not sent; none when all were.
    pub(super) fn resumed_bytes(&self) -> Option<u64> {
        Some(self.0.resumed.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// To be called before the parts are put together.
    ///
    /// # Errors
    /// `remote_error` when the storage has another part than was sent last; every code that a storage
    /// or a connection can cause.
    pub(super) async fn complete(
        &self,
        upload: &Upload,
        parts: &[Part],
        retry: &Retry,
    ) -> Result<()> {
        if self.0.is_resumed {
            check(&retry.run(|| upload.parts()).await?, parts)?;
        }
        self.0.is_given_up.store(true, Ordering::Relaxed);
        if let Some(record) = &self.0.record
            && record.beginning.resumable.is_some()
            && !cleanup::write(Arc::clone(record), Record::completing).await
        {
            // Better forgotten, and found by its age, than gone on with.
            cleanup::forget(Arc::clone(record)).await;
        }
        Ok(())
    }

    /// What a failure means for whoever goes on with an upload. Not every storage takes a part twice, or
    /// leaves out what is not named in the end: then it begins anew with the next try.
    pub(super) fn given_up(&self, error: Error) -> Error {
        if !self.0.is_resumed || !matches!(error.code(), Code::LengthMismatch | Code::Modified) {
            return error;
        }
        self.0.is_given_up.store(true, Ordering::Relaxed);
        let message = "the storage refuses to go on with an upload that was interrupted, which is \
             given up: start it again";
        Error::new(Code::RemoteError, message).source(error)
    }

    /// Leaves it to a later upload, if there may be one. Says for how long.
    pub(super) async fn leave(&self, target: &Arc<Target>) -> Option<Duration> {
        let Inner { keep, record: Some(record), is_given_up, .. } = &*self.0 else { return None };
        if keep.is_zero() || is_given_up.load(Ordering::Relaxed) {
            return None;
        }
        cleanup::leave(target, Arc::clone(record), *keep).await.then_some(*keep)
    }
}

/// Parts as the storage lists them. Some list a number twice that was sent twice, and take the one
/// whose entity tag is named in the end.
struct ListedParts<'a>(HashMap<u16, Vec<&'a ListedPart>>);

impl<'a> ListedParts<'a> {
    fn of(parts: &'a [ListedPart]) -> Self {
        let mut by_number = HashMap::<_, Vec<_>>::new();
        for part in parts {
            by_number.entry(part.number).or_default().push(part);
        }
        Self(by_number)
    }

    fn has(&self, number: u16, length: u64, etag: &str) -> bool {
        let mut found = self.0.get(&number).into_iter().flatten();
        found.any(|part| part.size == length && same_etag(&part.etag, etag))
    }

    /// Whether there is a part of this number, and only with other entity tags.
    fn has_others_only(&self, number: u16, etag: &str) -> bool {
        let found = self.0.get(&number);
        found.is_some_and(|found| !found.iter().any(|part| same_etag(&part.etag, etag)))
    }
}

/// What an earlier agent sent may have arrived after ours, and not every storage looks at entity
/// tags when it puts parts together.
fn check(listed: &[ListedPart], parts: &[Part]) -> Result<()> {
    let listed = ListedParts::of(listed);
    match parts.iter().find(|part| listed.has_others_only(part.number, &part.etag)) {
        None => Ok(()),
        Some(Part { number, .. }) => Err(Error::new(
            Code::RemoteError,
            format!("the storage has another part {number} than the one that was sent last"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_number_may_be_listed_twice() {
        let listed = |tags: &[&str]| -> Vec<_> {
            let part = |etag: &&str| ListedPart {
                number: 1,
                size: 7,
                etag: (*etag).to_owned(),
                stored: 0,
            };
            tags.iter().map(part).collect()
        };
        let sent = [Part { number: 1, etag: "\"new\"".to_owned() }];
        for (tags, is_right) in [
            (&["new"] as &[_], true),
            (&["old", "new"], true),
            (&["new", "old"], true),
            // One that is not listed yet is left to the end.
            (&[], true),
            (&["old"], false),
        ] {
            assert_eq!(check(&listed(tags), &sent).is_ok(), is_right, "{tags:?}");
        }
        let parts = listed(&["old", "new"]);
        let there = |etag| ListedParts::of(&parts).has(1, 7, etag);
        assert!(there("old") && there("\"new\"") && !there("other"));
        assert!(
            !ListedParts::of(&parts).has(1, 8, "new") && !ListedParts::of(&parts).has(2, 7, "new")
        );
    }
}
