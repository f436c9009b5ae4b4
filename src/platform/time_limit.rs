//! Time limit for file operations, which may hang on a network file system or a pipe. They run in a thread
//! of their own, and the caller waits for a limited time.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

/// Maximum number of hanging threads. Beyond it, further operations fail at once.
const MAX_HANGING: usize = 16;

/// Number of threads that the agent no longer waits for.
static HANGING: AtomicUsize = AtomicUsize::new(0);

/// Runs `work` and waits for it until `limit`. A later result is passed to `late`. Blocks.
///
/// # Errors
/// `TimedOut`; errors of `work`; an error when no thread can be started.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
    late: impl FnOnce(T) + Send + 'static,
) -> io::Result<T> {
    let too_late = |what: &str| Err(io::Error::new(io::ErrorKind::TimedOut, what.to_owned()));
    if HANGING.load(Ordering::Relaxed) >= MAX_HANGING {
        return too_late("the file system has not answered for a while");
    }
    // Capacity 0, so that each result is either received or returned to the sender.
    let (sender, receiver) = sync_channel(0);
    let working = move || {
        let outcome = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(io::Error::other("the work on a file failed: see the log")));
        if let Err(unwanted) = sender.send(outcome) {
            HANGING.fetch_sub(1, Ordering::Relaxed);
            if let Ok(outcome) = unwanted.0 {
                late(outcome);
            }
        }
    };
    thread::Builder::new().name("files".to_owned()).spawn(working)?;
    receiver.recv_timeout(limit).unwrap_or_else(|_| {
        // Counted before the receiver is dropped, which the thread notices.
        HANGING.fetch_add(1, Ordering::Relaxed);
        too_late(&format!("the file system has not answered within {} s", limit.as_secs()))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn hanging_work_times_out_and_its_result_is_passed_on() {
        let (go, wait) = channel::<()>();
        let (late, outcome) = channel();
        let hanging = move || {
            let _ = wait.recv();
            Ok(7)
        };
        let handed_on = move |outcome| late.send(outcome).unwrap();
        let error = within(Duration::from_millis(1), hanging, handed_on).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(go);
        assert_eq!(outcome.recv().unwrap(), 7);
    }

    #[test]
    fn finished_work_returns_its_result() {
        let limit = Duration::from_secs(60);
        assert_eq!(within(limit, || Ok(7), drop).unwrap(), 7);
        let failed = within(limit, || Err::<(), _>(io::Error::from(io::ErrorKind::NotFound)), drop);
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::NotFound);
        within(limit, || -> io::Result<()> { panic!("in the work") }, drop).unwrap_err();
    }
}
