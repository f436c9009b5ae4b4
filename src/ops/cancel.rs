//! The one way in which running operations are told to stop.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::{Code, Error, shortened};
use crate::protocol::MAX_REASON;

/// How long an operation that was told to stop may go on, to leave things in order.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Why an operation is to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Whoever asked for it does not want it any more, with the reason given.
    Asked(Option<String>),
    /// Its deadline passed.
    Deadline {
        /// The deadline.
        ms: u64,
    },
    /// The agent is ending, or its host is gone.
    Ending,
    /// The host has told the agent to end.
    ToldToEnd,
    /// The stream that feeds it broke a rule.
    Stream(Code, String),
}

/// A shared switch that turns once. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    token: CancellationToken,
    cause: Arc<OnceLock<Cause>>,
}

impl Cancel {
    /// Turns the switch; the first cause counts.
    pub fn cancel(&self, cause: Cause) {
        // Only fails when there is a cause already.
        let _ = self.cause.set(cause);
        self.token.cancel();
    }

    /// Ends when the switch is turned.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Whether the switch is turned.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Whether somebody wanted it so, and did not just go away or lose patience.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        matches!(self.cause.get(), Some(Cause::Asked(_) | Cause::ToldToEnd))
    }

    /// The error that a stopped operation ends in.
    #[must_use]
    pub fn error(&self) -> Error {
        match self.cause.get() {
            Some(Cause::Deadline { ms }) => {
                Error::new(Code::Timeout, format!("the deadline of {ms} ms passed"))
                    .detail("stage", "deadline")
                    .detail("ms", *ms)
            }
            Some(Cause::Ending | Cause::ToldToEnd) => {
                Error::new(Code::ShuttingDown, "the agent is ending")
            }
            Some(Cause::Stream(code, message)) => Error::new(*code, message.clone()),
            Some(Cause::Asked(Some(reason))) => {
                let reason = shortened(reason, MAX_REASON);
                Error::new(Code::Cancelled, format!("cancelled by the host: {reason}"))
                    .detail("reason", reason)
            }
            Some(Cause::Asked(None)) | None => Error::new(Code::Cancelled, "cancelled by the host"),
        }
    }

    /// Waits for a task that is better not given up half-way. When the switch is turned it has
    /// [`PATIENCE`] left; it goes on after that, but nobody waits for it.
    ///
    /// # Errors
    /// [`Cancel::error`], or what the task ends in.
    pub async fn finish<T>(&self, mut task: JoinHandle<Result<T, Error>>) -> Result<T, Error> {
        let done = tokio::select! {
            biased;
            done = &mut task => done,
            () = self.cancelled() => match tokio::time::timeout(PATIENCE, task).await {
                Ok(done) => done,
                Err(_) => return Err(self.error()),
            },
        };
        done.unwrap_or_else(|error| {
            Err(Error::new(Code::Internal, "the request failed inside the agent").source(error))
        })
    }

    /// Runs `work`, which may be dropped at any time, unless the switch is turned first.
    ///
    /// # Errors
    /// [`Cancel::error`], or what `work` ends in.
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
