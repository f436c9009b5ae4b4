//! Files that are replaced in one step: whatever happens, the old content or the new one is there.

use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::platform::{create_private_file, sync_folder};

/// Writes a new file that only this user can read.
///
/// # Errors
/// `local_io`, also when it exists.
pub(super) fn create(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = create_private_file(path).map_err(|error| {
        let is_there = error.kind() == io::ErrorKind::AlreadyExists;
        if is_there { exists(path) } else { unwritable(path, error) }
    })?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|error| {
        // What is there is not complete.
        let _ = fs::remove_file(path);
        unwritable(path, error)
    })
}

/// Refuses what [`create`] would refuse, before it is time to write.
///
/// # Errors
/// `local_io` when the file exists.
pub(super) fn refuse_existing(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() { Err(exists(path)) } else { Ok(()) }
}

fn exists(path: &Path) -> Error {
    let message = format!("{} exists already", path.display());
    Error::new(Code::LocalIo, message).hint("choose another name, or move that file away")
}

/// Replaces the content of a file, or creates it. An existing file keeps its owner and its permissions; a new
/// one can only be read by this user. Links are followed.
///
/// # Errors
/// `local_io`; then nothing has changed.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(unwritable(path, error)),
    };
    let found = fs::metadata(&real).ok();
    let part = part_of(&real);
    let written = write(&part, content, found).and_then(|()| fs::rename(&part, &real));
    written.map_err(|error| {
        let _ = fs::remove_file(&part);
        unwritable(path, error)
    })?;
    // The new content is there; not every file system can sync a folder.
    let _ = sync_folder(real.parent().unwrap_or(Path::new(".")));
    Ok(())
}

fn write(part: &Path, content: &[u8], like: Option<Metadata>) -> io::Result<()> {
    let mut file: File = create_private_file(part)?;
    file.write_all(content)?;
    if let Some(like) = like {
        keep_owner(&file, &like)?;
        file.set_permissions(like.permissions())?;
    }
    file.sync_all()
}

/// Gives the file to another owner, where it was theirs: they could not read it any more.
#[cfg(unix)]
fn keep_owner(file: &File, like: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let new = file.metadata()?;
    if (new.uid(), new.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    fchown(file, Some(like.uid()), Some(like.gid()))
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
}

fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part-{:08x}", fastrand::u32(..)))
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    let message = format!("cannot write {}: {error}", path.display());
    Error::new(Code::LocalIo, message).source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_replaced_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(create(&path, b"three").unwrap_err().message().contains("exists already"));
        assert!(replace(&folder.path().join("no/folder"), b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn replaced_file_keeps_its_permissions_and_its_link() {
        use std::fs::Permissions;
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a"), folder.path().join("link"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        replace(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, b"two").unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o640, b"two".to_vec()));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        // Only root can give files away.
        if std::os::unix::fs::chown(&path, Some(65534), Some(65533)).is_ok() {
            replace(&link, b"three").unwrap();
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid(), mode(&path)), (65534, 65533, 0o640));
        }
    }
}
