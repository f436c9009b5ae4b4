//! A machine whose clock is wrong: the agent runs with another time than the server.

use serde_json::json;

use super::{assert_empty, backup, connect};
use crate::random_data::RandomData;
use crate::support::{TestServer, agent_command};
use s3_backup_agent::demo::host::Host;

/// The library from the package `faketime` that gives a process another time.
fn library() -> String {
    let found = std::env::var("TEST_FAKETIME_LIBRARY").unwrap_or_else(|_| {
        format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH)
    });
    assert!(std::path::Path::new(&found).exists(), "install faketime: there is no {found}");
    found
}

/// The environment of a process whose clocks are all ahead by the offset in this file.
pub(crate) fn clock_environment(file: &std::path::Path) -> Vec<(String, String)> {
    let environment = [
        ("LD_PRELOAD", library()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap().to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DISABLE_SHM", "1".to_owned()),
    ];
    environment.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// A session with the target `t1` open, in a process whose clock differs by this offset.
pub(super) async fn connect_with_clock_offset(server: &TestServer, offset: &str) -> Host {
    let environment = [
        ("LD_PRELOAD", library()),
        ("FAKETIME", offset.to_owned()),
        // Only the wall clock.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        // It would disturb a later process with the same id, once this one is killed.
        ("FAKETIME_DISABLE_SHM", "1".to_owned()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    let host = Host::launch(agent_command(), &["serve"], &environment).await.unwrap();
    let config = server.config();
    host.call("target.open", json!({"target": "t1", "config": config})).await.unwrap();
    host
}

#[tokio::test]
async fn wrong_clock_is_reported_and_corrected_for() {
    let server = TestServer::start().await;
    for (id, offset, least, most) in
        [("behind", "-2h", -7260, -7140), ("ahead", "+20h", 71_940, 72_060)]
    {
        let host = connect_with_clock_offset(&server, offset).await;
        let result = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
        assert_eq!(result["ok"], true, "{result}");
        let clock = &result["checks"][5];
        assert_eq!((&clock["name"], &clock["status"]), (&json!("clock"), &json!("warning")));
        assert_eq!(clock["error"]["code"], "clock_skew", "{clock}");
        let skew = clock["error"]["details"]["skew_s"].as_i64().unwrap();
        assert!((least..most).contains(&skew), "{clock}");

        // Not only the checks, which run one after the other.
        let host = connect_with_clock_offset(&server, offset).await;
        let content = RandomData::new(3, 30 << 20);
        let size = json!({"size": 30 << 20});
        host.upload("t1", backup(id), size, content).await.unwrap();
    }
    let host = connect(&server).await;
    assert_eq!(super::ids(&host).await, ["ahead", "behind"]);
    for id in ["ahead", "behind"] {
        let (content, result) = super::fetch(&host, id).await;
        assert!(content == RandomData::new(3, 30 << 20).bytes(content.len() + 1));
        assert_eq!(result["verified"], true);
        host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await.unwrap();
    }
    assert_empty(&server).await;
}

#[tokio::test]
async fn clock_skew_above_one_day_is_not_corrected() {
    let server = TestServer::start().await;
    let plain = connect(&server).await;
    super::store(&plain, "b", 1, 1000).await;
    for offset in ["-3d", "+30h"] {
        let host = connect_with_clock_offset(&server, offset).await;
        let result = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
        let failed = result["checks"].as_array().unwrap().iter();
        let failed: Vec<_> = failed.filter(|check| check["status"] == "failed").collect();
        assert_eq!(failed[0]["error"]["code"], "clock_skew", "{result}");
        let listed = host.call("backup.list", json!({"target": "t1"})).await.unwrap_err();
        assert_eq!(listed.data.code, "clock_skew");
        assert!(listed.message.contains("clock"), "{}", listed.message);
    }
}

#[tokio::test]
async fn clock_before_1970_or_far_ahead_causes_no_panic() {
    let server = TestServer::start().await;
    for (id, moment) in [
        ("early", "@1965-03-01 00:00:00"),
        ("begin", "@1970-01-01 00:00:01"),
        ("late", "@2200-01-01 00:00:00"),
        ("last", "@9999-12-31 23:59:58"),
    ] {
        let host = connect_with_clock_offset(&server, moment).await;
        let stored =
            host.upload("t1", backup(id), json!({"size": 1000}), RandomData::new(3, 1000)).await;
        if let Err(error) = stored {
            assert_ne!(error.data.code, "internal", "{moment}: {}", error.message);
        }
        let log = host.stderr_lines().join("\n");
        assert!(!log.contains("fault inside the agent"), "{moment}: {log}");
    }
}
