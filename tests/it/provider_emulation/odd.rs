//! Answers that are unusual but correct: the peculiarities of many servers in one.
//!
//! Each peculiarity was seen at some server, proxy or gateway. They are combined where one answer
//! can have several of them, and distributed over the calls where it cannot: a listing of a folder
//! has plain keys, other listings have encoded ones.

use std::fmt::Write as _;
use std::io;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_MATCH, LAST_MODIFIED};
use http::request::Parts as Head;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use roxmltree::{Document, Node};

use super::answer::{Refusal, escaped, unescaped};
use super::call::{Call, header, parameter};
use super::etags::in_document;
use super::request_handler::without;
use crate::relay::{Body, body};

/// The start of each document: a byte order mark and a line break.
const START: &str = "\u{feff}\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Names of foreign objects that a careless server writes into a listing without escaping. They
/// come before all others, because listings are sorted.
const FOREIGN: [&str; 2] = ["\u{1} and \u{b}.txt", "!Net & Works.txt"];

/// The refusal of a condition on a weak ETag, which never holds.
pub(super) const WEAK: Refusal =
    Refusal { status: 412, code: "PreconditionFailed", message: "A weak ETag never matches." };

/// Whether a request has a condition that cannot hold.
pub(super) fn compares_weakly(head: &Head) -> bool {
    header(head, "if-match").starts_with("W/")
}

/// Rewrites a request for the embedded server, which knows only the usual forms.
pub(super) fn adapt_request(call: Call, sent: &mut Head, content: &mut Bytes) {
    let page = match call {
        Call::ListObjects | Call::ListObjectsV2 if parameter(sent, "max-keys").is_none() => {
            "max-keys=3"
        }
        Call::ListMultipartUploads => "max-uploads=1",
        _ => "",
    };
    if sent.method == Method::GET && sent.uri.query().is_some() {
        let uri = without(sent, &["encoding-type"]);
        let separator = if page.is_empty() { "" } else { "&" };
        sent.uri = format!("{uri}{separator}{page}").parse().unwrap();
    }
    if let Some(tag) = sent.headers.get_mut(IF_MATCH) {
        *tag = HeaderValue::from_str(&quoted(tag.to_str().unwrap())).unwrap();
    }
    if call == Call::CompleteMultipartUpload {
        *content = in_document(std::str::from_utf8(content).unwrap(), quoted).into();
    }
}

fn quoted(tag: &str) -> String {
    format!("\"{}\"", tag.trim_matches('"'))
}

/// The answer to a request in its unusual form.
pub(super) async fn adapt_response(
    call: Call,
    head: &Head,
    answer: Response<Body>,
) -> io::Result<Response<Body>> {
    let (mut parts, content) = answer.into_parts();
    parts.headers.remove(DATE);
    if parts.status.as_u16() >= 300 {
        // Without it, a client with a wrong clock could not learn the right time.
        let now = Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        parts.headers.insert(DATE, HeaderValue::from_str(&now).unwrap());
    } else {
        adapt(call, &mut parts.headers);
    }
    if call == Call::GetObject && parts.status.is_success() {
        let content = content.map_err(io::Error::other);
        let shown = match parts.status {
            StatusCode::PARTIAL_CONTENT => content.boxed(),
            _ => {
                parts.headers.remove(CONTENT_LENGTH);
                unknown_length(content.collect().await?.to_bytes())
            }
        };
        return Ok(Response::from_parts(parts, shown));
    }
    let content = content.collect().await?.to_bytes();
    let text = std::str::from_utf8(&content).map_err(io::Error::other)?;
    parts.headers.remove(CONTENT_LENGTH);
    // A refusal is no listing.
    let call = if parts.status.is_success() { call } else { Call::Other };
    let shown = match Document::parse(text) {
        Ok(document) => unknown_length(Writer::new(call, head).document(&document).into()),
        Err(_) => body(content),
    };
    Ok(Response::from_parts(parts, shown))
}

/// Headers of a successful answer.
fn adapt(call: Call, headers: &mut HeaderMap) {
    let mut change = |name: HeaderName, new: &dyn Fn(&str) -> String| {
        if let Some(value) = headers.get_mut(name) {
            *value = HeaderValue::from_str(&new(value.to_str().unwrap())).unwrap();
        }
    };
    match call {
        Call::GetObject | Call::HeadObject => {
            change(ETAG, &|tag| format!("W/{tag}"));
            change(LAST_MODIFIED, &|date| {
                let date = DateTime::parse_from_rfc2822(date).unwrap().with_timezone(&Utc);
                date.to_rfc3339_opts(SecondsFormat::Millis, true)
            });
            change(CONTENT_RANGE, &|range| {
                let (range, _) = range.split_once('/').unwrap();
                format!("{range}/*")
            });
        }
        _ => change(ETAG, &|tag| tag.trim_matches('"').to_owned()),
    }
    if call == Call::HeadObject {
        headers.remove(CONTENT_LENGTH);
    }
}

/// A body of unknown length, so that it is sent in chunks.
fn unknown_length(content: Bytes) -> Body {
    let halves = [content.slice(..content.len() / 2), content.slice(content.len() / 2..)];
    let frames = halves.into_iter().filter(|half| !half.is_empty());
    StreamBody::new(stream::iter(frames.map(|half| Ok(Frame::data(half))))).boxed()
}

/// Writes a document again in its unusual form.
struct Writer {
    call: Call,
    /// The folder of a listing of objects; empty for others.
    folder: String,
    /// Whether keys are encoded.
    encodes: bool,
    is_first_page: bool,
    text: String,
}

impl Writer {
    fn new(call: Call, head: &Head) -> Self {
        let lists = matches!(call, Call::ListObjects | Call::ListObjectsV2);
        let prefix = parameter(head, "prefix").filter(|_| lists).unwrap_or_default();
        let folder = if prefix.ends_with('/') { prefix } else { String::new() };
        let is_listing = lists || call == Call::ListMultipartUploads;
        let is_asked = parameter(head, "encoding-type").is_some();
        let goes_on = ["marker", "continuation-token", "start-after", "max-keys"];
        Self {
            call,
            encodes: is_listing && (is_asked || folder.is_empty()),
            is_first_page: goes_on.iter().all(|name| parameter(head, name).is_none()),
            folder,
            text: START.to_owned(),
        }
    }

    fn document(mut self, document: &Document<'_>) -> String {
        let root = document.root_element();
        self.open(root, " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\" xmlns:x=\"urn:x\"");
        self.text += "<x:Extra><x:Key>of nothing</x:Key><Code>None</Code></x:Extra>";
        if self.encodes {
            self.text += "<EncodingType>url</EncodingType>";
        }
        if !self.folder.is_empty() && self.is_first_page {
            self.foreign();
        }
        let is_end = |child: &Node<'_, '_>| child.has_tag_name("IsTruncated");
        for child in elements(root).filter(|child| !is_end(child)) {
            self.element(child);
        }
        for end in elements(root).filter(is_end) {
            self.end_of_page(end);
        }
        self.close(root);
        self.text
    }

    /// The marker of a folder, and foreign objects.
    fn foreign(&mut self) {
        let names = [""].into_iter().chain(FOREIGN).map(|name| format!("{}{name}", self.folder));
        for key in names.collect::<Vec<_>>() {
            let key = if self.encodes { encoded(&key) } else { key };
            let _ = write!(
                self.text,
                "<Contents><Size>0</Size><LastModified>Fri, 20 Nov 2026 04:32:33 GMT\
                 </LastModified><Key>{key}</Key></Contents>"
            );
        }
    }

    /// The elements that say whether there are more pages: none, or an unneeded token, on the last
    /// page.
    fn end_of_page(&mut self, end: Node<'_, '_>) {
        let is_last = end.text() == Some("false");
        if !is_last {
            self.text += "<IsTruncated>true</IsTruncated>";
        } else if matches!(self.call, Call::ListObjects | Call::ListObjectsV2) && !self.encodes {
            self.text += "<NextContinuationToken>bm90aGluZw==</NextContinuationToken>\
                          <IsTruncated>false</IsTruncated>";
        }
    }

    fn element(&mut self, node: Node<'_, '_>) {
        self.open(node, "");
        let mut children: Vec<_> = elements(node).collect();
        if children.is_empty() {
            let text = self.value(node.tag_name().name(), node.text().unwrap_or_default());
            self.text += &text;
        }
        if ["Contents", "Upload", "Part"].contains(&node.tag_name().name()) {
            children.reverse();
            self.text += "<x:Owner><x:Key>of nothing</x:Key></x:Owner>";
        }
        for child in children {
            self.element(child);
        }
        self.close(node);
    }

    fn value(&self, name: &str, text: &str) -> String {
        match name {
            "LastModified" | "Initiated" => DateTime::parse_from_rfc3339(text)
                .map_or(text.to_owned(), |date| {
                    date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
                }),
            "ETag" => unescaped(text).trim_matches('"').to_owned(),
            "Key" | "Prefix" | "Marker" | "NextMarker" | "KeyMarker" | "NextKeyMarker"
            | "Delimiter"
                if self.encodes =>
            {
                encoded(text)
            }
            _ => escaped(text),
        }
    }

    fn open(&mut self, node: Node<'_, '_>, attributes: &str) {
        let _ = write!(self.text, "<{}{attributes}>", node.tag_name().name());
    }

    fn close(&mut self, node: Node<'_, '_>) {
        let _ = write!(self.text, "</{}>", node.tag_name().name());
    }
}

fn elements<'a, 'input>(
    node: Node<'a, 'input>,
) -> impl Iterator<Item = Node<'a, 'input>> + use<'a, 'input> {
    node.children().filter(Node::is_element)
}

fn encoded(key: &str) -> String {
    url::form_urlencoded::byte_serialize(key.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn shown(path: &str, document: &str) -> String {
        let request = Request::get(path).header("authorization", "Credential=x");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let document = Document::parse(document).unwrap();
        Writer::new(Call::of(&head), &head).document(&document)
    }

    #[test]
    fn odd_folder_listing_has_plain_and_foreign_keys() {
        let text = shown(
            "/b?prefix=f%2F",
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>f/a&amp;b</Key>\
             <LastModified>2026-11-20T04:32:33.000Z</LastModified><ETag>\"0f\"</ETag></Contents>\
             </ListBucketResult>",
        );
        for part in [
            "\u{feff}\n<?xml",
            "<Key>f/</Key>",
            "<Key>f/!Net & Works.txt</Key>",
            "<ETag>0f</ETag><LastModified>Fri, 20 Nov 2026 04:32:33 GMT</LastModified>\
             <Key>f/a&amp;b</Key></Contents><NextContinuationToken>",
            "<IsTruncated>false</IsTruncated></ListBucketResult>",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("<EncodingType>"), "{text}");
    }

    #[test]
    fn odd_listing_outside_a_folder_has_encoded_keys() {
        let document = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents>\
                        <Key>f/a&amp;b c</Key></Contents></ListBucketResult>";
        for path in ["/b?prefix=f%2Fa", "/b?prefix=f%2F&encoding-type=url"] {
            let text = shown(path, document);
            assert!(text.contains("<Key>f%2Fa%26b+c</Key>"), "{text}");
            assert!(text.contains("<EncodingType>url</EncodingType>"), "{text}");
            assert!(!text.contains("<IsTruncated>"), "{text}");
        }
    }

    #[test]
    fn odd_headers_have_weak_etags_and_other_forms() {
        let headers = |call| {
            let mut headers = HeaderMap::new();
            headers.insert(ETAG, HeaderValue::from_static("\"0f\""));
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
            let date = HeaderValue::from_static("Fri, 20 Nov 2026 04:32:33 GMT");
            headers.insert(LAST_MODIFIED, date);
            headers.insert(CONTENT_RANGE, HeaderValue::from_static("bytes 0-2/9"));
            adapt(call, &mut headers);
            [ETAG, CONTENT_LENGTH, LAST_MODIFIED, CONTENT_RANGE].map(|name| {
                headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
            })
        };
        let date = "2026-11-20T04:32:33.000Z";
        assert_eq!(headers(Call::HeadObject), ["W/\"0f\"", "", date, "bytes 0-2/*"]);
        assert_eq!(headers(Call::GetObject), ["W/\"0f\"", "3", date, "bytes 0-2/*"]);
        assert_eq!(headers(Call::UploadPart)[0], "0f");
    }
}
