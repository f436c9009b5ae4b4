//! Time limits that count from the last byte transferred, so that a large request to a slow server is not
//! taken for a dead one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::faults::BoxError;

/// Time without a transferred byte, in either direction, after which a request fails.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(60);

/// Bytes of a response body that must arrive within the time limit.
const MIN_BYTES: u64 = 16 << 10;

/// No byte was transferred for `limit`.
#[derive(Debug, thiserror::Error)]
#[error("no byte was transferred for {} seconds", limit.as_secs())]
pub(crate) struct StallFault {
    pub(crate) limit: Duration,
}

/// The value of `last` while the clock is paused, because the agent itself holds back the bytes.
const PAUSED: u64 = u64::MAX;

/// When a byte was last transferred, in milliseconds since `start`.
#[derive(Clone)]
pub(super) struct Activity {
    start: Instant,
    last: Arc<AtomicU64>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }

    fn touch(&self) {
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(PAUSED - 1);
        self.last.store(passed, Ordering::Relaxed);
    }

    /// Pauses the clock until the returned guard is dropped.
    pub(super) fn pause(&self) -> Paused {
        self.last.store(PAUSED, Ordering::Relaxed);
        Paused(self.clone())
    }

    /// Runs `work`. Fails when no byte is transferred for `limit`.
    pub(super) async fn limited<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> std::result::Result<T, StallFault> {
        tokio::pin!(work);
        loop {
            let last = self.last.load(Ordering::Relaxed);
            let since = match last {
                PAUSED => Instant::now(),
                last => self.start + Duration::from_millis(last),
            };
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep_until(since + limit) => {
                    if last != PAUSED && self.last.load(Ordering::Relaxed) == last {
                        return Err(StallFault { limit });
                    }
                }
            }
        }
    }
}

/// Guard that keeps the clock of an [`Activity`] paused.
pub(super) struct Paused(Activity);

impl Drop for Paused {
    fn drop(&mut self) {
        self.0.touch();
    }
}

/// A request body that records when the connection takes bytes of it.
pub(super) struct Tracked<B> {
    pub(super) body: B,
    pub(super) activity: Activity,
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response body that fails when no byte arrives for `limit` while the reader waits, or fewer
/// than [`MIN_BYTES`] in that much waiting time.
pub(super) struct Limited<B> {
    body: B,
    limit: Duration,
    silence: Option<Pin<Box<Sleep>>>,
    /// Start of the current wait.
    since: Option<Instant>,
    /// Time of the finished waits, and the bytes that arrived in them.
    waited: Duration,
    bytes: u64,
}

impl<B> Limited<B> {
    pub(super) fn new(body: B, limit: Duration) -> Self {
        let (silence, since) = (None, None);
        Self { body, limit, silence, since, waited: Duration::ZERO, bytes: 0 }
    }

    /// Counts bytes that arrived. Returns whether they arrive too slowly.
    fn is_slow(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        if self.bytes >= MIN_BYTES {
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        self.waited >= self.limit
    }
}

impl<B> Body for Limited<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BoxError>>> {
        let limit = self.limit;
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.silence = None;
            let bytes = match &frame {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => {
                    return Poll::Ready(frame.map(|end| end.map_err(Into::into)));
                }
            };
            if self.is_slow(bytes) {
                return Poll::Ready(Some(Err(StallFault { limit }.into())));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        self.since.get_or_insert_with(Instant::now);
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match silence.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(StallFault { limit }.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::StreamExt as _;
    use futures_util::stream::{self, BoxStream};
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);
    const ALMOST: Duration = Duration::from_secs(59);

    type Data = Result<Frame<Bytes>, BoxError>;

    /// This many frames, each after `pause`; then silence.
    fn frames(count: usize, pause: Duration) -> StreamBody<BoxStream<'static, Data>> {
        frames_of(MIN_BYTES, count, pause)
    }

    fn frames_of(
        bytes: u64,
        count: usize,
        pause: Duration,
    ) -> StreamBody<BoxStream<'static, Data>> {
        let frame = Bytes::from(vec![7; usize::try_from(bytes).unwrap()]);
        let frames = stream::iter(0..count).then(move |_| {
            let frame = frame.clone();
            async move {
                sleep(pause).await;
                Ok(Frame::data(frame))
            }
        });
        StreamBody::new(frames.chain(stream::pending()).boxed())
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_makes_progress_does_not_time_out() {
        let activity = Activity::new();
        let body = frames(1000, Duration::ZERO);
        let mut body = Tracked { body, activity: activity.clone() };
        let sending = async {
            for _ in 0..1000 {
                body.frame().await.unwrap().unwrap();
                // The connection takes this long for the bytes that it got.
                sleep(ALMOST).await;
            }
        };
        let start = Instant::now();
        activity.limited(LIMIT, sending).await.unwrap();
        assert!(start.elapsed() >= ALMOST * 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_request_times_out_after_the_limit() {
        let activity = Activity::new();
        let mut body = Tracked { body: frames(10, ALMOST), activity: activity.clone() };
        let start = Instant::now();
        let sending = async { while body.frame().await.is_some() {} };
        assert_eq!(activity.limited(LIMIT, sending).await.unwrap_err().limit, LIMIT);
        assert_eq!(start.elapsed(), ALMOST * 10 + LIMIT);

        let start = Instant::now();
        Activity::new().limited(LIMIT, pending::<()>()).await.unwrap_err();
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn response_that_makes_progress_does_not_time_out() {
        let mut body = Limited::new(frames(1000, ALMOST), LIMIT);
        for _ in 0..1000 {
            body.frame().await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silent_response_times_out_after_the_limit() {
        let mut body = Limited::new(frames(3, ALMOST), LIMIT);
        for _ in 0..3 {
            body.frame().await.unwrap().unwrap();
        }
        let start = Instant::now();
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.downcast::<StallFault>().unwrap().limit, LIMIT);
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn trickling_response_times_out() {
        for (bytes, pause) in [(1, 5), (1000, 10), (MIN_BYTES / 4, 59)] {
            let pause = Duration::from_secs(pause);
            let mut body = Limited::new(frames_of(bytes, 1000, pause), LIMIT);
            let start = Instant::now();
            while body.frame().await.unwrap().is_ok() {}
            assert!(start.elapsed() <= LIMIT * 2, "{bytes} bytes: {:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_reader_does_not_time_out() {
        let mut body = Limited::new(frames(3, Duration::from_secs(1)), LIMIT);
        for _ in 0..3 {
            sleep(LIMIT * 10).await;
            body.frame().await.unwrap().unwrap();
        }
    }
}
