//! Ctrl-C and SIGTERM: the first one asks the running command to stop and clean up, the second one
//! ends it at once.

use super::output::note;
use crate::error::{Code, Error, Result};
use crate::ops::{Cancel, Cause};

/// Runs `work` until it ends; `cancel` is turned at the first signal.
///
/// # Errors
/// Those of `work`; `cancelled` after the second signal.
pub(super) async fn interruptible<T>(
    cancel: &Cancel,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut signals = Signals::listen()?;
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = signals.next() => {
                if cancel.is_cancelled() {
                    return Err(cancel.error());
                }
                cancel.cancel(Cause::Asked(Some("interrupted".to_owned())));
                note("Stopping and cleaning up. Once more to stop at once.");
            }
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(deaf);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self).map_err(deaf)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

fn deaf(error: std::io::Error) -> Error {
    Error::new(Code::Internal, "cannot listen to signals").source(error)
}
