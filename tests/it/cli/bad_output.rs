//! Downloads that have nowhere to go: told before the transfer where possible, and never a half
//! file, under no name.

#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
#[cfg(unix)]
use std::process::Stdio;

use super::{REAL, Shell, real_backup};
use crate::support::TestServer;

async fn with_backup() -> (TestServer, Shell) {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    shell.run(&[&"upload", &real_backup(REAL[0].0), &"--json"]).await.json(0);
    (server, shell)
}

#[tokio::test]
async fn an_existing_file_is_kept_unless_forced() {
    let (_server, shell) = with_backup().await;
    let kept = shell.write(&format!("{}.tar", REAL[0].0), "mine");
    for output in [&[][..], &["-o", "."], &["-o", kept.to_str().unwrap()]] {
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
            vec![&"download", &"b52acd05", &"--json"];
        arguments.extend(output.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>));
        let error = shell.run(&arguments).await.error(74, "local_io");
        assert!(error["message"].as_str().unwrap().contains("--force"), "{error}");
        assert_eq!(std::fs::read(&kept).unwrap(), b"mine");
    }
    let ran = shell.run(&[&"download", &"b52acd05", &"--force"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("(20.00 KiB) in ") && ran.stdout.contains("every byte verified"),
        "{ran:?}"
    );
    assert_eq!(std::fs::metadata(&kept).unwrap().len(), 20480);
    assert_eq!(shell.files(), [format!("{}.tar", REAL[0].0)]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_told_before_the_network_is_used() {
    let (_server, shell) = with_backup().await;
    let offline = shell.set("ENDPOINT", "http://host.invalid");
    offline.write("mine", "a file");
    for output in ["no/such/folder/x.tar", "no/such/folder/", "mine/x"] {
        let error = offline.run(&[&"download", &"b52acd05", &"-o", &output, &"--json"]).await;
        let error = error.error(74, "local_io");
        assert!(error["message"].as_str().unwrap().contains("write elsewhere with -o"), "{error}");
        assert_eq!(error["data"]["field"], "output");
    }
    assert_eq!(offline.files(), ["mine"]);
    offline
        .run(&[&"download", &"b52acd05", &"-o", &"-", &"--json"])
        .await
        .error(64, "invalid_params");
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_of_somebody_else_stays_as_it_is() {
    let (_server, shell) = with_backup().await;
    let closed = shell.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o555)).unwrap();
    let ran = shell.run_as_nobody(&[&"download", &"b52acd05", &"-o", &closed, &"--json"]).await;
    let error = ran.error(74, "local_io");
    assert!(error["message"].as_str().unwrap().contains("Permission denied"), "{error}");
    assert_eq!(closed.read_dir().unwrap().count(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_full_disk_leaves_no_file() {
    let (_server, shell) = with_backup().await;
    let ran = shell.run(&[&"download", &"b52acd05", &"-o", &"/dev/full", &"--json"]).await;
    let error = ran.error(74, "local_io");
    assert!(error["message"].as_str().unwrap().contains("free some space"), "{error}");
    assert!(std::fs::metadata("/dev/full").is_ok());

    // A limit of 4 KiB on files stands for a disk that fills up.
    let mut command = tokio::process::Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" download b52acd05 -o full.tar";
    command.args(["-c", script]).arg(crate::support::agent_command());
    command.env_clear().envs(shell.env.iter().cloned()).current_dir(shell.folder.path());
    command.stdin(Stdio::null());
    let ran = shell.end(command).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (74, ""), "{ran:?}");
    assert!(ran.stderr.contains("full.tar: File too large"), "{ran:?}");
    assert!(ran.stderr.contains("free some space"), "{ran:?}");
    assert_eq!(shell.files(), Vec::<String>::new());
}

#[cfg(unix)]
#[tokio::test]
async fn a_reader_that_goes_away_ends_the_download() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    shell.write("large", vec![1; 3 << 20]);
    shell.run(&[&"upload", &"large", &"--name", &"x", &"--id", &"x", &"--json"]).await.json(0);
    let mut command = tokio::process::Command::new("sh");
    let script = "{ \"$0\" download x -o -; echo $? >&2; } | head -c 1";
    command.args(["-c", script]).arg(crate::support::agent_command());
    command.env_clear().envs(shell.env.iter().cloned()).env("PATH", std::env::var("PATH").unwrap());
    let ran = shell.end(command).await;
    assert!(ran.stderr.contains("standard output: Broken pipe"), "{ran:?}");
    assert!(ran.stderr.ends_with("\n74\n"), "{ran:?}");
}
