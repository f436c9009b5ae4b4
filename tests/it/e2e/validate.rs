//! What `target.validate` finds, and that it leaves nothing behind.

use serde_json::{Value, json};

use super::{assert_empty, connect, connect_with};
use crate::support::TestServer;

fn statuses(result: &Value) -> Vec<(String, String)> {
    let checks = result["checks"].as_array().unwrap();
    let text = |check: &Value, member: &str| check[member].as_str().unwrap().to_owned();
    checks.iter().map(|check| (text(check, "name"), text(check, "status"))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, status)| ((*name).to_owned(), (*status).to_owned())).collect()
}

#[tokio::test]
async fn a_good_target_passes_every_check() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let result =
        host.call("target.validate", json!({"target": "t1", "level": "read"})).await.unwrap();
    assert_eq!((&result["ok"], statuses(&result)), (&json!(true), pairs(&[("list", "passed")])));
    let result = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
    assert_eq!(result["ok"], true);
    let names = ["list", "write", "read", "multipart", "delete"].map(|name| (name, "passed"));
    assert_eq!(statuses(&result), pairs(&names));
    assert_eq!(result["facts"]["addressing"], "path");
    assert_empty(&server).await;
}

#[tokio::test]
async fn a_bad_target_is_a_result_that_names_the_field() {
    let server = TestServer::start().await;
    let cases = [
        (
            json!({"secret_access_key": "wrongwrongwrongwrongwrongwrongwrongwrong"}),
            &["invalid_credentials"][..],
            "secret_access_key",
        ),
        (
            json!({"access_key_id": "UNKNOWNKEY0000000000"}),
            &["invalid_credentials"],
            "access_key_id",
        ),
        (json!({"bucket": "no-such-bucket-at-all"}), &["bucket_not_found"], "bucket"),
        (json!({"endpoint": "http://127.0.0.1:1"}), &["cannot_connect"], "endpoint"),
        (json!({"endpoint": "http://no-such-host.invalid"}), &["cannot_connect"], "endpoint"),
    ];
    for (changes, codes, field) in cases {
        let host = connect_with(&server, changes.clone()).await;
        let result = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
        assert_eq!(result["ok"], false, "{changes}");
        let failed = &result["checks"][0];
        assert_eq!(failed["status"], "failed");
        assert!(codes.contains(&failed["error"]["code"].as_str().unwrap()), "{failed}");
        assert_eq!(failed["error"]["field"], field, "{failed}");
        assert_eq!(result["checks"][4]["status"], "skipped");
    }
    assert_empty(&server).await;
}
