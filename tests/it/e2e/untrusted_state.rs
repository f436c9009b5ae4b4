//! A state directory that another user of the machine can write: the agent neither uses nor changes
//! anything in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};

use super::crash_cleanup::{connect, wait_for_run_cleanup};
use super::{ids, store};
use crate::support::{TestServer, agent_command};

pub(crate) const MARKER: &str = "0123456789abcdef0123456789abcdef";

fn key(server: &TestServer, rest: &str) -> String {
    format!("{}/{rest}", server.prefix).trim_start_matches('/').to_owned()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A record that names this archive, and its path in the state directory.
fn record(server: &TestServer, state: &Path, archive: &str, document: &str) -> (PathBuf, String) {
    record_at(&server.config(), state, archive, document)
}

/// The same for a target with these settings.
pub(crate) fn record_at(
    config: &Value,
    state: &Path,
    archive: &str,
    document: &str,
) -> (PathBuf, String) {
    let endpoint = format!("{}/", config["endpoint"].as_str().unwrap().trim_end_matches('/'));
    let record = json!({
        "format": 1, "endpoint": endpoint, "bucket": config["bucket"], "archive": archive,
        "document": document, "mark": MARKER,
    });
    let folder = state.join("uploads");
    fs::create_dir_all(&folder).unwrap();
    set_mode(state, 0o700);
    set_mode(&folder, 0o700);
    (folder.join(format!("{MARKER}.json")), format!("{record}\n{{\"orphan_since\":1}}\n"))
}

async fn wait_for_log_line(host: &Host, words: &str) -> Vec<String> {
    let watch = Instant::now();
    loop {
        let log = host.stderr_lines();
        if log.iter().any(|line| line.contains(words)) {
            return log;
        }
        assert!(watch.elapsed() < Duration::from_secs(60), "no \"{words}\" in {log:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Names, kinds and contents of everything in a folder, as text.
fn snapshot(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut snapshot: Vec<_> = entries
        .flat_map(|path| {
            let kind = fs::symlink_metadata(&path).unwrap();
            let content = if kind.is_dir() {
                return snapshot(&path);
            } else if kind.is_file() && kind.len() < 1 << 20 {
                fs::read_to_string(&path).unwrap()
            } else {
                format!("{:?} {}", kind.file_type(), kind.len())
            };
            vec![(path.display().to_string(), content)]
        })
        .collect();
    snapshot.sort();
    snapshot
}

#[tokio::test]
async fn own_record_deletes_the_archive_with_its_marker() {
    let server = TestServer::embedded().await;
    let state = tempfile::tempdir().unwrap();
    let archive = key(&server, "backups/a.tar");
    let (path, text) =
        record(&server, state.path(), &archive, &key(&server, "backups/a.metadata.json"));
    fs::write(&path, text).unwrap();
    server.put_with_marker(&archive, MARKER).await;
    let host = connect(&server, state.path()).await;
    wait_for_run_cleanup(&host).await;
    assert_eq!(server.objects().await, []);
    assert!(!path.exists());
}

#[tokio::test]
async fn state_dir_writable_by_others_is_not_used() {
    let server = TestServer::embedded().await;
    let archive = key(&server, "backups/a.tar");
    server.put_with_marker(&archive, MARKER).await;
    for (folder, bits) in [("", 0o777), ("uploads", 0o770), ("uploads", 0o1777)] {
        let state = tempfile::tempdir().unwrap();
        let (path, text) =
            record(&server, state.path(), &archive, &key(&server, "backups/a.metadata.json"));
        fs::write(&path, text).unwrap();
        set_mode(&state.path().join(folder), bits);
        let before = snapshot(state.path());
        let host = connect(&server, state.path()).await;
        wait_for_run_cleanup(&host).await;
        store(&host, "b", 1, 300_000).await;
        host.call("backup.delete", json!({"target": "t1", "backup_id": "b"})).await.unwrap();
        wait_for_run_cleanup(&host).await;
        let remedy = format!("chmod go-w {}", state.path().join(folder).display());
        let remedy = remedy.trim_end_matches('/');
        let log = wait_for_log_line(&host, remedy).await;
        let said = log.iter().filter(|line| line.contains("the journal cannot be used"));
        assert_eq!(said.count(), 1, "{log:?}");
        let mut after = snapshot(state.path());
        // The folder of cached listings is another one.
        after.retain(|(path, _)| !path.contains("/listings/"));
        assert_eq!(after, before);
        assert_eq!(server.objects().await, [(archive.clone(), 6)]);
    }
}

#[tokio::test]
async fn record_writable_by_others_is_left_alone() {
    let server = TestServer::embedded().await;
    let archive = key(&server, "backups/a.tar");
    server.put_with_marker(&archive, MARKER).await;
    let is_root = rustix::process::geteuid().is_root();
    type Make = fn(&Path, &str);
    let makers: &[(&str, Make)] = &[
        ("mode", |path, text| {
            fs::write(path, text).unwrap();
            set_mode(path, 0o666);
        }),
        ("hard link", |path, text| {
            fs::write(path.with_extension("txt"), text).unwrap();
            fs::hard_link(path.with_extension("txt"), path).unwrap();
        }),
        ("not a regular file", |path, text| {
            fs::write(path.with_extension("txt"), text).unwrap();
            symlink(path.with_extension("txt"), path).unwrap();
        }),
        ("not a regular file", |path, _| {
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }),
        ("not a regular file", |path, _| fs::create_dir(path).unwrap()),
        ("more than", |path, text| {
            fs::write(path, text.to_owned() + &" ".repeat(5 << 20)).unwrap()
        }),
        ("belongs to user 1", |path, text| {
            fs::write(path, text).unwrap();
            std::os::unix::fs::chown(path, Some(1), None).unwrap();
        }),
        ("values that no agent writes", |path, text| {
            fs::write(path, text.replace("a.tar", "a\\u001b.tar")).unwrap();
        }),
        ("values that no agent writes", |path, text| {
            fs::write(path.with_file_name("other.json"), text).unwrap();
        }),
    ];
    for (words, make) in makers {
        if words.starts_with("belongs") && !is_root {
            continue;
        }
        let state = tempfile::tempdir().unwrap();
        let (path, text) =
            record(&server, state.path(), &archive, &key(&server, "backups/a.metadata.json"));
        make(&path, &text);
        let before = snapshot(state.path());
        let host = connect(&server, state.path()).await;
        for _ in 0..3 {
            wait_for_run_cleanup(&host).await;
        }
        let log = wait_for_log_line(&host, "a journal record is not used").await;
        let said: Vec<_> = log.iter().filter(|line| line.contains("a journal record")).collect();
        let words = if *words == "mode" { "chmod go-w" } else { words };
        assert!(said.len() == 1 && said[0].contains(words), "{words}: {said:?}");
        assert_eq!(server.objects().await, [(archive.clone(), 6)], "{words}");
        let mut after = snapshot(state.path());
        after.retain(|(path, _)| !path.ends_with("/gate") && !path.contains("/listings/"));
        assert_eq!(after, before, "{words}");
    }
}

#[tokio::test]
async fn record_of_other_folder_deletes_nothing() {
    let server = TestServer::embedded().await;
    let other = key(&server, "others/a.tar");
    server.put_with_marker(&other, MARKER).await;
    let lone = key(&server, "others/a.metadata.json");
    for (archive, document) in [
        (other.clone(), lone.clone()),
        (
            key(&server, "backups/../others/a.tar"),
            key(&server, "backups/../others/a.metadata.json"),
        ),
        (key(&server, "backups/b.tar"), lone.clone()),
        (other.clone(), key(&server, "backups/a.metadata.json")),
    ] {
        let state = tempfile::tempdir().unwrap();
        let (path, text) = record(&server, state.path(), &archive, &document);
        fs::write(&path, &text).unwrap();
        server.put(&lone, *b"{\"backup_id\":\"lone\"}").await;
        let host = connect(&server, state.path()).await;
        wait_for_run_cleanup(&host).await;
        assert_eq!(server.objects().await.len(), 2, "{archive} {document}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{archive}");
    }
}

#[tokio::test]
async fn record_with_impossible_numbers_causes_no_panic() {
    let server = TestServer::embedded().await;
    let state = tempfile::tempdir().unwrap();
    let archive = key(&server, "backups/a.tar");
    let (path, text) =
        record(&server, state.path(), &archive, &key(&server, "backups/a.metadata.json"));
    let resumable = "\"mark\"".to_owned();
    let kept =
        "\"resumable\":{\"backup_id\":\"b\",\"part_size\":5242880,\"storage_class\":null},\"mark\"";
    let first = text.lines().next().unwrap().replace(&resumable, kept);
    let part = |number: u64, length: u64| {
        format!(
            "{{\"part\":{{\"number\":{number},\"length\":{length},\"sha256\":\"x\",\"etag\":\"y\"}},\
             \"keep_until\":{}}}\n",
            u64::MAX
        )
    };
    let lines: String =
        [(1, u64::MAX), (2, u64::MAX), (0, 7), (65_535, 7)].map(|(n, l)| part(n, l)).concat();
    fs::write(&path, format!("{first}\n{{\"upload_id\":\"u\"}}\n{lines}")).unwrap();
    let host = connect(&server, state.path()).await;
    wait_for_run_cleanup(&host).await;
    let stored = host.upload(
        "t1",
        super::backup("b"),
        json!({"size": 300_000, "resume_s": 3600}),
        crate::random_data::RandomData::new(1, 300_000),
    );
    stored.await.unwrap();
    assert_eq!(ids(&host).await, ["b"]);
    let log = host.stderr_lines().join("\n");
    assert!(!log.contains("fault inside"), "{log}");
}

#[tokio::test]
async fn cached_listing_of_other_user_is_not_shown() {
    let server = TestServer::embedded().await;
    let state = tempfile::tempdir().unwrap();
    let host = connect(&server, state.path()).await;
    store(&host, "a", 1, 300_000).await;
    assert_eq!(ids(&host).await, ["a"]);
    drop(host);
    let folder = state.path().join("listings");
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // The content of the file is used as long as no other user can have written it.
    let text = fs::read_to_string(&file).unwrap();
    let (_, lines) = text.split_once('\n').unwrap();
    let poisoned = lines.replace("\"id\":\"a\"", "\"id\":\"z\"");
    assert_ne!(poisoned, lines);
    let digest = |lines: &str| {
        use sha2::Digest as _;
        let all = format!("documents 1, metadata 1\n{lines}");
        let digest = sha2::Sha256::digest(all);
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    fs::write(&file, format!("{}\n{poisoned}", digest(&poisoned))).unwrap();
    let seen = async || ids(&connect(&server, state.path()).await).await;
    assert_eq!(seen().await, ["z"], "the test knows how the file is written");
    let again = fs::read_to_string(&file).unwrap();
    for (path, bits) in [(&file, 0o602), (&folder, 0o777), (&state.path().to_owned(), 0o777)] {
        let was = fs::metadata(path).unwrap().permissions();
        set_mode(path, bits);
        assert_eq!(seen().await, ["a"], "{}", path.display());
        fs::set_permissions(path, was).unwrap();
        fs::write(&file, &again).unwrap();
    }
}

#[tokio::test]
async fn lock_held_by_other_process_does_not_block_backups() {
    let server = TestServer::embedded().await;
    let state = tempfile::tempdir().unwrap();
    drop(connect(&server, state.path()).await);
    let host = connect(&server, state.path()).await;
    store(&host, "a", 1, 300_000).await;
    let gate = fs::File::open(state.path().join("uploads/gate")).unwrap();
    gate.lock().unwrap();
    store(&host, "b", 1, 300_000).await;
    assert_eq!(ids(&host).await, ["a", "b"]);
    wait_for_log_line(&host, "another process holds the lock").await;
    gate.unlock().unwrap();
    store(&host, "c", 1, 300_000).await;
    drop(Host::launch(agent_command(), &["serve"], &[]).await.unwrap());
    let _: Value = host.call("ping", json!({})).await.unwrap();
}
