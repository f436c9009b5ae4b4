//! A limit on bytes per second: the frames of all connections stand in one line, and each passes
//! when those before it have had their time. The limit may change, begin and end at any moment, and
//! those who are in line follow.
//!
//! Headers, TLS and what is sent again below us are not counted.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::stall::{Activity, Held};
use crate::config::LiveLimits;

/// What one write to the socket takes. Small, so that a slow link shows as slow and not as silent.
pub(crate) const FRAME: usize = 64 << 10;

/// Lost time that is made up for, so that timers that fire late do not lower the speed.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Those who wait look so often whether the limit is still the same. Whoever sets one has to tell
/// nobody then, and at this pace looking costs nothing.
const LOOK: Duration = Duration::from_millis(200);

/// One direction of a target. Clones are the same line.
#[derive(Clone)]
pub(super) struct RateLimiter {
    limits: LiveLimits,
    line: Arc<Mutex<Line>>,
}

/// As far ahead as a turn is reckoned: no clock ends before, and it is reckoned again by then.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// Places in line are counted in bytes, so that they keep their order and their share at any rate.
struct Line {
    /// Bytes per second. Without it there is no line.
    rate: Option<u64>,
    /// The turn of the byte `head`, from which those of all others follow.
    since: Instant,
    head: u64,
    /// The first byte that nobody has taken.
    tail: u64,
    /// How often there was no limit: then nobody is in line any more.
    ended: u64,
}

impl Line {
    fn turn(&self, byte: u64) -> Option<Instant> {
        let nanoseconds = u128::from(byte.saturating_sub(self.head)) * 1_000_000_000;
        let nanoseconds = nanoseconds.div_ceil(u128::from(self.rate?.max(1)));
        let ahead = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        Some(self.since + ahead.min(FAR))
    }

    /// Puts `rate` in force from now on. What has passed stays as it was, and an idle line does not
    /// save up.
    fn follow(&mut self, rate: Option<u64>) {
        let now = Instant::now();
        let free = self.turn(self.tail).unwrap_or(now);
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
            self.ended += 1;
        }
    }
}

impl RateLimiter {
    /// Keeps to `bandwidth_limit` of `limits`, whatever that is at the time.
    pub(super) fn new(limits: LiveLimits) -> Self {
        let (since, rate) = (Instant::now(), limits.get().bandwidth_limit);
        let line = Line { rate, since, head: 0, tail: 0, ended: 0 };
        Self { limits, line: Arc::new(Mutex::new(line)) }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.follow(self.limits.get().bandwidth_limit);
        line
    }

    fn is_limited(&self) -> bool {
        self.limits.get().bandwidth_limit.is_some()
    }

    /// A place for `bytes` at the end of the line. Nobody has to wait for anybody to wake up, so
    /// that a connection that is stuck cannot hold up the others.
    fn line_up(&self, bytes: usize) -> Place {
        let mut line = self.line();
        // Without a limit nothing is counted.
        let bytes = if line.rate.is_some() { bytes as u64 } else { 0 };
        let (first, ended) = (line.tail, line.ended);
        line.tail = line.tail.saturating_add(bytes);
        drop(line);
        Place { limiter: self.clone(), first, bytes, ended }
    }
}

/// Some bytes in line that belong to one frame, and go back when they are not used.
struct Place {
    limiter: RateLimiter,
    first: u64,
    bytes: u64,
    ended: u64,
}

impl Place {
    /// When it is its turn, as things are; none when it is by now.
    fn turn(&self) -> Option<Instant> {
        let line = self.limiter.line();
        let turn = line.turn(self.first).filter(|_| self.ended == line.ended);
        drop(line);
        turn.filter(|turn| *turn > Instant::now())
    }

    fn use_up(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.limiter.line.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ended == line.ended {
            line.tail = line.tail.saturating_sub(self.bytes).max(line.head);
        }
    }
}

/// A body whose frames pass when it is their turn. While there is no limit they pass at once.
pub(super) struct RateLimited<B> {
    body: B,
    limiter: RateLimiter,
    activity: Activity,
    waiting: Option<Waiting>,
    /// What was read in one go with what passes next.
    rest: Option<Bytes>,
}

/// The frame that is held back.
struct Waiting {
    frame: Frame<Bytes>,
    place: Place,
    look: Pin<Box<Sleep>>,
    _clock: Held,
}

impl<B> RateLimited<B> {
    /// The clock of `activity` stands still while a frame waits.
    pub(super) fn new(body: B, limiter: RateLimiter, activity: Activity) -> Self {
        Self { body, limiter, activity, waiting: None, rest: None }
    }

    /// As much as may pass at a time: nothing small should wait long behind what was read in one go.
    fn piece(&mut self, mut data: Bytes) -> Frame<Bytes> {
        if data.len() > FRAME && self.limiter.is_limited() {
            self.rest = Some(data.split_off(FRAME));
        }
        Frame::data(data)
    }
}

impl<B: Body<Data = Bytes> + Unpin> RateLimited<B> {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(self.piece(rest))));
        }
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(next.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(data) => self.piece(data),
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
            let place = self.limiter.line_up(frame.data_ref().map_or(0, Bytes::len));
            if place.turn().is_none() {
                place.use_up();
                return Poll::Ready(Some(Ok(frame)));
            }
            let look = Box::pin(sleep_until(Instant::now()));
            let _clock = self.activity.hold();
            self.waiting = Some(Waiting { frame, place, look, _clock });
        }
        if let Some(waiting) = &mut self.waiting {
            while let Some(turn) = waiting.place.turn() {
                waiting.look.as_mut().reset(turn.min(Instant::now() + LOOK));
                ready!(waiting.look.as_mut().poll(cx));
            }
        }
        Poll::Ready(self.waiting.take().map(|waiting| {
            waiting.place.use_up();
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
