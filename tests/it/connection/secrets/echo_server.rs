//! A server that repeats what it receives, wherever it can.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::relay::{Body, Listening, Relay, body, collect, pass_on};

/// Secrets that must not appear in the agent's output.
#[derive(Clone, Debug)]
pub(super) struct Canaries {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: String,
    pub(super) proxy: String,
}

impl Canaries {
    /// What a text reveals of these, in the encodings that a server may use.
    pub(super) fn leaks(&self, signatures: &[String], text: &str) -> Vec<String> {
        let all = [&self.id, &self.secret, &self.token, &self.proxy];
        let spellings = all.into_iter().flat_map(|canary| {
            let stem = &canary[..canary.len() - canary.len() % 3];
            [
                canary.clone(),
                percent(canary),
                xml(canary),
                canary.replace('/', "\\/"),
                BASE64_STANDARD.encode(stem),
            ]
        });
        let lower = text.to_ascii_lowercase();
        let found = spellings.chain(signatures.iter().cloned());
        found.filter(|canary| lower.contains(&canary.to_ascii_lowercase())).collect()
    }
}

/// The running server.
#[derive(Debug)]
pub(super) struct EchoServer {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    _listening: Listening,
}

#[derive(Debug)]
struct State {
    canaries: Canaries,
    /// Where requests go whose answers are changed; without it, all requests are refused.
    upstream: Option<SocketAddr>,
    signatures: Mutex<Vec<String>>,
    requests: Mutex<usize>,
}

impl EchoServer {
    pub(super) async fn start(canaries: &Canaries, upstream: Option<SocketAddr>) -> Self {
        let canaries = canaries.clone();
        let state = Arc::new(State {
            canaries,
            upstream,
            signatures: Mutex::default(),
            requests: Mutex::default(),
        });
        let listening = Listening::start(None, Arc::clone(&state)).await;
        Self { address: listening.address, state, _listening: listening }
    }

    /// The signatures of all requests so far.
    pub(super) fn signatures(&self) -> Vec<String> {
        self.state.signatures.lock().unwrap().clone()
    }
}

impl Relay for State {
    async fn handle(
        self: Arc<Self>,
        _connection: usize,
        request: Request<Incoming>,
    ) -> io::Result<Response<Body>> {
        let (head, incoming) = request.into_parts();
        let authorization = header(&head, "authorization");
        if let Some((_, signature)) = authorization.split_once("Signature=") {
            self.signatures.lock().unwrap().push(signature.to_owned());
        }
        let number = {
            let mut requests = self.requests.lock().unwrap();
            *requests += 1;
            *requests
        };
        let content = incoming.collect().await.map_err(io::Error::other)?.to_bytes();
        match self.upstream {
            Some(upstream) => {
                let answer = pass_on(upstream, head, content).await?;
                self.decorated(answer).await
            }
            None => Ok(self.refusal(number, &head)),
        }
    }
}

impl State {
    /// Text that a server may write into its log and its refusals, one at a time.
    fn words(&self, number: usize, head: &Parts) -> String {
        let Canaries { id, secret, token, .. } = &self.canaries;
        let lines = head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.to_str().unwrap_or_default()));
        let headers: String = lines.collect();
        let authorization = header(head, "authorization");
        let (credential, signature) = authorization.split_once("Signature=").unwrap_or_default();
        match number % 9 {
            0 => format!("No such key: {id}"),
            1 => format!("the token {token} of {}", token.to_ascii_lowercase()),
            2 => format!("the token {} is over", percent(token)),
            3 => format!("basic {}", BASE64_STANDARD.encode(format!("user:{token}"))),
            4 => format!("the signature {signature} is not that of {credential}"),
            5 => format!("the secret {secret}, {} or {}", percent(secret), xml(secret)),
            6 => headers,
            7 => format!("{} {}\n{headers}\n{}", head.method, head.uri, "0123abcd".repeat(8)),
            _ => format!("AWS4-HMAC-SHA256\n20261130T000000Z\n{credential}\n{signature} {token}"),
        }
    }

    fn refusal(&self, number: usize, head: &Parts) -> Response<Body> {
        let Canaries { id, token, .. } = &self.canaries;
        let words = xml(&self.words(number, head));
        let codes = [
            (403, "AccessDenied"),
            (403, "SignatureDoesNotMatch"),
            (403, "InvalidAccessKeyId"),
            (400, "InvalidArgument"),
            (400, token.as_str()),
            (301, "PermanentRedirect"),
            (400, "AuthorizationHeaderMalformed"),
            (500, "InternalError"),
            (403, "InvalidObjectState"),
            (302, ""),
            (404, "NoSuchBucket"),
        ];
        let (status, code) = codes[number % codes.len()];
        let document = format!(
            "<?xml version=\"1.0\"?><Error><Code>{}</Code><Message>{words}</Message>\
             <RequestId>{}</RequestId><Region>{id}</Region><Endpoint>{}</Endpoint>\
             <StorageClass>{}</StorageClass><BucketName>{id}</BucketName>\
             <StringToSign>{words}</StringToSign></Error>",
            xml(code),
            xml(token),
            xml(token),
            xml(token),
        );
        let silent = head.method == Method::HEAD || status == 302;
        let mut answer = Response::new(body(if silent { String::new() } else { document }));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        self.repeat(answer.headers_mut(), &self.words(number, head));
        answer
    }

    /// The answer of the server, with secrets in place of its own members.
    async fn decorated(&self, answer: Response<Incoming>) -> io::Result<Response<Body>> {
        let (mut head, content) = answer.into_parts();
        let content = collect(content).await?;
        let token = &self.canaries.token;
        if let Ok(text) = std::str::from_utf8(&content)
            && text.starts_with("<?xml")
        {
            let text = replaced(text, "UploadId", token);
            let text = replaced(&text, "ETag", &format!("\"{token}\""));
            let text = replaced(&text, "Location", token);
            let foreign = format!(
                "<NextContinuationToken>{}</NextContinuationToken><Contents>\
                 <Key>backups/{}.tar</Key><Size>5</Size></Contents></ListBucketResult>",
                xml(token),
                xml(token),
            );
            let text = text.replace("</ListBucketResult>", &foreign);
            head.headers.remove(http::header::CONTENT_LENGTH);
            self.repeat(&mut head.headers, token);
            return Ok(Response::from_parts(head, body(text)));
        }
        self.repeat(&mut head.headers, token);
        Ok(Response::from_parts(head, body(content)))
    }

    fn repeat(&self, headers: &mut HeaderMap, words: &str) {
        let words = words.replace(['\n', '\r'], " ");
        let token = &self.canaries.token;
        for (name, value) in [
            ("server", format!("Parrot {words}")),
            ("location", format!("http://elsewhere.test/?X-Amz-Security-Token={}", percent(token))),
            ("x-amz-request-id", token.clone()),
            ("x-amz-bucket-region", self.canaries.id.clone()),
            ("x-minio-error-code", "AccessDenied".to_owned()),
            ("x-minio-error-desc", words.clone()),
            ("x-amz-version-id", token.clone()),
            ("etag", format!("\"{token}\"")),
        ] {
            headers.insert(name, HeaderValue::from_str(&value).unwrap());
        }
    }
}

/// The document with another text in each element of this name.
fn replaced(document: &str, name: &str, text: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut parts = document.split(&open);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |done, part| {
        let (_, rest) = part.split_once(&close).unwrap_or_default();
        format!("{done}{open}{}{close}{rest}", xml(text))
    })
}

fn header<'a>(head: &'a Parts, name: &str) -> &'a str {
    head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('+', "&#43;")
}
