//! One running request: queueing of transfers, deadline, progress, and exactly one response, even
//! after a panic.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::handle::{Context, Work};
use super::outbox::{Answer, Outbox};
use super::running::Table;
use super::targets::{self, Slot};
use crate::error::{Code, Error, Result};
use crate::ops::{Cancel, Cause};
use crate::progress::{Phase, Progress, Snapshot};
use crate::protocol::{Common, MAX_PROGRESS_MS, MIN_PROGRESS_MS, ProgressNotification};

/// Longest time between two progress notifications, even without progress.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Deadline and progress interval of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    deadline_ms: Option<u64>,
    progress: Option<Duration>,
}

impl Timing {
    pub(super) fn new(common: Common) -> Result<Self> {
        let range = MIN_PROGRESS_MS..=MAX_PROGRESS_MS;
        if common.progress_ms.is_some_and(|ms| !range.contains(&ms)) {
            return Err(Error::new(
                Code::InvalidParams,
                format!(
                    "the member \"progress_ms\" must be {MIN_PROGRESS_MS} to {MAX_PROGRESS_MS}"
                ),
            )
            .detail("member", "progress_ms"));
        }
        Ok(Self {
            deadline_ms: common.deadline_ms,
            progress: common.progress_ms.map(Duration::from_millis),
        })
    }
}

/// A request that is ready to run.
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) target: Slot,
    pub(super) outbox: Outbox,
    pub(super) cancel: Cancel,
    pub(super) max_payload: usize,
    /// For a transfer.
    pub(super) permit: Option<TransferPermit>,
    pub(super) table: Table,
}

/// A transfer slot, or a position in the queue for one.
pub(super) struct TransferPermit(Pin<Box<dyn Future<Output = Permit> + Send>>);

type Permit = std::result::Result<OwnedSemaphorePermit, AcquireError>;

impl TransferPermit {
    /// Enters the queue now, so that transfers start in the order of the calls.
    pub(super) fn enqueue(transfers: &Arc<Semaphore>) -> Self {
        let mut permit: Pin<Box<dyn Future<Output = Permit> + Send>> =
            Box::pin(Arc::clone(transfers).acquire_owned());
        match permit.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Self(Box::pin(std::future::ready(permit))),
            Poll::Pending => Self(permit),
        }
    }
}

impl Task {
    /// Runs the request and sends its response.
    pub(super) async fn run(self, work: Work, timing: Timing) {
        let Self { id, target, outbox, cancel, max_payload, permit, table } = self;
        let has_stream = work.is_transfer;
        let progress = Progress::default();
        if !has_stream {
            progress.enter(Phase::Starting);
        }
        let (token, state, messages) = (cancel.clone(), progress.clone(), outbox.clone());
        let running = async move {
            let name = work.target().to_owned();
            // The target may still be opening.
            let target = async { target.await.ok_or_else(|| targets::unknown(&name)) };
            let target = token.cancellable(target).await?;
            let _place = match permit {
                Some(TransferPermit(permit)) => {
                    Some(token.cancellable(async { Ok(permit.await) }).await?)
                }
                None => None,
            };
            let (outbox, progress, cancel) = (messages, state, token);
            work.run(Context { id, target, outbox, progress, cancel, max_payload }).await
        };
        let running = AssertUnwindSafe(running).catch_unwind();
        let answer = Box::pin(supervise(running, id, timing, &progress, &cancel, &outbox)).await;
        let answer = answer.unwrap_or_else(|_| Err(panicked()));
        if let Err(error) = &answer {
            tracing::info!(id, code = error.code().as_str(), %error, "a request failed");
        }
        table.remove(id);
        if has_stream {
            outbox.respond_after_data(id, answer).await;
        } else {
            outbox.respond(Some(id), answer).await;
        }
        table.answered();
    }
}

/// Response to a request that panicked.
pub(super) fn panicked() -> Error {
    Error::new(Code::Internal, "the request failed inside the agent").hint("see its log")
}

type Outcome = std::result::Result<Answer, Box<dyn std::any::Any + Send>>;

/// Waits for the request; meanwhile watches the deadline and sends progress.
async fn supervise(
    running: impl Future<Output = Outcome>,
    id: u64,
    timing: Timing,
    progress: &Progress,
    cancel: &Cancel,
    outbox: &Outbox,
) -> Outcome {
    tokio::pin!(running);
    let start = Instant::now();
    let after = |ms| start.checked_add(Duration::from_millis(ms));
    // A deadline beyond the range of the clock is none.
    let mut deadline = timing.deadline_ms.and_then(|ms| Some((after(ms)?, ms)));
    let mut next = timing.progress.map(|pause| start + pause);
    let mut sent: Option<(Instant, Snapshot)> = None;
    let report = |snapshot: &Snapshot| ProgressNotification { id, snapshot: snapshot.clone() };
    loop {
        tokio::select! {
            biased;
            outcome = &mut running => {
                if timing.progress.is_some() && matches!(outcome, Ok(Ok(_))) {
                    outbox.notify("progress", &report(&progress.snapshot())).await;
                }
                return outcome;
            }
            () = at(deadline.map(|(when, _)| when)) => {
                if let Some((_, ms)) = deadline.take() {
                    cancel.cancel(Cause::Deadline { ms });
                }
            }
            () = at(next) => {
                let now = Instant::now();
                next = timing.progress.map(|pause| now + pause);
                let snapshot = progress.snapshot();
                let news = sent.as_ref().is_none_or(|(when, before)| {
                    *before != snapshot || now.duration_since(*when) >= HEARTBEAT
                });
                if news {
                    outbox.notify_if_free("progress", &report(&snapshot));
                    sent = Some((now, snapshot));
                }
            }
        }
    }
}

/// Completes at that moment, or never.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
