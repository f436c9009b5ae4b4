//! `upload` to several targets: one read, and each target has all of the backup or nothing.

use std::time::Duration;

use serde_json::Value;

use super::CommandResult;
use super::interrupt::wait_until;
use super::storages::{Storages, secret_of, tables};
use crate::link_faults::{FaultyLink, State};
use crate::random_data::RandomData;
use crate::support::TestServer;

const LARGE: usize = 40 << 20;

fn random(length: usize) -> Vec<u8> {
    RandomData::new(5, length as u64).bytes(length)
}

/// Two storages; the second is behind a link that can be cut.
struct Two {
    nas: TestServer,
    cloud: TestServer,
    link: FaultyLink,
    storages: Storages,
}

async fn two() -> Two {
    let (nas, cloud) = (TestServer::embedded().await, TestServer::embedded().await);
    let endpoint = cloud.config()["endpoint"].as_str().unwrap().to_owned();
    let link = FaultyLink::start(endpoint.trim_start_matches("http://").parse().unwrap()).await;
    let storages = Storages::of(&[("nas", &nas), ("cloud", &cloud)]);
    let text = tables(&[("nas", &nas), ("cloud", &cloud)]);
    storages
        .shell
        .write("config.toml", text.replace(&endpoint, &format!("http://{}", link.address)));
    Two { nas, cloud, link, storages }
}

impl Two {
    async fn assert_only_on(&self, ran: &CommandResult, whole: &TestServer, content: &[u8]) {
        let empty = if std::ptr::eq(whole, &self.nas) { &self.cloud } else { &self.nas };
        assert_whole(whole, content).await;
        assert_eq!(empty.objects().await, [], "{ran:?}");
        assert_eq!(empty.open_uploads().await, [], "{ran:?}");
    }

    async fn assert_nowhere(&self, ran: &CommandResult) {
        for server in [&self.nas, &self.cloud] {
            assert_eq!(server.objects().await, [], "{ran:?}");
            assert_eq!(server.open_uploads().await, [], "{ran:?}");
        }
    }
}

async fn assert_whole(server: &TestServer, content: &[u8]) {
    let objects = server.objects().await;
    assert_eq!(objects.len(), 2, "{objects:?}");
    let (key, _) = objects.iter().find(|(key, _)| key.ends_with(".tar")).unwrap();
    assert!(server.get(key).await.unwrap() == content, "{key} differs");
}

fn codes(targets: &[Value]) -> Vec<&str> {
    targets.iter().map(|it| it["error"]["data"]["code"].as_str().unwrap_or("")).collect()
}

#[tokio::test]
async fn backup_is_read_once_and_stored_on_every_target() {
    let two = two().await;
    for (id, length) in [("small", 1), ("medium", 3 << 20), ("large", LARGE)] {
        let content = random(length);
        two.storages.shell.write("content", &content);
        // A program counts its runs, and its output cannot be read twice.
        let line = format!(
            "upload --from-command --name {id} --id {id} -t nas -t cloud --json -- sh -c echo$IFS.>>runs;cat$IFS\"content\""
        );
        let targets = two.storages.targets(&line, 0).await;
        assert_eq!(targets[0]["target"], "nas");
        assert_eq!(targets[1]["backup"]["id"], id);
        for target in &targets {
            assert_eq!(target["backup"]["name"], id, "the other target does not take the name");
        }
        for server in [&two.nas, &two.cloud] {
            assert_whole(server, &content).await;
        }
        let runs = std::fs::read_to_string(two.storages.shell.path("runs")).unwrap();
        assert_eq!(runs.lines().count(), 1);
        std::fs::remove_file(two.storages.shell.path("runs")).unwrap();
        assert_eq!(two.storages.run(&format!("delete {id} --all-targets --yes")).await.code, 0);
    }
}

#[tokio::test]
async fn people_read_where_the_backup_is() {
    let two = two().await;
    two.storages.shell.write("photos.zip", "content");
    let ran = two.storages.run("upload photos.zip --id p --all-targets").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for expected in
        ["Uploaded photos.zip (7 B)", "  ID      p\n", "  nas     photos.zip.tar\n", "  cloud   "]
    {
        assert!(ran.stdout.contains(expected), "{expected:?}: {ran:?}");
    }
    let again = two.storages.run("upload photos.zip --id p --all-targets").await;
    assert_eq!(again.code, 4, "{again:?}");
    assert!(again.stderr.contains("error: nas: a backup with the ID \"p\" exists"), "{again:?}");
    assert_eq!(two.storages.run("delete p -t cloud --yes").await.code, 0);
    let part = two.storages.run("upload photos.zip --id p --all-targets").await;
    assert_eq!(part.code, 10, "{part:?}");
    assert!(part.stdout.contains("  cloud   photos.zip.tar"), "{part:?}");
}

#[tokio::test]
async fn target_that_is_away_leaves_the_others_alone() {
    let two = two().await;
    let content = random(LARGE);
    two.storages.shell.write("content", &content);
    two.link.set(State::Broken);
    let line = "upload content --id x -t nas -t cloud --json";
    let targets = two.storages.targets(line, 10).await;
    assert_eq!(codes(&targets)[0], "");
    assert!(!codes(&targets)[1].is_empty(), "{targets:?}");
    two.link.set(State::Working);
    assert_whole(&two.nas, &content).await;
    assert_eq!(two.cloud.objects().await, []);
}

#[tokio::test]
async fn target_that_dies_is_rolled_back_and_the_other_is_whole() {
    // Before the multipart upload begins, in it, and in its last part.
    for position in [1 << 20, 19 << 20, 21 << 20, 30 << 20, LARGE - 1] {
        let two = two().await;
        let content = random(LARGE);
        // The source waits there until the link is cut.
        let script = format!(
            "head -c {position} content; echo > there; while [ ! -e cut ]; do sleep 0.05; done; \
             tail -c +{} content",
            position + 1
        );
        let script = two.storages.shell.write("source.sh", script);
        two.storages.shell.write("content", &content);
        let line = format!(
            "upload --from-command --name x --id x -t nas -t cloud --json -- sh {}",
            script.display()
        );
        let cutting = async {
            wait_until(async || two.storages.shell.path("there").exists()).await;
            two.link.set(State::Broken);
            two.storages.shell.write("cut", "");
        };
        let (ran, ()) = tokio::join!(two.storages.run(&line), cutting);
        let json = ran.json(10);
        assert_eq!(json["targets"][0]["backup"]["id"], "x", "{ran:?}");
        assert!(json["targets"][1]["error"].is_object(), "{position}: {ran:?}");
        two.link.set(State::Working);
        assert_eq!(two.storages.run("list -t cloud").await.code, 0);
        two.assert_only_on(&ran, &two.nas, &content).await;
    }
}

#[tokio::test]
async fn target_that_is_away_for_a_while_is_waited_for() {
    let two = two().await;
    let content = random(LARGE);
    let script = two
        .storages
        .shell
        .write("source.sh", "head -c 30000000 content; echo > half; tail -c +30000001 content");
    two.storages.shell.write("content", &content);
    let line = format!(
        "upload --from-command --name x --id x -t nas -t cloud --retry-for 1m --json -- sh {}",
        script.display()
    );
    let cutting = async {
        wait_until(async || two.storages.shell.path("half").exists()).await;
        two.link.set(State::Broken);
        tokio::time::sleep(Duration::from_secs(3)).await;
        two.link.set(State::Working);
    };
    let (ran, ()) = tokio::join!(two.storages.run(&line), cutting);
    ran.json(0);
    assert_whole(&two.nas, &content).await;
    assert_whole(&two.cloud, &content).await;
}

#[tokio::test]
async fn source_that_fails_leaves_nothing_anywhere() {
    let two = two().await;
    let line = "upload --from-command --name x --id x --all-targets --json -- sh -c \
                head$IFS-c$IFS\"50000000\"$IFS/dev/zero;exit$IFS\"3\"";
    let targets = two.storages.targets(line, 74).await;
    assert_eq!(codes(&targets), ["source_failed", "source_failed"]);
    let ran = two.storages.run("cleanup --all-targets --dry-run --older-than 0s --json").await;
    two.assert_nowhere(&ran).await;
}

#[tokio::test]
async fn all_targets_away_means_that_nothing_is_read() {
    let two = two().await;
    let text = std::fs::read_to_string(two.storages.shell.path("config.toml")).unwrap();
    let endpoint = two.nas.config()["endpoint"].as_str().unwrap().to_owned();
    two.storages.shell.write("config.toml", text.replace(&endpoint, "http://127.0.0.1:1"));
    two.link.set(State::Broken);
    let line = "upload --from-command --name x --id x --all-targets --json -- sh -c echo>ran";
    let targets = two.storages.targets(line, 6).await;
    assert_eq!(codes(&targets)[0], "cannot_connect");
    assert!(!two.storages.shell.path("ran").exists());
}

#[tokio::test]
async fn slow_target_sets_the_pace_and_memory_stays_bounded() {
    let two = two().await;
    let length = 60 << 20;
    two.storages.shell.write("content", random(length));
    let line = "upload content --name x --id x --all-targets --json";
    let words: Vec<_> = line.split(' ').collect();
    let words: Vec<_> = words.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>).collect();
    let mut command = two.storages.shell.command(&words);
    two.link.set(State::Silent);
    let running = command.spawn().unwrap();
    // Nothing passes to one of them: the other cannot run ahead of it by more than the windows.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(two.nas.objects().await, []);
    two.link.set(State::Working);
    let output = running.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_whole(&two.nas, &random(length)).await;
    assert_whole(&two.cloud, &random(length)).await;
}

#[tokio::test]
async fn two_names_for_one_place_are_refused() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("nas", &server), ("same", &server)]);
    storages.shell.write("x", "x");
    let ran = storages.run("upload x --all-targets").await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("nas and same are the same place"), "{ran:?}");
    assert_eq!(server.objects().await, []);
}

#[tokio::test]
async fn memory_that_is_too_small_for_all_targets_is_refused() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("a", &server), ("b", &server), ("c", &server)]);
    storages.shell.write("x", "x");
    let text = std::fs::read_to_string(storages.shell.path("config.toml")).unwrap();
    storages.shell.write("config.toml", format!("memory = \"80MiB\"\n{text}"));
    let error = storages.run("upload x --all-targets --json").await.error(9, "too_large");
    assert_eq!(error["data"]["details"]["needed"], 92 << 20);
    assert_eq!(storages.run("list --all-targets --memory 92MiB").await.code, 0);
}

#[tokio::test]
async fn upload_resumes_on_each_target_for_itself() {
    let two = two().await;
    let content = random(LARGE);
    two.storages.shell.write("content", &content);
    let script = two.storages.shell.write(
        "source.sh",
        "head -c 30000000 content; echo > half; while [ ! -e cut ]; do sleep 0.05; done; tail -c +30000001 content",
    );
    let line = format!(
        "upload --from-command --name x --id x --resume --all-targets --json -- sh {}",
        script.display()
    );
    let cutting = async {
        wait_until(async || two.storages.shell.path("half").exists()).await;
        two.link.set(State::Broken);
        two.storages.shell.write("cut", "");
    };
    let (ran, ()) = tokio::join!(two.storages.run(&line), cutting);
    ran.json(10);
    two.link.set(State::Working);
    let ran = two.storages.run(&line).await;
    let json = ran.json(10);
    assert_eq!(json["targets"][0]["error"]["data"]["code"], "already_exists", "{ran:?}");
    assert!(json["targets"][1]["backup"].is_object(), "{ran:?}");
    assert_whole(&two.cloud, &content).await;
}

#[tokio::test]
async fn secrets_of_no_target_are_printed() {
    let two = two().await;
    two.storages.shell.write("x", "x");
    let ran = two.storages.run("upload x --all-targets -vv").await;
    for server in [&two.nas, &two.cloud] {
        let secret = secret_of(server);
        assert!(!ran.stdout.contains(&secret) && !ran.stderr.contains(&secret), "{ran:?}");
    }
}
