//! Files and folders that only this user or the administrator can write.
//!
//! The agent deletes objects listed in its state folder. Another user who can write there could make the
//! agent delete any object, so it reads no such files. On Windows, access control lists protect the folders
//! of a user.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

use super::create_private;

/// Whether the folder exists and can be trusted: it and its parent belong to this user or the
/// administrator, and no other user can write in them. The parent may be a symbolic link of this
/// user or the administrator, as systemd creates one.
///
/// # Errors
/// A message with the path and the remedy when the folder cannot be trusted.
pub(crate) fn trusted_folder(folder: &Path) -> io::Result<bool> {
    let outer = folder.parent().map_or(Ok(true), |outer| check_folder(outer, true));
    Ok(outer? && check_folder(folder, false)?)
}

/// As [`trusted_folder`], but creates a missing folder.
///
/// # Errors
/// As [`trusted_folder`], and errors of the system.
pub(crate) fn make_trusted_folder(folder: &Path) -> io::Result<()> {
    if trusted_folder(folder)? {
        return Ok(());
    }
    create_private(folder)?;
    trusted_folder(folder).map(|_| ())
}

/// Creates a file that only this user can access, regardless of the umask.
///
/// # Errors
/// When the file exists, or an error of the system.
pub(crate) fn create_own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Opens a file for reading and appending. It must be a regular file of this user that no other
/// user can write, with a single hard link and at most `limit` bytes. Does not block on a named
/// pipe.
///
/// # Errors
/// `NotFound`, and a message when the file cannot be trusted.
pub(crate) fn open_own(path: &Path, limit: u64) -> io::Result<File> {
    let refuse = |why: &str| Err(io::Error::other(format!("{} {why}", path.display())));
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot open {}: {error}", path.display()))
    };
    let kind = fs::symlink_metadata(path).map_err(named)?.file_type();
    if !kind.is_file() {
        return refuse("is not a regular file");
    }
    #[cfg(unix)]
    let file: File = {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC;
        let opened = open(path, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty());
        opened.map_err(|error| named(error.into()))?.into()
    };
    #[cfg(windows)]
    let file = OpenOptions::new().read(true).append(true).open(path).map_err(named)?;
    let found = file.metadata()?;
    // The file may have been replaced since the first check.
    if !found.is_file() {
        return refuse("is not a regular file");
    }
    if has_other_names(&found) {
        return refuse("has a second name (hard link)");
    }
    if found.len() > limit {
        return refuse(&format!("has more than {limit} bytes"));
    }
    check_writers(path, &found)?;
    Ok(file)
}

fn check_folder(folder: &Path, may_be_link: bool) -> io::Result<bool> {
    let metadata_of = || {
        let found = fs::symlink_metadata(folder)?;
        if !found.is_symlink() {
            return Ok(found);
        }
        if !may_be_link {
            let folder = folder.display();
            let message = format!("{folder} is a symbolic link: replace it with a folder");
            return Err(io::Error::other(message));
        }
        check_owner(folder, &found)?;
        fs::metadata(folder)
    };
    let found = match metadata_of() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    if !found.is_dir() {
        return Err(io::Error::other(format!("{} is not a folder", folder.display())));
    }
    check_writers(folder, &found)?;
    Ok(true)
}

#[cfg(unix)]
fn has_other_names(found: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(found) > 1
}

#[cfg(unix)]
fn check_owner(path: &Path, found: &Metadata) -> io::Result<()> {
    let (owner, user) =
        (std::os::unix::fs::MetadataExt::uid(found), rustix::process::geteuid().as_raw());
    if owner == user || owner == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(io::Error::other(format!(
        "{path} belongs to user {owner} and the agent runs as user {user}: run `chown {user} {path}` \
         if you trust what is in it, or choose another folder with --state-dir"
    )))
}

#[cfg(unix)]
fn check_writers(path: &Path, found: &Metadata) -> io::Result<()> {
    check_owner(path, found)?;
    let mode = std::os::unix::fs::MetadataExt::mode(found) & 0o7777;
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(io::Error::other(format!(
        "other users of this machine can write {path} (mode {mode:04o}): run `chmod go-w {path}` if \
         you trust what is in it, or choose another folder with --state-dir"
    )))
}

#[cfg(windows)]
fn has_other_names(_: &Metadata) -> bool {
    false
}

#[cfg(windows)]
fn check_owner(_: &Path, _: &Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(windows)]
fn check_writers(_: &Path, _: &Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn state_dir_of_other_user_is_refused_with_a_remedy() {
        let top = tempfile::tempdir().unwrap();
        let (state, inner) = (top.path().join("state"), top.path().join("state/uploads"));
        assert!(!trusted_folder(&inner).unwrap());
        make_trusted_folder(&inner).unwrap();
        assert!(trusted_folder(&inner).unwrap());
        for (folder, bits) in [(&state, 0o777), (&state, 0o1777), (&inner, 0o770), (&inner, 0o702)]
        {
            mode(folder, bits);
            for refused in [trusted_folder(&inner).map(|_| ()), make_trusted_folder(&inner)] {
                let sentence = refused.unwrap_err().to_string();
                assert!(
                    sentence.contains(&format!("chmod go-w {}", folder.display())),
                    "{sentence}"
                );
            }
            mode(folder, 0o700);
        }
        mode(&inner, 0o755);
        assert!(trusted_folder(&inner).unwrap());
    }

    #[test]
    fn symbolic_link_is_followed_to_the_state_dir_only() {
        let top = tempfile::tempdir().unwrap();
        let [real, link] = ["real", "link"].map(|name| top.path().join(name));
        make_trusted_folder(&real.join("uploads")).unwrap();
        symlink(&real, &link).unwrap();
        assert!(trusted_folder(&link.join("uploads")).unwrap());
        symlink(real.join("uploads"), real.join("other")).unwrap();
        let sentence = trusted_folder(&real.join("other")).unwrap_err().to_string();
        assert!(sentence.contains("is a symbolic link"), "{sentence}");
        fs::write(top.path().join("file"), "").unwrap();
        trusted_folder(&top.path().join("file")).unwrap_err();
        trusted_folder(&top.path().join("file/uploads")).unwrap_err();
    }

    #[test]
    fn only_a_regular_file_of_this_user_is_opened() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        drop(create_own(&at("own")).unwrap());
        open_own(&at("own"), 0).unwrap();
        assert_eq!(open_own(&at("none"), 0).unwrap_err().kind(), io::ErrorKind::NotFound);
        let why = |name: &str| open_own(&at(name), 7).unwrap_err().to_string();
        fs::write(at("long"), "12345678").unwrap();
        assert!(why("long").contains("more than 7 bytes"));
        fs::create_dir(at("folder")).unwrap();
        symlink(at("own"), at("link")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
        assert!(fifo.success());
        symlink("/dev/zero", at("zero")).unwrap();
        for name in ["folder", "link", "fifo", "zero"] {
            assert!(why(name).contains("is not a regular file"), "{name}");
        }
        for bits in [0o620, 0o602, 0o666] {
            mode(&at("own"), bits);
            assert!(why("own").contains("chmod go-w"), "{bits:o}");
        }
        mode(&at("own"), 0o644);
        open_own(&at("own"), 0).unwrap();
        fs::hard_link(at("own"), at("second")).unwrap();
        assert!(why("own").contains("hard link") && why("second").contains("hard link"));
    }
}
