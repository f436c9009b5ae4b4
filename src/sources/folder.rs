//! Packs a folder into a tar during the upload.
//!
//! Symbolic links are stored as links. Files that cannot be read, or vanish during the backup, do
//! not stop it: they are left out, named and counted, and the command has its own exit code for
//! this. A file that grows is packed with the length it had when its turn came; one that shrinks is
//! padded with zeros, as GNU tar does, and counts as damaged.
//!
//! Walks the tree without recursion, and keeps a limited number of folders open, whatever the
//! depth.

#[cfg(unix)]
mod directory;
#[cfg(not(unix))]
#[path = "folder/directory_by_path.rs"]
mod directory;
mod left_out;
mod member;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use self::directory::{Directory, Id, bytes};
pub(crate) use self::left_out::LeftOut;
use self::member::{Attributes, Kind};
use crate::error::{Code, Error, Result};

/// Longest name in the tar, in bytes. Systems limit paths to 4,095 bytes, including the folder in
/// which the tar is unpacked, so a member with a longer name could not be unpacked.
const LONGEST_NAME: usize = 4000;

/// Folders that stay open, counted from the top. Deeper ones are opened again from their subfolder.
const OPEN: usize = 64;

/// Bytes of one read.
const PIECE: usize = 64 << 10;

/// Packs `folder` into `out`, under its own name. Returns what was left out.
///
/// # Errors
/// `local_io` when nothing in the folder can be read; the error of `out`.
pub(crate) fn pack(folder: &Path, out: &mut impl Write) -> Result<LeftOut> {
    let name = name_of(folder).unwrap_or_else(|| PathBuf::from(".")).into_os_string();
    let mut packer = Packer {
        out,
        name: bytes(&name).to_vec(),
        left_out: LeftOut::default(),
        packed: 0,
        buffer: vec![0; PIECE],
    };
    packer.pack(folder)?;
    let Packer { left_out, packed, .. } = packer;
    if packed == 0 && left_out.is_incomplete() {
        let message =
            format!("nothing in {} can be read: {}", folder.display(), left_out.first_reason());
        return Err(Error::new(Code::LocalIo, message));
    }
    Ok(left_out)
}

/// The last component of the path of a folder, also for `.` and similar paths.
pub(crate) fn name_of(folder: &Path) -> Option<PathBuf> {
    folder.canonicalize().ok()?.file_name().map(PathBuf::from)
}

/// A folder on the current path.
struct Level {
    /// None for a deep folder while the packer is below it.
    directory: Option<Directory>,
    id: Id,
    /// The remaining names.
    names: IntoIter<OsString>,
    /// Length of the folder's name in the tar.
    name: usize,
}

struct Packer<'a, W> {
    out: &'a mut W,
    /// Name in the tar of the current entry.
    name: Vec<u8>,
    left_out: LeftOut,
    /// Files and links packed.
    packed: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Packer<'_, W> {
    fn pack(&mut self, folder: &Path) -> Result<()> {
        let top = Directory::open(folder).map_err(|error| {
            let message = format!("cannot read {}: {error}", folder.display());
            Error::new(Code::LocalIo, message).source(error)
        })?;
        let Some(top) = self.begin_folder(top)? else { return Ok(()) };
        let mut levels = vec![top];
        while let Some(level) = levels.last_mut() {
            self.name.truncate(level.name);
            match (&level.directory, level.names.next()) {
                (Some(directory), Some(entry)) => {
                    self.name.push(b'/');
                    self.name.extend(bytes(&entry));
                    if let Some(below) = self.add(directory, &entry)? {
                        let is_deep = levels.len() >= OPEN;
                        if let Some(level) = levels.last_mut().filter(|_| is_deep) {
                            level.directory = None;
                        }
                        levels.push(below);
                    }
                }
                _ => {
                    let done = levels.pop().and_then(|level| level.directory);
                    if let Some(level) = levels.last_mut() {
                        self.name.truncate(level.name);
                        self.reopen(level, done.as_ref());
                    }
                }
            }
        }
        member::end(self.out).map_err(|error| self.cause(error))
    }

    /// Opens a parent folder again.
    fn reopen(&mut self, level: &mut Level, from: Option<&Directory>) {
        if level.directory.is_none() {
            level.directory = from.and_then(|below| below.parent(&level.id).ok());
        }
        let rest = level.names.len() as u64;
        if level.directory.is_none() && rest > 0 {
            // The folder was moved or removed meanwhile.
            self.left_out.vanished(&self.name, rest);
            level.names = Vec::new().into_iter();
        }
    }

    /// Adds an entry; returns a folder that is to be walked next.
    fn add(&mut self, directory: &Directory, entry: &OsString) -> Result<Option<Level>> {
        if self.name.len() > LONGEST_NAME {
            let reason = format!("its path is longer than {LONGEST_NAME} bytes");
            self.left_out.unreadable(&self.name, &reason);
            return Ok(None);
        }
        let (kind, attributes) = match directory.stat(entry) {
            Ok(found) => found,
            Err(error) => return self.miss(&error),
        };
        match kind {
            Kind::Folder => match directory.enter(entry) {
                Ok(below) => return self.begin_folder(below),
                Err(error) => return self.miss(&error),
            },
            Kind::File => match directory.file(entry) {
                Ok((file, Kind::File, attributes)) => self.add_file(file, &attributes)?,
                Ok((_, Kind::Other, _)) => self.left_out.special(&self.name),
                Ok(_) => self.left_out.vanished(&self.name, 1),
                Err(error) => return self.miss(&error),
            },
            Kind::Link => match directory.target(entry) {
                Ok(target) => {
                    let added = member::link(self.out, &self.name, &target, &attributes);
                    added.map_err(|error| self.cause(error))?;
                    self.packed += 1;
                }
                Err(error) => return self.miss(&error),
            },
            Kind::Other => self.left_out.special(&self.name),
        }
        Ok(None)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the result of all that is left out")]
    fn miss(&mut self, error: &io::Error) -> Result<Option<Level>> {
        self.left_out.failed(&self.name, error);
        Ok(None)
    }

    /// Adds an open folder, unless its entries cannot be listed.
    fn begin_folder(&mut self, directory: Directory) -> Result<Option<Level>> {
        let (names, failure) = directory.names();
        if let Some(error) = &failure {
            self.left_out.failed(&self.name, error);
            if names.is_empty() {
                return Ok(None);
            }
        }
        let (attributes, id) =
            match directory.attributes().and_then(|attributes| Ok((attributes, directory.id()?))) {
                Ok(found) => found,
                Err(error) => return self.miss(&error),
            };
        let name = self.name.len();
        self.name.push(b'/');
        let added = member::folder(self.out, &self.name, &attributes);
        added.map_err(|error| self.cause(error))?;
        Ok(Some(Level { directory: Some(directory), id, names: names.into_iter(), name }))
    }

    /// Adds a file with exactly the number of bytes in `attributes`.
    fn add_file(&mut self, mut file: File, attributes: &Attributes) -> Result<()> {
        member::file(self.out, &self.name, attributes).map_err(|error| self.cause(error))?;
        self.packed += 1;
        let mut left = attributes.size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let buffer = self.buffer.get_mut(..most).unwrap_or_default();
            let read = match file.read(buffer) {
                Ok(0) => {
                    let reason = "it shrank while it was read, and zeros replace its end";
                    self.left_out.damaged(&self.name, reason);
                    break;
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let reason = format!("reading failed, the rest is filled with zeros: {error}");
                    self.left_out.damaged(&self.name, &reason);
                    break;
                }
            };
            let read = self.buffer.get(..read).unwrap_or_default();
            self.out.write_all(read).map_err(|error| self.cause(error))?;
            left -= read.len() as u64;
        }
        let filled = io::copy(&mut io::repeat(0).take(left), self.out);
        let padded = filled.and_then(|_| member::pad(self.out, attributes.size));
        padded.map_err(|error| self.cause(error))
    }

    /// The error behind `error`: our own if the output passed it through.
    fn cause(&self, error: io::Error) -> Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(ours) => ours.clone(),
            None => {
                let name = String::from_utf8_lossy(&self.name);
                let message = format!("cannot pack {name}: {error}");
                Error::new(Code::LocalIo, message).source(error)
            }
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
