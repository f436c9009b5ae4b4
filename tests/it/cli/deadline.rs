//! `--deadline`: a command that takes too long stops, cleans up, and says so.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

use super::Shell;
use crate::support::TestServer;

#[tokio::test]
async fn deadline_stops_upload_and_cleans_up() {
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server);
    let upload: [&dyn AsRef<std::ffi::OsStr>; 7] =
        [&"upload", &"-", &"--name", &"x", &"--deadline", &"1s", &"--json"];
    let mut child = shell.command(&upload).stdin(Stdio::piped()).spawn().unwrap();
    // The rest never arrives.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&vec![1; 30 << 20]).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    drop(stdin);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(9), "{said}");
    assert_eq!(said["error"]["data"]["code"], "timeout", "{said}");
    assert_eq!(said["error"]["data"]["details"]["stage"], "deadline", "{said}");
    assert_eq!(said["error"]["data"]["cleanup"], "complete", "{said}");
    assert_eq!(server.objects().await, []);
    assert_eq!(server.open_uploads().await, []);
}

#[tokio::test]
async fn deadline_stops_every_command_on_silent_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let shell = Shell::of(&TestServer::embedded().await).set("ENDPOINT", &endpoint);
    let commands: [&[&str]; 8] = [
        &["validate"],
        &["list"],
        &["info", "x"],
        &["download", "x"],
        &["verify", "--all"],
        &["delete", "x", "--yes"],
        &["cleanup"],
        &["repair"],
    ];
    for command in commands {
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = Vec::new();
        arguments.extend(command.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>));
        arguments.extend([&"--deadline" as &dyn AsRef<std::ffi::OsStr>, &"200ms"]);
        let ran = shell.run(&arguments).await;
        assert_eq!(ran.code, 9, "{command:?} {ran:?}");
        assert!(ran.stderr.contains("deadline"), "{command:?} {ran:?}");
    }
}

#[tokio::test]
async fn invalid_deadline_is_refused() {
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server);
    for time in ["0s", "0", "1us", "-1s", "soon", "100years", "99999999999999999999s", ""] {
        let ran = shell.run(&[&"list", &format!("--deadline={time}")]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (64, ""), "{time}: {ran:?}");
        assert!(ran.stderr.contains("--deadline"), "{time}: {ran:?}");
    }
    let ran = shell.run(&[&"list", &"--deadline", &"10m"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
}
