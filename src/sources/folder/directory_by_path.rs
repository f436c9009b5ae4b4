//! A folder that is being packed, by its path: Windows has no calls relative to a folder.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::member::{Attributes, Kind};

/// A folder.
pub(super) struct Directory(PathBuf);

/// Identity of a folder.
pub(super) struct Id(PathBuf);

impl Directory {
    /// Opens the folder to pack. The path may be a link.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        // A canonical path may be long.
        Ok(Self(folder.canonicalize()?))
    }

    /// Opens a subfolder.
    pub(super) fn enter(&self, name: &OsString) -> io::Result<Self> {
        Ok(Self(self.0.join(name)))
    }

    /// Opens the parent folder, which must have this identity.
    pub(super) fn parent(&self, id: &Id) -> io::Result<Self> {
        Ok(Self(id.0.clone()))
    }

    pub(super) fn id(&self) -> io::Result<Id> {
        Ok(Id(self.0.clone()))
    }

    pub(super) fn attributes(&self) -> io::Result<Attributes> {
        Ok(attributes(&self.0.metadata()?))
    }

    /// The sorted names of the entries, and the error that ended the list early.
    pub(super) fn names(&self) -> (Vec<OsString>, Option<io::Error>) {
        let mut names = Vec::new();
        let mut read = || -> io::Result<()> {
            for entry in fs::read_dir(&self.0)? {
                names.push(entry?.file_name());
            }
            Ok(())
        };
        let ended = read().err();
        names.sort_unstable();
        (names, ended)
    }

    /// Kind and attributes of an entry.
    pub(super) fn stat(&self, name: &OsString) -> io::Result<(Kind, Attributes)> {
        let metadata = self.0.join(name).symlink_metadata()?;
        Ok((kind(&metadata), attributes(&metadata)))
    }

    /// Opens a file.
    pub(super) fn file(&self, name: &OsString) -> io::Result<(File, Kind, Attributes)> {
        let file = File::open(self.0.join(name))?;
        let metadata = file.metadata()?;
        Ok((file, kind(&metadata), attributes(&metadata)))
    }

    /// Target of a link.
    pub(super) fn target(&self, name: &OsString) -> io::Result<Vec<u8>> {
        Ok(self.0.join(name).read_link()?.into_os_string().into_encoded_bytes())
    }
}

/// The bytes of a name.
pub(super) fn bytes(name: &OsString) -> &[u8] {
    name.as_encoded_bytes()
}

fn kind(metadata: &Metadata) -> Kind {
    let kind = metadata.file_type();
    match (kind.is_file(), kind.is_dir(), kind.is_symlink()) {
        (true, ..) => Kind::File,
        (_, true, _) => Kind::Folder,
        (.., true) => Kind::Link,
        _ => Kind::Other,
    }
}

fn attributes(metadata: &Metadata) -> Attributes {
    let mtime = metadata.modified().map(|time| match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    });
    let mode = if metadata.is_dir() { 0o755 } else { 0o644 };
    let size = metadata.len();
    Attributes { mode, size, mtime: mtime.unwrap_or_default(), ..Attributes::default() }
}
