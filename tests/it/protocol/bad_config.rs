//! Invalid settings: refused when the target is opened, with the field and the remedy.

use serde_json::{Value, json};

use super::{config, session};

/// Changes to valid settings, and the resulting code, field and part of the remedy.
#[expect(clippy::too_many_lines, reason = "a table")]
fn refusals() -> Vec<(Value, &'static str, &'static str, &'static str)> {
    vec![
        (
            json!({"endpoint": "s3.example.org"}),
            "invalid_endpoint",
            "endpoint",
            "https://s3.example.org",
        ),
        (json!({"endpoint": ""}), "invalid_endpoint", "endpoint", "https://"),
        (json!({"endpoint": "ftp://x.org"}), "invalid_endpoint", "endpoint", "https://"),
        (
            json!({"endpoint": "https://s3.eu-west-1.amazonaws.com/photos"}),
            "invalid_endpoint",
            "endpoint",
            "the bucket is set to \"bucket\"",
        ),
        (
            json!({"endpoint": "https://photos.s3.eu-west-1.amazonaws.com"}),
            "invalid_endpoint",
            "endpoint",
            "\"photos\"",
        ),
        (json!({"endpoint": "SK-canary-4711"}), "invalid_endpoint", "endpoint", "secret"),
        (json!({"bucket": "SK-canary-4711"}), "invalid_bucket_name", "bucket", "secret"),
        (json!({"prefix": "a/SK-canary-4711"}), "invalid_config", "prefix", "secret"),
        (json!({"region": "SK-canary-4711"}), "invalid_config", "region", "secret"),
        (json!({"type": "SK-canary-4711"}), "invalid_config", "type", "s3"),
        (
            json!({"secret_access_key": {"file": "/SK-canary-4711"}}),
            "invalid_config",
            "secret_access_key",
            "No such file",
        ),
        (
            json!({"endpoint": "https://u:SK-canary-4711@x.org"}),
            "invalid_endpoint",
            "endpoint",
            "remove",
        ),
        (
            json!({"bucket": "Bad_Bucket", "endpoint": "https://s3.eu-west-1.amazonaws.com"}),
            "invalid_bucket_name",
            "bucket",
            "lowercase",
        ),
        (json!({"bucket": "my/bucket"}), "invalid_bucket_name", "bucket", "prefix"),
        (json!({"bucket": ""}), "invalid_bucket_name", "bucket", "missing"),
        (json!({"bucket": "192.168.1.1", "endpoint": null}), "invalid_bucket_name", "bucket", "IP"),
        (
            json!({"bucket": "arn:aws:s3:eu-west-1:1:accesspoint/x"}),
            "invalid_bucket_name",
            "bucket",
            "alias",
        ),
        (
            json!({"server_side_encryption_key_id": "alias/x"}),
            "invalid_config",
            "server_side_encryption_key_id",
            "aws:kms",
        ),
        (json!({"prefix": "a/../b"}), "invalid_config", "prefix", "without . and .."),
        (json!({"folder": "a//b"}), "invalid_config", "folder", "single slashes"),
        (json!({"region": "eu central"}), "invalid_config", "region", "leave it out"),
        (json!({"access_key_id": ""}), "invalid_config", "access_key_id", "missing"),
        (json!({"access_key_id": " AK"}), "invalid_config", "access_key_id", "remove"),
        (json!({"secret_access_key": "   "}), "invalid_config", "secret_access_key", "blank"),
        (
            json!({"secret_access_key": "SK-canary-4711\n"}),
            "invalid_config",
            "secret_access_key",
            "remove",
        ),
        (
            json!({"secret_access_key": {"file": "/no/such/file"}}),
            "invalid_config",
            "secret_access_key",
            "No such file",
        ),
        (
            json!({"secret_access_key": {"credential": "../x"}}),
            "invalid_config",
            "secret_access_key",
            "CREDENTIALS_DIRECTORY",
        ),
        (json!({"part_size": 1}), "invalid_config", "part_size", "5 MiB"),
        (json!({"memory": 1}), "invalid_config", "memory", "32 MiB"),
        (json!({"concurrency": 0}), "invalid_config", "concurrency", "1 to 64"),
        (json!({"concurrency": 65}), "invalid_config", "concurrency", "1 to 64"),
        (
            json!({"bandwidth_limit": 65_535}),
            "invalid_config",
            "bandwidth_limit",
            "leave it out for no limit",
        ),
        (json!({"type": "ftp"}), "invalid_config", "type", "s3"),
        (
            json!({"endpoint": "http://x.org", "ca_certificate": "nonsense"}),
            "invalid_config",
            "ca_certificate",
            "BEGIN CERTIFICATE",
        ),
        (
            json!({"endpoint": "https://x.org", "ca_certificate": "nonsense"}),
            "invalid_config",
            "ca_certificate",
            "BEGIN CERTIFICATE",
        ),
    ]
}

#[tokio::test]
async fn invalid_setting_names_field_and_remedy() {
    let host = session().await;
    for (changes, code, field, remedy) in refusals() {
        let params = json!({"target": "t1", "config": config(changes.clone())});
        let error = host.call("target.open", params).await.unwrap_err();
        assert_eq!(error.data.code, code, "{changes}: {}", error.message);
        assert_eq!(error.data.field.as_deref(), Some(field), "{changes}");
        assert!(error.message.contains(remedy), "{changes}: {}", error.message);
        assert!(!serde_json::to_string(&error).unwrap().contains("canary"), "{}", error.message);
    }
    assert!(!host.stderr_lines().join("\n").contains("canary"));
}
