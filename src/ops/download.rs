//! Brings a backup back: several parts at a time, in order, each checked before a byte of it is
//! handed on.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio_util::task::AbortOnDropHandle;

use super::memory::{Reservation, WINDOW};
use super::{Cancel, Target};
use crate::config::MIB;
use crate::error::{Code, Error, Result};
use crate::progress::{Phase, Progress, Waiting};
use crate::protocol::{Backup, Downloaded};
use crate::s3::{Bucket, ObjectInfo, Sha256Digest};
use crate::store::metadata::Digests;

/// Parts fetched at the same time, memory permitting.
const MOST_AT_ONCE: usize = 8;

/// Piece size for archives without digests. Smaller than a part, because nothing has to be checked
/// as a whole, so that the first bytes come sooner.
const PIECE: u64 = 8 * MIB;

/// Where the bytes of a download go.
pub trait Sink: Send {
    /// Comes before the first byte: `length` bytes of `backup` will follow, from `offset` on.
    fn begin(
        &mut self,
        backup: &Backup,
        offset: u64,
        length: u64,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Takes the next bytes.
    fn write(&mut self, bytes: Bytes) -> impl Future<Output = Result<()>> + Send;
}

/// What to download.
#[derive(Clone, Debug)]
pub struct Download {
    /// Identity of the backup.
    pub id: String,
    /// First byte of the archive that is wanted.
    pub offset: u64,
}

/// Downloads a backup into `sink`. Changes nothing; may be dropped at any time.
///
/// # Errors
/// `not_found`; `integrity_mismatch` when a part differs from its digest twice; `changed` when the
/// archive is replaced meanwhile; what the sink ends in. Bytes that the sink got by then were
/// right.
pub async fn download(
    target: &Target,
    request: Download,
    sink: &mut impl Sink,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Downloaded> {
    cancel.guard(fetch(target, request, sink, progress)).await
}

async fn fetch(
    target: &Target,
    request: Download,
    sink: &mut impl Sink,
    progress: &Progress,
) -> Result<Downloaded> {
    progress.enter(Phase::Starting);
    let backup = target.store.find(&request.id).await?;
    let digests = match backup.info.verifiable {
        true => target.store.document(&backup).await?.digests,
        false => None,
    };
    let bucket = target.store.bucket().reporting_to(progress);
    let archive = bucket.head(&target.store.layout().archive_key(&backup.info.name)).await?;
    let plan = Plan::new(archive, digests, request.offset)?;
    progress.enter(Phase::Queued);
    let reservation = target.budget.reserve(plan.largest_piece() + WINDOW).await?;
    progress.enter(Phase::Transferring);
    progress.expect(Some(plan.length()));
    sink.begin(&backup.info, request.offset, plan.length()).await?;
    let plan = Arc::new(plan);
    transfer(target, &bucket, &plan, reservation, sink, progress).await?;
    Ok(Downloaded { length: plan.length(), verified: plan.digests.is_some() })
}

async fn transfer(
    target: &Target,
    bucket: &Bucket,
    plan: &Arc<Plan>,
    reservation: Reservation,
    sink: &mut impl Sink,
    progress: &Progress,
) -> Result<()> {
    let mut waiting = (0..plan.pieces()).peekable();
    let mut fetching = VecDeque::new();
    // The first reservation stays with the transfer, so that it can always go on.
    let mut own = Some(reservation);
    loop {
        while fetching.len() < MOST_AT_ONCE
            && let Some(index) = waiting.peek().copied()
        {
            let room = match own.take() {
                Some(reservation) => Room::Own(reservation),
                None => match target.budget.try_reserve(plan.largest_piece()) {
                    Some(reservation) => Room::Extra(reservation),
                    None => break,
                },
            };
            waiting.next();
            let (bucket, plan) = (bucket.clone(), Arc::clone(plan));
            let fetch = tokio::spawn(async move { plan.fetch(&bucket, index).await });
            fetching.push_back((AbortOnDropHandle::new(fetch), room));
        }
        let Some((fetch, room)) = fetching.pop_front() else { return Ok(()) };
        progress.wait_for(Some(Waiting::Remote));
        let bytes = fetch.await.map_err(|error| {
            Error::new(Code::Internal, "the download failed inside the agent").source(error)
        })??;
        progress.wait_for(Some(Waiting::Host));
        let length = bytes.len() as u64;
        sink.write(bytes).await?;
        progress.add(length);
        if let Room::Own(reservation) = room {
            own = Some(reservation);
        }
    }
}

/// Memory for a piece.
enum Room {
    /// The one that the transfer keeps.
    Own(Reservation),
    /// One that goes back to the pool when the piece is delivered.
    Extra(#[expect(dead_code, reason = "held for its drop")] Reservation),
}

/// What is fetched, and in which pieces.
struct Plan {
    archive: ObjectInfo,
    digests: Option<Digests>,
    offset: u64,
    piece: u64,
}

impl Plan {
    fn new(archive: ObjectInfo, digests: Option<Digests>, offset: u64) -> Result<Self> {
        if offset > archive.size {
            return Err(Error::new(
                Code::InvalidParams,
                format!("the offset {offset} lies behind the end of the archive ({})", archive.size),
            )
            .field("offset")
            .fact("member", "offset"));
        }
        if let Some(digests) = &digests
            && digests.size != archive.size
        {
            return Err(Error::new(
                Code::LengthMismatch,
                format!(
                    "the archive has {} bytes instead of {}: it was damaged or replaced",
                    archive.size, digests.size
                ),
            )
            .fact("expected", digests.size)
            .fact("actual", archive.size));
        }
        let piece = digests.as_ref().map_or(PIECE, |digests| digests.part_size);
        Ok(Self { archive, digests, offset, piece })
    }

    /// Bytes to be delivered.
    fn length(&self) -> u64 {
        self.archive.size - self.offset
    }

    fn largest_piece(&self) -> u64 {
        self.piece.min(self.archive.size)
    }

    /// Number of pieces; the first one holds the byte at the offset.
    fn pieces(&self) -> u64 {
        self.archive.size.div_ceil(self.piece) - self.first()
    }

    fn first(&self) -> u64 {
        self.offset / self.piece
    }

    fn range(&self, number: u64) -> Range<u64> {
        let start = number * self.piece;
        start..self.archive.size.min(start + self.piece)
    }

    /// Fetches the piece `index` of those to be delivered, checks it, and cuts off what lies before
    /// the offset.
    async fn fetch(&self, bucket: &Bucket, index: u64) -> Result<Bytes> {
        let number = self.first() + index;
        let range = self.range(number);
        let (key, etag) = (self.archive.key.as_str(), self.archive.etag.as_str());
        let Some(digests) = &self.digests else {
            let start = range.start.max(self.offset);
            return bucket.get_range(key, start..range.end, etag).await;
        };
        let expected = usize::try_from(number).ok().and_then(|number| digests.parts.get(number));
        let skip = usize::try_from(self.offset.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut tries = 0;
        loop {
            let bytes = bucket.get_range(key, range.clone(), etag).await?;
            let (bytes, actual) = hash_aside(bytes).await?;
            if Some(&actual) == expected {
                return Ok(bytes.slice(skip.min(bytes.len())..));
            }
            tries += 1;
            tracing::warn!(key, part = number + 1, "a part differs from its digest");
            if tries == 2 {
                return Err(Error::new(
                    Code::IntegrityMismatch,
                    format!("part {} of the backup is damaged in the storage", number + 1),
                )
                .fact("where", "part")
                .fact("part", number + 1)
                .fact("offset", range.start)
                .fact("algorithm", "sha256"));
            }
        }
    }
}

async fn hash_aside(bytes: Bytes) -> Result<(Bytes, Sha256Digest)> {
    let work = tokio::task::spawn_blocking(move || {
        let digest = Sha256::digest(&bytes).into();
        (bytes, digest)
    });
    work.await.map_err(|error| {
        Error::new(Code::Internal, "hashing failed inside the agent").source(error)
    })
}
