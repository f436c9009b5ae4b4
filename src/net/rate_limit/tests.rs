use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use futures_util::{FutureExt as _, poll};
use http_body_util::{BodyExt as _, Full, StreamBody};

use super::*;
use crate::config::{Limits, LimitsUpdate};
use crate::net::faults::BoxError;
use crate::net::stall::Limited;

const RATE: u64 = 65_536;
const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(60);

type Frames = BoxStream<'static, Result<Frame<Bytes>, BoxError>>;

/// This many frames, all available at once.
fn some(count: usize, length: usize) -> Frames {
    let frame = move |_| Ok(Frame::data(Bytes::from(vec![7; length])));
    stream::iter(0..count).map(frame).boxed()
}

/// This many frames, then the end of the body.
fn frames(count: usize, length: usize) -> StreamBody<Frames> {
    StreamBody::new(some(count, length))
}

fn limited(body: StreamBody<Frames>, limiter: &RateLimiter) -> RateLimited<StreamBody<Frames>> {
    RateLimited::new(body, limiter.clone(), Activity::new())
}

fn with(rate: Option<u64>) -> RateLimiter {
    let (memory_budget, concurrency) = (0, 1);
    let bandwidth_limit = rate;
    let limits = Limits { memory_budget, concurrency, bandwidth_limit };
    RateLimiter::new(LiveLimits::new(limits))
}

fn change(limiter: &RateLimiter, rate: Option<u64>) {
    let bandwidth_limit = Some(rate);
    let change = LimitsUpdate { bandwidth_limit, ..LimitsUpdate::default() };
    limiter.limits.change(change, |_| ()).unwrap();
}

/// Reads a body to its end. Returns the arrival time of each frame, since `start`.
async fn arrivals(mut body: RateLimited<StreamBody<Frames>>, start: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
        times.push(start.elapsed());
    }
    times
}

#[tokio::test(start_paused = true)]
async fn rate_limit_paces_frames_of_one_body() {
    let start = Instant::now();
    let times = arrivals(limited(frames(4, FRAME / 2), &with(Some(RATE))), start).await;
    assert_eq!(times, [0, 500, 1000, 1500].map(Duration::from_millis));
}

#[tokio::test(start_paused = true)]
async fn rate_limit_large_frame_delays_the_next_ones() {
    let start = Instant::now();
    let limiter = with(Some(RATE));
    arrivals(limited(frames(1, FRAME * 30), &limiter), start).await;
    assert_eq!(arrivals(limited(frames(1, 1), &limiter), start).await, [SECOND * 30]);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_is_shared_between_bodies() {
    let start = Instant::now();
    let limiter = with(Some(RATE));
    let all = join_all((0..3).map(|_| arrivals(limited(frames(4, FRAME), &limiter), start))).await;
    let mut in_line: Vec<_> = all.iter().flatten().copied().collect();
    in_line.sort_unstable();
    assert_eq!(in_line, (0..12).map(|second| SECOND * second).collect::<Vec<_>>());
    for times in all {
        // No body waits for more than one frame of each other body.
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= SECOND * 3), "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rate_limit_idle_time_gives_little_credit() {
    let limiter = with(Some(64_000));
    tokio::time::sleep(LIMIT).await;
    let start = Instant::now();
    // Each takes 50 ms.
    let times = arrivals(limited(frames(6, 3200), &limiter), start).await;
    assert_eq!(times, [0, 0, 0, 50, 100, 150].map(Duration::from_millis));
}

#[tokio::test(start_paused = true)]
async fn rate_limit_cancelled_body_costs_others_nothing() {
    let start = Instant::now();
    let limiter = with(Some(RATE));
    arrivals(limited(frames(1, FRAME), &limiter), start).await;
    let mut given_up: Vec<_> = (0..50).map(|_| limited(frames(1, FRAME), &limiter)).collect();
    for body in &mut given_up {
        assert!(body.frame().now_or_never().is_none());
    }
    drop(given_up);
    assert_eq!(arrivals(limited(frames(1, FRAME), &limiter), start).await, [SECOND]);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_stuck_body_does_not_block_others() {
    let start = Instant::now();
    let limiter = with(Some(RATE));
    arrivals(limited(frames(1, FRAME), &limiter), start).await;
    let mut stuck = limited(frames(1, FRAME), &limiter);
    // In the queue by now, and never polled again.
    assert!(stuck.frame().now_or_never().is_none());
    let times = arrivals(limited(frames(2, FRAME), &limiter), start).await;
    assert_eq!(times, [SECOND * 2, SECOND * 3]);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_absent_means_no_wait() {
    let start = Instant::now();
    let body = RateLimited::new(frames(1000, FRAME), with(None), Activity::new());
    assert_eq!(arrivals(body, start).await, [Duration::ZERO; 1000]);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_waiting_frame_counts_as_remaining() {
    let limiter = with(Some(RATE));
    arrivals(limited(frames(1, FRAME), &limiter), Instant::now()).await;
    let whole = Full::new(Bytes::from_static(b"the last frame"));
    let mut body = RateLimited::new(whole, limiter, Activity::new());
    assert!(poll!(body.frame()).is_pending());
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, Some(14)));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 14);
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (true, Some(0)));
}

#[tokio::test(start_paused = true)]
async fn rate_limit_wait_does_not_time_out_the_request() {
    let start = Instant::now();
    let limiter = with(Some(RATE));
    arrivals(limited(frames(1, FRAME * 300), &limiter), start).await;
    let activity = Activity::new();
    let mut body = RateLimited::new(frames(2, FRAME * 300), limiter, activity.clone());
    let sending = async {
        while body.frame().await.is_some() {}
        // The server never answers.
        std::future::pending::<()>().await;
    };
    activity.limited(LIMIT, sending).await.unwrap_err();
    assert_eq!(start.elapsed(), SECOND * 899 + LIMIT);
}

#[tokio::test(start_paused = true)]
async fn request_timer_resumes_when_its_body_is_dropped() {
    let limiter = with(Some(RATE));
    arrivals(limited(frames(1, FRAME * 300), &limiter), Instant::now()).await;
    let activity = Activity::new();
    let mut body = RateLimited::new(frames(1, FRAME), limiter, activity.clone());
    assert!(body.frame().now_or_never().is_none());
    drop(body);
    let start = Instant::now();
    activity.limited(LIMIT, std::future::pending::<()>()).await.unwrap_err();
    assert_eq!(start.elapsed(), LIMIT);
}

#[tokio::test(start_paused = true)]
async fn response_timer_runs_only_while_the_server_is_silent() {
    let start = Instant::now();
    let limiter = with(Some(RATE));
    let silent_in_the_end = some(3 * 300, FRAME).chain(stream::pending());
    let body = Limited::new(StreamBody::new(silent_in_the_end.boxed()), LIMIT);
    let mut body = RateLimited::new(body, limiter, Activity::new());
    for _ in 0..3 * 300 {
        body.frame().await.unwrap().unwrap();
    }
    body.frame().await.unwrap().unwrap_err();
    assert_eq!(start.elapsed(), SECOND * 899 + LIMIT);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_change_applies_to_waiting_frames() {
    const LONG: usize = FRAME * 3600;
    for (rate, expected) in [
        // 60 s of the hour have passed, and the rest is sent at the new rate.
        (Some(RATE * 60), Duration::from_secs(60 + 59)),
        (Some(RATE / 2 * 3), Duration::from_secs(60 + 2360)),
        (None, Duration::from_secs(60)),
    ] {
        let start = Instant::now();
        let limiter = with(Some(RATE));
        limiter.reserve(LONG).consume();
        let waiting = tokio::spawn(arrivals(limited(frames(2, FRAME), &limiter), start));
        tokio::time::sleep(SECOND * 60).await;
        change(&limiter, rate);
        let times = waiting.await.unwrap();
        let late = times[0] - expected;
        assert!(late <= RECHECK, "{rate:?}: {times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rate_limit_lowered_delays_waiting_frames() {
    let start = Instant::now();
    let limiter = with(Some(RATE * 4));
    limiter.reserve(FRAME * 40).consume();
    let waiting = tokio::spawn(arrivals(limited(frames(3, FRAME), &limiter), start));
    tokio::time::sleep(SECOND * 5).await;
    change(&limiter, Some(RATE));
    let times = waiting.await.unwrap();
    // The change is noticed a little later, and until then more is sent.
    let early = SECOND * 25 - times[0];
    assert!(early <= RECHECK * 4, "{times:?}");
    assert_eq!([times[1] - times[0], times[2] - times[1]], [SECOND; 2]);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_set_again_starts_fresh() {
    let start = Instant::now();
    let limiter = with(Some(RATE));
    limiter.reserve(FRAME * 3600).consume();
    let mut before = limited(frames(1, FRAME), &limiter);
    let mut given_up = limited(frames(1, FRAME), &limiter);
    assert!(poll!(before.frame()).is_pending() && poll!(given_up.frame()).is_pending());
    change(&limiter, None);
    assert_eq!(arrivals(limited(frames(9, FRAME), &limiter), start).await, [Duration::ZERO; 9]);
    change(&limiter, Some(RATE));
    let times = arrivals(limited(frames(3, FRAME), &limiter), start).await;
    assert_eq!(times, [0, 1, 2].map(|second| SECOND * second));
    // Frames that waited when the limit was removed pass or are dropped without using up bytes.
    assert!(before.frame().now_or_never().is_some());
    drop(given_up);
    assert_eq!(arrivals(limited(frames(1, FRAME), &limiter), start).await, [SECOND * 3]);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_splits_large_reads() {
    let limiter = with(None);
    let mut body = limited(frames(2, FRAME * 3 - 1), &limiter);
    assert_eq!(body.frame().await.unwrap().unwrap().data_ref().unwrap().len(), FRAME * 3 - 1);
    change(&limiter, Some(RATE));
    let start = Instant::now();
    assert!(!body.is_end_stream());
    let mut lengths = Vec::new();
    while let Some(frame) = body.frame().await {
        lengths.push((frame.unwrap().data_ref().unwrap().len(), start.elapsed()));
    }
    assert_eq!(lengths, [(FRAME, Duration::ZERO), (FRAME, SECOND), (FRAME - 1, SECOND * 2)]);
    let whole = Full::new(Bytes::from(vec![7; FRAME + 1]));
    let mut body = RateLimited::new(whole, limiter, Activity::new());
    body.frame().await.unwrap().unwrap();
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, Some(1)));
}
