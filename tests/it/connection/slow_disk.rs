//! A slow disk under the metadata cache must not block commands that need a listing.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::support::{TestServer, agent_command};

/// Far longer than any of these commands takes.
const TIME_LIMIT: Duration = Duration::from_secs(30);

async fn with_backups(count: usize) -> TestServer {
    let server = TestServer::embedded().await;
    let put = |number: usize| {
        let server = &server;
        async move {
            let document = json!({"backup_id": format!("b{number}")}).to_string();
            server.put(&format!("backups/b{number}.tar"), "x").await;
            server.put(&format!("backups/b{number}.metadata.json"), document).await;
        }
    };
    stream::iter(0..count).for_each_concurrent(8, put).await;
    server
}

/// Runs an agent command whose cache reads take a second longer.
async fn run(server: &TestServer, state: &Path, arguments: &[&str]) -> Output {
    let child = tokio::process::Command::new(agent_command())
        .args(arguments)
        .args(["--state-dir", state.to_str().unwrap()])
        .envs(server.env())
        .env("S3_BACKUP_AGENT_DEMO_SLOW", "kept documents=1000")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(TIME_LIMIT, child).await;
    let output = output.unwrap_or_else(|_| panic!("{arguments:?} did not end")).unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs each of the commands this often.
async fn assert_ends(count: usize, runs: usize) {
    let server = with_backups(count).await;
    let state = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("new.tar");
    std::fs::write(&file, "content").unwrap();
    let file = file.to_str().unwrap();
    for round in 0..runs {
        let listed = run(&server, state.path(), &["list", "--json"]).await;
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(listed["backups"].as_array().unwrap().len(), count);
        let upload = ["upload", file, "--name", "new", "--id", "new"];
        run(&server, state.path(), &upload).await;
        let to = work.path().join(format!("{round}.tar"));
        run(&server, state.path(), &["download", "new", "-o", to.to_str().unwrap()]).await;
        run(&server, state.path(), &["delete", "new", "--yes"]).await;
    }
}

#[tokio::test]
async fn slow_metadata_cache_does_not_block_commands() {
    // More metadata objects than are read at the same time.
    assert_ends(40, 5).await;
}

#[tokio::test]
async fn slow_metadata_cache_with_many_objects_does_not_block() {
    assert_ends(600, 1).await;
}
