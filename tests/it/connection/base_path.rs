//! Services below a path: requests go there and the signature covers the path.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{address, open, round_trip};
use crate::e2e::{ids, store};
use crate::provider_emulation::Keys;
use crate::relay::{Body, Listening, Relay, body, collect, pass_on};
use crate::support::TestServer;

/// A proxy that serves the server below a path.
struct BasePathProxy {
    path: &'static str,
    keys: Keys,
    upstream: SocketAddr,
}

impl Relay for BasePathProxy {
    async fn handle(
        self: Arc<Self>,
        _connection: usize,
        request: Request<Incoming>,
    ) -> io::Result<Response<Body>> {
        let (mut head, content) = request.into_parts();
        let content = collect(content).await?;
        let refused = |status, text: String| {
            Response::builder().status(status).body(body(text)).map_err(io::Error::other)
        };
        if let Err(code) = self.keys.refuse(&head, &content) {
            return refused(403, format!("<Error><Code>{code}</Code></Error>"));
        }
        let whole = head.uri.path_and_query().unwrap().as_str().to_owned();
        let Some(rest) = whole.strip_prefix(self.path).filter(|rest| rest.starts_with('/')) else {
            return refused(404, "{\"message\":\"Not Found\"}".to_owned());
        };
        head.uri = rest.parse().map_err(io::Error::other)?;
        self.keys.sign(&mut head, &content);
        let answer = pass_on(self.upstream, head, content).await?;
        Ok(answer.map(|body| body.map_err(io::Error::other).boxed()))
    }
}

async fn base_path_proxy(server: &TestServer, path: &'static str) -> Listening {
    let config = server.config();
    let text = |name: &str| config[name].as_str().unwrap().to_owned();
    let keys =
        Keys { access_key_id: text("access_key_id"), secret_access_key: text("secret_access_key") };
    let upstream = address(server);
    Listening::start(None, Arc::new(BasePathProxy { path, keys, upstream })).await
}

async fn validated(server: &TestServer, endpoint: &str, changes: Value) -> Value {
    let host = open(server, endpoint, changes, &[]).await.unwrap();
    host.call("target.validate", json!({"target": "t1"})).await.unwrap()
}

#[tokio::test]
async fn endpoint_with_base_path_sends_requests_below_it() {
    let server = TestServer::embedded().await;
    for (path, slashes) in [("/storage/v1/s3", ""), ("/storage/v1/s3", "//"), ("/a%20b", "/")] {
        let listening = base_path_proxy(&server, path).await;
        let endpoint = format!("http://localhost:{}{path}{slashes}", listening.address.port());
        // The addressing style that does not allow a path.
        let virtual_hosted = json!({"addressing_style": "virtual"});
        let result = validated(&server, &endpoint, virtual_hosted.clone()).await;
        assert_eq!((&result["ok"], result.get("suggestion")), (&json!(true), None), "{result}");
        let host = open(&server, &endpoint, virtual_hosted, &[]).await.unwrap();
        round_trip(&host).await;
        for id in ["small", "large"] {
            host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await.unwrap();
        }
    }
}

#[tokio::test]
async fn validate_suggests_how_to_split_an_endpoint_path() {
    let server = TestServer::embedded().await;
    let plain = server.config()["endpoint"].as_str().unwrap().to_owned();
    let bucket = server.bucket.as_str();

    // A path that does not exist, before a bucket of its own.
    let result = validated(&server, &format!("{plain}/nothing/there"), json!({})).await;
    assert_eq!(result["ok"], false, "{result}");
    assert_eq!(result["suggestion"], json!({"endpoint": plain, "bucket": bucket}));

    // A base path with the same name as the bucket.
    let path: &'static str = format!("/{bucket}").leak();
    let listening = base_path_proxy(&server, path).await;
    let endpoint = format!("http://{}{path}", listening.address);
    let result = validated(&server, &endpoint, json!({})).await;
    assert_eq!(result["suggestion"], json!({"endpoint": endpoint, "bucket": bucket}), "{result}");

    // The bucket after the base path.
    let listening = base_path_proxy(&server, "/storage/v1/s3").await;
    let endpoint = format!("http://{}/storage/v1/s3", listening.address);
    let result = validated(&server, &format!("{endpoint}/{bucket}"), json!({})).await;
    assert_eq!(result["suggestion"], json!({"endpoint": endpoint, "bucket": bucket}), "{result}");
}

#[tokio::test]
async fn endpoint_with_bucket_works_and_validate_explains_it() {
    let server = TestServer::embedded().await;
    let plain = server.config()["endpoint"].as_str().unwrap().to_owned();
    let bucket = server.bucket.clone();
    for (path, given) in [
        (format!("/{bucket}"), json!({"bucket": null})),
        (format!("/{bucket}/ha"), json!({"bucket": null})),
        (format!("/{bucket}/ha/"), json!({"prefix": "ha"})),
    ] {
        let endpoint = format!("{plain}{path}");
        let result = validated(&server, &endpoint, given.clone()).await;
        assert_eq!(
            (&result["ok"], &result["checks"][0]["status"]),
            (&json!(true), &json!("warning"))
        );
        let mut expected = json!({"endpoint": plain, "bucket": bucket});
        if path.contains("ha") {
            expected["prefix"] = "ha".into();
        }
        assert_eq!(result["suggestion"], expected);
        let host = open(&server, &endpoint, given, &[]).await.unwrap();
        store(&host, "a", 1, 1000).await;
        assert_eq!(ids(&host).await, ["a"]);
        host.call("backup.delete", json!({"target": "t1", "backup_id": "a"})).await.unwrap();
    }
}
