//! A system with few resources: few descriptors, little memory. Failures are reported in time.

use std::process::Stdio;
use std::time::Duration;

use s3_backup_agent::demo::host::Host;
use s3_backup_agent::protocol::ErrorObject;
use serde_json::{Value, json};

use crate::e2e::backup;
use crate::random_data::RandomData;
use crate::support::{TestServer, agent_command};

/// An agent under a limit of the shell, with the target `t1` open.
async fn limited(
    server: &TestServer,
    limit: &str,
    changes: Value,
) -> Result<Host, Box<ErrorObject>> {
    let script = format!("ulimit {limit} && exec \"$0\" serve");
    let program = agent_command();
    let host = Host::launch("sh", &["-c", &script, program.to_str().unwrap()], &[]).await?;
    let mut config = server.config();
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    host.call("target.open", json!({"target": "t1", "config": config})).await?;
    Ok(host)
}

async fn upload(host: &Host, size: u64) -> Result<Value, Box<ErrorObject>> {
    let storing = host.upload("t1", backup("b"), json!({"size": size}), RandomData::new(1, size));
    tokio::time::timeout(Duration::from_secs(60), storing).await.expect("an end")
}

#[tokio::test]
async fn too_few_descriptors_cause_an_error_not_a_hang() {
    let server = TestServer::embedded().await;
    let mut worked = 0;
    // With fewer descriptors the system cannot even load a program.
    for count in 4..30 {
        match limited(&server, &format!("-n {count}"), json!({})).await {
            Err(error) => assert!(error.message.contains("Too many open files"), "{error:?}"),
            Ok(host) => match upload(&host, 40 << 20).await {
                Ok(_) => {
                    worked += 1;
                    let gone = json!({"target": "t1", "backup_id": "b"});
                    host.call("backup.delete", gone).await.unwrap();
                }
                Err(error) => assert_eq!(error.data.code, "cannot_connect", "{count}: {error:?}"),
            },
        }
    }
    assert!(worked > 0);
}

#[tokio::test]
async fn start_with_too_few_descriptors_is_refused() {
    let mut started = 0;
    // With fewer descriptors the system cannot even load the program.
    for count in 5..20 {
        for command in ["serve", "list"] {
            let script = format!("ulimit -n {count} && exec \"$0\" {command}");
            let mut shell = tokio::process::Command::new("sh");
            shell.arg("-c").arg(&script).arg(agent_command()).stdin(Stdio::null());
            let ran = shell.output().await.unwrap();
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            if ran.stderr.is_empty() || !said.contains("ulimit") {
                // `list` has no settings here, and `serve` no host.
                started += 1;
                assert!(matches!(ran.status.code(), Some(0 | 5)), "{count}: {ran:?}");
                continue;
            }
            assert_eq!(ran.status.code(), Some(70), "{count}: {ran:?}");
            assert!(said.contains("Too many open files") && ran.stdout.is_empty(), "{ran:?}");
            assert_eq!((started, said.lines().count()), (0, 1), "{count}: {ran:?}");
        }
    }
    assert!(started > 0);
}

#[tokio::test]
async fn out_of_memory_ends_one_request_and_not_the_agent() {
    let server = TestServer::embedded().await;
    let budget = json!({"memory": 4_u64 << 30, "part_size": 512 << 20});
    for kib in [200_000, 300_000, 400_000, 600_000, 800_000] {
        let mut host = limited(&server, &format!("-v {kib}"), budget.clone()).await.unwrap();
        for _ in 0..2 {
            let error = upload(&host, 1 << 30).await.unwrap_err();
            assert_eq!(error.data.code, "busy", "{kib}: {error:?}");
            // The same session continues, with enough memory for smaller requests.
            host.call("ping", json!({})).await.unwrap();
            upload(&host, 1 << 20).await.unwrap();
            let gone = json!({"target": "t1", "backup_id": "b"});
            host.call("backup.delete", gone).await.unwrap();
        }
        host.close_stdin().await;
        let status = tokio::time::timeout(Duration::from_secs(20), host.wait()).await;
        // Not by a signal, as after an abort.
        assert_eq!(status.unwrap().unwrap().code(), Some(0), "{kib}");
    }
}
