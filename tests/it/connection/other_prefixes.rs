//! Backups under another prefix than the one in the settings.

use http::request::Parts;
use serde_json::{Value, json};

use super::wire::{Act, Wire};
use super::{address, open};
use crate::e2e::{ids, store};
use crate::support::TestServer;

fn list_check(result: &Value) -> &Value {
    let mut checks = result["checks"].as_array().unwrap().iter();
    checks.find(|check| check["name"] == "list").unwrap()
}

async fn validated(server: &TestServer, wire: &Wire, place: Value) -> Value {
    let host = open(server, &wire.http(), place, &[]).await.unwrap();
    let level = json!({"target": "t1", "level": "read"});
    host.call("target.validate", level).await.unwrap()
}

/// Prefixes of the signed listings since the last call.
fn listed(wire: &Wire) -> Vec<String> {
    let all = wire.take_requests();
    let signed = all.iter().filter(|seen| !seen.header("authorization").is_empty());
    let queries = signed.map(|seen| seen.uri.query().unwrap_or_default());
    let prefix = |query: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == "prefix").unwrap().1.into_owned()
    };
    queries.map(prefix).collect()
}

#[tokio::test]
async fn validate_names_prefix_that_has_backups() {
    for (theirs, ours, found) in [
        (json!({}), json!({"prefix": "ha"}), "backups/"),
        (json!({"prefix": "ha"}), json!({}), "ha/backups/"),
        (json!({"prefix": "a", "folder": ""}), json!({"prefix": "a/b"}), "a/"),
        (json!({"folder": ""}), json!({}), ""),
    ] {
        let server = TestServer::embedded().await;
        let wire = Wire::start(address(&server), |_| Act::Pass).await;
        let host = open(&server, &wire.http(), theirs.clone(), &[]).await.unwrap();
        store(&host, "a", 1, 1000).await;
        store(&host, "b", 1, 1000).await;
        let result = validated(&server, &wire, theirs).await;
        let check = list_check(&result);
        assert_eq!((&check["status"], &check["details"]["backups"]), (&json!("passed"), &json!(2)));
        let result = validated(&server, &wire, ours).await;
        let check = list_check(&result);
        assert_eq!((&result["ok"], &check["status"]), (&json!(true), &json!("warning")), "{check}");
        assert_eq!(check["details"]["elsewhere"], found, "{check}");
        assert_eq!(check["details"]["elsewhere_backups"], 2, "{check}");
    }
}

#[tokio::test]
async fn validate_passes_beside_folder_of_other_machine() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let host = open(&server, &wire.http(), json!({"prefix": "one"}), &[]).await.unwrap();
    store(&host, "a", 1, 1000).await;
    let result = validated(&server, &wire, json!({"prefix": "two"})).await;
    let check = list_check(&result);
    assert_eq!(check["status"], "passed", "{check}");
    assert_eq!(check["details"]["elsewhere"], "one/backups/", "{check}");
}

#[tokio::test]
async fn validate_without_backups_lists_at_most_two_pages_outside() {
    let server = TestServer::embedded().await;
    for number in 0..1001 {
        server.put(&format!("aaa/{number:04}"), "").await;
    }
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let place = json!({"prefix": "ha", "folder": "nightly"});
    validated(&server, &wire, place.clone()).await;
    assert_eq!(listed(&wire), ["ha/nightly/", "", "nightly/"]);

    // The listing that hosts poll stays in the folder.
    let host = open(&server, &wire.http(), place.clone(), &[]).await.unwrap();
    assert_eq!(ids(&host).await, Vec::<String>::new());
    assert_eq!(listed(&wire), ["ha/nightly/"]);

    // A key that may not list elsewhere gets no hint.
    let elsewhere = |head: &Parts| {
        let inside = head.uri.query().unwrap_or_default().contains("prefix=ha%2Fnightly%2F");
        if inside { Act::Pass } else { Act::Answer(403, "AccessDenied") }
    };
    let wire = Wire::start(address(&server), elsewhere).await;
    let result = validated(&server, &wire, place).await;
    assert_eq!((&result["ok"], &list_check(&result)["status"]), (&json!(true), &json!("passed")));
    assert_eq!(listed(&wire), ["ha/nightly/", "", "ha/"]);
}
