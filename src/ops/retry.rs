//! Retries while the server is unreachable during a transfer.
//!
//! Each request has a few quick retries of its own for short faults; these longer ones cover the
//! restart of a router or a server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Cancel;
use crate::error::{Code, Error, Kind, Result};
use crate::progress::Progress;
use crate::protocol::MAX_RETRY_FOR_MS;

/// Longest pause before the first retry. It doubles with each further one, up to [`LONGEST_PAUSE`].
/// The actual pause is a random part of it, so that parallel parts do not retry at the same time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause, unless the server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Retry policy and state of one transfer. Clones share the state.
#[derive(Clone, Debug)]
pub(super) struct Retry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    allowed: Duration,
    /// Time of the first failure since the last success of the transfer.
    since: Mutex<Option<Instant>>,
    progress: Progress,
    cancel: Cancel,
}

impl Retry {
    /// Retries for `allowed`, until `cancel`.
    ///
    /// # Errors
    /// `invalid_params` when `allowed` is longer than an hour.
    pub(super) fn new(allowed: Duration, progress: &Progress, cancel: &Cancel) -> Result<Self> {
        if allowed > Duration::from_millis(MAX_RETRY_FOR_MS) {
            return Err(Error::new(
                Code::InvalidParams,
                format!("the member \"retry_for_ms\" must be 0 to {MAX_RETRY_FOR_MS}"),
            )
            .detail("member", "retry_for_ms"));
        }
        Ok(Self(Arc::new(Inner {
            allowed,
            since: Mutex::default(),
            progress: progress.clone(),
            cancel: cancel.clone(),
        })))
    }

    /// Repeats a call while the server is unreachable. The call must be safe to repeat.
    ///
    /// # Errors
    /// As [`Attempts::after`].
    pub(super) async fn run<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut attempts = self.attempts();
        loop {
            if let Some(done) = attempts.after(call().await).await? {
                return Ok(done);
            }
        }
    }

    /// The attempts of one call, for callers with a loop of their own.
    pub(super) fn attempts(&self) -> Attempts<'_> {
        Attempts { retry: self, longest: FIRST_PAUSE }
    }

    /// Number of retries so far, quick ones included.
    pub(super) fn repeats(&self) -> u32 {
        self.0.progress.snapshot().retries
    }

    /// Remaining time for retries. None if `error` is not temporary, or the time is over.
    fn remaining(&self, error: &Error) -> Option<Duration> {
        let Inner { allowed, since, progress, .. } = &*self.0;
        let passes = matches!(error.code().kind(), Kind::Connect | Kind::Transient);
        if allowed.is_zero() || !passes || !error.code().retryable() {
            return None;
        }
        let mut since = since.lock().unwrap_or_else(PoisonError::into_inner);
        let lasted = since.get_or_insert_with(Instant::now).elapsed();
        progress.set_unreachable(true);
        allowed.checked_sub(lasted).filter(|remaining| !remaining.is_zero())
    }

    fn succeeded(&self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.progress.set_unreachable(false);
    }
}

/// The attempts of one call.
pub(super) struct Attempts<'a> {
    retry: &'a Retry,
    /// Longest possible next pause.
    longest: Duration,
}

impl Attempts<'_> {
    /// The result of an attempt. None after a pause when the call is to be repeated.
    ///
    /// # Errors
    /// The error, when it is permanent or the time is over; [`Cancel::error`].
    pub(super) async fn after<T>(&mut self, outcome: Result<T>) -> Result<Option<T>> {
        let error = match outcome {
            Ok(done) => {
                self.retry.succeeded();
                return Ok(Some(done));
            }
            Err(error) => error,
        };
        let Some(remaining) = self.retry.remaining(&error) else { return Err(error) };
        let requested = error.retry_after().unwrap_or_default();
        if requested > remaining {
            return Err(error);
        }
        let pause = self.longest.mul_f64(fastrand::f64()).max(requested).min(remaining);
        self.longest = LONGEST_PAUSE.min(self.longest * 2);
        tracing::info!(%error, pause_ms = pause.as_millis(), "waiting for the server");
        let Inner { progress, cancel, .. } = &*self.retry.0;
        let over = async {
            tokio::time::sleep(pause).await;
            Ok(())
        };
        cancel.cancellable(over).await?;
        progress.retried();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::ops::Cause;

    const ALLOWED: Duration = Duration::from_secs(900);

    fn retry(allowed: Duration) -> (Retry, Progress, Cancel) {
        let (progress, cancel) = (Progress::default(), Cancel::default());
        (Retry::new(allowed, &progress, &cancel).unwrap(), progress, cancel)
    }

    fn away<T>() -> Result<T> {
        Err(Error::new(Code::CannotConnect, "away"))
    }

    #[tokio::test(start_paused = true)]
    async fn retry_stops_after_the_given_time() {
        let (retry, progress, _) = retry(ALLOWED);
        let start = Instant::now();
        let mut attempts = 0;
        let call = || {
            attempts += 1;
            ready(away::<()>())
        };
        assert_eq!(retry.run(call).await.unwrap_err().code(), Code::CannotConnect);
        assert!(start.elapsed() >= ALLOWED && start.elapsed() < ALLOWED + FIRST_PAUSE);
        // At least one attempt in each of the longest pauses.
        assert!(attempts > 30, "{attempts}");
        assert_eq!(progress.snapshot().retries, attempts - 1);

        let call =
            async || if start.elapsed() < ALLOWED * 2 - FIRST_PAUSE { away() } else { Ok(7) };
        retry.succeeded();
        assert_eq!(retry.run(call).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_time_restarts_after_success_of_other_part() {
        let (retry, _, _) = retry(ALLOWED);
        let start = Instant::now();
        let one = retry.run(async || if start.elapsed() < ALLOWED * 3 { away() } else { Ok(()) });
        let other = async {
            for _ in 0..4 {
                tokio::time::sleep(ALLOWED - LONGEST_PAUSE).await;
                retry.run(async || Ok(())).await.unwrap();
            }
        };
        let (done, ()) = tokio::join!(one, other);
        done.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn retry_keeps_the_pause_the_server_asks_for() {
        let (retry, _, _) = retry(ALLOWED);
        let start = Instant::now();
        let mut pauses = vec![60_000, 1_000_000];
        let call = || {
            let error = Error::new(Code::Throttled, "slow down");
            ready(Err::<(), _>(error.retry_after_ms(pauses.remove(0))))
        };
        // The second pause exceeds the remaining time, so waiting is pointless.
        assert_eq!(retry.run(call).await.unwrap_err().code(), Code::Throttled);
        assert_eq!(start.elapsed(), Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_does_not_repeat_other_errors() {
        for (allowed, code) in [
            (Duration::ZERO, Code::CannotConnect),
            (ALLOWED, Code::AccessDenied),
            (ALLOWED, Code::TlsUntrusted),
            (ALLOWED, Code::Busy),
        ] {
            let (retry, progress, _) = retry(allowed);
            let call = async || Err::<(), _>(Error::new(code, "failed"));
            assert_eq!(retry.run(call).await.unwrap_err().code(), code);
            assert_eq!(progress.snapshot(), Progress::default().snapshot());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_ends_at_once_on_cancel() {
        let (retry, progress, cancel) = retry(ALLOWED);
        let start = Instant::now();
        let stop = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(progress.snapshot().waiting_for, Some(crate::progress::Waiting::Remote));
            cancel.cancel(Cause::ShuttingDown);
        };
        let long = Error::new(Code::Throttled, "slow down").retry_after_ms(60_000);
        let call = retry.run(async || Err::<(), _>(long.clone()));
        let (error, ()) = tokio::join!(call, stop);
        assert_eq!(error.unwrap_err().code(), Code::ShuttingDown);
        assert_eq!(start.elapsed(), Duration::from_millis(1));
    }

    #[test]
    fn retry_for_is_limited_to_one_hour() {
        let allowed = Duration::from_millis(MAX_RETRY_FOR_MS + 1);
        let error = Retry::new(allowed, &Progress::default(), &Cancel::default()).unwrap_err();
        assert_eq!(error.code(), Code::InvalidParams);
    }
}
