//! The way of a request from its arrival to its answer.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::request::Parts as Head;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::answer::{ErrorDocument, between, rewritten, unescaped};
use super::call::{Call, credential, parameter};
use super::etags::{Etags, in_document};
use super::odd;
use super::rules::IncomingRequest;
use super::signing::Keys;
use super::state::EmulationState;
use super::traits::{ConditionalWrites, ListV2, Traits};
use crate::relay::{Body, Relay, body, collect, pass_on};

/// Handles the requests of an emulated provider.
#[derive(Debug)]
pub(super) struct RequestHandler {
    pub(super) upstream: SocketAddr,
    pub(super) traits: Traits,
    pub(super) keys: Keys,
    pub(super) state: Mutex<EmulationState>,
}

impl Relay for RequestHandler {
    fn dates(&self) -> bool {
        !self.traits.odd
    }

    async fn handle(
        self: Arc<Self>,
        _connection: usize,
        request: Request<Incoming>,
    ) -> io::Result<Response<Body>> {
        let (head, content) = request.into_parts();
        let content = collect(content).await?;
        let call = Call::of(&head);
        let recorded = self.state.lock().unwrap().recorded(call);
        if let Some(recorded) = recorded {
            return Ok(recorded);
        }
        let asked = head.clone();
        let mut answer = self.respond(call, head, content).await?;
        if self.traits.odd {
            answer = odd::adapt_response(call, &asked, answer).await?;
        }
        for (name, value) in self.traits.headers {
            answer.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        Ok(answer)
    }
}

impl RequestHandler {
    async fn respond(&self, call: Call, head: Head, content: Bytes) -> io::Result<Response<Body>> {
        let size = u64::try_from(content.len()).unwrap();
        let asked = IncomingRequest { call, head: &head, size };
        let refused = {
            let mut state = self.state.lock().unwrap();
            let refused = asked.refused(&self.traits, &mut state);
            if call == Call::UploadPart && refused.is_none() {
                state.add_part(&asked.upload(), asked.number(), size);
            }
            refused
        };
        if let Some(refused) = refused {
            if refused.ends_upload {
                self.abort(&head).await?;
            }
            return Ok(refused.fault.answer(&self.traits, &head.method));
        }
        let version = parameter(&head, "versionId").filter(|_| self.traits.keeps_versions);
        if let (Call::DeleteObject, Some(version)) = (call, version) {
            return Ok(self.remove_version(&head, &version));
        }
        let (sent, content) = match self.request_for_server(call, &head, content) {
            Ok(sent) => sent,
            Err(code) => return Ok(self.unsigned(code, &head)),
        };
        let answer = pass_on(self.upstream, sent, content).await?;
        if answer.status().as_u16() >= 300 {
            if call == Call::UploadPart {
                self.state.lock().unwrap().forget_part(&asked.upload(), asked.number());
            }
            return self.refusal(&head, answer).await;
        }
        let mut answer = self.answer_for_agent(call, &head, answer).await?;
        self.remember(call, &head, &mut answer);
        Ok(answer)
    }

    /// The request as the embedded server gets it, or the code of its refusal.
    fn request_for_server(
        &self,
        call: Call,
        head: &Head,
        content: Bytes,
    ) -> Result<(Head, Bytes), &'static str> {
        let mut sent = head.clone();
        let original = content.clone();
        let (mut content, mut changed) = (content, false);
        if call.writes() && matches!(self.traits.conditional_writes, ConditionalWrites::Ignored) {
            for name in ["if-none-match", "if-match"] {
                changed |= sent.headers.remove(name).is_some();
            }
        }
        if call == Call::ListObjectsV2 && matches!(self.traits.list_v2, ListV2::TakenForV1) {
            sent.uri = without(head, &["list-type", "continuation-token", "start-after"]);
            changed = true;
        }
        if self.traits.etags != Etags::Md5 {
            let kept = |tag: &str| self.traits.etags.kept(tag);
            if let Some(tag) = sent.headers.get_mut("if-match") {
                *tag = HeaderValue::from_str(&kept(tag.to_str().unwrap())).unwrap();
                changed = true;
            }
            if call == Call::CompleteMultipartUpload {
                content = in_document(std::str::from_utf8(&content).unwrap(), kept).into();
                changed = true;
            }
        }
        if self.traits.odd {
            odd::adapt_request(call, &mut sent, &mut content);
            changed = true;
        }
        if changed {
            self.keys.refuse(head, &original)?;
            self.keys.sign(&mut sent, &content);
        }
        Ok((sent, content))
    }

    async fn refusal(&self, head: &Head, answer: Response<Incoming>) -> io::Result<Response<Body>> {
        let status = answer.status();
        let document = collect(answer.into_body()).await?;
        let mut fault = ErrorDocument::read(status, &String::from_utf8_lossy(&document));
        fault = self.in_provider_words(fault, head);
        if status == StatusCode::NOT_FOUND
            && fault.code == "NoSuchKey"
            && let Some(refusal) = self.traits.missing
        {
            fault = refusal.about("");
        }
        Ok(fault.answer(&self.traits, &head.method))
    }

    /// With the codes of the provider.
    fn in_provider_words(&self, fault: ErrorDocument, head: &Head) -> ErrorDocument {
        let said = self.traits.words.iter().find(|(code, _)| *code == fault.code);
        let key_id = credential(head).map_or("", |(key_id, _)| key_id);
        said.map_or(fault, |(_, refusal)| refusal.about(key_id))
    }

    /// The answer as the agent gets it.
    async fn answer_for_agent(
        &self,
        call: Call,
        head: &Head,
        answer: Response<Incoming>,
    ) -> io::Result<Response<Body>> {
        let (mut parts, content) = answer.into_parts();
        let shown = |tag: &str| self.traits.etags.shown(tag);
        if let Some(tag) = parts.headers.get_mut("etag") {
            *tag = HeaderValue::from_str(&shown(tag.to_str().unwrap())).unwrap();
        }
        if matches!(call, Call::GetObject | Call::HeadObject) {
            return Ok(Response::from_parts(parts, content.map_err(io::Error::other).boxed()));
        }
        let content = collect(content).await?;
        let mut document = String::from_utf8(content.to_vec()).map_err(io::Error::other)?;
        if self.traits.etags != Etags::Md5 {
            document = in_document(&document, shown);
        }
        if call == Call::ListMultipartUploads && self.traits.lists_uploads_of_one_key {
            let wanted = parameter(head, "prefix").unwrap_or_default();
            document = rewritten(&document, "Upload", |upload| {
                let key = between(upload, "Key").map(unescaped)?;
                (key == wanted).then(|| upload.to_owned())
            });
        }
        parts.headers.remove("content-length");
        Ok(Response::from_parts(parts, body(document)))
    }

    fn remember(&self, call: Call, head: &Head, answer: &mut Response<Body>) {
        let mut state = self.state.lock().unwrap();
        if call.writes() {
            state.wrote(head);
        }
        if !self.traits.keeps_versions {
            return;
        }
        let version = match call {
            Call::GetObject | Call::HeadObject => state.version(head),
            Call::DeleteObject => {
                let yes = HeaderValue::from_static("true");
                answer.headers_mut().insert("x-amz-delete-marker", yes);
                state.add_version(head, true)
            }
            _ if call.writes() => state.add_version(head, false),
            _ => return,
        };
        let version = HeaderValue::from_str(&version).unwrap();
        answer.headers_mut().insert("x-amz-version-id", version);
    }

    /// Removes one version, which the embedded server does not store.
    fn remove_version(&self, head: &Head, version: &str) -> Response<Body> {
        if let Err(code) = self.keys.refuse(head, b"") {
            return self.unsigned(code, head);
        }
        let removed = self.state.lock().unwrap().remove_version(head, version);
        let status = if removed { StatusCode::NO_CONTENT } else { StatusCode::NOT_IMPLEMENTED };
        let answer = Response::builder().status(status).header("x-amz-version-id", version);
        answer.body(body("")).unwrap()
    }

    /// The answer to a request that was not signed with the right keys.
    fn unsigned(&self, code: &str, head: &Head) -> Response<Body> {
        let fault = ErrorDocument { status: 403, code: code.to_owned(), message: code.to_owned() };
        self.in_provider_words(fault, head).answer(&self.traits, &head.method)
    }

    /// Ends the upload of a part.
    async fn abort(&self, part: &Head) -> io::Result<()> {
        let mut head = part.clone();
        head.method = Method::DELETE;
        head.uri = without(part, &["partNumber"]);
        self.keys.sign(&mut head, b"");
        let answer = pass_on(self.upstream, head, Bytes::new()).await?;
        assert!(answer.status().is_success(), "{answer:?}");
        Ok(())
    }
}

/// The path of a request without some names in its query.
pub(super) fn without(head: &Head, names: &[&str]) -> http::Uri {
    let pairs = head.uri.query().unwrap_or_default().split('&');
    let stays = |pair: &&str| !names.contains(&pair.split('=').next().unwrap());
    let query = pairs.filter(stays).collect::<Vec<_>>().join("&");
    format!("{}?{query}", head.uri.path()).parse().unwrap()
}
