//! The process around the session: its log, its secrets, its end.

#[cfg(target_os = "linux")]
use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

#[cfg(unix)]
use s3_backup_agent::demo::host::Host;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::{config, session};
use crate::support::agent_command;

#[tokio::test]
async fn secrets_stay_out_of_arguments_environment_and_log() {
    let mut host = session().await;
    let open = json!({"target": "t1", "config": config(json!({}))});
    host.call("target.open", open).await.unwrap();
    let failed = host.call("backup.list", json!({"target": "t1"})).await.unwrap_err();
    assert_eq!(failed.data.code, "cannot_connect");
    assert!(!serde_json::to_string(&failed).unwrap().contains("canary"));
    #[cfg(target_os = "linux")]
    for file in ["cmdline", "environ"] {
        match std::fs::read(format!("/proc/{}/{file}", host.pid().unwrap())) {
            Ok(content) => assert!(!String::from_utf8_lossy(&content).contains("canary")),
            // Only root can read it.
            Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
        }
    }
    host.close_stdin().await;
    host.wait().await.unwrap();
    let log = host.stderr_lines();
    assert!(!log.join("\n").contains("canary"), "{log:?}");
    for line in &log {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["ts"].is_string() && line["level"].is_string() && line["msg"].is_string());
    }
}

#[tokio::test]
async fn host_that_stops_reading_and_exits_ends_the_agent() {
    let mut child = tokio::process::Command::new(agent_command())
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut lines = BufReader::new(stdout).lines();
    assert!(lines.next_line().await.unwrap().unwrap().contains("hello"));
    drop(lines);
    let request =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocol\":1}}\n";
    stdin.write_all(request.as_bytes()).await.unwrap();
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await.unwrap();
    assert_eq!(status.unwrap().code(), Some(74));
}

#[tokio::test]
async fn full_stderr_does_not_block_the_agent() {
    let mut child = tokio::process::Command::new(agent_command())
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next_line().await.unwrap();
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocol": 1, "log_level": "debug"}});
    stdin.write_all(format!("{initialize}\n").as_bytes()).await.unwrap();
    lines.next_line().await.unwrap();
    // Each of these causes a warning, and standard error is not read.
    let invalid = "{\"jsonrpc\":\"2.0\",\"method\":\"stream.data\",\"params\":{\"id\":\"x\"}}\n";
    for _ in 0..200 {
        stdin.write_all(invalid.repeat(50).as_bytes()).await.unwrap();
    }
    stdin.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}\n").await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
    assert!(answer.unwrap().unwrap().unwrap().contains("\"result\":{}"));
    drop(stdin);
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await.unwrap();
    assert_eq!(status.unwrap().code(), Some(0));
}

#[cfg(unix)]
#[tokio::test]
async fn signal_while_idle_ends_the_agent() {
    let mut host = session().await;
    let pid = host.pid().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = tokio::time::timeout(Duration::from_secs(10), host.wait()).await.unwrap();
    assert_eq!(status.unwrap().code(), Some(0));
}

/// Its host sends the signal, not a terminal.
#[cfg(unix)]
#[tokio::test]
async fn sigint_ends_the_agent_even_if_ignored_at_start() {
    let script = format!("trap '' INT; exec '{}' serve", agent_command().display());
    for signal in ["-INT", "-TERM"] {
        let mut host = Host::launch("sh", &["-c", &script], &[]).await.unwrap();
        let pid = host.pid().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
        let status = tokio::time::timeout(Duration::from_secs(10), host.wait()).await;
        assert_eq!(status.unwrap().unwrap().code(), Some(0), "{signal}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn stray_print_cannot_reach_the_host() {
    let host = session().await;
    let pid = host.pid().unwrap();
    let end = |fd: u32| std::fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    match (end(1), end(2)) {
        // Anything that is printed to standard output goes to the log.
        (Ok(output), Ok(log)) => assert_eq!(output, log),
        // Only root can read it.
        (Err(error), _) | (_, Err(error)) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        }
    }
    host.call("ping", json!({})).await.unwrap();
}

/// The agent in a shell that sets a limit first, as a user to whom limits apply.
#[cfg(target_os = "linux")]
async fn limited(limit: &str) -> std::process::Output {
    // Not every sh can limit the number of processes.
    let mut shell = tokio::process::Command::new("bash");
    let agent = agent_command();
    shell.arg("-c").arg(format!("{limit} && exec \"$0\" serve")).arg(agent);
    if rustix::process::geteuid().is_root() {
        shell.uid(65_534);
    }
    let shell = shell.current_dir("/").env_remove("HOME").stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(Duration::from_secs(60), shell.output()).await.unwrap().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn system_limit_is_an_error_message_not_a_panic() {
    for (limit, words) in
        [("ulimit -u 1", "ulimit -u"), ("ulimit -u 2", "ulimit -u"), ("ulimit -n 6", "ulimit -n")]
    {
        let ended = limited(limit).await;
        let log = String::from_utf8_lossy(&ended.stderr);
        // Where that user may not read the program itself, there is nothing to test.
        if matches!(ended.status.code(), Some(126 | 127)) {
            continue;
        }
        assert_eq!(ended.status.code(), Some(70), "{limit}: {log}");
        assert!(log.contains(words), "{limit}: {log}");
    }
}
