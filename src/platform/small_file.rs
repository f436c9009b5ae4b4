//! Reads small files: secrets, certificates, metadata.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::time_limit::within;

/// Time limit for reading.
const LIMIT: Duration = Duration::from_secs(5);

/// Reads a regular UTF-8 file of at most `limit` bytes, within 5 seconds. Devices and pipes are
/// rejected, because they may be endless or wait for a writer. The text is wiped from memory when
/// it is dropped. Blocks.
///
/// # Errors
/// When the file cannot be read, is not a regular file, is too long, or is not UTF-8.
pub(crate) fn read_small(path: &Path, limit: u64) -> io::Result<Zeroizing<String>> {
    let path = path.to_owned();
    within(LIMIT, move || read(&path, limit), drop)
}

fn read(path: &Path, limit: u64) -> io::Result<Zeroizing<String>> {
    let other = |what: String| Err(io::Error::other(what));
    #[cfg(unix)]
    let file: File = {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        open(path, flags, Mode::empty())?.into()
    };
    #[cfg(windows)]
    let file = File::open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return other("it is not a regular file".to_owned());
    }
    let too_long = || {
        let message = format!("it has more than {limit} bytes");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
    };
    if found.len() > limit {
        return too_long();
    }
    // Capacity for all of it, so that growing leaves no copy in memory.
    let room = usize::try_from(found.len().saturating_add(1)).unwrap_or_default();
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return too_long();
    }
    match std::str::from_utf8(&content) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => other("it is not text in UTF-8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_file_is_read_completely_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small");
        std::fs::write(&path, "12345678").unwrap();
        assert_eq!(read_small(&path, 8).unwrap().as_str(), "12345678");
        let why = |limit| read_small(&path, limit).unwrap_err().to_string();
        assert_eq!(why(7), "it has more than 7 bytes");
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(why(7), "it is not text in UTF-8");
        assert!(read_small(folder.path(), 7).is_err());
        let missing = read_small(&folder.path().join("none"), 7).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[cfg(unix)]
    #[test]
    fn device_or_pipe_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [fifo.as_path(), "/dev/zero".as_ref(), "/dev/null".as_ref(), folder.path()] {
            let error = read_small(path, 7).unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file", "{}", path.display());
        }
    }
}
