//! An agent that runs for months: after many requests and many cancels nothing has grown.

use std::collections::BTreeMap;

use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};

use crate::e2e::{assert_empty, backup, connect, fetch, store};
use crate::random_data::RandomData;
use crate::support::{self, TestServer};

/// Memory of the process, in KiB.
fn memory(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The targets of its descriptors, by kind, without connections, which come and go.
fn descriptors(host: &Host) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in support::descriptors(host.pid().unwrap()) {
        // A descriptor that was closed in the meantime is missing.
        let Ok(end) = std::fs::read_link(entry) else { continue };
        let kind = end.to_string_lossy().split(':').next().unwrap().to_owned();
        if kind != "socket" {
            *kinds.entry(kind).or_default() += 1;
        }
    }
    kinds
}

#[tokio::test]
async fn memory_is_stable_after_ten_thousand_requests() {
    let server = TestServer::embedded().await;
    let host = connect(&server).await;
    store(&host, "b", 1, 1000).await;
    let round = async |count: usize| {
        for _ in 0..count / 2 {
            host.call("ping", json!({})).await.unwrap();
            let listed = host.call("backup.list", json!({"target": "t1"})).await.unwrap();
            assert_eq!(listed["backups"].as_array().unwrap().len(), 1);
        }
    };
    round(2000).await;
    let (before, open) = (memory(&host), descriptors(&host));
    round(10_000).await;
    let after = memory(&host);
    // A hundred bytes for each request would be a MiB.
    assert!(after < before + 1024, "{before} KiB became {after} KiB");
    assert_eq!(descriptors(&host), open);
}

#[tokio::test]
async fn cancel_repeated_a_thousand_times_leaves_nothing() {
    let server = TestServer::embedded().await;
    let host = connect(&server).await;
    store(&host, "kept", 1, 3 << 20).await;
    let mut moments = fastrand::Rng::with_seed(4711);
    let mut round = async |count: usize| {
        let mut answers = BTreeMap::<String, usize>::new();
        for number in 0..count {
            let mut request = begin(&host, number, moments.u8(0..5)).await;
            // These requests let the agent reach a certain moment of its work while it answers
            // them.
            for _ in 0..moments.u8(0..12) {
                host.call("ping", json!({})).await.unwrap();
            }
            host.notify("cancel", json!({"id": request.id}), None).await.unwrap();
            let outcome = match request.response().await {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.data.code,
            };
            *answers.entry(outcome).or_default() += 1;
        }
        answers
    };
    round(100).await;
    let (before, open) = (memory(&host), descriptors(&host));
    let answers = round(1000).await;
    let known = ["ok", "cancelled", "not_found"];
    assert!(answers.keys().all(|code| known.contains(&code.as_str())), "{answers:?}");
    assert!(answers["cancelled"] > 100, "{answers:?}");
    let after = memory(&host);
    assert!(after < before + (16 << 10), "{before} KiB became {after} KiB");
    assert_eq!(descriptors(&host), open);

    let (content, _) = fetch(&host, "kept").await;
    assert!(content == RandomData::new(1, 3 << 20).bytes(content.len() + 1));
    host.call("backup.delete", json!({"target": "t1", "backup_id": "kept"})).await.unwrap();
    assert_empty(&server).await;
}

/// One of the requests that can be cancelled; none of them changes stored data.
async fn begin(host: &Host, number: usize, kind: u8) -> s3_backup_agent::demo::host::Request {
    let mut params = json!({"target": "t1"});
    let (method, own): (_, Value) = match kind {
        0 => ("backup.list", json!({"refresh": true})),
        1 => ("backup.download", json!({"backup_id": "kept", "up_to": 1 << 20})),
        2 => ("backup.delete", json!({"backup_id": "none"})),
        3 => ("target.validate", json!({})),
        _ => ("backup.upload", json!({"backup": backup(&format!("b{number}")), "size": 21 << 20})),
    };
    params.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    host.start(method, params).await.unwrap()
}
