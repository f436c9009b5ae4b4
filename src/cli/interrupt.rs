//! Ctrl-C, SIGTERM and the like: the first one asks the running command to stop and clean up, the
//! second one ends it at once. A SIGINT that was ignored from the start stays ignored.

use super::output::note;
use crate::error::{Code, Error, Result};
use crate::ops::{Cancel, Cause};
use crate::system::EndRequests;

/// Runs `work` until it ends; `cancel` is turned at the first request.
///
/// # Errors
/// Those of `work`; `cancelled` after the second request.
pub(super) async fn interruptible<T>(
    cancel: &Cancel,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut requests = EndRequests::listen_unless_ignored()
        .map_err(|error| Error::new(Code::Internal, "cannot listen to signals").source(error))?;
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = requests.next() => {
                if cancel.is_cancelled() {
                    return Err(cancel.error());
                }
                cancel.cancel(Cause::Asked(Some("interrupted".to_owned())));
                note("Stopping and cleaning up. Once more to stop at once.");
            }
        }
    }
}
