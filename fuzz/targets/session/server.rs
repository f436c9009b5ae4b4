//! A small S3 server in memory with faulty conditions: answers that are late, wrong, or missing.
//!
//! A request that has arrived is executed even when its answer is no longer awaited, as by a real
//! server.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use s3_backup_agent::net::fuzzing::{ResponseFuture, Storage};
use sha2::{Digest, Sha256};
use url::Url;

use crate::bucket::{Bucket, Object};

/// Name of the only bucket.
pub const BUCKET: &str = "backups";

/// The condition of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    Late(u64),
    /// Refused with this status and code.
    Refused(u16, &'static str),
    /// The connection breaks, before or after the request is carried out.
    Broken {
        after: bool,
    },
    /// One byte of the answer is wrong.
    Damaged,
    /// The answer ends too early.
    Cut,
    /// A web page answers instead of the server.
    Page,
}

impl Condition {
    /// Whether the agent can do its work completely under this condition.
    pub fn is_good(self) -> bool {
        // Shorter than the time that the agent allows for requests in flight.
        matches!(self, Self::Late(ms) if ms < 2000)
    }
}

/// The server.
#[derive(Default)]
pub struct MemoryServer(Mutex<State>);

#[derive(Default)]
struct State {
    bucket: Bucket,
    condition: VecDeque<Condition>,
    /// Whether a condition was not good.
    had_bad: bool,
}

impl MemoryServer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn with_bucket<T>(&self, look: impl FnOnce(&mut Bucket) -> T) -> T {
        look(&mut self.state().bucket)
    }

    pub fn expect(&self, condition: Condition, count: usize) {
        self.state().condition.extend(std::iter::repeat_n(condition, count));
    }

    pub fn had_bad_condition(&self) -> bool {
        self.state().had_bad
    }
}

/// The server as the transport of the agent, instead of the network.
pub struct Transport(pub Arc<MemoryServer>);

impl Storage for Transport {
    fn answer(&self, request: Request<Bytes>) -> ResponseFuture {
        let memory = Arc::clone(&self.0);
        let condition = {
            let mut state = memory.state();
            let condition = state.condition.pop_front().unwrap_or(Condition::Late(0));
            state.had_bad |= !condition.is_good();
            condition
        };
        let work = tokio::spawn(async move {
            match condition {
                Condition::Late(0) => {}
                Condition::Late(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                Condition::Refused(status, code) => return Ok(refusal(status, code)),
                Condition::Broken { after: false } => return Err(broken()),
                Condition::Page => return Ok(page()),
                Condition::Broken { after: true } | Condition::Damaged | Condition::Cut => {}
            }
            let answer = carry_out(&mut memory.state().bucket, &request);
            match condition {
                Condition::Broken { .. } => Err(broken()),
                Condition::Damaged => Ok(answer.map(|body| {
                    let mut body = body.to_vec();
                    if let Some(byte) = body.last_mut() {
                        *byte ^= 1;
                    }
                    body.into()
                })),
                Condition::Cut => Ok(answer.map(|body| body.slice(..body.len() / 2))),
                _ => Ok(answer),
            }
        });
        Box::pin(async move { work.await.unwrap().map_err(Into::into) })
    }
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

fn answer(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn refusal(status: u16, code: &str) -> Response<Bytes> {
    answer(status, format!("<Error><Code>{code}</Code><Message>No</Message></Error>"))
}

fn page() -> Response<Bytes> {
    answer(200, "<!DOCTYPE html><html><body>Hello</body></html>")
}

fn with(mut response: Response<Bytes>, name: &'static str, value: &str) -> Response<Bytes> {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

fn carry_out(bucket: &mut Bucket, request: &Request<Bytes>) -> Response<Bytes> {
    let url = Url::parse(&request.uri().to_string()).unwrap();
    let query: BTreeMap<_, _> = url.query_pairs().collect();
    let asked = |name: &str| query.get(name).map(AsRef::as_ref);
    let path = percent_decode_str(url.path()).decode_utf8().unwrap();
    let key = match path.strip_prefix('/').and_then(|path| path.strip_prefix(BUCKET)) {
        Some(rest) => rest.strip_prefix('/').unwrap_or_default(),
        None => return refusal(404, "NoSuchBucket"),
    };
    let body = request.body();
    if let Some(digest) = request.headers().get("x-amz-content-sha256") {
        let actual: String =
            Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest.to_str().unwrap(), actual, "a payload is signed with its digest");
    }
    let upload = asked("uploadId");
    match (request.method(), key, upload) {
        (&Method::GET, "", _) if query.contains_key("uploads") => {
            answer(200, bucket.list_uploads(asked("prefix").unwrap_or_default()))
        }
        (&Method::GET, "", _) => answer(
            200,
            bucket.list(asked("prefix").unwrap_or_default(), asked("continuation-token")),
        ),
        (&Method::GET, _, Some(id)) => match bucket.list_parts(id) {
            Some(list) => answer(200, list),
            None => refusal(404, "NoSuchUpload"),
        },
        (&Method::GET | &Method::HEAD, _, _) => match bucket.object(key) {
            Some(object) => read(request, object),
            None => refusal(404, "NoSuchKey"),
        },
        (&Method::PUT, _, Some(id)) => {
            let number = asked("partNumber").unwrap().parse().unwrap();
            match bucket.put_part(id, number, body.clone()) {
                Some(etag) => with(answer(200, ""), "etag", &etag),
                None => refusal(404, "NoSuchUpload"),
            }
        }
        (&Method::PUT, _, None) => {
            let etag = bucket.put(key, vec![body.clone()]);
            with(answer(200, ""), "etag", &etag)
        }
        (&Method::POST, _, None) => {
            let id = bucket.open_upload(key);
            answer(
                200,
                format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId>\
                     </InitiateMultipartUploadResult>"
                ),
            )
        }
        (&Method::POST, _, Some(id)) => {
            match bucket.complete(id, std::str::from_utf8(body).unwrap()) {
                Some(etag) => answer(
                    200,
                    format!(
                        "<CompleteMultipartUploadResult><ETag>{etag}</ETag>\
                     </CompleteMultipartUploadResult>"
                    ),
                ),
                None => refusal(404, "NoSuchUpload"),
            }
        }
        (&Method::DELETE, _, Some(id)) => match bucket.abort(id) {
            true => answer(204, ""),
            false => refusal(404, "NoSuchUpload"),
        },
        (&Method::DELETE, _, None) => {
            bucket.delete(key);
            answer(204, "")
        }
        (method, ..) => panic!("{method} {url} is not known"),
    }
}

fn read(request: &Request<Bytes>, object: &Object) -> Response<Bytes> {
    let etag = object.etag.as_str();
    if request.headers().get("if-match").is_some_and(|wanted| wanted != etag) {
        return refusal(412, "PreconditionFailed");
    }
    let size = object.size();
    let response = if request.method() == Method::HEAD {
        with(answer(200, ""), "content-length", &size.to_string())
    } else if let Some(range) = request.headers().get("range") {
        let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
        let (start, last) = range.split_once('-').unwrap();
        let (start, last) = (start.parse::<usize>().unwrap(), last.parse::<usize>().unwrap());
        if start >= size {
            return refusal(416, "InvalidRange");
        }
        answer(206, object.bytes(start, size.min(last + 1)))
    } else {
        answer(200, object.bytes(0, size))
    };
    with(with(response, "etag", etag), "last-modified", &object.http_date())
}
