//! A limit on bytes per second: the frames of all connections stand in one line, and each passes
//! when those before it have had their time.
//!
//! Headers, TLS and what is sent again below us are not counted.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::stall::{Activity, Held};

/// Lost time that is made up for, so that timers that fire late do not lower the speed.
const CATCH_UP: Duration = Duration::from_millis(100);

/// One direction of a target. Clones are the same line.
#[derive(Clone)]
pub(super) struct Pacer {
    bytes_per_second: u64,
    /// When those who are in line by now will have had their time.
    free: Arc<Mutex<Instant>>,
}

impl Pacer {
    /// `bytes_per_second` is not zero.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, free: Arc::new(Mutex::new(Instant::now())) }
    }

    /// A place for `bytes` at the end of the line. Nobody has to wait for anybody to wake up, so
    /// that a connection that is stuck cannot hold up the others.
    fn line_up(&self, bytes: usize) -> Place {
        let nanoseconds = (bytes as u64).saturating_mul(1_000_000_000);
        let time = Duration::from_nanos(nanoseconds.div_ceil(self.bytes_per_second));
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let late = now.saturating_duration_since(*free).min(CATCH_UP);
        let turn = (*free).max(now - late);
        *free = turn + time;
        drop(free);
        Place { pacer: self.clone(), turn, time }
    }
}

/// Some time that belongs to one frame, and goes back to the line when it is not used.
struct Place {
    pacer: Pacer,
    turn: Instant,
    time: Duration,
}

impl Place {
    fn use_up(mut self) {
        self.time = Duration::ZERO;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut free = self.pacer.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(self.time).unwrap_or(*free);
    }
}

/// A body whose frames pass when it is their turn. Without a pacer they pass at once.
pub(super) struct Paced<B> {
    body: B,
    pacer: Option<Pacer>,
    activity: Activity,
    waiting: Option<Waiting>,
}

/// The frame that is held back.
struct Waiting {
    frame: Frame<Bytes>,
    place: Place,
    turn: Pin<Box<Sleep>>,
    _clock: Held,
}

impl<B> Paced<B> {
    /// The clock of `activity` stands still while a frame waits.
    pub(super) fn new(body: B, pacer: Option<Pacer>, activity: Activity) -> Self {
        Self { body, pacer, activity, waiting: None }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.waiting.is_none() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            let Some(pacer) = &self.pacer else { return Poll::Ready(Some(Ok(frame))) };
            let place = pacer.line_up(frame.data_ref().map_or(0, Bytes::len));
            if place.turn <= Instant::now() {
                place.use_up();
                return Poll::Ready(Some(Ok(frame)));
            }
            let turn = Box::pin(sleep_until(place.turn));
            let _clock = self.activity.hold();
            self.waiting = Some(Waiting { frame, place, turn, _clock });
        }
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.turn.as_mut().poll(cx));
        }
        Poll::Ready(self.waiting.take().map(|waiting| {
            waiting.place.use_up();
            Ok(waiting.frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        if let Some(data) = self.waiting.as_ref().and_then(|waiting| waiting.frame.data_ref()) {
            let held = data.len() as u64;
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + held);
            }
            hint.set_lower(hint.lower() + held);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use futures_util::stream::{self, BoxStream, StreamExt as _};
    use futures_util::{FutureExt as _, poll};
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;
    use crate::s3::http::BoxError;
    use crate::s3::http::stall::Limited;

    const RATE: u64 = 65_536;
    const FRAME: usize = 65_536;
    const SECOND: Duration = Duration::from_secs(1);
    const LIMIT: Duration = Duration::from_secs(60);

    type Frames = BoxStream<'static, Result<Frame<Bytes>, BoxError>>;

    /// This many frames that are there at once.
    fn some(count: usize, length: usize) -> Frames {
        let frame = move |_| Ok(Frame::data(Bytes::from(vec![7; length])));
        stream::iter(0..count).map(frame).boxed()
    }

    /// The same, then the end.
    fn frames(count: usize, length: usize) -> StreamBody<Frames> {
        StreamBody::new(some(count, length))
    }

    fn paced(body: StreamBody<Frames>, pacer: &Pacer) -> Paced<StreamBody<Frames>> {
        Paced::new(body, Some(pacer.clone()), Activity::new())
    }

    /// Reads a body to its end; when each of its frames came, since `start`.
    async fn arrivals(mut body: Paced<StreamBody<Frames>>, start: Instant) -> Vec<Duration> {
        let mut times = Vec::new();
        while let Some(frame) = body.frame().await {
            frame.unwrap();
            times.push(start.elapsed());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_one_body_pass_at_the_rate() {
        let start = Instant::now();
        let times = arrivals(paced(frames(4, FRAME / 2), &Pacer::new(RATE)), start).await;
        assert_eq!(times, [0, 500, 1000, 1500].map(Duration::from_millis));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_frame_keeps_those_behind_it_waiting() {
        let start = Instant::now();
        let pacer = Pacer::new(RATE);
        arrivals(paced(frames(1, FRAME * 30), &pacer), start).await;
        assert_eq!(arrivals(paced(frames(1, 1), &pacer), start).await, [SECOND * 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_share_one_rate_and_take_turns() {
        let start = Instant::now();
        let pacer = Pacer::new(RATE);
        let all = join_all((0..3).map(|_| arrivals(paced(frames(4, FRAME), &pacer), start))).await;
        let mut in_line: Vec<_> = all.iter().flatten().copied().collect();
        in_line.sort_unstable();
        assert_eq!(in_line, (0..12).map(|second| SECOND * second).collect::<Vec<_>>());
        for times in all {
            // Nobody waits for more than one frame of each other body.
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= SECOND * 3), "{times:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_line_makes_up_for_little() {
        let pacer = Pacer::new(64_000);
        tokio::time::sleep(LIMIT).await;
        let start = Instant::now();
        // Each takes 50 ms.
        let times = arrivals(paced(frames(6, 3200), &pacer), start).await;
        assert_eq!(times, [0, 0, 0, 50, 100, 150].map(Duration::from_millis));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_takes_no_time_from_others() {
        let start = Instant::now();
        let pacer = Pacer::new(RATE);
        arrivals(paced(frames(1, FRAME), &pacer), start).await;
        let mut given_up: Vec<_> = (0..50).map(|_| paced(frames(1, FRAME), &pacer)).collect();
        for body in &mut given_up {
            assert!(body.frame().now_or_never().is_none());
        }
        drop(given_up);
        assert_eq!(arrivals(paced(frames(1, FRAME), &pacer), start).await, [SECOND]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_stuck_holds_nobody_up() {
        let start = Instant::now();
        let pacer = Pacer::new(RATE);
        arrivals(paced(frames(1, FRAME), &pacer), start).await;
        let mut stuck = paced(frames(1, FRAME), &pacer);
        // In line by now, and never looked at again.
        assert!(stuck.frame().now_or_never().is_none());
        let times = arrivals(paced(frames(2, FRAME), &pacer), start).await;
        assert_eq!(times, [SECOND * 2, SECOND * 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let start = Instant::now();
        let body = Paced::new(frames(1000, FRAME), None, Activity::new());
        assert_eq!(arrivals(body, start).await, [Duration::ZERO; 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_waits_still_counts() {
        let pacer = Pacer::new(RATE);
        arrivals(paced(frames(1, FRAME), &pacer), Instant::now()).await;
        let whole = Full::new(Bytes::from_static(b"the last frame"));
        let mut body = Paced::new(whole, Some(pacer), Activity::new());
        assert!(poll!(body.frame()).is_pending());
        assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, Some(14)));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 14);
        assert_eq!((body.is_end_stream(), body.size_hint().exact()), (true, Some(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_not_given_up_while_it_waits_for_its_turn() {
        let start = Instant::now();
        let pacer = Pacer::new(RATE);
        arrivals(paced(frames(1, FRAME * 300), &pacer), start).await;
        let activity = Activity::new();
        let mut body = Paced::new(frames(2, FRAME * 300), Some(pacer), activity.clone());
        let sending = async {
            while body.frame().await.is_some() {}
            // The storage never answers.
            std::future::pending::<()>().await;
        };
        activity.limited(LIMIT, sending).await.unwrap_err();
        assert_eq!(start.elapsed(), SECOND * 600 + LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_of_a_request_goes_on_when_its_body_is_dropped() {
        let pacer = Pacer::new(RATE);
        arrivals(paced(frames(1, FRAME * 300), &pacer), Instant::now()).await;
        let activity = Activity::new();
        let mut body = Paced::new(frames(1, FRAME), Some(pacer), activity.clone());
        assert!(body.frame().now_or_never().is_none());
        drop(body);
        let start = Instant::now();
        activity.limited(LIMIT, std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_silent_only_while_the_storage_is() {
        let start = Instant::now();
        let pacer = Pacer::new(RATE);
        let silent_in_the_end = some(3, FRAME * 300).chain(stream::pending());
        let body = Limited::new(StreamBody::new(silent_in_the_end.boxed()), LIMIT);
        let mut body = Paced::new(body, Some(pacer), Activity::new());
        for _ in 0..3 {
            body.frame().await.unwrap().unwrap();
        }
        body.frame().await.unwrap().unwrap_err();
        assert_eq!(start.elapsed(), SECOND * 600 + LIMIT);
    }
}
