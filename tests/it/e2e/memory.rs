//! Memory stays within the budget, whatever the size of a backup.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{backup, connect};
use crate::random_data::RandomData;
use crate::support::TestServer;

/// A value of `/proc/PID/status`, in bytes.
pub(crate) fn status(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// How much more code is in memory than that of a release build, which has 8 MB.
pub(crate) fn surplus_code(pid: u32) -> u64 {
    status(pid, "RssFile").saturating_sub(8_000_000)
}

#[tokio::test]
async fn one_gib_round_trip_stays_within_default_memory() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let (pid, size) = (host.pid().unwrap(), 1 << 30);
    let data = RandomData::new(8, size);
    host.upload("t1", backup("large"), json!({"size": size}), data.clone()).await.unwrap();
    let peak_up = status(pid, "VmHWM");
    let mut hash = Sha256::new();
    let result =
        host.download("t1", "large", json!({}), 4 << 20, |bytes| hash.update(bytes)).await.unwrap();
    assert_eq!(result["length"], size);
    let (peak, after) = (status(pid, "VmHWM"), status(pid, "VmRSS"));
    let surplus = surplus_code(pid);
    let mib = |bytes: u64| bytes.saturating_sub(surplus) >> 20;
    println!("peak {} MiB up, {} MiB in all, {} MiB after", mib(peak_up), mib(peak), mib(after));
    assert!(mib(peak) <= 96, "peak of {} MiB", mib(peak));
    assert!(mib(after) <= 40, "{} MiB are kept afterwards", mib(after));
    let (mut expected, mut data) = (Sha256::new(), data);
    loop {
        let bytes = data.bytes(1 << 20);
        if bytes.is_empty() {
            break;
        }
        expected.update(bytes);
    }
    assert_eq!(hash.finalize(), expected.finalize());
}
