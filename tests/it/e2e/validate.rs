//! What `target.validate` finds, and that it leaves nothing behind.

use serde_json::{Value, json};

use super::{assert_empty, connect, connect_with};
use crate::support::TestServer;

fn statuses(result: &Value) -> Vec<(String, String)> {
    let checks = result["checks"].as_array().unwrap();
    let text = |check: &Value, member: &str| check[member].as_str().unwrap().to_owned();
    checks.iter().map(|check| (text(check, "name"), text(check, "status"))).collect()
}

/// The checks that only read, and those that also write.
const READ_CHECKS: [&str; 11] = [
    "config",
    "dns",
    "tcp",
    "tls",
    "service",
    "clock",
    "credentials",
    "bucket",
    "region",
    "addressing_style",
    "list",
];
const WRITE_CHECKS: [&str; 7] =
    ["write", "read", "multipart", "overwrite", "delete", "versioning", "lock"];

#[tokio::test]
async fn validate_of_good_target_passes_every_check() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    for (level, names) in
        [("read", READ_CHECKS.to_vec()), ("write", [&READ_CHECKS[..], &WRITE_CHECKS].concat())]
    {
        let params = json!({"target": "t1", "level": level});
        let result = host.call("target.validate", params).await.unwrap();
        assert_eq!(result["ok"], true, "{result}");
        let found = statuses(&result);
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
        for (name, status) in found {
            let may_be_skipped = matches!(name.as_str(), "tls" | "lock") && status == "skipped";
            let may_be_odd = name == "versioning" && status == "warning";
            assert!(
                status == "passed" || may_be_skipped || may_be_odd,
                "{name} {status}: {result}"
            );
        }
        assert_eq!(result["details"]["addressing_style"], "path");
        assert_eq!(result["suggestion"], Value::Null);
    }
    assert_empty(&server).await;
}

#[tokio::test]
async fn validate_of_bad_target_names_the_field() {
    let server = TestServer::start().await;
    let cases = [
        (
            json!({"secret_access_key": "wrongwrongwrongwrongwrongwrongwrongwrong"}),
            "credentials",
            &["invalid_credentials"][..],
            "secret_access_key",
        ),
        (
            json!({"access_key_id": "UNKNOWNKEY0000000000"}),
            "credentials",
            &["invalid_credentials"],
            "access_key_id",
        ),
        (json!({"bucket": "no-such-bucket-at-all"}), "bucket", &["bucket_not_found"], "bucket"),
        (json!({"endpoint": "http://127.0.0.1:1"}), "tcp", &["cannot_connect"], "endpoint"),
        (
            json!({"endpoint": "http://no-such-host.invalid"}),
            "dns",
            &["cannot_connect"],
            "endpoint",
        ),
    ];
    for (changes, name, codes, field) in cases {
        let host = connect_with(&server, changes.clone()).await;
        let result = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
        assert_eq!(result["ok"], false, "{changes}");
        let checks = result["checks"].as_array().unwrap();
        let failed: Vec<_> = checks.iter().filter(|check| check["status"] == "failed").collect();
        let [failed] = failed[..] else { panic!("{result}") };
        assert_eq!(failed["name"], name, "{result}");
        assert!(codes.contains(&failed["error"]["code"].as_str().unwrap()), "{failed}");
        // Swift does not reveal whether it knows the key.
        let unsaid = failed["error"]["upstream"]["code"] == "SignatureDoesNotMatch";
        let field = if unsaid { "secret_access_key" } else { field };
        assert_eq!(failed["error"]["field"], field, "{failed}");
        assert!(checks.iter().rev().take(8).all(|check| check["status"] == "skipped"), "{result}");
    }
    assert_empty(&server).await;
}
