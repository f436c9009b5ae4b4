//! Server-side encryption that the settings request.

use std::net::SocketAddr;

use http::Method;
use http::request::Parts;
use serde_json::{Value, json};

use super::recorded_request::RecordedRequest;
use super::wire::{Act, Wire};
use super::{address, open, round_trip};
use crate::e2e::{assert_empty, backup, code};
use crate::random_data::RandomData;
use crate::support::TestServer;

const HEADER: &str = "x-amz-server-side-encryption";
const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";

/// Whether the request writes an object or starts one.
fn makes(method: &Method, query: &str) -> bool {
    let part = query.contains("uploadId");
    (method == Method::PUT && !part) || (method == Method::POST && query.starts_with("uploads"))
}

/// A server that requires the header, as a bucket policy can.
async fn demanding(upstream: SocketAddr) -> Wire {
    let rule = |head: &Parts| {
        let makes = makes(&head.method, head.uri.query().unwrap_or_default());
        match makes && !head.headers.contains_key(HEADER) {
            true => Act::Answer(403, "AccessDenied"),
            false => Act::Pass,
        }
    };
    Wire::start(upstream, rule).await
}

fn failed(result: &Value) -> &Value {
    let mut checks = result["checks"].as_array().unwrap().iter();
    checks.find(|check| check["status"] == "failed").unwrap_or(&Value::Null)
}

#[tokio::test]
async fn encryption_is_requested_for_every_object() {
    let server = TestServer::embedded().await;
    for (settings, key) in [
        (json!({"server_side_encryption": "AES256"}), ""),
        (json!({"server_side_encryption": "aws:kms"}), ""),
        (
            json!({
                "server_side_encryption": "aws:kms", "server_side_encryption_key_id": "alias/backups",
            }),
            "alias/backups",
        ),
    ] {
        let wire = demanding(address(&server)).await;
        let host = open(&server, &wire.http(), settings.clone(), &[]).await.unwrap();
        let result = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
        assert_eq!(result["ok"], true, "{result}");
        round_trip(&host).await;
        let all = wire.take_requests();
        let (objects, others): (Vec<&RecordedRequest>, Vec<&RecordedRequest>) =
            all.iter().partition(|seen| makes(&seen.method, seen.uri.query().unwrap_or_default()));
        // The request without the header shows `validate` whether the server requires it.
        let without = objects.iter().filter(|seen| seen.header(HEADER).is_empty());
        assert!(without.count() == 1 && objects.len() >= 7, "{objects:?}");
        let with = objects.iter().filter(|seen| !seen.header(HEADER).is_empty());
        for seen in with {
            assert_eq!(json!(seen.header(HEADER)), settings["server_side_encryption"]);
            assert_eq!(seen.header(KEY), key);
        }
        assert!(others.iter().all(|seen| !seen.headers.contains_key(HEADER)));
        for id in ["small", "large"] {
            host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await.unwrap();
        }
        assert_empty(&server).await;
    }
}

#[tokio::test]
async fn encryption_ignored_or_refused_names_the_field() {
    let server = TestServer::embedded().await;
    let settings = json!({"server_side_encryption": "AES256"});
    // The embedded server accepts the header and ignores it.
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let host = open(&server, &wire.http(), settings.clone(), &[]).await.unwrap();
    let result = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
    let error = &failed(&result)["error"];
    assert_eq!(error["code"], "unsupported_feature", "{result}");
    assert_eq!(error["field"], "server_side_encryption", "{result}");

    for (status, said) in [(501, "NotImplemented"), (400, "InvalidArgument")] {
        let refuse = move |head: &Parts| match head.headers.contains_key(HEADER) {
            true => Act::Answer(status, said),
            false => Act::Pass,
        };
        let wire = Wire::start(address(&server), refuse).await;
        let host = open(&server, &wire.http(), settings.clone(), &[]).await.unwrap();
        let result = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
        assert_eq!(failed(&result)["error"]["field"], "server_side_encryption", "{result}");
        for size in [1000, 21 << 20] {
            let upload = host
                .upload("t1", backup("a"), json!({"size": size}), RandomData::new(1, size))
                .await;
            let field = upload.as_ref().err().and_then(|error| error.data.field.clone());
            assert_eq!(field.as_deref(), Some("server_side_encryption"));
            assert_eq!(code(upload), "unsupported_feature");
        }
    }
    let kms = json!({
        "server_side_encryption": "aws:kms", "server_side_encryption_key_id": "alias/none",
    });
    let refuse = |head: &Parts| match head.headers.contains_key(KEY) {
        true => Act::Answer(400, "KMS.NotFoundException"),
        false => Act::Pass,
    };
    let wire = Wire::start(address(&server), refuse).await;
    let host = open(&server, &wire.http(), kms, &[]).await.unwrap();
    let result = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
    assert_eq!(failed(&result)["error"]["field"], "server_side_encryption_key_id", "{result}");
    assert_empty(&server).await;
}
