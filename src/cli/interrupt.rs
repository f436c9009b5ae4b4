//! Ctrl-C, SIGTERM and the like, and the deadline: the first one asks the running command to stop and
//! clean up, a second signal ends it at once. A SIGINT that was ignored from the start stays ignored.

use std::time::Duration;

use super::output::note;
use crate::error::{Code, Error, Result};
use crate::ops::{Cancel, Cause};
use crate::platform::ShutdownSignals;

/// Time for a command to clean up after its deadline: longer than any operation takes for that.
const CLEANUP: Duration = Duration::from_secs(20);

/// Runs `work` until it ends; `cancel` is turned at the first request, or at the deadline.
///
/// # Errors
/// Those of `work`; `cancelled` after the second request, `timeout` when the command does not end
/// after its deadline.
pub(super) async fn interruptible<T>(
    cancel: &Cancel,
    deadline: Option<Duration>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut requests = ShutdownSignals::listen_unless_ignored()
        .map_err(|error| Error::new(Code::Internal, "cannot listen to signals").source(error))?;
    tokio::pin!(work);
    let mut limit = std::pin::pin!(limit(cancel, deadline));
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = requests.next() => {
                if cancel.is_cancelled() {
                    return Err(cancel.error());
                }
                cancel.cancel(Cause::Requested(Some("interrupted".to_owned())));
                note("Stopping and cleaning up. Once more to stop at once.");
            }
            () = &mut limit => return Err(cancel.error()),
        }
    }
}

/// Turns `cancel` at the deadline, and ends when there was time to clean up as well.
async fn limit(cancel: &Cancel, deadline: Option<Duration>) {
    let Some(deadline) = deadline else { return std::future::pending().await };
    tokio::time::sleep(deadline).await;
    let ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    cancel.cancel(Cause::Deadline { ms });
    tokio::time::sleep(CLEANUP).await;
}
