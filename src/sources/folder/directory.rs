//! A folder that is being packed, by its descriptor.
//!
//! Entries are reached from that descriptor by a single name, and links are not followed. So paths
//! of any length work, and a user who replaces a folder by a link during the backup cannot lead the
//! agent out of the folder.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};

use super::member::{Attributes, Kind};

/// An open folder.
pub(super) struct Directory(OwnedFd);

/// Identity of a folder.
pub(super) struct Id(Stat);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Directory {
    /// Opens the folder to pack. The path may be a link.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(folder, FOLDER, Mode::empty())?))
    }

    /// Opens a subfolder.
    pub(super) fn enter(&self, name: &OsString) -> io::Result<Self> {
        Ok(Self(openat(&self.0, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?))
    }

    /// Opens the parent folder, which must have this identity.
    pub(super) fn parent(&self, id: &Id) -> io::Result<Self> {
        let parent = Self(openat(&self.0, "..", FOLDER, Mode::empty())?);
        let Id(found) = parent.id()?;
        if (found.st_dev, found.st_ino) == (id.0.st_dev, id.0.st_ino) {
            Ok(parent)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    pub(super) fn id(&self) -> io::Result<Id> {
        Ok(Id(fstat(&self.0)?))
    }

    pub(super) fn attributes(&self) -> io::Result<Attributes> {
        Ok(attributes(&fstat(&self.0)?))
    }

    /// The sorted names of the entries, and the error that ended the list early.
    pub(super) fn names(&self) -> (Vec<OsString>, Option<io::Error>) {
        let mut names = Vec::new();
        let mut read = || -> io::Result<()> {
            for entry in Dir::read_from(&self.0)? {
                let name = entry?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    names.push(OsString::from_vec(name));
                }
            }
            Ok(())
        };
        let ended = read().err();
        names.sort_unstable();
        (names, ended)
    }

    /// Kind and attributes of an entry.
    pub(super) fn stat(&self, name: &OsString) -> io::Result<(Kind, Attributes)> {
        let stat = statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((kind(&stat), attributes(&stat)))
    }

    /// Opens a file. Does not block if a pipe has replaced the file.
    pub(super) fn file(&self, name: &OsString) -> io::Result<(File, Kind, Attributes)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(&self.0, name, flags | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&file)?;
        Ok((file.into(), kind(&stat), attributes(&stat)))
    }

    /// Target of a link.
    pub(super) fn target(&self, name: &OsString) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }
}

/// The bytes of a name.
pub(super) fn bytes(name: &OsString) -> &[u8] {
    name.as_bytes()
}

fn kind(stat: &Stat) -> Kind {
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::RegularFile {
        Kind::File
    } else if kind == FileType::Directory {
        Kind::Folder
    } else if kind == FileType::Symlink {
        Kind::Link
    } else {
        Kind::Other
    }
}

#[allow(clippy::useless_conversion, reason = "macOS has fewer bits for the mode")]
fn attributes(stat: &Stat) -> Attributes {
    let mode = u32::from(stat.st_mode);
    Attributes {
        mode: mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size.try_into().unwrap_or_default(),
        mtime: stat.st_mtime,
    }
}
