//! A storage that goes away in the middle of a transfer, and comes back.
//!
//! Lies around the few quick tries that a call makes by itself: those help over a fault of a moment,
//! this over the restart of a router or a storage.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Cancel;
use crate::error::{Code, Error, Kind, Result};
use crate::progress::Progress;
use crate::protocol::MAX_RETRY_FOR_MS;

/// Longest pause before the second try. It doubles with each further one, up to the last; a random
/// part of it is used, so that the parts of a transfer do not come back all at once.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause of all, but for one that the storage asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What one transfer puts up with. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Retry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    allowed: Duration,
    /// The first failure that no success of the transfer has followed.
    since: Mutex<Option<Instant>>,
    progress: Progress,
    cancel: Cancel,
}

impl Retry {
    /// Lasts as long as `allowed`, and no longer than until `cancel`.
    ///
    /// # Errors
    /// `invalid_params` when it is longer than an hour.
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

    /// Makes a call again and again while the storage is away. The call must be safe to repeat.
    ///
    /// # Errors
    /// As [`Tries::after`].
    pub(super) async fn run<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut tries = self.tries();
        loop {
            if let Some(done) = tries.after(call().await).await? {
                return Ok(done);
            }
        }
    }

    /// The tries of one call that is made in a loop of its own.
    pub(super) fn tries(&self) -> Tries<'_> {
        Tries { retry: self, longest: FIRST_PAUSE }
    }

    /// Calls that were made again so far, the quick tries included.
    pub(super) fn repeats(&self) -> u32 {
        self.0.progress.snapshot().retries
    }

    /// How much longer it may last. None when `error` is not about it, or it has lasted too long.
    fn rest(&self, error: &Error) -> Option<Duration> {
        let Inner { allowed, since, progress, .. } = &*self.0;
        let passes = matches!(error.code().kind(), Kind::Connect | Kind::Transient);
        if allowed.is_zero() || !passes || !error.code().retryable() {
            return None;
        }
        let mut since = since.lock().unwrap_or_else(PoisonError::into_inner);
        let lasted = since.get_or_insert_with(Instant::now).elapsed();
        progress.set_unreachable(true);
        allowed.checked_sub(lasted).filter(|rest| !rest.is_zero())
    }

    fn ends(&self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.progress.set_unreachable(false);
    }
}

/// The tries of one call.
pub(super) struct Tries<'a> {
    retry: &'a Retry,
    /// Longest that the next pause may be.
    longest: Duration,
}

impl Tries<'_> {
    /// What a try was good for. None when the call is to be made again, now.
    ///
    /// # Errors
    /// The failure, when it does not pass by itself or has lasted too long; [`Cancel::error`].
    pub(super) async fn after<T>(&mut self, outcome: Result<T>) -> Result<Option<T>> {
        let error = match outcome {
            Ok(done) => {
                self.retry.ends();
                return Ok(Some(done));
            }
            Err(error) => error,
        };
        let Some(rest) = self.retry.rest(&error) else { return Err(error) };
        let asked_for = error.retry_after().unwrap_or_default();
        if asked_for > rest {
            return Err(error);
        }
        let pause = self.longest.mul_f64(fastrand::f64()).max(asked_for).min(rest);
        self.longest = LONGEST_PAUSE.min(self.longest * 2);
        tracing::info!(%error, pause_ms = pause.as_millis(), "waiting for the storage");
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
        let mut tries = 0;
        let call = || {
            tries += 1;
            ready(away::<()>())
        };
        assert_eq!(retry.run(call).await.unwrap_err().code(), Code::CannotConnect);
        assert!(start.elapsed() >= ALLOWED && start.elapsed() < ALLOWED + FIRST_PAUSE);
        // At least one try in each of the longest pauses.
        assert!(tries > 30, "{tries}");
        assert_eq!(progress.snapshot().retries, tries - 1);

        let call =
            async || if start.elapsed() < ALLOWED * 2 - FIRST_PAUSE { away() } else { Ok(7) };
        retry.ends();
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
        // The second one is longer than the rest, so there is nothing to wait for.
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
            cancel.cancel(Cause::Ending);
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
