//! Memory stays within the budget, whatever the size of a backup.

use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::streams::next;
use super::{backup, code, connect, store};
use crate::noise::Noise;
use crate::support::TestServer;

/// A figure of `/proc/PID/status`, in bytes.
fn status(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// The same in MiB, with no more code than that of a release.
fn mib(pid: u32, name: &str) -> u64 {
    status(pid, name).saturating_sub(surplus_code(pid)) >> 20
}

/// How much more code is in memory than that of a release, which has 8 MB.
fn surplus_code(pid: u32) -> u64 {
    status(pid, "RssFile").saturating_sub(8_000_000)
}

#[tokio::test]
async fn a_gibibyte_up_and_down_takes_at_most_the_default_budget() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let (pid, size) = (host.pid().unwrap(), 1 << 30);
    let noise = Noise::new(8, size);
    host.upload("t1", backup("large"), json!({"size": size}), noise.clone()).await.unwrap();
    let peak_up = mib(pid, "VmHWM");
    let mut hash = Sha256::new();
    let result =
        host.download("t1", "large", json!({}), 4 << 20, |bytes| hash.update(bytes)).await.unwrap();
    assert_eq!(result["length"], size);
    let (peak, after) = (mib(pid, "VmHWM"), mib(pid, "VmRSS"));
    println!("peak {peak_up} MiB up, {peak} MiB in all, {after} MiB after");
    assert!(peak <= 96, "peak of {peak} MiB");
    assert!(after <= 40, "{after} MiB are kept afterwards");
    let (mut expected, mut noise) = (Sha256::new(), noise);
    loop {
        let bytes = noise.bytes(1 << 20);
        if bytes.is_empty() {
            break;
        }
        expected.update(bytes);
    }
    assert_eq!(hash.finalize(), expected.finalize());
}

#[tokio::test]
async fn what_one_transfer_gives_up_another_uses() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let (pid, size) = (host.pid().unwrap(), 200 << 20);
    store(&host, "first", 1, size).await;
    // A host that takes nothing, for whom as much is read ahead as there is room.
    let params = json!({"target": "t1", "backup_id": "first", "up_to": 1});
    let mut download = host.start("backup.download", params).await.unwrap();
    next(&mut download, "stream.data").await;
    while mib(pid, "VmRSS") < 65 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store(&host, "second", 2, size).await;
    let peak = mib(pid, "VmHWM");
    assert!(peak <= 96, "peak of {peak} MiB");
    host.notify("cancel", json!({"id": download.id}), None).await.unwrap();
    assert_eq!(code(download.response().await), "cancelled");
}
