//! Local files and folders as sources.

use std::fs::File;
use std::io;
use std::path::Path;

use super::home_assistant::{self, Content};
use super::{Input, Local};
use crate::error::{Code, Error, Result};

/// A source, and facts about its content that are known before sending.
pub(crate) struct Opened {
    pub(crate) input: Input,
    pub(crate) content: Content,
}

/// Opens a file, a folder, a pipe or a device, or standard input for `-`.
///
/// # Errors
/// `local_io` if it cannot be read; `length_mismatch` for an empty file.
pub(crate) fn open(path: &Path) -> Result<Opened> {
    let other = |local| Ok(Opened { input: Input::Local(local), content: Content::Other });
    if path.as_os_str() == "-" {
        return other(Local::Stdin);
    }
    let kind = path.metadata().map_err(|error| unreadable(path, error))?;
    if kind.is_dir() {
        // Fails now instead of during the upload.
        path.read_dir().map_err(|error| unreadable(path, error))?;
        return other(Local::Folder(path.to_owned()));
    }
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    if !kind.is_file() {
        return other(Local::Stream { file, path: path.to_owned() });
    }
    let size = file.metadata().map_err(|error| unreadable(path, error))?.len();
    if size == 0 {
        let message = format!("{} is empty: there is nothing to store", path.display());
        return Err(Error::new(Code::LengthMismatch, message)
            .detail("expected", 1_u64)
            .detail("actual", 0_u64));
    }
    let content = home_assistant::inspect(&file, path, size)?;
    Ok(Opened { input: Input::Local(Local::File { file, path: path.to_owned(), size }), content })
}

/// `local_io` for a file or folder that cannot be read.
pub(crate) fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::new(Code::LocalIo, format!("cannot read {}: {error}", path.display())).source(error)
}

/// `length_mismatch` for a file that changed while it was read.
pub(super) fn changed(path: &Path, how: &str, expected: u64, actual: u64) -> Error {
    let message = format!("{} {how} while it was read", path.display());
    Error::new(Code::LengthMismatch, message)
        .hint("wait until no program writes to it")
        .detail("expected", expected)
        .detail("actual", actual)
}
