//! A check of the bucket while no faults happen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};

use super::expected_backup::ExpectedBackup;
use super::worker::Worker;
use crate::e2e::crash_cleanup::wait_for_run_cleanup;
use crate::e2e::fetch;
use crate::support::TestServer;

/// The longest time for the cleanup of failed requests: a request that was killed with its
/// connection is looked for during two minutes.
const TIME_LIMIT: Duration = Duration::from_secs(150);

/// Backups that were missing when they were checked, although they may still arrive: an agent that
/// timed out continues in the background.
#[derive(Debug, Default)]
pub(super) struct LateBackups {
    known: BTreeMap<String, ExpectedBackup>,
    /// How many of them arrived.
    pub(super) arrived: u64,
}

/// Every backup that is listed.
async fn listed(host: &Host) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let mut params = json!({"target": "t1", "refresh": true});
        if !cursor.is_null() {
            params["cursor"] = cursor;
        }
        let page = host.call("backup.list", params).await.unwrap();
        assert_eq!(page["skipped"], json!([]));
        let backups = page["backups"].as_array().unwrap().iter();
        ids.extend(backups.map(|backup| backup["id"].as_str().unwrap().to_owned()));
        cursor = page["next"].clone();
        if cursor.is_null() {
            return ids;
        }
    }
}

/// The same, once the bucket contains nothing else.
async fn listed_when_clean(host: &Host, server: &TestServer) -> Vec<String> {
    let watch = Instant::now();
    loop {
        wait_for_run_cleanup(host).await;
        let before = server.objects().await;
        let ids = listed(host).await;
        let (objects, uploads) = (server.objects().await, server.open_uploads().await);
        if objects == before && objects.len() == 2 * ids.len() && uploads.is_empty() {
            return ids;
        }
        let log = || host.stderr_lines().join("\n");
        assert!(watch.elapsed() < TIME_LIMIT, "{ids:?}, {objects:?}, {uploads:?}\n{}", log());
    }
}

/// The bucket contains exactly the backups that the answers reported, and they are intact. After
/// that, no worker has uncertain backups.
pub(super) async fn check_bucket(
    host: &Host,
    server: &TestServer,
    workers: &mut [Worker],
    late_backups: &mut LateBackups,
) {
    let ids = listed_when_clean(host, server).await;
    for id in &ids {
        let owner = workers.iter().find_map(|worker| worker.known.get(id));
        late_backups.arrived += u64::from(owner.is_none());
        let known = owner.or_else(|| late_backups.known.get(id));
        let known = known.unwrap_or_else(|| panic!("{id} is listed"));
        let (content, result) = fetch(host, id).await;
        assert_eq!(result["verified"], true);
        assert!(known.has_length(content.len() as u64), "{id} has {} bytes", content.len());
        assert!(known.allows(&content, 0), "{id}");
    }
    for worker in workers {
        for (id, known) in &worker.known {
            assert!(known.may_be_missing || ids.contains(id), "{id} is lost: {known:?}");
        }
        let (sure, doubtful) = std::mem::take(&mut worker.known)
            .into_iter()
            .partition(|(_, known)| !known.may_be_missing && known.seeds.len() == 1);
        worker.known = sure;
        late_backups.known.extend(doubtful);
    }
    for id in ids.iter().filter(|id| late_backups.known.contains_key(*id)) {
        host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await.unwrap();
    }
}

/// Deletes everything; then the bucket is empty.
pub(super) async fn delete_everything(
    host: &Host,
    server: &TestServer,
    workers: &mut [Worker],
    late_backups: &mut LateBackups,
) {
    for worker in workers.iter_mut() {
        late_backups.known.append(&mut worker.known);
    }
    let watch = Instant::now();
    loop {
        check_bucket(host, server, workers, late_backups).await;
        let (objects, uploads) = (server.objects().await, server.open_uploads().await);
        if objects.is_empty() && uploads.is_empty() {
            return;
        }
        assert!(watch.elapsed() < TIME_LIMIT, "still stored: {objects:?}, {uploads:?}");
    }
}
