//! Download of a backup: parts are fetched in parallel, verified and delivered in order.

pub(super) mod plan;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use self::plan::Plan;
use super::concurrency::Concurrency;
use super::memory_budget::{Reservation, WINDOW};
use super::replaced::look_again;
use super::retry::Retry;
use super::{Cancel, Target};
use crate::archives::metadata::Checksums;
use crate::buffer_pool::BlockBuffer;
use crate::error::{Code, Error, Result};
use crate::progress::{Phase, Progress, Waiting};
use crate::protocol::{Backup, DownloadResult};
use crate::s3::{Bucket, ObjectInfo};

/// A host that takes no bytes for this time frees memory for other transfers.
const SLOW_HOST: Duration = Duration::from_secs(1);

/// Destination of a download.
pub trait Sink: Send {
    /// The party that the transfer waits for while bytes are delivered.
    const WAITS_FOR: Option<Waiting> = Some(Waiting::Host);

    /// Called before the first byte: `length` bytes of `backup` follow, starting at `offset`.
    fn begin(
        &mut self,
        backup: &Backup,
        offset: u64,
        length: u64,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Takes the next bytes, in pieces of any size.
    fn write(&mut self, bytes: Vec<Bytes>) -> impl Future<Output = Result<()>> + Send;
}

/// Parameters of a download.
#[derive(Clone, Debug)]
pub struct Download {
    /// ID of the backup.
    pub id: String,
    /// Offset of the first byte in the archive.
    pub offset: u64,
    /// Keep retrying for this long if the server becomes unreachable during the transfer. At most
    /// an hour.
    pub retry_for: Duration,
}

/// Downloads a backup into `sink`. Read-only; may be dropped at any time.
///
/// # Errors
/// `not_found`; `integrity_mismatch` when a part differs from its checksum twice; `modified` when
/// the archive is replaced during the download; the error of the sink. All delivered bytes were
/// verified as far as there are checksums.
pub async fn download(
    target: &Target,
    request: Download,
    sink: &mut impl Sink,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<DownloadResult> {
    let retry = Retry::new(request.retry_for, progress, cancel)?;
    cancel.cancellable(fetch(target, request, sink, progress, &retry)).await
}

async fn fetch(
    target: &Target,
    request: Download,
    sink: &mut impl Sink,
    progress: &Progress,
    retry: &Retry,
) -> Result<DownloadResult> {
    progress.enter(Phase::Starting);
    let found = look_again(|| target.store.find(&request.id), |backup| load(target, backup));
    let Found { backup, checksums, archive } = found.await?;
    let bucket = target.store.bucket().reporting_to(progress);
    let plan = Plan::new(archive, checksums, request.offset)?;
    progress.enter(Phase::Queued);
    let reservation = target.budget.reserve(plan.largest_piece() + WINDOW).await?;
    progress.enter(Phase::Transferring);
    progress.expect(Some(plan.length()));
    sink.begin(&backup, request.offset, plan.length()).await?;
    let plan = Arc::new(plan);
    let source = Source { bucket, plan: Arc::clone(&plan), retry: retry.clone() };
    transfer(target, &source, reservation, sink, progress).await?;
    Ok(DownloadResult { length: plan.length(), verified: plan.is_verified() })
}

/// A backup, its checksums, if there are any, and its archive.
struct Found {
    backup: Arc<Backup>,
    checksums: Option<Checksums>,
    archive: ObjectInfo,
}

async fn load(target: &Target, backup: Arc<Backup>) -> Result<Found> {
    let checksums = match backup.has_checksums {
        true => target.store.metadata_object(&backup.name, &backup.id).await?.checksums,
        false => None,
    };
    let archive = target.store.archive(&backup.name, &backup.id).await?;
    Ok(Found { backup, checksums, archive })
}

/// Where the pieces are fetched from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) bucket: Bucket,
    pub(super) plan: Arc<Plan>,
    pub(super) retry: Retry,
}

/// Fetches pieces in parallel and delivers them to `sink` in order. `reservation` covers one piece.
pub(super) async fn transfer<S: Sink>(
    target: &Target,
    source: &Source,
    reservation: Reservation,
    sink: &mut S,
    progress: &Progress,
) -> Result<()> {
    let plan = &source.plan;
    let mut next = 0;
    let mut fetches = VecDeque::new();
    let mut concurrency = Concurrency::new(&target.config.limits);
    // The transfer keeps the first reservation, so that it can always continue.
    let mut own = Some(reservation);
    loop {
        while fetches.len() < concurrency.open() && next < plan.pieces() {
            let permit = match own.take() {
                Some(reservation) => Permit::Own(reservation),
                None => match target.budget.try_reserve(plan.largest_piece()) {
                    Some(reservation) => Permit::Extra(reservation),
                    None => break,
                },
            };
            let (source, index) = (source.clone(), next);
            let blank = BlockBuffer::new(&target.pool);
            let fetch = tokio::spawn(async move {
                let Source { bucket, plan, retry } = &source;
                let begun = Instant::now();
                let bytes = plan.fetch(bucket, retry, index, blank).await?;
                Ok::<_, Error>((bytes, begun.elapsed()))
            });
            fetches.push_back((AbortOnDropHandle::new(fetch), permit));
            next += 1;
        }
        let Some((mut fetch, permit)) = fetches.pop_front() else { return Ok(()) };
        progress.wait_for(Some(Waiting::Remote));
        if !fetch.is_finished() {
            concurrency.set_waiting();
        }
        let fetched = tokio::select! {
            biased;
            fetched = &mut fetch => fetched,
            () = concurrency.changed() => {
                // The changed limits may allow more pieces.
                fetches.push_front((fetch, permit));
                continue;
            }
        };
        let (bytes, took) = fetched.map_err(|error| {
            Error::new(Code::Internal, "the download failed inside the agent").source(error)
        })??;
        progress.wait_for(S::WAITS_FOR);
        let length = bytes.iter().map(|piece| piece.len() as u64).sum();
        concurrency.done(length, took, progress.snapshot().retries);
        let mut writing = std::pin::pin!(sink.write(bytes));
        loop {
            let others_wait = async {
                tokio::time::sleep(SLOW_HOST).await;
                target.budget.wanted().await;
            };
            tokio::select! {
                biased;
                written = &mut writing => break written?,
                () = others_wait, if !fetches.is_empty() => {
                    next -= fetches.len() as u64;
                    for (_, permit) in fetches.drain(..) {
                        permit.return_to(&mut own);
                    }
                }
            }
        }
        progress.add(length);
        permit.return_to(&mut own);
    }
}

/// Memory for a piece.
enum Permit {
    /// The reservation that the transfer keeps.
    Own(Reservation),
    /// Returned to the pool when the piece is delivered.
    Extra(#[expect(dead_code, reason = "held for its drop")] Reservation),
}

impl Permit {
    fn return_to(self, own: &mut Option<Reservation>) {
        if let Self::Own(reservation) = self {
            *own = Some(reservation);
        }
    }
}
