//! Downloads that cannot be written: reported before the transfer where possible, and never leaving
//! a partial file under any name.

#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
#[cfg(unix)]
use std::process::Stdio;

#[cfg(unix)]
use super::interrupt::wait_until;
use super::{REAL, Shell, real_backup};
use crate::support::TestServer;

async fn server_with_backup() -> (TestServer, Shell) {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    shell.run(&[&"upload", &real_backup(REAL[0].0), &"--json"]).await.json(0);
    (server, shell)
}

#[tokio::test]
async fn download_keeps_existing_file_unless_forced() {
    let (_server, shell) = server_with_backup().await;
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
        ran.stdout.contains("(20.00 KiB) in ") && ran.stdout.contains("all checksums match"),
        "{ran:?}"
    );
    assert_eq!(std::fs::metadata(&kept).unwrap().len(), 20480);
    assert_eq!(shell.files(), [format!("{}.tar", REAL[0].0)]);
}

#[tokio::test]
async fn download_to_unwritable_folder_fails_before_any_request() {
    let (_server, shell) = server_with_backup().await;
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
async fn download_to_read_only_folder_leaves_it_unchanged() {
    let (_server, shell) = server_with_backup().await;
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
async fn download_on_full_disk_leaves_no_file() {
    let (_server, shell) = server_with_backup().await;
    let ran = shell.run(&[&"download", &"b52acd05", &"-o", &"/dev/full", &"--json"]).await;
    let error = ran.error(74, "local_io");
    assert!(error["message"].as_str().unwrap().contains("free some space"), "{error}");
    assert!(std::fs::metadata("/dev/full").is_ok());

    // A limit of 4 KiB on files simulates a disk that fills up.
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

/// Runs a script in which `$0` is the agent.
#[cfg(unix)]
async fn script(shell: &Shell, script: &str) -> super::CommandResult {
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", script]).arg(crate::support::agent_command());
    command.env_clear().envs(shell.env.iter().cloned()).current_dir(shell.folder.path());
    command.env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
    shell.end(command).await
}

#[cfg(unix)]
#[tokio::test]
async fn download_at_file_size_limit_leaves_no_hidden_file() {
    let (_server, shell) = server_with_backup().await;
    // The signal of the limit ends programs that do not handle it.
    let ran = script(&shell, "ulimit -f 8; exec \"$0\" download b52acd05 -o full.tar").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (74, ""), "{ran:?}");
    assert!(ran.stderr.contains("full.tar: File too large"), "{ran:?}");
    assert_eq!(shell.files(), Vec::<String>::new());
    let ran = script(&shell, "ulimit -f 8; exec \"$0\" download b52acd05 -o - >full.tar").await;
    assert_eq!(ran.code, 74, "{ran:?}");
    let ran = script(&shell, "ulimit -f 1; exec \"$0\" completions bash >full").await;
    assert_eq!(ran.code, 74, "{ran:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn output_to_full_device_is_an_error() {
    let (_server, shell) = server_with_backup().await;
    for command in [
        "list",
        "list --json",
        "info b52acd05",
        "info b52acd05 --json",
        "validate --read-only",
        "verify b52acd05",
        "cleanup --json",
        "repair --json",
        "completions bash",
        "man",
        "serve --schema",
        "--help",
        "upload --help",
        "--version",
        "download b52acd05 -o -",
        "download b52acd05 --json --force",
    ] {
        let ran = script(&shell, &format!("exec \"$0\" {command} >/dev/full")).await;
        assert_eq!(ran.code, 74, "{command}: {ran:?}");
    }
    for command in ["list", "completions bash", "--help"] {
        let ran = script(&shell, &format!("exec \"$0\" {command} >/dev/null")).await;
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn download_to_closed_stdout_is_an_error() {
    let (_server, shell) = server_with_backup().await;
    let ran = script(&shell, "exec \"$0\" download b52acd05 -o - >&-").await;
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.stderr.contains("standard output is closed"), "{ran:?}");
    let ran = script(&shell, "exec \"$0\" download b52acd05 -o - >/dev/null").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(shell.files(), Vec::<String>::new());
}

#[cfg(unix)]
#[tokio::test]
async fn downloaded_file_is_readable_by_owner_only() {
    let (_server, shell) = server_with_backup().await;
    for mask in ["022", "000", "077"] {
        for force in ["", "--force"] {
            let download = format!("umask {mask}; exec \"$0\" download b52acd05 -o x {force}");
            let ran = script(&shell, &download).await;
            assert_eq!(ran.code, 0, "{ran:?}");
            let mode = std::fs::metadata(shell.path("x")).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "{mask}");
            if force.is_empty() {
                // A file that others could read is replaced.
                std::fs::set_permissions(shell.path("x"), PermissionsExt::from_mode(0o666))
                    .unwrap();
            }
        }
        std::fs::remove_file(shell.path("x")).unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn download_to_vanished_folder_is_an_error() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    shell.write("large", vec![1; 30 << 20]);
    shell.run(&[&"upload", &"large", &"--name", &"x", &"--id", &"x", &"--json"]).await.json(0);
    std::fs::create_dir(shell.path("there")).unwrap();
    let mut command = shell.command(&[&"download", &"x", &"-o", &"there", &"--json"]);
    command.env("S3_BACKUP_AGENT_BANDWIDTH_LIMIT", "8000000");
    let child = command.spawn().unwrap();
    wait_until(async || shell.path("there").read_dir().unwrap().next().is_some()).await;
    std::fs::remove_dir_all(shell.path("there")).unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(74), "{output:?}");
    assert_eq!(shell.files(), ["large"]);
}

#[cfg(unix)]
#[tokio::test]
async fn download_stops_when_its_reader_goes_away() {
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
