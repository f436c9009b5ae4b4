//! Folders that cannot be read completely: the rest is stored, and the command reports what is
//! missing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::Shell;
use crate::support::TestServer;

fn deny_access(path: &Path) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o000)).unwrap();
}

/// A folder that another user owns, with files that only that user may read.
fn folder(shell: &Shell) -> std::path::PathBuf {
    let folder = shell.path("folder");
    std::fs::create_dir_all(folder.join("closed")).unwrap();
    std::fs::write(folder.join("closed/x"), "x").unwrap();
    std::fs::write(folder.join("a"), "can be read").unwrap();
    std::fs::write(folder.join("b"), "private").unwrap();
    deny_access(&folder.join("closed"));
    deny_access(&folder.join("b"));
    folder
}

#[tokio::test]
async fn upload_without_unreadable_files_exits_with_10() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let folder = folder(&shell);
    let ran = shell.run_as_nobody(&[&"upload", &folder, &"--id", &"c", &"--json"]).await;
    let stored = ran.json(10);
    assert_eq!(
        stored["left_out"],
        json!({
            "vanished": 0, "unreadable": 2, "damaged": 0, "special": 0,
            "names": [
                {"name": "folder/b", "reason": "Permission denied (os error 13)"},
                {"name": "folder/closed", "reason": "Permission denied (os error 13)"},
            ],
        })
    );
    assert_eq!(stored["backup"]["id"], "c");
    assert!(ran.stderr.contains("folder/b is left out: Permission denied"), "{ran:?}");

    let ran = shell.run_as_nobody(&[&"upload", &folder, &"--id", &"d"]).await;
    assert_eq!(ran.code, 10, "{ran:?}");
    assert!(ran.stdout.starts_with("Uploaded folder ("), "{ran:?}");
    assert!(ran.stderr.contains("is in the backup: 2 could not be read."), "{ran:?}");

    assert_eq!(shell.run(&[&"download", &"c", &"-o", &"back.tar"]).await.code, 0);
    std::fs::rename(&folder, shell.path("original")).unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-xf").arg(shell.path("back.tar")).arg("-C").arg(shell.folder.path());
    assert!(unpack.status().unwrap().success());
    assert_eq!(std::fs::read(shell.path("folder/a")).unwrap(), b"can be read");
    assert!(!shell.path("folder/b").exists() && !shell.path("folder/closed").exists());
}

#[tokio::test]
async fn upload_of_wholly_unreadable_folder_is_refused() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let folder = folder(&shell);
    std::fs::remove_file(folder.join("a")).unwrap();
    let ran = shell.run_as_nobody(&[&"upload", &folder, &"--json"]).await;
    let error = ran.error(74, "local_io");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("nothing in ") && message.contains("Permission denied"), "{error}");
    deny_access(&folder);
    let ran = shell.run_as_nobody(&[&"upload", &folder, &"--json"]).await;
    ran.error(74, "local_io");
    assert_eq!(server.objects().await, []);
    assert_eq!(server.open_uploads().await, []);
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn upload_counts_special_files_and_exits_with_0() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let folder = shell.path("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let made = Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap();
    assert!(made.success());
    let stored = shell.run(&[&"upload", &folder, &"--json"]).await.json(0);
    assert_eq!(stored["left_out"]["special"], 2);
    let file = shell.write("file", "x");
    let stored = shell.run(&[&"upload", &file, &"--name", &"x", &"--json"]).await.json(0);
    assert_eq!(stored.get("left_out"), None);
}
