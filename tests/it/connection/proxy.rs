//! Proxies from the environment: used, bypassed, and explained when they fail.
//!
//! The server has a name that only the proxy can reach, so a request cannot bypass the proxy
//! unnoticed.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use s3_backup_agent::demo::host::Host;
use s3_backup_agent::protocol::ErrorObject;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::certificates::{Authority, Identity};
use super::wire::{Act, Wire};
use super::{address, assert_hidden, detail, list_error, open, round_trip};
use crate::e2e::ids;
use crate::support::TestServer;

pub(super) const HTTP: &str = "http://storage.test:9000";
pub(super) const HTTPS: &str = "https://storage.test";

/// The embedded server with TLS, as `storage.test`.
pub(super) async fn start_tls(server: &TestServer) -> (Wire, Value) {
    let authority = Authority::new();
    let identity = authority.issue(&["storage.test"], 2000..3000);
    let wire = Wire::with_tls(address(server), identity, |_| Act::Pass).await;
    (wire, json!({"ca_certificate": authority.pem}))
}

#[tokio::test]
async fn proxy_gets_full_url_for_http_endpoint() {
    let server = TestServer::embedded().await;
    let proxy = Wire::start(address(&server), |_| Act::Pass).await;
    let host = open(&server, HTTP, json!({}), &[("HTTP_PROXY", &proxy.http())]).await.unwrap();
    round_trip(&host).await;
    let seen = proxy.take_requests();
    assert!(seen.len() > 10);
    for seen in seen {
        assert!(seen.uri.to_string().starts_with(HTTP), "{seen:?}");
        assert_eq!(seen.header("host"), "storage.test:9000");
        assert_eq!(seen.header("proxy-authorization"), "");
    }
    for name in ["http_proxy", "ALL_PROXY", "all_proxy"] {
        let host = open(&server, HTTP, json!({}), &[(name, &proxy.http())]).await.unwrap();
        assert_eq!(ids(&host).await, ["large", "small"], "{name}");
    }
}

#[tokio::test]
async fn proxy_tunnels_https_endpoint() {
    let server = TestServer::embedded().await;
    let (secured, given) = start_tls(&server).await;
    let proxy = Wire::start(secured.address, |_| Act::Pass).await;
    let environment = [("HTTPS_PROXY", proxy.http()), ("HTTP_PROXY", "http://none.invalid".into())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let host = open(&server, HTTPS, given, &environment).await.unwrap();
    round_trip(&host).await;
    let seen = proxy.take_requests();
    assert!(!seen.is_empty());
    for seen in seen {
        assert_eq!(
            (seen.method.as_str(), seen.uri.to_string().as_str()),
            ("CONNECT", "storage.test:443")
        );
        assert_eq!(seen.header("proxy-authorization"), "");
    }
    assert!(secured.take_requests().iter().all(|seen| seen.header("host") == "storage.test"));
}

/// A proxy that accepts only one login.
async fn login_proxy(upstream: SocketAddr) -> Wire {
    login_proxy_with(upstream, None).await
}

/// The same over TLS, with an identity.
pub(super) async fn login_proxy_with(
    upstream: SocketAddr,
    identity: Option<Arc<Identity>>,
) -> Wire {
    let expected = format!("Basic {}", BASE64_STANDARD.encode("us@er:pass:w/ord"));
    let rule = move |head: &http::request::Parts| match head.headers.get("proxy-authorization") {
        Some(given) if *given == expected => Act::Pass,
        _ => Act::Answer(407, "ProxyAuthenticationRequired"),
    };
    match identity {
        Some(identity) => Wire::with_tls(upstream, identity, rule).await,
        None => Wire::start(upstream, rule).await,
    }
}

#[tokio::test]
async fn proxy_login_is_sent_to_the_proxy_only() {
    let server = TestServer::embedded().await;
    let (secured, given) = start_tls(&server).await;
    for (endpoint, upstream, variable, changes) in [
        (HTTP, address(&server), "HTTP_PROXY", json!({})),
        (HTTPS, secured.address, "HTTPS_PROXY", given),
    ] {
        let proxy = login_proxy(upstream).await;
        let url = format!("http://us%40er:pass%3Aw%2Ford@{}", proxy.address);
        let host = open(&server, endpoint, changes, &[(variable, &url)]).await.unwrap();
        assert_eq!(ids(&host).await, Vec::<String>::new());
        assert!(!proxy.take_requests().is_empty());
    }
    assert!(
        secured.take_requests().iter().all(|seen| seen.header("proxy-authorization").is_empty())
    );
}

#[tokio::test]
async fn proxy_login_refused_is_explained() {
    let server = TestServer::embedded().await;
    let proxy = login_proxy(address(&server)).await;
    let urls = [proxy.http(), format!("http://user:S3CR3T@{}", proxy.address)];
    for (endpoint, variable) in [(HTTP, "HTTP_PROXY"), (HTTPS, "HTTPS_PROXY")] {
        for url in &urls {
            let host = open(&server, endpoint, json!({}), &[(variable, url)]).await.unwrap();
            let error = list_error(&host).await;
            assert_failed(&error, &host);
            for words in ["requires a user name and password", variable, endpoint] {
                assert!(error.message.contains(words), "{}", error.message);
            }
            // A retry would not help.
            assert_eq!(proxy.take_requests().len(), 1);
        }
    }
}

pub(super) fn assert_failed(error: &ErrorObject, host: &Host) {
    assert_eq!(error.data.code, "cannot_connect", "{error:?}");
    assert_eq!(detail(error, "stage"), "proxy", "{error:?}");
    assert_eq!(error.data.field, None, "{error:?}");
    assert_hidden("S3CR3T", error, host);
}

#[tokio::test]
async fn proxy_that_is_unreachable_is_named() {
    let server = TestServer::embedded().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    for (endpoint, variable) in [(HTTP, "HTTP_PROXY"), (HTTPS, "HTTPS_PROXY")] {
        for proxy in [closed.as_str(), "proxy.invalid:3128"] {
            let url = format!("http://user:S3CR3T@{proxy}");
            let host = open(&server, endpoint, json!({}), &[(variable, &url)]).await.unwrap();
            let validate = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
            let mut checks = validate["checks"].as_array().unwrap().iter();
            let check = &checks.find(|check| check["status"] == "failed").unwrap()["error"];
            assert_eq!(
                (&check["code"], &check["details"]["stage"]),
                (&json!("cannot_connect"), &json!("proxy"))
            );
            let error = list_error(&host).await;
            assert_failed(&error, &host);
            assert_eq!(detail(&error, "host"), proxy);
            for words in [proxy, variable, "NO_PROXY"] {
                assert!(error.message.contains(words), "{}", error.message);
            }
            assert!(error.data.retryable);
        }
    }
}

#[tokio::test]
async fn no_proxy_host_is_reached_directly() {
    let server = TestServer::embedded().await;
    let proxy = Wire::start(address(&server), |_| Act::Answer(502, "BadGateway")).await;
    let port = address(&server).port();
    for (host, excepted) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "storage.test, 127.0.0.0/8"),
        ("localhost", "storage.test,localhost"),
        ("localhost", "*"),
        ("127.0.0.1", "*"),
        ("127.0.0.1", "127.0.0.1:{port}"),
    ] {
        let direct = format!("http://{host}:{port}");
        let environment = [
            ("ALL_PROXY", proxy.http()),
            ("NO_PROXY", excepted.replace("{port}", &port.to_string())),
        ];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let host = open(&server, &direct, json!({}), &environment).await.unwrap();
        assert_eq!(ids(&host).await, Vec::<String>::new(), "{excepted}");
    }
    assert_eq!(proxy.take_requests().len(), 0);
}
