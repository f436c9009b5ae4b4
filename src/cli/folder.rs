//! Packs a folder into a tar while it is being sent.
//!
//! Links stay links, and what is no file, folder or link is left out with a warning. A file that
//! grows is packed with the length it had when its turn came; one that shrinks or cannot be read
//! ends the upload, because a backup with a hole in it is none.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, Header};

use super::source::{Pipe, changed, unreadable};
use crate::error::{Code, Error, Result};

/// Writes `folder` into `pipe`, under its own name.
///
/// # Errors
/// `local_io` or `length_mismatch`, naming the file.
pub(super) fn pack(folder: &Path, pipe: &mut Pipe) -> Result<()> {
    let mut tar = Packer { tar: Builder::new(pipe) };
    let name = name_of(folder).unwrap_or_else(|| PathBuf::from("."));
    tar.add(folder, &name)?;
    tar.tar.finish().map_err(|error| cause(folder, error))
}

/// The last part of the path of a folder, also for `.` and the like.
pub(super) fn name_of(folder: &Path) -> Option<PathBuf> {
    folder.canonicalize().ok()?.file_name().map(PathBuf::from)
}

struct Packer<W: Write> {
    tar: Builder<W>,
}

impl<W: Write> Packer<W> {
    fn add(&mut self, path: &Path, name: &Path) -> Result<()> {
        // The folder itself may be given as a link; what lies in it is not followed.
        let at_top = name.components().count() == 1;
        let metadata = if at_top { path.metadata() } else { path.symlink_metadata() };
        let metadata = metadata.map_err(|error| unreadable(path, error))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.add_folder(path, name, &metadata)
        } else if kind.is_file() {
            self.add_file(path, name)
        } else if kind.is_symlink() {
            let target = path.read_link().map_err(|error| unreadable(path, error))?;
            let mut header = header(&metadata, 0);
            let added = self.tar.append_link(&mut header, name, target);
            added.map_err(|error| cause(path, error))
        } else {
            tracing::warn!("{} is left out: it is no file, folder or link", path.display());
            Ok(())
        }
    }

    fn add_folder(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> Result<()> {
        let mut header = header(metadata, 0);
        let added = self.tar.append_data(&mut header, name.join(""), io::empty());
        added.map_err(|error| cause(path, error))?;
        let entries = path.read_dir().and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.map_err(|error| unreadable(path, error))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        entries.iter().try_for_each(|entry| self.add(&entry.path(), &name.join(entry.file_name())))
    }

    fn add_file(&mut self, path: &Path, name: &Path) -> Result<()> {
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        let metadata = file.metadata().map_err(|error| unreadable(path, error))?;
        let size = metadata.len();
        let content = Whole { file, path, size, left: size };
        let added = self.tar.append_data(&mut header(&metadata, size), name, content);
        added.map_err(|error| cause(path, error))
    }
}

fn header(metadata: &Metadata, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    header.set_size(size);
    header
}

/// Our own error where it went through the tar library, or what that had to say about `path`.
fn cause(path: &Path, error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(ours) => ours.clone(),
        None => {
            let message = format!("cannot pack {}: {error}", path.display());
            Error::new(Code::LocalIo, message).source(error)
        }
    }
}

/// The first `size` bytes of a file, or an error.
struct Whole<'a> {
    file: File,
    path: &'a Path,
    size: u64,
    left: u64,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = Read::by_ref(&mut self.file).take(self.left).read(buffer);
        let read = read.map_err(|error| io::Error::other(unreadable(self.path, error)))?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            let error = changed(self.path, "shrank", self.size, self.size - self.left);
            return Err(io::Error::other(error));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "12345").unwrap();
        for (size, is_whole) in [(4, true), (5, true), (6, false)] {
            let file = File::open(&path).unwrap();
            let mut content = Whole { file, path: &path, size, left: size };
            let mut read = Vec::new();
            match content.read_to_end(&mut read) {
                Ok(length) => assert!(is_whole && length as u64 == size),
                Err(error) => {
                    let error = cause(folder.path(), error);
                    assert!(!is_whole && error.code() == Code::LengthMismatch);
                    assert!(error.message().contains("log shrank"), "{}", error.message());
                }
            }
        }
    }
}
