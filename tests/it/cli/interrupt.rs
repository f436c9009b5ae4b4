//! Ctrl-C and SIGTERM in the middle of a transfer: exit code 130, and nothing left in the bucket or
//! on the disk.

use std::ffi::OsStr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;

use super::{CommandResult, Shell};
use crate::random_data::RandomData;
use crate::support::{TestServer, agent_command};

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

async fn end(child: Child) -> CommandResult {
    let output = child.wait_with_output().await.unwrap();
    CommandResult {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Checks repeatedly until the condition holds.
pub(super) async fn wait_until(mut is_so: impl AsyncFnMut() -> bool) {
    while !is_so().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn interrupted_upload_cleans_up() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = shell.command(&[&"upload", &"-", &"--name", &"x"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&vec![1; 40 << 20]).await.unwrap();
        wait_until(async || !server.open_uploads().await.is_empty()).await;
        send(&child, signal);
        let ran = end(child).await;
        drop(stdin);
        assert_eq!((ran.code, ran.stdout.as_str()), (130, ""), "{ran:?}");
        assert!(ran.stderr.contains("error: stopped\n  everything was cleaned up"), "{ran:?}");
        assert_eq!(server.open_uploads().await, []);
        assert_eq!(server.objects().await, []);
    }
}

/// Like a background job of a shell without job control, which a Ctrl-C in its terminal reaches.
#[tokio::test]
async fn upload_ignores_sigint_that_was_ignored_at_start() {
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server);
    for (ignored, sent, code) in [
        ("INT", &[Signal::INT, Signal::INT][..], 0),
        ("INT HUP QUIT", &[Signal::HUP, Signal::INT], 0),
        ("INT", &[Signal::INT, Signal::TERM], 130),
    ] {
        let mut command = tokio::process::Command::new("sh");
        let script = format!("trap '' {ignored}; exec \"$0\" upload - --name x");
        command.arg("-c").arg(script).arg(agent_command()).kill_on_drop(true);
        command.env_clear().envs(shell.env.iter().cloned()).stderr(Stdio::piped());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&vec![1; 40 << 20]).await.unwrap();
        wait_until(async || !server.open_uploads().await.is_empty()).await;
        for signal in sent {
            send(&child, *signal);
        }
        if code == 0 {
            stdin.write_all(b"the rest").await.unwrap();
            drop(stdin);
        }
        let ran = end(child).await;
        assert_eq!(ran.code, code, "{ignored} {sent:?}: {ran:?}");
    }
}

#[tokio::test]
async fn resume_after_kill_continues_the_upload() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let state = tempfile::tempdir().unwrap();
    let content = RandomData::new(1, 27 << 20).bytes(27 << 20);
    let upload: [&dyn AsRef<OsStr>; 12] = [
        &"upload",
        &"-",
        &"--name",
        &"x",
        &"--id",
        &"x1",
        &"--json",
        &"--resume",
        &"--part-size",
        &"5242880",
        &"--state-dir",
        &state.path(),
    ];
    let mut child = shell.command(&upload).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&content).await.unwrap();
    wait_until(async || {
        let files = std::fs::read_dir(state.path().join("uploads")).into_iter().flatten();
        let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        texts.map(|text| text.matches("\"part\":").count()).sum::<usize>() == 5
    })
    .await;
    send(&child, Signal::KILL);
    end(child).await;

    let mut child = shell.command(&upload).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&content).await.unwrap();
    let stored = end(child).await.json(0);
    assert_eq!(
        (&stored["backup"]["id"], &stored["resumed_bytes"]),
        (&json!("x1"), &json!(25 << 20))
    );
    assert_eq!(server.open_uploads().await, []);
}

#[tokio::test]
async fn resume_without_id_is_refused() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    shell.write("file", "x");
    std::fs::create_dir(shell.path("folder")).unwrap();
    for what in ["file", "folder", "-"] {
        let upload: [&dyn AsRef<OsStr>; 6] =
            [&"upload", &what, &"--name", &"x", &"--resume", &"--json"];
        let error = shell.run(&upload).await.error(64, "invalid_params");
        assert!(error["message"].as_str().unwrap().contains("give one with --id"), "{error}");
        assert_eq!(error["data"]["field"], "id");
    }
    assert_eq!(server.objects().await, []);
    // A backup of Home Assistant has an id, and the metadata may have one.
    let backup = super::real_backup(super::REAL[0].0);
    let stored = shell.run(&[&"upload", &backup, &"--resume", &"--json"]).await.json(0);
    assert_eq!(stored["backup"]["id"], super::REAL[0].1);
    shell.write("metadata", br#"{"backup_id": "m1", "name": "x"}"#);
    let upload: [&dyn AsRef<OsStr>; 6] =
        [&"upload", &"file", &"--metadata", &"metadata", &"--resume", &"--json"];
    assert_eq!(shell.run(&upload).await.json(0)["backup"]["id"], "m1");
}

#[tokio::test]
async fn interrupted_download_leaves_no_file() {
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server);
    shell.write("large", vec![1; 30 << 20]);
    shell.run(&[&"upload", &"large", &"--name", &"x", &"--id", &"x", &"--json"]).await.json(0);
    std::fs::remove_file(shell.path("large")).unwrap();
    let endpoint = shell.env.iter().find(|(name, _)| name.ends_with("ENDPOINT")).unwrap().1.clone();
    let slow = shell.set("ENDPOINT", &stalling_proxy(endpoint, 20 << 20).await.endpoint);
    for signal in [Signal::INT, Signal::TERM] {
        let child = slow.command(&[&"download", &"x"]).spawn().unwrap();
        wait_until(async || !slow.files().is_empty()).await;
        assert!(
            slow.files().iter().all(|name| name.starts_with(".large.part-")),
            "{:?}",
            slow.files()
        );
        send(&child, signal);
        let ran = end(child).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (130, ""), "{ran:?}");
        assert!(ran.stderr.contains("error: stopped"), "{ran:?}");
        assert_eq!(slow.files(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn second_signal_ends_the_agent_at_once() {
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server);
    let endpoint = shell.env.iter().find(|(name, _)| name.ends_with("ENDPOINT")).unwrap().1.clone();
    let way = stalling_proxy(endpoint, 0).await;
    let mute = shell.set("ENDPOINT", &way.endpoint);
    let mut child = mute.command(&[&"validate"]).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    wait_until(async || way.connections.load(Ordering::Relaxed) > 0).await;
    send(&child, Signal::INT);
    let mut said = vec![0; 10];
    stderr.read_exact(&mut said).await.unwrap();
    send(&child, Signal::INT);
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
}

/// A proxy in front of a server.
struct StallingProxy {
    endpoint: String,
    connections: Arc<AtomicUsize>,
}

/// A proxy to the endpoint whose connections fall silent after this many bytes of answers.
async fn stalling_proxy(endpoint: String, most: u64) -> StallingProxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(endpoint.trim_start_matches("http://")).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let (mut from_agent, to_agent) = near.into_split();
                let (from_server, mut to_server) = far.into_split();
                let (mut from_server, mut to_agent) = (from_server.take(most), to_agent);
                let forth = tokio::io::copy(&mut from_agent, &mut to_server);
                let back = async {
                    let _ = tokio::io::copy(&mut from_server, &mut to_agent).await;
                    std::future::pending::<()>().await;
                };
                tokio::join!(back, forth)
            });
        }
    });
    StallingProxy { endpoint: format!("http://{address}"), connections }
}
