//! Time limits that count from the last byte that moved, so that a slow storage is not taken for a
//! dead one, however large a request is.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::BoxError;

/// Nothing moved for `limit`.
#[derive(Debug, thiserror::Error)]
#[error("nothing moved for {} seconds", limit.as_secs())]
pub(in crate::s3) struct StallFault {
    pub(in crate::s3) limit: Duration,
}

/// Stands for a moment while nothing can move because we do not let it.
const HELD: u64 = u64::MAX;

/// When a byte moved last, in milliseconds since `start`.
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
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(HELD - 1);
        self.last.store(passed, Ordering::Relaxed);
    }

    /// Stops the clock for as long as what this gives lives.
    pub(super) fn hold(&self) -> Held {
        self.last.store(HELD, Ordering::Relaxed);
        Held(self.clone())
    }

    /// Gives `work` up when nothing moved for `limit`.
    pub(super) async fn limited<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> std::result::Result<T, StallFault> {
        tokio::pin!(work);
        loop {
            let last = self.last.load(Ordering::Relaxed);
            let since = match last {
                HELD => Instant::now(),
                last => self.start + Duration::from_millis(last),
            };
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep_until(since + limit) => {
                    if last != HELD && self.last.load(Ordering::Relaxed) == last {
                        return Err(StallFault { limit });
                    }
                }
            }
        }
    }
}

/// An activity whose clock stands still.
pub(super) struct Held(Activity);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.touch();
    }
}

/// A request body that notes when the connection took some of it.
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

/// A response body that fails when the storage is silent for `limit` while somebody waits.
pub(super) struct Limited<B> {
    body: B,
    limit: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

impl<B> Limited<B> {
    pub(super) fn new(body: B, limit: Duration) -> Self {
        Self { body, limit, silence: None }
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
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = self.limit;
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
        let frames = stream::iter(0..count).then(move |_| async move {
            sleep(pause).await;
            Ok(Frame::data(Bytes::from_static(b"x")))
        });
        StreamBody::new(frames.chain(stream::pending()).boxed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_keeps_moving_is_not_given_up() {
        let activity = Activity::new();
        let body = frames(1000, Duration::ZERO);
        let mut body = Tracked { body, activity: activity.clone() };
        let sending = async {
            for _ in 0..1000 {
                body.frame().await.unwrap().unwrap();
                // So long does the connection take for what it got.
                sleep(ALMOST).await;
            }
        };
        let start = Instant::now();
        activity.limited(LIMIT, sending).await.unwrap();
        assert!(start.elapsed() >= ALMOST * 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_request_is_given_up_after_the_limit() {
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
    async fn an_answer_that_keeps_moving_is_not_given_up() {
        let mut body = Limited::new(frames(1000, ALMOST), LIMIT);
        for _ in 0..1000 {
            body.frame().await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_answer_is_given_up_after_the_limit() {
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
    async fn a_reader_may_take_its_time() {
        let mut body = Limited::new(frames(3, Duration::from_secs(1)), LIMIT);
        for _ in 0..3 {
            sleep(LIMIT * 10).await;
            body.frame().await.unwrap().unwrap();
        }
    }
}
