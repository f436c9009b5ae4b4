//! Local files that never end or never begin: an error within seconds, and the session continues.

use std::path::{Path, PathBuf};
use std::time::Duration;

use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};

use super::{code, config, session};
use crate::support::agent_command;

/// Longer than any of this takes, on a slow machine too.
const SOON: Duration = Duration::from_secs(60);

fn fifo(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[tokio::test]
async fn secret_in_endless_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = fifo(folder.path(), "fifo");
    let large = folder.path().join("large");
    std::fs::write(&large, "x".repeat(70_000)).unwrap();
    let host = session().await;
    for (file, words) in [
        (fifo.as_path(), "not a regular file"),
        ("/dev/zero".as_ref(), "not a regular file"),
        (folder.path(), "not a regular file"),
        (&large, "more than 65536 bytes"),
    ] {
        for field in ["secret_access_key", "session_token"] {
            let config = config(json!({field: {"file": file}}));
            let opening = host.call("target.open", json!({"target": "t1", "config": config}));
            let error = tokio::time::timeout(SOON, opening).await.unwrap().unwrap_err();
            assert_eq!(error.data.code, "invalid_config", "{}", error.message);
            assert_eq!(error.data.field.as_deref(), Some(field));
            assert!(error.message.contains(words), "{}", error.message);
        }
    }
    host.call("ping", json!({})).await.unwrap();
}

/// An agent that reads the system certificates from a pipe, so that opening a target waits for a
/// writer.
async fn waiting(folder: &Path) -> (Host, PathBuf) {
    let pipe = fifo(folder, "certificates");
    let environment = [
        ("SSL_CERT_FILE".to_owned(), pipe.display().to_string()),
        ("SSL_CERT_DIR".to_owned(), String::new()),
    ];
    (Host::launch(agent_command(), &["serve"], &environment).await.unwrap(), pipe)
}

fn open(changes: Value) -> Value {
    json!({"target": "t1", "config": config(changes)})
}

#[tokio::test]
async fn session_continues_while_target_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (mut host, _pipe) = waiting(folder.path()).await;
    let https = json!({"endpoint": "https://127.0.0.1:1"});
    let opening = host.start("target.open", open(https)).await.unwrap();
    host.call("ping", json!({})).await.unwrap();
    // Requests for this target wait, and can be cancelled.
    let list = || json!({"target": "t1"});
    let mut waiting = host.start("backup.list", list()).await.unwrap();
    host.notify("cancel", json!({"id": waiting.id}), None).await.unwrap();
    assert_eq!(code(waiting.response().await), "cancelled");
    let late = json!({"target": "t1", "deadline_ms": 1});
    assert_eq!(code(host.call("backup.list", late).await), "timeout");
    let other = host.call("backup.list", json!({"target": "t2"})).await;
    assert_eq!(code(other), "target_unknown");
    // Opening itself cannot be cancelled.
    host.notify("cancel", json!({"id": opening.id}), None).await.unwrap();
    host.call("ping", json!({})).await.unwrap();
    host.close_stdin().await;
    let status = tokio::time::timeout(SOON, host.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn requests_wait_in_order_while_target_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (host, _pipe) = waiting(folder.path()).await;
    // This one needs no certificates, and is replaced by one that cannot be opened.
    host.call("target.open", open(json!({}))).await.unwrap();
    let https = json!({"endpoint": "https://127.0.0.1:1", "ca_certificate": "nonsense"});
    let mut second = host.start("target.open", open(https)).await.unwrap();
    let mut list = host.start("backup.list", json!({"target": "t1"})).await.unwrap();
    let mut close = host.start("target.close", json!({"target": "t1"})).await.unwrap();
    let unknown = host.call("backup.list", json!({"target": "t1"})).await;
    assert_eq!(code(unknown), "target_unknown");
    second.response().await.unwrap_err();
    // The target that was open before stays open for both of them.
    assert_eq!(code(list.response().await), "cannot_connect");
    assert_eq!(close.response().await.unwrap(), json!({"target": "t1"}));
}

#[tokio::test]
async fn update_takes_effect_in_order_while_target_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (host, pipe) = waiting(folder.path()).await;
    let update = |limits: Value| json!({"target": "t1", "limits": limits});
    let https = json!({"endpoint": "https://127.0.0.1:1", "concurrency": 2});
    let mut opening = host.start("target.open", open(https)).await.unwrap();
    let few = update(json!({"bandwidth_limit": 70_000}));
    let mut first = host.start("target.update", few).await.unwrap();
    let wrong = update(json!({"concurrency": 5, "memory": 1}));
    let mut second = host.start("target.update", wrong).await.unwrap();
    let mut third = host.start("target.update", update(json!({}))).await.unwrap();
    let mut list = host.start("backup.list", json!({"target": "t1"})).await.unwrap();
    // It waits for the target, and no request waits for it. It cannot be cancelled.
    host.notify("cancel", json!({"id": first.id}), None).await.unwrap();
    host.call("ping", json!({})).await.unwrap();
    let certificates = rcgen::generate_simple_self_signed(["test".to_owned()]).unwrap().cert.pem();
    let written = tokio::task::spawn_blocking(move || std::fs::write(pipe, certificates));
    written.await.unwrap().unwrap();
    opening.response().await.unwrap();
    let answers = [first.response().await, second.response().await, third.response().await];
    let [Ok(first), Err(refused), Ok(third)] = answers else { panic!("{answers:?}") };
    assert_eq!((&first["target"], &first["limits"]["concurrency"]), (&json!("t1"), &json!(2)));
    assert_eq!(refused.data.field.as_deref(), Some("memory"));
    assert_eq!(first, third);
    assert_eq!(first["limits"]["bandwidth_limit"], 70_000);
    assert_eq!(code(list.response().await), "cannot_connect");
}

#[tokio::test]
async fn update_after_failed_open_applies_to_previous_target() {
    let host = session().await;
    let update = || json!({"target": "t1", "limits": {"concurrency": 3}});
    let wrong = json!({"endpoint": "https://127.0.0.1:1", "ca_certificate": "nonsense"});
    let mut opening = host.start("target.open", open(wrong.clone())).await.unwrap();
    let unknown = host.start("target.update", update()).await;
    opening.response().await.unwrap_err();
    assert_eq!(code(unknown.unwrap().response().await), "target_unknown");
    host.call("target.open", open(json!({}))).await.unwrap();
    let mut opening = host.start("target.open", open(wrong)).await.unwrap();
    let mut changed = host.start("target.update", update()).await.unwrap();
    opening.response().await.unwrap_err();
    assert_eq!(changed.response().await.unwrap()["limits"]["concurrency"], 3);
}
