//! The real agent against a real server, through the protocol: each test checks the answers and
//! what remains in the bucket. The same tests run on the embedded server and on others.

#[cfg(target_os = "linux")]
pub(crate) mod clock;
pub(crate) mod crash_cleanup;
mod download;
mod existing_backups;
mod folder;
mod foreign_objects;
pub(crate) mod kills;
mod listing;
#[cfg(target_os = "linux")]
pub(crate) mod memory;
mod resumable_uploads;
// The embedded server uses keys as file names, and Windows does not allow all of these.
pub(crate) mod cancellation;
mod cleanup;
#[cfg(unix)]
mod other_writers;
mod repair;
pub(crate) mod resume;
mod round_trip;
pub(crate) mod streams;
#[cfg(unix)]
pub(crate) mod untrusted_state;
mod update;
mod validate;
mod verify;

use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};

use crate::random_data::RandomData;
use crate::support::{TestServer, agent_command};

/// A session with the target `t1` open.
pub(crate) async fn connect(server: &TestServer) -> Host {
    connect_with(server, json!({})).await
}

/// The same with changed settings.
pub(crate) async fn connect_with(server: &TestServer, changes: Value) -> Host {
    let host = Host::launch(agent_command(), &["serve"], &[]).await.unwrap();
    let mut config = server.config();
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    host.call("target.open", json!({"target": "t1", "config": config})).await.unwrap();
    host
}

/// A backup with this id and otherwise ordinary values.
pub(crate) fn backup(id: &str) -> Value {
    json!({"id": id, "name": format!("Backup {id}"), "metadata": {"backup_id": id}})
}

/// Stores random data of this seed and length.
pub(crate) async fn store(host: &Host, id: &str, seed: u64, length: u64) -> Value {
    host.upload("t1", backup(id), json!({"size": length}), RandomData::new(seed, length))
        .await
        .unwrap()
}

/// The whole content of a backup.
pub(crate) async fn fetch(host: &Host, id: &str) -> (Vec<u8>, Value) {
    let mut content = Vec::new();
    let result = host
        .download("t1", id, json!({}), 4 << 20, |bytes| content.extend_from_slice(bytes))
        .await
        .unwrap();
    (content, result)
}

/// Ids of all backups, from a fresh listing.
pub(crate) async fn ids(host: &Host) -> Vec<String> {
    let listed = host.call("backup.list", json!({"target": "t1", "refresh": true})).await.unwrap();
    let backups = listed["backups"].as_array().unwrap();
    backups.iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
}

/// The code of an error.
pub(crate) fn code(answer: Result<Value, Box<s3_backup_agent::protocol::ErrorObject>>) -> String {
    match answer {
        Ok(result) => format!("no error but {result}"),
        Err(error) => error.data.code,
    }
}

/// Asserts that the bucket has neither objects nor unfinished uploads.
pub(crate) async fn assert_empty(server: &TestServer) {
    assert_eq!(server.objects().await, []);
    assert_eq!(server.open_uploads().await, []);
}
