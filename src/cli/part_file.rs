//! A file that appears under its name only when it is complete.
//!
//! Until then it is a hidden file beside it, which goes away whatever happens short of a crash. A backup
//! holds secrets, so only its owner may read the file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::buffer_pool::write_all;
use crate::error::{Code, Error, Result};
use crate::platform::{create_private_file, free_bytes, sync_folder};

/// A file that is being written.
pub(super) struct PartFile {
    file: Arc<File>,
    /// Where it is now.
    part: PathBuf,
    /// Where it is to appear.
    path: PathBuf,
}

impl PartFile {
    /// Creates the hidden file.
    ///
    /// # Errors
    /// `local_io`.
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The longest name that file systems take is 255 bytes.
        let name: String = name.chars().take(if name.len() > 230 { 50 } else { 230 }).collect();
        let part = path.with_file_name(format!(".{name}.part-{:08x}", fastrand::u32(..)));
        let file = create_private_file(&part).map_err(|error| unwritable(&path, error))?;
        Ok(Self { file: file.into(), part, path })
    }

    /// Whether the disk has room for so many bytes.
    ///
    /// # Errors
    /// `local_io`.
    pub(super) fn check_room(&self, needed: u64) -> Result<()> {
        let Some(free) = free_bytes(folder_of(&self.path)).filter(|free| *free < needed) else {
            return Ok(());
        };
        let message = format!(
            "{} has {} free and {} are needed",
            folder_of(&self.path).display(),
            indicatif::HumanBytes(free),
            indicatif::HumanBytes(needed),
        );
        Err(Error::new(Code::LocalIo, message)
            .hint("free some space, or write elsewhere with -o")
            .field("output")
            .detail("needed", needed)
            .detail("free", free))
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// `local_io`.
    pub(super) async fn write(&mut self, bytes: Vec<Bytes>) -> Result<()> {
        write(&self.file, bytes).await.map_err(|error| unwritable(&self.path, error))
    }

    /// Makes it safe from a power cut, then lets it appear. Replaces another file of this name only
    /// with `overwrite`.
    ///
    /// # Errors
    /// `local_io`.
    pub(super) async fn finish(self, overwrite: bool) -> Result<PathBuf> {
        let safe = async {
            aside(&self.file, File::sync_all).await?;
            if overwrite {
                fs::rename(&self.part, &self.path)?;
            } else {
                appear(&self.part, &self.path)?;
            }
            // Keeps the name as well; not every file system can.
            let _ = sync_folder(folder_of(&self.path));
            Ok(())
        };
        safe.await.map_err(|error| unwritable(&self.path, error))?;
        Ok(self.path.clone())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // Fails when it has got its name.
        let _ = fs::remove_file(&self.part);
    }
}

/// Writes to a file of any kind.
pub(super) async fn write(file: &Arc<File>, bytes: Vec<Bytes>) -> io::Result<()> {
    aside(file, move |mut file| write_all(&mut file, bytes.iter().map(AsRef::as_ref))).await
}

/// Makes sure that a file of any kind has what was written: some file systems tell only now that they
/// have no room. Pipes and most devices cannot be asked.
pub(super) async fn sync(file: &Arc<File>) -> io::Result<()> {
    match aside(file, File::sync_all).await {
        Err(error) if is_lost(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_lost(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            true
        }
        #[cfg(unix)]
        _ => error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()),
        #[cfg(not(unix))]
        _ => false,
    }
}

/// Does what blocks where it does not matter.
async fn aside(
    file: &Arc<File>,
    work: impl FnOnce(&File) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let file = Arc::clone(file);
    tokio::task::spawn_blocking(move || work(&file)).await.map_err(io::Error::other)?
}

/// Gives the file its name unless that is taken, in one step where the file system knows links.
fn appear(part: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(part, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if path.try_exists()? => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(part, path),
        Ok(()) => {
            // It has its name; the other one can wait for the end.
            let _ = fs::remove_file(part);
            Ok(())
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `local_io` for something that cannot be written, with what to do about it.
#[expect(clippy::wildcard_enum_match_arm, reason = "most kinds of errors have no remedy to name")]
pub(super) fn unwritable(path: &Path, error: io::Error) -> Error {
    let shown = path.display();
    let message = match error.kind() {
        io::ErrorKind::NotADirectory => format!("{shown} is no folder"),
        io::ErrorKind::AlreadyExists => format!("{shown} exists"),
        _ => format!("cannot write {shown}: {error}"),
    };
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "create the folder, or write elsewhere with -o",
        io::ErrorKind::NotADirectory
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem => "write elsewhere with -o",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free some space, or write elsewhere with -o"
        }
        io::ErrorKind::AlreadyExists => "choose another name, or overwrite it with --force",
        _ => return Error::new(Code::LocalIo, message).field("output").source(error),
    };
    Error::new(Code::LocalIo, message).hint(hint).field("output").source(error)
}
