//! The agent with a server that stores only the number of bytes: the rest of an upload is the pipe,
//! the protocol and the digests.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use s3_backup_agent::net::fuzzing::{ResponseFuture, Storage, install_storage};
use s3_backup_agent::session;
use tokio::runtime::Builder;

/// Stores the length of the newest archive only.
#[derive(Default)]
struct LengthOnly(AtomicU64);

impl Storage for LengthOnly {
    fn answer(&self, request: Request<Bytes>) -> ResponseFuture {
        let query = request.uri().query().unwrap_or_default();
        let answer = Response::builder().header("etag", "\"e\"");
        let (answer, body) = match *request.method() {
            Method::GET => (answer, "<ListBucketResult/>"),
            Method::HEAD => (answer.header("content-length", self.0.load(Ordering::Relaxed)), ""),
            Method::POST if query.starts_with("uploads") => {
                self.0.store(0, Ordering::Relaxed);
                (
                    answer,
                    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
                )
            }
            Method::POST => (
                answer,
                "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>",
            ),
            _ => (answer, ""),
        };
        Box::pin(async move { Ok(answer.body(Bytes::from_static(body.as_bytes()))?) })
    }

    fn takes(&self, request: &Parts, bytes: &Bytes) -> bool {
        if request.method == Method::PUT && request.uri.path().ends_with(".tar") {
            self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        true
    }
}

fn main() -> std::io::Result<ExitCode> {
    install_storage(Arc::new(LengthOnly::default()));
    // As in the agent itself.
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(ExitCode::from(runtime.block_on(session::serve(None)).exit_code()))
}
