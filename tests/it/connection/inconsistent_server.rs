//! A server whose listings and single answers contradict each other: the agent deletes nothing
//! because of one of them alone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::address;
use crate::e2e::crash_cleanup::{connect_to, wait_for_run_cleanup};
use crate::e2e::untrusted_state::{MARKER, record_at};
use crate::relay::{Body, Listening, Relay, body, collect, pass_on};
use crate::support::TestServer;

/// Leaves keys with one ending out of listings, and answers HEAD for keys with the other ending
/// with 404.
struct InconsistentServer {
    upstream: SocketAddr,
    not_listed: &'static str,
    not_found: &'static str,
}

impl Relay for InconsistentServer {
    async fn handle(
        self: Arc<Self>,
        _: usize,
        request: Request<Incoming>,
    ) -> io::Result<Response<Body>> {
        let (head, content) = request.into_parts();
        let is_listing = head.uri.query().is_some_and(|query| query.contains("prefix="));
        let ends = |ending: &str| !ending.is_empty() && head.uri.path().ends_with(ending);
        if head.method == Method::HEAD && ends(self.not_found) {
            let answer = Response::builder().status(StatusCode::NOT_FOUND);
            return answer.body(body("")).map_err(io::Error::other);
        }
        let content = content.collect().await.map_err(io::Error::other)?.to_bytes();
        let (mut head, content) = pass_on(self.upstream, head, content).await?.into_parts();
        let content = collect(content).await?;
        if !is_listing || self.not_listed.is_empty() {
            return Ok(Response::from_parts(head, body(content)));
        }
        head.headers.remove(http::header::CONTENT_LENGTH);
        let text = String::from_utf8(content.to_vec()).map_err(io::Error::other)?;
        let hidden = format!("{}</Key>", self.not_listed);
        let shown =
            text.split_inclusive("</Contents>").map(|piece| match piece.split_once("<Contents>") {
                Some((before, object)) if object.contains(&hidden) => before.to_owned(),
                _ => piece.to_owned(),
            });
        Ok(Response::from_parts(head, body(shown.collect::<String>())))
    }
}

fn key(server: &TestServer, rest: &str) -> String {
    format!("{}/backups/{rest}", server.prefix).trim_start_matches('/').to_owned()
}

/// A complete backup, and the settings of a target that sees it through this server.
async fn with_backup(
    not_listed: &'static str,
    not_found: &'static str,
) -> (TestServer, Listening, Value) {
    let server = TestServer::embedded().await;
    server.put_with_marker(&key(&server, "a.tar"), MARKER).await;
    let document = json!({"backup_id": "a", "size": 6}).to_string();
    server.put(&key(&server, "a.metadata.json"), document).await;
    let lag = InconsistentServer { upstream: address(&server), not_listed, not_found };
    let listening = Listening::start(None, Arc::new(lag)).await;
    let mut config = server.config();
    config["endpoint"] = format!("http://{}", listening.address).into();
    (server, listening, config)
}

/// The ending that is not listed, and the ending that is not found.
const CASES: [(&str, &str); 4] =
    [("a.tar", ""), ("a.metadata.json", ""), ("", "a.tar"), ("", "a.metadata.json")];

#[tokio::test]
async fn cleanup_on_inconsistent_server_deletes_nothing() {
    for (not_listed, not_found) in CASES {
        let (server, _listening, config) = with_backup(not_listed, not_found).await;
        let state = tempfile::tempdir().unwrap();
        let host = connect_to(config, state.path()).await;
        for dry_run in [true, false] {
            let params = json!({
                "target": "t1", "older_than_s": 0, "objects": true, "dry_run": dry_run,
            });
            let cleaned = host.call("target.cleanup", params).await.unwrap();
            assert_eq!(cleaned["items"], json!([]), "{not_listed} {not_found}");
        }
        assert_eq!(server.objects().await.len(), 2, "{not_listed} {not_found}");
    }
}

#[tokio::test]
async fn second_cleanup_on_inconsistent_server_deletes_nothing() {
    for (not_listed, not_found) in CASES {
        let (server, _listening, config) = with_backup(not_listed, not_found).await;
        let state = tempfile::tempdir().unwrap();
        let (archive, document) = (key(&server, "a.tar"), key(&server, "a.metadata.json"));
        let (path, text) = record_at(&config, state.path(), &archive, &document);
        std::fs::write(&path, text).unwrap();
        let host = connect_to(config, state.path()).await;
        wait_for_run_cleanup(&host).await;
        assert!(!path.exists(), "the record was looked at");
        assert_eq!(server.objects().await.len(), 2, "{not_listed} {not_found}");
    }
}

#[tokio::test]
async fn repair_on_inconsistent_server_overwrites_no_metadata() {
    let (server, _listening, config) = with_backup("a.metadata.json", "").await;
    let state = tempfile::tempdir().unwrap();
    let document = key(&server, "a.metadata.json");
    let before = server.get(&document).await;
    let host = connect_to(config, state.path()).await;
    host.call("target.repair", json!({"target": "t1"})).await.unwrap();
    assert_eq!(server.get(&document).await, before);
}
