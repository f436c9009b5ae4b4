//! What nobody will ever finish is found by its age and removed; nothing else is touched.

use serde_json::{Value, json};

use super::stops::send_until;
use super::{assert_empty, code, connect, ids, store};
use crate::support::TestServer;

fn key(server: &TestServer, rest: &str) -> String {
    let slash = if server.prefix.is_empty() { "" } else { "/" };
    format!("{}{slash}{rest}", server.prefix)
}

async fn sweep(host: &s3_backup_agent::demo::host::Host, extra: Value) -> Vec<(String, String)> {
    let mut params = json!({"target": "t1"});
    params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let swept = host.call("target.sweep", params).await.unwrap();
    let found = swept["leftovers"].as_array().unwrap().iter().map(|leftover| {
        assert_eq!(leftover["kind"], "upload");
        assert!(leftover["idle_s"].is_u64());
        let text = |name: &str| leftover[name].as_str().unwrap().to_owned();
        (text("key"), text("status"))
    });
    found.collect()
}

#[tokio::test]
async fn abandoned_uploads_of_archives_are_removed() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    store(&host, "a", 1, 300_000).await;
    let abandoned = [key(&server, "backups/x.tar"), key(&server, "backups/y.tar")];
    server.abandon_upload(&abandoned[0], false).await;
    server.abandon_upload(&abandoned[1], true).await;
    let of_others = [key(&server, "backups/deeper/x.tar"), key(&server, "backups/x.zip")];
    for key in &of_others {
        server.abandon_upload(key, true).await;
    }

    assert_eq!(sweep(&host, json!({})).await, []);
    if !server.lists_uploads() {
        assert_eq!(sweep(&host, json!({"older_than_s": 0})).await, []);
        assert_eq!(server.open_uploads().await.len(), 4);
        return;
    }
    let found = |status: &str| abandoned.each_ref().map(|key| (key.clone(), status.to_owned()));
    assert_eq!(sweep(&host, json!({"older_than_s": 0, "dry_run": true})).await, found("found"));
    assert_eq!(server.open_uploads().await.len(), 4);
    assert_eq!(sweep(&host, json!({"older_than_s": 0})).await, found("removed"));
    assert_eq!(sweep(&host, json!({"older_than_s": 0})).await, []);
    let mut left: Vec<_> = server.open_uploads().await.into_iter().map(|(key, _)| key).collect();
    // Garage lists them in no order.
    left.sort();
    assert_eq!(left, of_others);
    assert_eq!(ids(&host).await, ["a"]);
}

#[tokio::test]
async fn an_upload_that_runs_here_is_left_alone_at_any_age() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let mut request = send_until(&host, "r", 40 << 20, json!({})).await;
    assert_eq!(sweep(&host, json!({"older_than_s": 0})).await, []);
    host.notify("cancel", json!({"id": request.id}), None).await.unwrap();
    request.response().await.unwrap_err();
    assert_empty(&server).await;
}

#[tokio::test]
async fn an_age_beyond_a_year_is_refused() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let wrong = json!({"target": "t1", "older_than_s": 31_536_001});
    assert_eq!(code(host.call("target.sweep", wrong).await), "invalid_params");
}

#[tokio::test]
async fn what_does_not_fit_into_a_line_is_removed_all_the_same() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    for number in 0..250 {
        let name = format!("backups/{}{number:03}.tar", "x".repeat(180));
        server.abandon_upload(&key(&server, &name), false).await;
    }
    let all = json!({"target": "t1", "older_than_s": 0});
    let swept = host.call("target.sweep", all).await.unwrap();
    if !server.lists_uploads() {
        assert_eq!((&swept["more"], &swept["leftovers"]), (&json!(false), &json!([])));
        return;
    }
    assert_eq!(swept["more"], true);
    assert!((100..250).contains(&swept["leftovers"].as_array().unwrap().len()));
    assert_eq!(server.open_uploads().await, []);
}
