//! Servers whose clock differs from that of this machine.

use std::io;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::wire::{Act, Wire};
use super::{address, detail, list_error, open};
use crate::e2e::clock::clock_environment;
use crate::e2e::{backup, fetch};
use crate::random_data::RandomData;
use crate::relay::{Body, Listening, Relay, body};
use crate::support::TestServer;

/// Refuses everything because of the time, and claims that it is this date.
struct Refusing(&'static str);

impl Relay for Refusing {
    async fn handle(
        self: Arc<Self>,
        _connection: usize,
        _request: Request<Incoming>,
    ) -> io::Result<Response<Body>> {
        let document = "<?xml version=\"1.0\"?><Error><Code>RequestTimeTooSkewed</Code></Error>";
        let mut answer = Response::new(body(document));
        *answer.status_mut() = StatusCode::FORBIDDEN;
        answer.headers_mut().insert(http::header::DATE, HeaderValue::from_static(self.0));
        Ok(answer)
    }
}

#[tokio::test]
async fn impossible_server_date_is_clock_skew_without_panic() {
    let server = TestServer::embedded().await;
    for date in [
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 00:00:00 GMT",
        "Sat, 01 Jan 1600 00:00:00 GMT",
    ] {
        let refusing = Listening::start(None, Arc::new(Refusing(date))).await;
        let endpoint = format!("http://{}", refusing.address);
        let host = open(&server, &endpoint, json!({}), &[]).await.unwrap();
        for _ in 0..2 {
            let error = list_error(&host).await;
            assert_eq!(error.data.code, "clock_skew", "{date}: {error:?}");
        }
        let log = host.stderr_lines();
        assert!(!log.iter().any(|line| line.contains("a fault inside")), "{date}: {log:?}");
    }
}

#[tokio::test]
async fn clock_change_before_head_request_is_corrected() {
    let server = TestServer::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    for (id, offset) in [("behind", "-2h"), ("ahead", "+3h")] {
        let clock = folder.path().join(id);
        std::fs::write(&clock, "+0").unwrap();
        let step = clock.clone();
        let mut is_first = true;
        // The clock changes before the server sees the request, which then looks too old or too
        // new.
        let wire = Wire::start(address(&server), move |head| {
            if head.method != http::Method::HEAD || !std::mem::take(&mut is_first) {
                return Act::Pass;
            }
            std::fs::write(&step, offset).unwrap();
            Act::Answer(403, "AccessDenied")
        })
        .await;
        let environment = clock_environment(&clock);
        // Only the wall clock: no time limit depends on it.
        let wall = ("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let faked = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let environment: Vec<_> = faked.chain([wall]).collect();
        let host = open(&server, &wire.http(), json!({}), &environment).await.unwrap();
        let size = 12 << 20;
        let uploaded =
            host.upload("t1", backup(id), json!({"size": size}), RandomData::new(1, size)).await;
        uploaded.unwrap_or_else(|error| panic!("{offset}: {error:?}"));
        let heads: Vec<_> =
            wire.take_requests().into_iter().filter(|seen| seen.method == "HEAD").collect();
        assert!(heads.len() > 1, "{heads:?}");
        assert_eq!(fetch(&host, id).await.1["verified"], true);
    }
}

#[tokio::test]
async fn swapped_account_keys_name_their_field() {
    let server = TestServer::embedded().await;
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    for (id, secret) in [
        (secret, "AKIAIOSFODNN7EXAMPLE"),
        ("wJalrXUtnFEMI+K7MDENGxbPxRfiCYEXAMPLEKEY", "0555B35654AD1656D804"),
        (
            "b892c0665f0ada8a4755dae98baa3b133590e11dae3bcc1f9d769d67f16c3835",
            "GK31c2f218a2e44f485b94239e",
        ),
    ] {
        let changes = json!({"access_key_id": id, "secret_access_key": secret});
        let wire = Wire::start(address(&server), |_| Act::Pass).await;
        let host = open(&server, &wire.http(), changes, &[]).await.unwrap();
        let error = list_error(&host).await;
        assert_eq!(error.data.code, "invalid_credentials", "{error:?}");
        assert_eq!(error.data.field.as_deref(), Some("access_key_id"), "{error:?}");
        assert_eq!(detail(&error, "which"), "swapped");
        super::assert_hidden(id, &error, &host);
        let result = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
        assert!(result.to_string().contains("look swapped"), "{result}");
        assert!(!result.to_string().contains(id), "{result}");
    }
}
