//! Resuming an interrupted upload. The host streams the archive again from the first byte, and
//! parts that the server already has are not sent again. Each part is compared by its checksum, so
//! the archive may have changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::archives::layout::PairKey;
use crate::error::{Code, Error, Kind, Result};
use crate::journal::{Record, Resumable, StoredPart};
use crate::ops::retry::Retry;
use crate::ops::{Target, cleanup};
use crate::s3::{ListedPart, Part, Payload, Upload, same_etag};

/// A kept upload of the same backup.
pub(super) struct KeptUpload {
    pub(super) record: Record,
    pub(super) upload: Upload,
    /// Name of the backup.
    pub(super) name: String,
}

/// The kept upload of this backup, with the parts that the server still has. A kept upload that
/// does not match is cleaned up.
///
/// # Errors
/// When the server cannot be asked at the moment.
pub(super) async fn find(target: &Arc<Target>, wanted: &Resumable) -> Result<Option<KeptUpload>> {
    let layout = target.store.layout();
    let kept = target.journal.kept(layout, &wanted.backup_id).await;
    let Some(mut record) = kept else { return Ok(None) };
    let archive = record.intent.archive.clone();
    if let Some(PairKey::Archive(name)) = layout.pair_key(&archive)
        && let Some(id) = &record.upload_id
        && record.intent.resumable.as_ref() == Some(wanted)
    {
        let upload = target.store.bucket().upload(&archive, id);
        match upload.parts().await {
            Ok(listed) => {
                let listed = ListedParts::of(&listed);
                record.parts.retain(|_, part| listed.has(part.number, part.length, &part.etag));
                return Ok(Some(KeptUpload { record, upload, name: name.to_owned() }));
            }
            // The upload stays kept. `remote_error` is not treated as temporary: servers that
            // cannot list parts often answer with it.
            Err(error) if is_temporary(&error) && error.code() != Code::RemoteError => {
                return Err(error);
            }
            Err(error) => {
                tracing::info!(archive, %error, "an interrupted upload cannot be resumed")
            }
        }
    }
    cleanup::release(target, Arc::new(record), Duration::ZERO).await;
    cleanup::clean_up(target).await;
    Ok(None)
}

fn is_temporary(error: &Error) -> bool {
    matches!(error.code().kind(), Kind::Connect | Kind::Transient) && error.code().retryable()
}

/// The parts of one multipart upload: those stored by an earlier run, and the record of new ones.
/// Clones share the state.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// How long the parts are kept after an interruption.
    keep: Duration,
    record: Option<Arc<Record>>,
    is_resumed: bool,
    before: BTreeMap<u16, StoredPart>,
    /// Bytes that were not sent because they were already stored.
    resumed: AtomicU64,
    /// Whether the upload must not be resumed any more.
    is_given_up: AtomicBool,
}

impl Ledger {
    /// The ledger of a new upload.
    pub(super) fn new(keep: Duration, record: Option<Arc<Record>>) -> Self {
        Self(Arc::new(Inner { keep, record, ..Inner::default() }))
    }

    /// The ledger of a resumed upload. From now on it is kept for `keep`.
    pub(super) async fn resumed(keep: Duration, mut record: Record) -> (Self, Arc<Record>) {
        let before = std::mem::take(&mut record.parts);
        let record = Arc::new(record);
        cleanup::append(Arc::clone(&record), move |record| record.keep(keep)).await;
        let held = Some(Arc::clone(&record));
        let inner = Inner { keep, record: held, is_resumed: true, before, ..Inner::default() };
        (Self(Arc::new(inner)), record)
    }

    /// Records the ID of the multipart upload.
    pub(super) async fn opened(&self, upload: &Upload) {
        let Inner { keep, record: Some(record), .. } = &*self.0 else { return };
        let (id, keep) = (upload.id().to_owned(), *keep);
        cleanup::append(Arc::clone(record), move |record| record.add_upload(&id, keep)).await;
    }

    /// Sends a part, unless it is already stored.
    ///
    /// # Errors
    /// Every code that a server or a connection can cause.
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
        // Safe to repeat: the last part with a number counts.
        let sent = retry.run(|| upload.send_part(number, payload)).await;
        let part = sent.map_err(|error| self.given_up(error))?;
        if let Inner { keep, record: Some(record), .. } = &*self.0
            && !keep.is_zero()
        {
            let (keep, etag) = (*keep, part.etag.clone());
            let stored = StoredPart { number, length, sha256, etag };
            cleanup::append(Arc::clone(record), move |record| record.add_part(stored, keep)).await;
        }
        Ok(part)
    }

    /// Bytes that were not sent; None if all were.
    pub(super) fn resumed_bytes(&self) -> Option<u64> {
        Some(self.0.resumed.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Checks the parts and records the completion. To be called before completing the upload.
    ///
    /// # Errors
    /// `remote_error` when the server has a different part than the last one sent; every code that
    /// a server or a connection can cause.
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
            && record.intent.resumable.is_some()
            && !cleanup::append(Arc::clone(record), Record::add_completion).await
        {
            // Without a record the upload is found by its age, but never resumed.
            cleanup::delete_record(Arc::clone(record)).await;
        }
        Ok(())
    }

    /// The error for the caller. Some servers do not accept a part twice, or require all stored
    /// parts in the completion; then the resumed upload is given up, and the next attempt starts
    /// over.
    pub(super) fn given_up(&self, error: Error) -> Error {
        if !self.0.is_resumed || !matches!(error.code(), Code::LengthMismatch | Code::Modified) {
            return error;
        }
        self.0.is_given_up.store(true, Ordering::Relaxed);
        let message = "the server refuses to resume an interrupted upload, which is given up";
        Error::new(Code::RemoteError, message).hint("start it again").source(error)
    }

    /// Keeps the upload for a later one, if possible. Returns for how long.
    pub(super) async fn leave(&self, target: &Arc<Target>) -> Option<Duration> {
        let Inner { keep, record: Some(record), is_given_up, .. } = &*self.0 else { return None };
        if keep.is_zero() || is_given_up.load(Ordering::Relaxed) {
            return None;
        }
        cleanup::release(target, Arc::clone(record), *keep).await.then_some(*keep)
    }
}

/// Parts as the server lists them. Some servers list a number twice if it was sent twice, and use
/// the part whose ETag the completion names.
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

    /// Whether parts with this number exist, but none with this ETag.
    fn has_others_only(&self, number: u16, etag: &str) -> bool {
        let found = self.0.get(&number);
        found.is_some_and(|found| !found.iter().any(|part| same_etag(&part.etag, etag)))
    }
}

/// A part of an earlier run may have arrived after ours, and some servers ignore ETags when they
/// complete an upload.
fn check(listed: &[ListedPart], parts: &[Part]) -> Result<()> {
    let listed = ListedParts::of(listed);
    match parts.iter().find(|part| listed.has_others_only(part.number, &part.etag)) {
        None => Ok(()),
        Some(Part { number, .. }) => Err(Error::new(
            Code::RemoteError,
            format!("the server has a different part {number} than the last one sent"),
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
            // A part that is not listed yet is left to the completion.
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
