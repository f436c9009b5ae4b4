//! An upload to several targets stays within the memory of a single one, and reads its source once.

use std::process::Stdio;
use std::time::Duration;

use super::storages::Storages;
use crate::e2e::memory::{status, surplus_code};
use crate::random_data::RandomData;
use crate::support::TestServer;

const LENGTH: u64 = 200 << 20;

/// Bytes that a process has read so far.
fn bytes_read(pid: u32) -> Option<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok())
}

/// What was measured of an upload.
struct Measured {
    /// Peak of the memory, in bytes.
    peak: u64,
    /// Bytes that the process has read.
    read: u64,
}

/// Stores `length` bytes on all targets.
async fn store(storages: &Storages, id: &str, length: u64) -> Measured {
    let path = storages.shell.path("content");
    let mut data = RandomData::new(3, length);
    let mut file = std::fs::File::create(&path).unwrap();
    for _ in 0..length >> 20 {
        std::io::Write::write_all(&mut file, &data.bytes(1 << 20)).unwrap();
    }
    let words: [&dyn AsRef<std::ffi::OsStr>; 7] =
        [&"upload", &"content", &"--id", &id, &"--name", &id, &"--all-targets"];
    let mut command = storages.shell.command(&words);
    let mut agent = command.stdout(Stdio::null()).spawn().unwrap();
    let pid = agent.id().unwrap();
    let (mut peak, mut read) = (0, 0);
    let ended = loop {
        if let Ok(ended) = tokio::time::timeout(Duration::from_millis(20), agent.wait()).await {
            break ended.unwrap();
        }
        let now =
            std::panic::catch_unwind(|| status(pid, "VmHWM").saturating_sub(surplus_code(pid)));
        peak = peak.max(now.unwrap_or_default());
        read = read.max(bytes_read(pid).unwrap_or_default());
    };
    assert!(ended.success());
    Measured { peak, read }
}

#[tokio::test]
async fn upload_to_several_targets_stays_within_default_memory() {
    let servers = [TestServer::start().await, TestServer::start().await, TestServer::start().await];
    let all: Vec<_> = ["a", "b", "c"].into_iter().zip(&servers).collect();
    for count in [2, 3] {
        let storages = Storages::of(&all[..count]);
        let Measured { peak, read } = store(&storages, &format!("x{count}"), LENGTH).await;
        println!("{count} targets: peak {} MiB, {} MiB read", peak >> 20, read >> 20);
        assert!(peak > 0 && peak >> 20 <= 96, "peak of {} MiB", peak >> 20);
        // The rest are answers of the servers.
        assert!(read > LENGTH / 2 && read < LENGTH + (8 << 20), "{} MiB were read", read >> 20);
    }
}

#[tokio::test]
async fn slow_target_holds_the_others_and_memory_stays_bounded() {
    let servers = [TestServer::start().await, TestServer::start().await];
    let storages = Storages::of(&[("fast", &servers[0]), ("slow", &servers[1])]);
    storages.append("bandwidth_limit = \"4MiB\"");
    let watch = std::time::Instant::now();
    let Measured { peak, .. } = store(&storages, "x", 64 << 20).await;
    println!("peak {} MiB in {} s", peak >> 20, watch.elapsed().as_secs());
    assert!(peak > 0 && peak >> 20 <= 96, "peak of {} MiB", peak >> 20);
    for server in &servers {
        let sizes: Vec<_> = server.objects().await.into_iter().map(|(_, size)| size).collect();
        assert!(sizes.contains(&(64 << 20)), "{sizes:?}");
    }
}
