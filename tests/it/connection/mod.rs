//! The traffic between the real agent and a server, and what happens when it does not arrive.
//! Always on the embedded server, with a test proxy in between.

mod base_path;
mod broken_connections;
pub(crate) mod certificates;
#[cfg(target_os = "linux")]
mod clocks;
mod concurrent_uploads;
mod encryption;
#[cfg(unix)]
mod inconsistent_server;
mod listing_pages;
mod metadata_cache;
mod other_prefixes;
mod providers;
mod proxy;
mod proxy_kinds;
pub(crate) mod recorded_request;
mod refusals;
mod replace;
mod request_order;
mod requests;
mod resume;
mod retry;
mod secrets;
mod slow_disk;
#[cfg(target_os = "linux")]
mod stale_listings;
mod throughput;
mod tls;
mod update;
pub(crate) mod wire;

use std::net::SocketAddr;

use s3_backup_agent::demo::host::Host;
use s3_backup_agent::protocol::ErrorObject;
use serde_json::{Value, json};

use self::wire::Wire;
use crate::e2e::{fetch, store};
use crate::random_data::RandomData;
use crate::support::{TestServer, agent_command};

/// An agent with this environment and the target `t1` open: the server of `server`, at another
/// endpoint and with other changes to its settings.
pub(crate) async fn open(
    server: &TestServer,
    endpoint: &str,
    changes: Value,
    environment: &[(&str, &str)],
) -> Result<Host, Box<ErrorObject>> {
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let environment: Vec<_> = environment.collect();
    let host = Host::launch(agent_command(), &["serve", "-vv"], &environment).await?;
    let mut config = server.config();
    let config_members = config.as_object_mut().unwrap();
    config_members.insert("endpoint".to_owned(), endpoint.into());
    config_members.extend(changes.as_object().unwrap().clone());
    host.call("target.open", json!({"target": "t1", "config": config})).await?;
    Ok(host)
}

/// The same through a wire, without other changes.
pub(crate) async fn connect(server: &TestServer, wire: &Wire) -> Host {
    open(server, &wire.http(), json!({}), &[]).await.unwrap()
}

pub(crate) fn address(server: &TestServer) -> SocketAddr {
    let endpoint = server.config()["endpoint"].as_str().unwrap().to_owned();
    endpoint.trim_start_matches("http://").parse().unwrap()
}

/// Stores a small and a large backup and reads them back.
async fn round_trip(host: &Host) {
    for (id, size) in [("small", 1000), ("large", 40 << 20)] {
        store(host, id, 1, size).await;
        let (content, result) = fetch(host, id).await;
        assert!(content == RandomData::new(1, size).bytes(content.len() + 1), "{id}");
        assert_eq!(result["verified"], true);
    }
}

/// The error of a fresh listing.
async fn list_error(host: &Host) -> ErrorObject {
    let list = json!({"target": "t1", "refresh": true});
    *host.call("backup.list", list).await.unwrap_err()
}

fn detail(error: &ErrorObject, name: &str) -> String {
    error.data.details.get(name).map(ToString::to_string).unwrap_or_default()
}

/// Asserts that a secret is neither in an error nor in the log.
fn assert_hidden(secret: &str, error: &ErrorObject, host: &Host) {
    let error = serde_json::to_string(error).unwrap();
    assert!(!error.contains(secret), "{error}");
    let log = host.stderr_lines();
    assert!(!log.iter().any(|line| line.contains(secret)), "{log:?}");
}
