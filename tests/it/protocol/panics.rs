//! Panics inside the agent: they end the affected request, and nothing else.

use std::time::{Duration, Instant};

use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};

use super::code;
use crate::e2e::{assert_empty, backup, fetch, ids};
use crate::random_data::RandomData;
use crate::support::{TestServer, agent_command};

/// An agent that panics whenever it reaches this place, with the target `t1` open.
async fn panicking_agent(server: &TestServer, place: &str) -> Host {
    panicking_agent_with(server, place, &["serve"]).await
}

async fn panicking_agent_with(server: &TestServer, place: &str, arguments: &[&str]) -> Host {
    let fault = [("S3_BACKUP_AGENT_DEMO_FAULT".to_owned(), place.to_owned())];
    let host = Host::launch(agent_command(), arguments, &fault).await.unwrap();
    host.call("target.open", json!({"target": "t1", "config": server.config()})).await.unwrap();
    host
}

async fn upload(host: &Host, id: &str, size: u64) -> Result<Value, Value> {
    let stored =
        host.upload("t1", backup(id), json!({"size": size}), RandomData::new(1, size)).await;
    stored.map_err(|error| serde_json::to_value(&error.data).unwrap())
}

/// Ends the agent, whose log names the place of the panic.
async fn shut_down(mut host: Host) {
    host.close_stdin().await;
    assert_eq!(host.wait().await.unwrap().code(), Some(0));
    let log = host.stderr_lines();
    let told = log.iter().filter(|line| line.contains("a fault that was asked for"));
    assert!(told.count() > 0, "{log:?}");
    for line in log {
        serde_json::from_str::<Value>(&line).unwrap();
    }
}

#[tokio::test]
async fn panic_ends_one_request_and_not_the_agent() {
    let server = TestServer::embedded().await;
    let list = || json!({"target": "t1", "refresh": true});
    for (place, method, params) in [
        // A request that is answered at once, and one that runs as a task.
        ("ping", "ping", json!({})),
        ("list", "backup.list", list()),
    ] {
        let host = panicking_agent(&server, place).await;
        for _ in 0..3 {
            assert_eq!(code(host.call(method, params.clone()).await), "internal", "{place}");
        }
        upload(&host, place, 21 << 20).await.unwrap();
        assert_eq!(fetch(&host, place).await.0.len(), 21 << 20);
        shut_down(host).await;
    }
    let host = panicking_agent(&server, "piece").await;
    let answer = host.download("t1", "list", json!({}), 4 << 20, |_| panic!("no byte")).await;
    assert_eq!(code(answer), "internal");
    assert_eq!(ids(&host).await, ["list", "ping"]);
    shut_down(host).await;
}

#[tokio::test]
async fn panic_during_upload_is_cleaned_up() {
    let server = TestServer::embedded().await;
    // In a part, in the upload itself while its parts are stored, and after the archive is stored.
    for place in ["part", "end of the stream", "commit"] {
        let host = panicking_agent(&server, place).await;
        let error = upload(&host, "b", 40 << 20).await.unwrap_err();
        assert_eq!((&error["code"], &error["cleanup"]), (&json!("internal"), &json!("complete")));
        assert_empty(&server).await;
        // Its name and its id are free again.
        let again = upload(&host, "b", 40 << 20).await.unwrap_err();
        assert_eq!(again["code"], "internal", "{place}: {again}");
        assert_empty(&server).await;
        assert_eq!(ids(&host).await, Vec::<String>::new());
        shut_down(host).await;
    }
}

#[tokio::test]
async fn panic_after_completion_keeps_the_backup() {
    let server = TestServer::embedded().await;
    let state = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--state-dir", state.path().to_str().unwrap()];
    let host = panicking_agent_with(&server, "replacement", &arguments).await;
    for length in [40 << 20, 21 << 20, 100] {
        let replace = json!({"size": length, "if_exists": "replace"});
        let stored = host.upload("t1", backup("b"), replace, RandomData::new(length, length)).await;
        assert_eq!(stored.unwrap()["backup"]["size"], length);
        // The background cleanup deletes the backup that was replaced.
        let deadline = Instant::now() + Duration::from_secs(60);
        while server.objects().await.len() > 2 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!((server.objects().await.len(), ids(&host).await), (2, vec!["b".to_owned()]));
        assert_eq!(server.open_uploads().await, []);
        let (content, _) = fetch(&host, "b").await;
        assert!(content == RandomData::new(length, length).bytes(content.len() + 1), "{length}");
    }
    shut_down(host).await;
}
