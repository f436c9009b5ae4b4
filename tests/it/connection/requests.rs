//! The requests themselves: which calls are made, how many, and which headers they have.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::recorded_request::RecordedRequest;
use super::wire::{Act, Wire};
use super::{address, connect, list_error, open, round_trip};
use crate::e2e::streams::begin_upload;
use crate::e2e::{assert_empty, backup, ids, store};
use crate::support::TestServer;

/// Every request of an agent in a full session.
async fn full_session(server: &TestServer, wire: &Wire) -> Vec<RecordedRequest> {
    let host = connect(server, wire).await;
    let validated = host.call("target.validate", json!({"target": "t1", "level": "write"})).await;
    assert_eq!(validated.unwrap()["ok"], true);
    round_trip(&host).await;
    let again = json!({"if_exists": "replace"});
    host.upload("t1", backup("small"), again, &b"another"[..]).await.unwrap();
    let size = json!({"size": 30 << 20});
    let (mut stopped, _) = begin_upload(&host, "stopped", size).await;
    host.notify("cancel", json!({"id": stopped.id}), None).await.unwrap();
    stopped.response().await.unwrap_err();
    for id in ["small", "large"] {
        host.call("backup.get", json!({"target": "t1", "backup_id": id})).await.unwrap();
        host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await.unwrap();
    }
    assert_empty(server).await;
    wire.take_requests()
}

#[tokio::test]
async fn payload_is_signed_with_sha256_without_checksum_headers() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let all = full_session(&server, &wire).await;
    // The first request of a validation is not signed.
    let (signed, unsigned): (Vec<_>, Vec<_>) =
        all.iter().partition(|seen| !seen.header("authorization").is_empty());
    assert_eq!(unsigned.len(), 1, "{unsigned:?}");
    for seen in &signed {
        assert_eq!(seen.header("x-amz-content-sha256"), seen.sha256, "{seen:?}");
        for name in seen.headers.keys().map(http::HeaderName::as_str) {
            let refused_by_some = name.starts_with("x-amz-checksum-")
                || [
                    "x-amz-sdk-checksum-algorithm",
                    "x-amz-trailer",
                    "x-amz-decoded-content-length",
                ]
                .contains(&name)
                || ["content-encoding", "transfer-encoding", "expect", "content-md5"]
                    .contains(&name);
            assert!(!refused_by_some, "{seen:?}");
        }
        if seen.method == Method::PUT {
            assert_eq!(seen.header("content-length"), seen.length.to_string());
        }
        let authorization = seen.header("authorization");
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIATESTS/"));
        assert!(authorization.contains("/us-east-1/s3/aws4_request"), "{authorization}");
        // Headers that proxies tend to change must not be signed.
        let (_, signed) = authorization.split_once("SignedHeaders=").unwrap();
        let mut signed = signed.split([';', ',']);
        assert!(
            !signed.any(|name| ["accept-encoding", "connection", "user-agent"].contains(&name))
        );
        assert_eq!(seen.header("x-amz-security-token"), "");
    }
    assert!(all.iter().filter(|seen| seen.method == Method::PUT).count() >= 8);
}

#[tokio::test]
async fn only_widely_supported_s3_calls_are_made() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let all = full_session(&server, &wire).await;
    let bucket = format!("/{}", server.bucket);
    let mut calls = BTreeSet::new();
    for seen in &all {
        let path = seen.uri.path();
        let rest = path.strip_prefix(&bucket).unwrap_or_else(|| panic!("{seen:?}"));
        let place = if rest.trim_matches('/').is_empty() { "bucket" } else { "object" };
        assert_eq!(seen.header("host"), wire.address.to_string());
        calls.insert(format!("{} {place} {}", seen.method, seen.query_names().join(" ")));
    }
    let expected = [
        "DELETE object ",
        "DELETE object uploadId",
        "GET bucket delimiter list-type max-keys prefix",
        "GET bucket delimiter list-type prefix",
        "GET bucket list-type max-keys prefix",
        // Below a folder without backups, to find backups elsewhere.
        "GET bucket list-type prefix",
        // These two may be refused.
        "GET bucket object-lock",
        "GET bucket prefix uploads",
        "GET object ",
        "HEAD object ",
        "POST object uploadId",
        "POST object uploads",
        "PUT object ",
        "PUT object partNumber uploadId",
    ];
    assert_eq!(calls.iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn addressing_style_decides_where_the_bucket_is_sent() {
    let server = TestServer::embedded().await;
    let proxy = Wire::start(address(&server), |_| Act::Answer(403, "AccessDenied")).await;
    let bucket = &server.bucket;
    let in_host = |host: &str| (format!("{bucket}.{host}"), "/".to_owned());
    let in_path = |host: &str| (host.to_owned(), format!("/{bucket}/"));
    for (host, addressing_style, (expected, path)) in [
        ("storage.test:9000", "auto", in_path("storage.test:9000")),
        ("storage.test:9000", "path", in_path("storage.test:9000")),
        ("storage.test:9000", "virtual", in_host("storage.test:9000")),
        ("s3.us-east-1.amazonaws.com", "auto", in_host("s3.us-east-1.amazonaws.com")),
        ("s3.us-east-1.amazonaws.com", "path", in_path("s3.us-east-1.amazonaws.com")),
    ] {
        let endpoint = format!("http://{host}");
        let changes = json!({"addressing_style": addressing_style});
        let environment = [("HTTP_PROXY", proxy.http())];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let agent = open(&server, &endpoint, changes, &environment).await.unwrap();
        assert_eq!(list_error(&agent).await.data.code, "access_denied");
        let seen = proxy.take_requests().remove(0);
        assert_eq!(seen.header("host"), expected);
        assert_eq!(seen.uri.authority().unwrap().as_str(), expected);
        assert_eq!(seen.uri.path().trim_end_matches('/'), path.trim_end_matches('/'));
    }
}

#[tokio::test]
async fn session_token_is_sent_and_signed() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let token = json!({"session_token": "S3SSION+TOKEN/=="});
    let host = open(&server, &wire.http(), token, &[]).await.unwrap();
    store(&host, "b", 1, 21 << 20).await;
    for seen in wire.take_requests() {
        assert_eq!(seen.header("x-amz-security-token"), "S3SSION+TOKEN/==");
        assert!(seen.header("authorization").contains("x-amz-security-token"));
    }
}

#[tokio::test]
async fn settings_of_other_tools_are_ignored() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let home = tempfile::tempdir().unwrap();
    let settings = "[default]\naws_access_key_id = AKIAPOISON\naws_secret_access_key = poison\n\
        region = poison-1\nendpoint_url = http://poison.invalid\n\
        request_checksum_calculation = when_supported\n\
        [profile poison]\nregion = poison-2\nendpoint_url = http://poison.invalid\n";
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    for name in [".aws/config", ".aws/credentials", "poison.ini"] {
        std::fs::write(home.path().join(name), settings).unwrap();
    }
    let file = home.path().join("poison.ini");
    let (home, file) = (home.path().to_str().unwrap(), file.to_str().unwrap());
    let environment = [
        ("HOME", home),
        ("AWS_CONFIG_FILE", file),
        ("AWS_SHARED_CREDENTIALS_FILE", file),
        ("AWS_CA_BUNDLE", file),
        ("AWS_PROFILE", "poison"),
        ("AWS_ACCESS_KEY_ID", "AKIAPOISON"),
        ("AWS_SECRET_ACCESS_KEY", "poison"),
        ("AWS_SESSION_TOKEN", "poison"),
        ("AWS_REGION", "poison-3"),
        ("AWS_DEFAULT_REGION", "poison-4"),
        ("AWS_ENDPOINT_URL", "http://poison.invalid"),
        ("AWS_ENDPOINT_URL_S3", "http://poison.invalid"),
        ("AWS_USE_FIPS_ENDPOINT", "true"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true"),
        ("AWS_S3_USE_ARN_REGION", "true"),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_SUPPORTED"),
        ("AWS_SDK_UA_APP_ID", "poison"),
        ("S3_BACKUP_AGENT_ENDPOINT", "http://poison.invalid"),
        ("S3_BACKUP_AGENT_SESSION_TOKEN", "poison"),
    ];
    let host = open(&server, &wire.http(), json!({}), &environment).await.unwrap();
    round_trip(&host).await;
    let all = wire.take_requests();
    assert!(all.len() > 10);
    for seen in all {
        assert!(!format!("{seen:?}").to_lowercase().contains("poison"), "{seen:?}");
        assert!(!seen.headers.contains_key("x-amz-checksum-crc32"), "{seen:?}");
    }
}

/// How many listings and reads arrived since the last call.
fn counts(wire: &Wire) -> (usize, usize) {
    let all = wire.take_requests();
    let lists = all.iter().filter(|seen| seen.query_names().contains(&"list-type")).count();
    assert!(all.iter().all(|seen| seen.method == Method::GET), "{all:?}");
    (lists, all.len() - lists)
}

#[tokio::test]
async fn list_reads_only_new_or_changed_metadata() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let writer = crate::e2e::connect(&server).await;
    for id in ["a", "b", "c"] {
        store(&writer, id, 1, 1000).await;
    }
    let host = connect(&server, &wire).await;
    assert_eq!((ids(&host).await.len(), counts(&wire)), (3, (1, 3)));
    assert_eq!((ids(&host).await.len(), counts(&wire)), (3, (1, 0)));
    host.call("backup.list", json!({"target": "t1"})).await.unwrap();
    host.call("backup.get", json!({"target": "t1", "backup_id": "b"})).await.unwrap();
    assert_eq!(counts(&wire), (0, 0));

    store(&writer, "d", 1, 1000).await;
    assert_eq!((ids(&host).await.len(), counts(&wire)), (4, (1, 1)));
    let key = "backups/Backup b.metadata.json";
    let mut document: Value = serde_json::from_slice(&server.get(key).await.unwrap()).unwrap();
    document["name"] = "another".into();
    server.put(key, document.to_string()).await;
    assert_eq!((ids(&host).await.len(), counts(&wire)), (4, (1, 1)));
    let changed = host.call("backup.get", json!({"target": "t1", "backup_id": "b"})).await.unwrap();
    assert_eq!(changed["backup"]["metadata"]["name"], "another");
    host.call("backup.get", json!({"target": "t1", "backup_id": "none"})).await.unwrap_err();
    assert_eq!(counts(&wire), (1, 0));
}

#[tokio::test]
async fn simultaneous_list_requests_share_one_listing() {
    let server = TestServer::embedded().await;
    let go = Arc::new(Barrier::new(2));
    let mut held = Some(Arc::clone(&go));
    let wire =
        Wire::start(address(&server), move |_| held.take().map_or(Act::Pass, Act::AtBarrier));
    let wire = wire.await;
    store(&crate::e2e::connect(&server).await, "a", 1, 1000).await;
    let host = connect(&server, &wire).await;
    let mut requests = Vec::new();
    for _ in 0..10 {
        requests.push(host.start("backup.list", json!({"target": "t1"})).await.unwrap());
    }
    // Messages are processed in order, so all ten have arrived when this is answered.
    host.call("ping", json!({})).await.unwrap();
    go.wait().await;
    for mut request in requests {
        let listed = request.response().await.unwrap();
        assert_eq!(listed["backups"].as_array().unwrap().len(), 1);
    }
    assert_eq!(counts(&wire), (1, 1));
}
