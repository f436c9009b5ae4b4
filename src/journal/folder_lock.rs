//! Lock on the whole journal, with a time limit because another process may hold it for long.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::platform::{create_own, open_own};

const FILE_NAME: &str = "gate";

/// Longest wait for the lock. A process holds it while it reads the records or syncs one.
const LIMIT: Duration = Duration::from_secs(5);

/// Pause between two attempts. The system has no lock call with a time limit.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits for the lock of `folder`; with `only_once`, makes a single attempt. Blocks.
///
/// # Errors
/// `TimedOut` while another process holds it; when the file cannot be opened or trusted.
pub(super) fn acquire(folder: &Path, only_once: bool) -> io::Result<File> {
    let path = folder.join(FILE_NAME);
    let lock = match create_own(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_own(&path, 0)?,
        created => created?,
    };
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if only_once || begun.elapsed() > LIMIT => {
                let path = path.display();
                let message = format!("another process holds the lock {path}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            Err(TryLockError::WouldBlock) => sleep(PAUSE),
        }
    }
}
