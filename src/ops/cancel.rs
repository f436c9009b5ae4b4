//! Cancellation of running operations.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::{Code, Error, shortened};
use crate::protocol::MAX_REASON;

/// Time for a canceled operation to clean up.
pub(super) const CLEANUP_LIMIT: Duration = Duration::from_secs(10);

/// Reason why an operation is canceled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The caller canceled it, with this reason.
    Requested(Option<String>),
    /// The deadline has passed.
    Deadline {
        /// The deadline, in milliseconds after the start.
        ms: u64,
    },
    /// The agent is shutting down, or the host is gone.
    ShuttingDown,
    /// The host told the agent to shut down.
    ShutdownRequested,
    /// The stream that feeds the operation broke a rule.
    Stream(Code, String),
}

/// A cancellation token with a cause. Cheap to clone; clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    token: CancellationToken,
    cause: Arc<OnceLock<Cause>>,
}

impl Cancel {
    /// Cancels; the first cause counts.
    pub fn cancel(&self, cause: Cause) {
        // Fails only when a cause is set already.
        let _ = self.cause.set(cause);
        self.token.cancel();
    }

    /// Completes when the token is canceled.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Whether the token is canceled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Whether the host asked for it, as opposed to a deadline or a lost host.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        matches!(self.cause.get(), Some(Cause::Requested(_) | Cause::ShutdownRequested))
    }

    /// The error of a canceled operation.
    #[must_use]
    pub fn error(&self) -> Error {
        match self.cause.get() {
            Some(Cause::Deadline { ms }) => {
                Error::new(Code::Timeout, format!("the deadline of {ms} ms passed"))
                    .detail("stage", "deadline")
                    .detail("ms", *ms)
            }
            Some(Cause::ShuttingDown | Cause::ShutdownRequested) => {
                Error::new(Code::ShuttingDown, "the agent is shutting down")
            }
            Some(Cause::Stream(code, message)) => Error::new(*code, message.clone()),
            Some(Cause::Requested(Some(reason))) => {
                let reason = shortened(reason, MAX_REASON);
                Error::new(Code::Cancelled, format!("canceled by the host: {reason}"))
                    .detail("reason", reason)
            }
            Some(Cause::Requested(None)) | None => {
                Error::new(Code::Cancelled, "canceled by the host")
            }
        }
    }

    /// Waits for a task that must not be dropped halfway. After cancellation the task has
    /// [`CLEANUP_LIMIT`] left; then this returns, and the task goes on in the background.
    ///
    /// # Errors
    /// [`Cancel::error`], or the error of the task.
    pub async fn finish<T>(&self, mut task: JoinHandle<Result<T, Error>>) -> Result<T, Error> {
        let done = tokio::select! {
            biased;
            done = &mut task => done,
            () = self.cancelled() => match tokio::time::timeout(CLEANUP_LIMIT, task).await {
                Ok(done) => done,
                Err(_) => return Err(self.error()),
            },
        };
        done.unwrap_or_else(|error| {
            Err(Error::new(Code::Internal, "the request failed inside the agent").source(error))
        })
    }

    /// Runs `work` until it is done or the token is canceled. Cancellation drops `work`.
    ///
    /// # Errors
    /// [`Cancel::error`], or the error of `work`.
    pub async fn cancellable<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(self.error()),
            done = work => done,
        }
    }
}
