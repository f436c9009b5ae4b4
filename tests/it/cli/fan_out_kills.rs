//! Kills at random moments of an upload to two targets: each has all of the backup or nothing, and nothing
//! is left over after the next commands.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::storages::Storages;
use crate::e2e::kills::history::kills;
use crate::random_data::RandomData;
use crate::support::TestServer;

const LENGTH: usize = 22 << 20;

/// The longest time for data in flight to arrive and to be cleaned up.
const TIME_LIMIT: Duration = Duration::from_secs(150);

#[tokio::test]
async fn kill_in_an_upload_to_two_targets_leaves_all_or_nothing_on_each() {
    let servers = [TestServer::start().await, TestServer::start().await];
    let storages = Storages::of(&[("nas", &servers[0]), ("cloud", &servers[1])]);
    let mut random = fastrand::Rng::new();
    let mut counts = [0; 3];
    for round in 0..kills(10) {
        let content = RandomData::new(round, LENGTH as u64).bytes(LENGTH);
        storages.shell.write("content", &content);
        let id = format!("b{round}");
        let words: [&dyn AsRef<std::ffi::OsStr>; 7] =
            [&"upload", &"content", &"--name", &id, &"--id", &id, &"--all-targets"];
        let mut command = storages.shell.command(&words);
        let mut agent = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pause = Duration::from_millis(random.u64(0..600));
        if tokio::time::timeout(pause, agent.wait()).await.is_err() {
            agent.kill().await.unwrap();
        }
        let mut whole = 0;
        for name in ["nas", "cloud"] {
            let listed = storages.run(&format!("list -t {name} --json")).await.json(0);
            for backup in listed["backups"].as_array().unwrap() {
                assert_eq!(backup["id"], id.as_str());
                let line = format!("download {id} -t {name} -o back --force");
                assert_eq!(storages.run(&line).await.code, 0);
                assert!(std::fs::read(storages.shell.path("back")).unwrap() == content);
                assert_eq!(storages.run(&format!("delete {id} -t {name} --yes")).await.code, 0);
                whole += 1;
            }
        }
        counts[whole] += 1;
    }
    println!("{} on none, {} on one, {} on both", counts[0], counts[1], counts[2]);
    let watch = Instant::now();
    loop {
        assert_eq!(storages.run("list --all-targets").await.code, 0);
        let mut left = Vec::new();
        for server in &servers {
            left.extend(server.objects().await.into_iter().map(|(key, _)| key));
            left.extend(server.open_uploads().await.into_iter().map(|(key, _)| key));
        }
        if left.is_empty() {
            return;
        }
        assert!(watch.elapsed() < TIME_LIMIT, "{left:?} are left");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
