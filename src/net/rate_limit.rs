//! Bandwidth limit for one direction of a target. All connections share one queue: each frame reserves its
//! bytes at the end and is sent when the bytes before it have had their time. The limit can be changed, set
//! and removed at any time, and waiting frames adapt to it.
//!
//! Headers, TLS and TCP retransmissions are not counted.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::stall::{Activity, Paused};
use crate::config::LiveLimits;

/// Maximum number of bytes of one write to the socket. Small, so that a slow link shows as slow and
/// not as stalled.
pub(crate) const FRAME: usize = 64 << 10;

/// Idle time that may be made up for, so that timers that fire late do not lower the speed.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Interval at which waiting frames check whether the limit has changed. So a change needs no
/// notification, and the checks cost little.
const RECHECK: Duration = Duration::from_millis(200);

/// The rate limiter of one direction of a target. Clones share the queue.
#[derive(Clone)]
pub(super) struct RateLimiter {
    limits: LiveLimits,
    queue: Arc<Mutex<Queue>>,
}

/// Maximum time that a due time may lie in the future. A waiting frame recomputes it long before.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// The queue of bytes. Positions are counted in bytes, so that frames keep their order and share at
/// any rate.
struct Queue {
    /// Bytes per second. `None`: no limit, and no queue.
    rate: Option<u64>,
    /// The time at which the byte `head` is due. The due times of all other bytes follow from it.
    since: Instant,
    head: u64,
    /// The position after the last reserved byte.
    tail: u64,
    /// How often the limit was removed. Slots from before are due at once.
    removals: u64,
}

impl Queue {
    fn due(&self, byte: u64) -> Option<Instant> {
        let nanoseconds = u128::from(byte.saturating_sub(self.head)) * 1_000_000_000;
        let nanoseconds = nanoseconds.div_ceil(u128::from(self.rate?.max(1)));
        let ahead = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        Some(self.since + ahead.min(MAX_AHEAD))
    }

    /// Applies `rate` from now on. Bytes that were sent before are not recounted, and an idle queue
    /// does not save up bytes.
    fn apply(&mut self, rate: Option<u64>) {
        let now = Instant::now();
        let free = self.due(self.tail).unwrap_or(now);
        if free <= now {
            let late = (now - free).min(CATCH_UP);
            (self.since, self.head) = (now - late, self.tail);
        }
        if self.rate == rate {
            return;
        }
        if let Some(before) = self.rate {
            let passed = now.saturating_duration_since(self.since).as_nanos() * u128::from(before);
            let passed = u64::try_from(passed / 1_000_000_000).unwrap_or(u64::MAX);
            self.head = self.head.saturating_add(passed).min(self.tail);
        }
        self.since = now;
        self.rate = rate;
        if rate.is_none() {
            self.head = self.tail;
            self.removals += 1;
        }
    }
}

impl RateLimiter {
    /// A limiter that follows `bandwidth_limit` of `limits`, also when it changes.
    pub(super) fn new(limits: LiveLimits) -> Self {
        let (since, rate) = (Instant::now(), limits.get().bandwidth_limit);
        let queue = Queue { rate, since, head: 0, tail: 0, removals: 0 };
        Self { limits, queue: Arc::new(Mutex::new(queue)) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.apply(self.limits.get().bandwidth_limit);
        queue
    }

    fn is_limited(&self) -> bool {
        self.limits.get().bandwidth_limit.is_some()
    }

    /// Reserves `bytes` at the end of the queue. Frames do not wait for each other to wake up, so
    /// that a stalled connection cannot hold up the others.
    fn reserve(&self, bytes: usize) -> Slot {
        let mut queue = self.queue();
        // Without a limit, bytes are not counted.
        let bytes = if queue.rate.is_some() { bytes as u64 } else { 0 };
        let (first, removals) = (queue.tail, queue.removals);
        queue.tail = queue.tail.saturating_add(bytes);
        drop(queue);
        Slot { limiter: self.clone(), first, bytes, removals }
    }
}

/// The reserved bytes of one frame. They are returned when the slot is dropped unused.
struct Slot {
    limiter: RateLimiter,
    first: u64,
    bytes: u64,
    removals: u64,
}

impl Slot {
    /// When the slot is due at the current rate; `None` when it is due now.
    fn due(&self) -> Option<Instant> {
        let queue = self.limiter.queue();
        let due = queue.due(self.first).filter(|_| self.removals == queue.removals);
        drop(queue);
        due.filter(|due| *due > Instant::now())
    }

    fn consume(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut queue = self.limiter.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if self.removals == queue.removals {
            queue.tail = queue.tail.saturating_sub(self.bytes).max(queue.head);
        }
    }
}

/// A body whose frames are delayed until they are due. Without a limit they pass at once.
pub(super) struct RateLimited<B> {
    body: B,
    limiter: RateLimiter,
    activity: Activity,
    waiting: Option<Waiting>,
    /// The rest of a frame that was split.
    rest: Option<Bytes>,
}

/// A frame that waits until it is due.
struct Waiting {
    frame: Frame<Bytes>,
    slot: Slot,
    timer: Pin<Box<Sleep>>,
    _clock: Paused,
}

impl<B> RateLimited<B> {
    /// A limited `body`. The clock of `activity` is paused while a frame waits.
    pub(super) fn new(body: B, limiter: RateLimiter, activity: Activity) -> Self {
        Self { body, limiter, activity, waiting: None, rest: None }
    }

    /// The first [`FRAME`] bytes of `data`; the rest is kept. So small frames of other connections
    /// do not wait for a large one.
    fn first_frame(&mut self, mut data: Bytes) -> Frame<Bytes> {
        if data.len() > FRAME && self.limiter.is_limited() {
            self.rest = Some(data.split_off(FRAME));
        }
        Frame::data(data)
    }
}

impl<B: Body<Data = Bytes> + Unpin> RateLimited<B> {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(self.first_frame(rest))));
        }
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(next.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(data) => self.first_frame(data),
                Err(other) => other,
            })
        }))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for RateLimited<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.waiting.is_none() {
            let frame = match ready!(self.next(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            let slot = self.limiter.reserve(frame.data_ref().map_or(0, Bytes::len));
            if slot.due().is_none() {
                slot.consume();
                return Poll::Ready(Some(Ok(frame)));
            }
            let timer = Box::pin(sleep_until(Instant::now()));
            let _clock = self.activity.pause();
            self.waiting = Some(Waiting { frame, slot, timer, _clock });
        }
        if let Some(waiting) = &mut self.waiting {
            while let Some(due) = waiting.slot.due() {
                waiting.timer.as_mut().reset(due.min(Instant::now() + RECHECK));
                ready!(waiting.timer.as_mut().poll(cx));
            }
        }
        Poll::Ready(self.waiting.take().map(|waiting| {
            waiting.slot.consume();
            Ok(waiting.frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let waiting = self.waiting.as_ref().and_then(|waiting| waiting.frame.data_ref());
        let held = waiting.into_iter().chain(&self.rest).map(|data| data.len() as u64).sum::<u64>();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + held);
        }
        hint.set_lower(hint.lower() + held);
        hint
    }
}

#[cfg(test)]
mod tests;
