//! The metadata cache: an agent does not read metadata again that an earlier agent has read, unless
//! it has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use http::request::Parts;
use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::address;
use super::wire::{Act, Wire};
use crate::support::{TestServer, agent_command};

/// A server that counts how many metadata objects are read.
struct CountingServer {
    server: TestServer,
    wire: Wire,
    reads: Arc<AtomicUsize>,
}

impl CountingServer {
    async fn start() -> Self {
        let server = TestServer::embedded().await;
        let reads = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reads);
        let rule = move |head: &Parts| {
            if head.method == Method::GET && head.uri.path().ends_with(".metadata.json") {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Act::Pass
        };
        let wire = Wire::start(address(&server), rule).await;
        Self { server, wire, reads }
    }

    async fn put(&self, name: &str, metadata: Value) {
        self.server.put(&format!("backups/{name}.tar"), "x").await;
        self.server.put(&format!("backups/{name}.metadata.json"), metadata.to_string()).await;
    }

    /// The listing of a new agent, as its standard output has it, and how many metadata objects it
    /// read.
    async fn list(&self, state: &Path) -> (Vec<Value>, usize) {
        let before = self.reads.load(Ordering::Relaxed);
        let arguments = ["serve", "--state-dir", state.to_str().unwrap()];
        let host = Host::launch(agent_command(), &arguments, &[]).await.unwrap();
        let mut config = self.server.config();
        config["endpoint"] = self.wire.http().into();
        host.call("target.open", json!({"target": "t1", "config": config})).await.unwrap();
        let mut listed = host.call("backup.list", json!({"target": "t1"})).await.unwrap();
        let listed = listed["backups"].as_array_mut().unwrap().drain(..).collect();
        (listed, self.reads.load(Ordering::Relaxed) - before)
    }
}

fn files(state: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(state.join("listings")).unwrap();
    files.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn metadata_cache_rereads_only_changed_objects() {
    let counting = CountingServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let odd = json!({
        "backup_id": "a", "name": "Zurück \u{1f3e0} \" \\", "size": 7, "date": null,
        "z": [1, 2.5, 1e70, -0.0, 18_446_744_073_709_551_615_u64], "a": {"y": {}, "b": [[]]},
    });
    counting.put("a", odd).await;
    counting.put("b", json!({"backup_id": "b"})).await;
    let (first, reads) = counting.list(state.path()).await;
    assert_eq!((first.len(), reads), (2, 2));
    let (second, reads) = counting.list(state.path()).await;
    assert_eq!((second, reads), (first.clone(), 0), "not a byte differs and nothing is read");

    counting.put("b", json!({"backup_id": "b", "name": "new"})).await;
    counting.put("c", json!({"backup_id": "c"})).await;
    let (third, reads) = counting.list(state.path()).await;
    assert_eq!((third.len(), reads), (3, 2));
    assert_eq!(third[1]["metadata"]["name"], "new");
    counting.server.delete("backups/a.metadata.json").await;
    let (fourth, reads) = counting.list(state.path()).await;
    assert_eq!((&fourth[..], reads), (&third[1..], 0));
}

#[tokio::test]
async fn metadata_cache_ignores_altered_files() {
    let counting = CountingServer::start().await;
    let state = tempfile::tempdir().unwrap();
    counting.put("a", json!({"backup_id": "a", "name": "right"})).await;
    let (expected, _) = counting.list(state.path()).await;
    let file = files(state.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    let position = |text: &[u8]| whole.windows(text.len()).position(|it| it == text).unwrap();
    let mut altered = whole.clone();
    altered[position(b"right")] = b'b';
    let mut not_text = whole.clone();
    not_text[position(b"right")] = 0xff;
    let mut longer = whole.clone();
    longer.extend(b"\n");
    let truncated = whole[..whole.len() - 1].to_vec();
    let lines = &whole[position(b"\n") + 1..];
    let of_versions = |documents: u32, metadata: u32| {
        let versions = format!("documents {documents}, metadata {metadata}\n");
        let digest = Sha256::new_with_prefix(versions).chain_update(lines).finalize();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        [digest.as_bytes(), b"\n", lines].concat()
    };
    assert!(of_versions(1, 1) == whole);
    let (newer, of_newer) = (of_versions(2, 1), of_versions(1, 2));
    let cut = [altered, not_text, longer, truncated];
    for damaged in [vec![Vec::new(), b"\n".to_vec(), newer, of_newer], cut.into()].concat() {
        fs::write(&file, &damaged).unwrap();
        let (listed, reads) = counting.list(state.path()).await;
        assert_eq!((listed, reads), (expected.clone(), 1));
        assert!(fs::read(&file).unwrap() == whole, "it is written again");
    }
    fs::remove_dir_all(state.path().join("listings")).unwrap();
    assert_eq!(counting.list(state.path()).await, (expected.clone(), 1));
    // A cache that cannot be written does not prevent a listing.
    fs::remove_dir_all(state.path().join("listings")).unwrap();
    fs::write(state.path().join("listings"), "").unwrap();
    assert_eq!(counting.list(state.path()).await, (expected, 1));
}

#[tokio::test]
async fn metadata_cache_stays_small_and_private() {
    let counting = CountingServer::start().await;
    let state = tempfile::tempdir().unwrap();
    counting.put("a", json!({"backup_id": "a"})).await;
    fs::create_dir(state.path().join("listings")).unwrap();
    for number in 0..40 {
        fs::write(state.path().join(format!("listings/{number:032x}.jsonl")), "").unwrap();
    }
    counting.list(state.path()).await;
    assert_eq!(files(state.path()).len(), 16);
    assert_eq!(counting.list(state.path()).await.1, 0, "what was just written is not what goes");

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let state = tempfile::tempdir().unwrap();
        counting.list(state.path()).await;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state.path().join("listings")), 0o700);
    }
}
