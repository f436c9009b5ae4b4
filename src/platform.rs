//! Differences between operating systems: signals, standard streams, private and trusted files, clocks.

mod small_file;
mod time_limit;
mod trusted;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};

pub(crate) use self::small_file::read_small;
pub(crate) use self::time_limit::within;
pub(crate) use self::trusted::{create_own, make_trusted_folder, open_own, trusted_folder};

use crate::error::text::is_hidden;

/// Signals of a person or the system to shut down.
pub(crate) struct ShutdownSignals {
    /// `None` if SIGINT stays ignored.
    #[cfg(unix)]
    interrupt: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(windows)]
    ctrl_c: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    ctrl_break: tokio::signal::windows::CtrlBreak,
    /// The console window is closed; the system then waits some seconds.
    #[cfg(windows)]
    ctrl_close: tokio::signal::windows::CtrlClose,
}

#[cfg(unix)]
impl ShutdownSignals {
    /// Handles the signals, which then no longer end the process by themselves.
    ///
    /// # Errors
    /// An error of the system.
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: Some(signal(SignalKind::interrupt())?),
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// As [`listen`](Self::listen), but a SIGINT that was ignored when the process started stays
    /// ignored: a shell without job control starts background jobs that way, and Ctrl-C is not
    /// meant for them.
    ///
    /// # Errors
    /// An error of the system.
    pub(crate) fn listen_unless_ignored() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let number = SignalKind::interrupt().as_raw_value();
        if !ignores(&fs::read_to_string("/proc/self/status").unwrap_or_default(), number) {
            return Self::listen();
        }
        Ok(Self { interrupt: None, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal.
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

/// Whether a process with this `/proc/PID/status` ignores a signal. Only Linux provides this
/// without an unsafe call.
#[cfg(unix)]
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).is_some_and(|it| it & 1 == 1))
}

#[cfg(windows)]
impl ShutdownSignals {
    /// Handles the signals, which then no longer end the process by themselves.
    ///
    /// # Errors
    /// An error of the system.
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close};
        Ok(Self { ctrl_c: ctrl_c()?, ctrl_break: ctrl_break()?, ctrl_close: ctrl_close()? })
    }

    /// As [`listen`](Self::listen): Windows processes do not inherit ignored signals.
    ///
    /// # Errors
    /// An error of the system.
    pub(crate) fn listen_unless_ignored() -> io::Result<Self> {
        Self::listen()
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.ctrl_c.recv() => {}
            _ = self.ctrl_break.recv() => {}
            _ = self.ctrl_close.recv() => {}
        }
    }
}

/// An unbuffered duplicate of standard input, which no other code closes.
///
/// # Errors
/// When the stream is closed, or an error of the system.
pub(crate) fn stdin() -> io::Result<File> {
    #[cfg(unix)]
    let own = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?;
    #[cfg(windows)]
    let own = std::os::windows::io::AsHandle::as_handle(&io::stdin()).try_clone_to_owned()?;
    Ok(own.into())
}

/// An unbuffered duplicate of standard output; a buffer would only add a copy.
///
/// # Errors
/// When the stream is closed, or an error of the system.
pub(crate) fn stdout() -> io::Result<File> {
    #[cfg(unix)]
    let own = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?;
    #[cfg(windows)]
    let own = std::os::windows::io::AsHandle::as_handle(&io::stdout()).try_clone_to_owned()?;
    Ok(own.into())
}

/// How the terminal of this process was: whether it shows what is typed, and the like.
pub(crate) struct TerminalMode {
    #[cfg(unix)]
    saved: Option<(File, rustix::termios::Termios)>,
}

impl TerminalMode {
    /// The mode now. On Windows, and without a terminal, there is nothing to remember.
    pub(crate) fn now() -> Self {
        #[cfg(unix)]
        {
            let terminal = File::open("/dev/tty").ok();
            let saved = terminal.and_then(|terminal| {
                let mode = rustix::termios::tcgetattr(&terminal).ok()?;
                Some((terminal, mode))
            });
            Self { saved }
        }
        #[cfg(windows)]
        Self {}
    }

    /// Goes back to it.
    pub(crate) fn restore(&self) {
        #[cfg(unix)]
        if let Some((terminal, mode)) = &self.saved {
            // Fails when the terminal is gone.
            let _ =
                rustix::termios::tcsetattr(terminal, rustix::termios::OptionalActions::Now, mode);
        }
    }
}

/// Whether standard output was closed when the program started, as far as that is known. The Rust
/// runtime opens the null device in its place for reading and writing; a shell that redirects to
/// `/dev/null` opens it only for writing.
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

/// Makes a file that grows beyond `ulimit -f` an error of the write, instead of a signal that ends
/// the process before it can clean up. Needs a runtime.
///
/// # Errors
/// An error of the system.
pub(crate) fn survive_file_limit() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // The handler stays installed when this is dropped.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
    }
    Ok(())
}

/// Creates a file that only this user can access. On Windows, the files in a user's folders already
/// are.
///
/// # Errors
/// When the file exists, or an error of the system.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create_new(true).open(path)
}

/// The current time of this machine.
pub(crate) fn now() -> DateTime<Utc> {
    utc(SystemTime::now())
}

/// Converts a time to UTC. The time may lie before 1970 on a machine whose clock has no battery.
pub(crate) fn utc(moment: SystemTime) -> DateTime<Utc> {
    let (sign, distance) = match moment.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (1, after),
        Err(before) => (-1, before.duration()),
    };
    let seconds = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX).saturating_mul(sign);
    // Times out of range become 1970. Fractions before 1970 do not matter.
    DateTime::from_timestamp(seconds, distance.subsec_nanos()).unwrap_or_default()
}

/// The directory for the state of this user's programs, if it is known: `XDG_STATE_HOME` or
/// `.local/state` in `HOME`; `LOCALAPPDATA` on Windows.
pub(crate) fn state_dir() -> Option<PathBuf> {
    if cfg!(windows) {
        return env_path("LOCALAPPDATA");
    }
    env_path("XDG_STATE_HOME").or_else(|| Some(home_dir()?.join(".local/state")))
}

/// The directory for the configuration of this user's programs, if it is known: `XDG_CONFIG_HOME` or
/// `.config` in `HOME`; `APPDATA` on Windows.
pub(crate) fn config_dir() -> Option<PathBuf> {
    if cfg!(windows) {
        return env_path("APPDATA");
    }
    env_path("XDG_CONFIG_HOME").or_else(|| Some(home_dir()?.join(".config")))
}

/// The home directory of this user, if it is known.
pub(crate) fn home_dir() -> Option<PathBuf> {
    env_path(if cfg!(windows) { "USERPROFILE" } else { "HOME" })
}

/// The name of this machine, if it has one.
pub(crate) fn host_name() -> Option<String> {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_str().ok().map(str::to_owned);
    #[cfg(windows)]
    let name = std::env::var("COMPUTERNAME").ok();
    name.filter(|name| !name.is_empty())
}

/// Whether users other than the owner can read the file. On Windows the folders of a user are private.
///
/// # Errors
/// An error of the system.
pub(crate) fn others_can_read(path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        Ok(fs::metadata(path)?.permissions().mode() & 0o077 != 0)
    }
    #[cfg(windows)]
    fs::metadata(path).map(|_| false)
}

/// The absolute path in an environment variable.
pub(crate) fn env_path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Creates a folder, and its parents, that only this user can access. On Windows, the folders of a
/// user already are.
///
/// # Errors
/// An error of the system.
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// Syncs the entries of a folder to disk. Windows has no call for that.
///
/// # Errors
/// When the file system does not support it.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(windows) { Ok(()) } else { File::open(folder)?.sync_all() }
}

/// Free bytes on the file system of `folder`; `None` when unknown, as on Windows.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let space = rustix::fs::statvfs(folder).ok()?;
        // Some network file systems report zero for everything.
        (space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize))
    }
    #[cfg(windows)]
    {
        let _ = folder;
        None
    }
}

/// Converts a name from a bucket to a valid file name that is as similar as possible. Names in a
/// bucket may come from other tools, and contain characters that a file name must not have, or that
/// make it look like another.
pub(crate) fn file_name(name: &str) -> String {
    let forbidden = if cfg!(windows) { r#"/\:<>"|?*"# } else { r"/\:" };
    let name = name.replace(|letter: char| is_hidden(letter) || forbidden.contains(letter), "_");
    if cfg!(windows) && is_device(&name) { format!("_{name}") } else { name }
}

/// Whether Windows treats the name as a device, in any folder.
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
