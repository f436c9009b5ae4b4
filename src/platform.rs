//! What is done in another way on Windows than elsewhere, and how files are read that others may
//! have written or that may hang.

mod own;
mod patience;
mod small;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};

pub(crate) use self::own::{create_own, make_trusted_folder, open_own, trusted_folder};
pub(crate) use self::patience::within;
pub(crate) use self::small::read_small;

use crate::error::text::is_hidden;

/// Requests of a person or of the system that the program should end.
pub(crate) struct EndRequests {
    /// None if it stays ignored.
    #[cfg(unix)]
    interrupt: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(windows)]
    ctrl_c: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    ctrl_break: tokio::signal::windows::CtrlBreak,
    /// The window is closed; the system waits some seconds.
    #[cfg(windows)]
    ctrl_close: tokio::signal::windows::CtrlClose,
}

#[cfg(unix)]
impl EndRequests {
    /// From now on they do not end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: Some(signal(SignalKind::interrupt())?),
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The same, but a SIGINT that was ignored when the process started stays ignored: a shell
    /// without job control starts background jobs so, and Ctrl-C is not meant for these.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen_unless_ignored() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let number = SignalKind::interrupt().as_raw_value();
        if !ignores(&fs::read_to_string("/proc/self/status").unwrap_or_default(), number) {
            return Self::listen();
        }
        Ok(Self { interrupt: None, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        let interrupted = async {
            match &mut self.interrupt {
                Some(interrupt) => interrupt.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupted => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Whether a process with this `/proc/PID/status` ignores a signal. Only Linux tells that without
/// an unsafe call.
#[cfg(unix)]
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).is_some_and(|it| it & 1 == 1))
}

#[cfg(windows)]
impl EndRequests {
    /// From now on they do not end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close};
        Ok(Self { ctrl_c: ctrl_c()?, ctrl_break: ctrl_break()?, ctrl_close: ctrl_close()? })
    }

    /// The same: no signal is inherited as ignored here.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen_unless_ignored() -> io::Result<Self> {
        Self::listen()
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.ctrl_c.recv() => {}
            _ = self.ctrl_break.recv() => {}
            _ = self.ctrl_close.recv() => {}
        }
    }
}

/// Standard input, without a buffer, that nobody else closes.
///
/// # Errors
/// When it is closed, or the system refuses.
pub(crate) fn stdin() -> io::Result<File> {
    #[cfg(unix)]
    let own = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?;
    #[cfg(windows)]
    let own = std::os::windows::io::AsHandle::as_handle(&io::stdin()).try_clone_to_owned()?;
    Ok(own.into())
}

/// Standard output, without the buffer that would only copy.
///
/// # Errors
/// When it is closed, or the system refuses.
pub(crate) fn stdout() -> io::Result<File> {
    #[cfg(unix)]
    let own = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?;
    #[cfg(windows)]
    let own = std::os::windows::io::AsHandle::as_handle(&io::stdout()).try_clone_to_owned()?;
    Ok(own.into())
}

/// Whether standard output was closed when the program began, as far as that can be told. The runtime
/// puts the null device in its place, open for reading and writing; a shell that sends output to
/// `/dev/null` opens it for writing only.
pub(crate) fn stdout_was_closed() -> bool {
    #[cfg(unix)]
    {
        use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};
        let stdout = io::stdout();
        let flags = fcntl_getfl(&stdout).map(|flags| flags & OFlags::RWMODE);
        let devices = [fstat(&stdout), stat("/dev/null")].map(|it| it.map(|it| it.st_rdev));
        flags == Ok(OFlags::RDWR) && matches!(devices, [Ok(device), Ok(null)] if device == null)
    }
    #[cfg(not(unix))]
    {
        false
    }
}

/// From now on a file that grows beyond `ulimit -f` is an error of the call that writes it, and does
/// not end the process before it can clean up. Needs a runtime.
///
/// # Errors
/// When the system refuses.
pub(crate) fn survive_file_limit() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // The handler stays when this is dropped.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
    }
    Ok(())
}

/// Creates a file for this user alone. On Windows those below the user's own are.
///
/// # Errors
/// When there is a file of this name, or the system refuses.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create_new(true).open(path)
}

/// The time of this machine.
pub(crate) fn now() -> DateTime<Utc> {
    utc(SystemTime::now())
}

/// A moment as a date. A machine without a battery for its clock starts in 1970 or before it.
pub(crate) fn utc(moment: SystemTime) -> DateTime<Utc> {
    let (sign, distance) = match moment.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (1, after),
        Err(before) => (-1, before.duration()),
    };
    let seconds = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX).saturating_mul(sign);
    // What no calendar shows is as good as unknown. Fractions before 1970 do not matter.
    DateTime::from_timestamp(seconds, distance.subsec_nanos()).unwrap_or_default()
}

/// Where programs of this user keep their state, if that can be told: `XDG_STATE_HOME` or
/// `.local/state` in `HOME`; `LOCALAPPDATA` on Windows.
pub(crate) fn states() -> Option<PathBuf> {
    if cfg!(windows) {
        return folder_in("LOCALAPPDATA");
    }
    folder_in("XDG_STATE_HOME").or_else(|| Some(folder_in("HOME")?.join(".local/state")))
}

/// The absolute path that a variable of the environment holds.
pub(crate) fn folder_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Creates a folder for this user alone. On Windows those below the user's own are.
///
/// # Errors
/// When the system refuses.
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// Lets the names in a folder outlive a power failure. Windows has no call for that.
///
/// # Errors
/// When the file system cannot.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(windows) { Ok(()) } else { File::open(folder)?.sync_all() }
}

/// Bytes that are free where `folder` is; none where that cannot be told, as on Windows.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let space = rustix::fs::statvfs(folder).ok()?;
        // Some network file systems have no idea and say zero to everything.
        (space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize))
    }
    #[cfg(windows)]
    {
        let _ = folder;
        None
    }
}

/// The name with which a file can be called, as near to this one as possible. Those in a bucket may
/// come from other tools, and hold what a file name must not, or what makes it look like another.
pub(crate) fn file_name(name: &str) -> String {
    let forbidden = if cfg!(windows) { r#"/\:<>"|?*"# } else { r"/\:" };
    let name = name.replace(|letter: char| is_hidden(letter) || forbidden.contains(letter), "_");
    if cfg!(windows) && is_device(&name) { format!("_{name}") } else { name }
}

/// Whether Windows takes it for a device, in whatever folder.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || numbered.is_some_and(|number| number.len() == 1 && number != "0")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn ignored_signal_is_read_from_proc_status() {
        let status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t8000000000001006\n";
        let ignored: Vec<_> = (0..70).filter(|signal| ignores(status, *signal)).collect();
        assert_eq!(ignored, [2, 3, 13, 64]);
        for status in ["", "SigIgn:", "SigIgn:\tx", "SigIgn:\t100000000000000000"] {
            assert!(!ignores(status, 2), "{status}");
        }
    }

    #[test]
    fn any_clock_value_becomes_a_date() {
        let at = |seconds: u64| Duration::from_secs(seconds);
        let early = SystemTime::UNIX_EPOCH - at(86_400);
        assert_eq!(utc(early).to_rfc3339(), "1969-12-31T00:00:00+00:00");
        let late = SystemTime::UNIX_EPOCH + at(253_402_300_800);
        assert_eq!(utc(late).timestamp(), 253_402_300_800);
        for far in [1 << 53, i64::MAX as u64] {
            if let Some(moment) = SystemTime::UNIX_EPOCH.checked_add(at(far)) {
                assert_eq!(utc(moment), DateTime::<Utc>::default());
            }
        }
    }

    #[test]
    fn unsafe_characters_in_file_names_are_replaced() {
        assert_eq!(file_name("Nächtliche 🏠 1.tar"), "Nächtliche 🏠 1.tar");
        assert_eq!(file_name("a/b\\c:d\n.tar"), "a_b_c_d_.tar");
        let (question, device) = (file_name("why?.tar"), file_name("Nul.tar"));
        let windows = ("why_.tar", "_Nul.tar");
        let expected = if cfg!(windows) { windows } else { ("why?.tar", "Nul.tar") };
        assert_eq!((question.as_str(), device.as_str()), expected);
        for device in ["con", "AUX.b.tar", "com1.tar", "LPT9"] {
            assert!(is_device(device), "{device}");
        }
        for name in ["con-1.tar", "common.tar", "com.tar", "com12.tar", "lpt0"] {
            assert!(!is_device(name), "{name}");
        }
    }
}
