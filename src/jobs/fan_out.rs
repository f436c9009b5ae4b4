//! One read of a source, stored on several targets.
//!
//! A pump reads the source and hands each piece to a bounded queue for each target. It reads the next piece
//! when every queue has room, so that the slowest target sets the pace and memory stays bounded: pieces are
//! shared, and at most one window of them waits, besides what the source itself holds ready.
//!
//! A target that fails leaves, and the others go on. A source that fails reaches all of them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{join, join_all};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use crate::buffer_pool::BLOCK;
use crate::error::{Code, Error, Result};
use crate::ops::{self, Cancel, Source, Target, Upload, WINDOW};
use crate::progress::Progress;
use crate::protocol::UploadResult;
use crate::sources;

/// Pieces that may wait for one target. Each counts as a block, however short it is, because it may keep a
/// whole one. The queues share their pieces: together they hold no more blocks than the fullest of them.
const WAITING: usize = 28;

/// All blocks besides those of the parts fit into the window that each upload has reserved, also when only one
/// upload is left: the blocks that wait here and in the source, the one that the source reads, the one that
/// it hands over, the one that the pump hands over, and the one that reaches beyond the end of a part.
const _: () = assert!(((WAITING + sources::WAITING + 4) * BLOCK) as u64 <= WINDOW);

/// Stores one backup on each of `targets` from a single read of `source`. The source is asked for its first
/// byte when every target is ready for it or has failed, and no longer when all have failed. Returns the
/// result of each target, in the same order; `progress` has one for each. Each target needs a budget of its
/// own: two uploads that wait for each other must not wait for each other's memory.
///
/// # Errors
/// As [`ops::upload`], for each target; `internal` for all of them when the source panics.
pub async fn fan_out(
    targets: &[Arc<Target>],
    request: &Upload,
    source: &mut impl Source,
    progress: &[Progress],
    cancel: &Cancel,
) -> Vec<Result<UploadResult>> {
    let (branches, queues): (Vec<_>, Vec<_>) = targets.iter().map(|_| branch()).unzip();
    let uploads = targets.iter().zip(progress).zip(branches).map(|((target, progress), branch)| {
        let others = targets.iter().map(|other| other.place());
        let beside = others.filter(|other| *other != target.place()).collect();
        let request = Upload { beside, ..request.clone() };
        Box::pin(ops::upload(target, request, branch, progress, cancel))
    });
    // A panic closes the queues, and each upload rolls back.
    let pump = AssertUnwindSafe(pump(source, queues)).catch_unwind();
    let (results, _) = join(join_all(uploads), pump).await;
    results
}

/// A message for one target.
enum Piece {
    Data(Bytes),
    /// The end: a queue that closes without it is never taken for the end of the data.
    End,
    Failed(Error),
}

/// The end of a queue at which an upload reads. Dropping it tells the pump that the upload has ended.
struct Branch {
    pieces: Receiver<Piece>,
    ready: Option<oneshot::Sender<()>>,
}

/// The other end.
struct Queue {
    pieces: Sender<Piece>,
    /// Completes when the upload is ready for data, or has failed.
    ready: oneshot::Receiver<()>,
}

fn branch() -> (Branch, Queue) {
    let (sender, receiver) = channel(WAITING);
    let (ready, is_ready) = oneshot::channel();
    (Branch { pieces: receiver, ready: Some(ready) }, Queue { pieces: sender, ready: is_ready })
}

impl Source for Branch {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(ready) = self.ready.take() {
            // Fails when the pump has ended, which the queue says as well.
            let _ = ready.send(());
        }
        match self.pieces.recv().await {
            Some(Piece::Data(bytes)) => Ok(Some(bytes)),
            Some(Piece::End) => Ok(None),
            Some(Piece::Failed(error)) => Err(error),
            None => Err(Error::new(Code::Internal, "reading the backup failed inside the agent")),
        }
    }
}

/// Reads the source until its end, its failure, or until no upload is left.
async fn pump(source: &mut impl Source, queues: Vec<Queue>) {
    let (ready, mut queues): (Vec<_>, Vec<_>) =
        queues.into_iter().map(|queue| (queue.ready, queue.pieces)).unzip();
    join_all(ready).await;
    let mut rest = Bytes::new();
    loop {
        // A place in every queue, before the source is asked for more.
        let places = join_all(queues.iter().map(|queue| queue.clone().reserve_owned())).await;
        let places: Vec<_> = places.into_iter().flatten().collect();
        queues.retain(|queue| !queue.is_closed());
        if places.is_empty() {
            return;
        }
        let piece = match rest.is_empty() {
            false => Piece::Data(rest.split_to(BLOCK.min(rest.len()))),
            true => {
                let all_gone = join_all(queues.iter().map(Sender::closed));
                tokio::select! {
                    // Not asked again when the last one has failed.
                    biased;
                    _ = all_gone => return,
                    next = source.next() => match next {
                        Ok(Some(bytes)) => {
                            rest = bytes;
                            // A queue counts pieces, so none is larger than a block.
                            Piece::Data(rest.split_to(BLOCK.min(rest.len())))
                        }
                        Ok(None) => Piece::End,
                        Err(error) => Piece::Failed(error),
                    },
                }
            }
        };
        for place in places {
            place.send(match &piece {
                Piece::Data(bytes) => Piece::Data(bytes.clone()),
                Piece::End => Piece::End,
                Piece::Failed(error) => Piece::Failed(error.clone()),
            });
        }
        if !matches!(piece, Piece::Data(_)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
