//! An error response of a server: its status, headers and error document.
//!
//! The only module that parses S3 error documents. Their content is untrusted and may repeat the request:
//! the texts that leave this module have no hidden characters, no secrets, nothing that was signed, and a
//! limited length.

use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use chrono::{DateTime, Utc};

use crate::error::text::quoted;
use crate::s3::answers::ServerDate;

/// An HTTP response that reports a failure.
#[derive(Clone, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers: names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body as text, cut to 64 KiB.
    pub body: String,
}

impl fmt::Debug for Answer {
    /// Leaves out headers and body, which may repeat the request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Answer {
    pub(super) fn read(response: &HttpResponse) -> Self {
        let body = response.body().bytes().unwrap_or_default();
        let body = body.get(..body.len().min(64 << 10)).unwrap_or_default();
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        // Includes a date that `headers` removed for the signer.
        let date = response.extension().map(|ServerDate(date)| date.to_rfc2822());
        Self {
            status: response.status().as_u16(),
            headers: date
                .map(|date| ("date".to_owned(), date))
                .into_iter()
                .chain(headers)
                .collect(),
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the body is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.body.trim().is_empty()
    }

    /// Whether only the status tells why, as in a response to HEAD.
    pub(super) fn is_status_only(&self) -> bool {
        self.is_empty() && matches!(self.status, 400 | 401 | 403)
    }

    /// Whether the body is not XML: HTML, JSON or plain text.
    pub(super) fn is_page(&self) -> bool {
        let body = self.body.trim_start_matches('\u{feff}').trim_start();
        let start: String = body.chars().take(512).collect::<String>().to_ascii_lowercase();
        !body.is_empty()
            && (!start.starts_with('<')
                || start.contains("<!doctype html")
                || start.contains("<html"))
    }

    /// Whether the body is not an S3 error document.
    pub(super) fn is_not_s3(&self) -> bool {
        self.is_page() || (!self.is_empty() && !self.body.contains("<Error"))
    }

    /// The server's time from the header `Date`.
    pub(super) fn date(&self) -> Option<DateTime<Utc>> {
        let date = DateTime::parse_from_rfc2822(self.header("date")?).ok()?;
        Some(date.with_timezone(&Utc))
    }
}

/// The members of an error document.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) code: String,
    pub(super) message: String,
    /// Unmodified; only compared.
    pub(super) bucket: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) server_time: Option<DateTime<Utc>>,
    pub(super) storage_class: Option<String>,
    /// Whether a policy denies the request, if the server distinguishes this from a missing
    /// permission.
    pub(super) explicit_deny: Option<bool>,
    pub(super) request_id: Option<String>,
}

impl Document {
    pub(super) fn read(answer: &Answer) -> Self {
        let body = answer.body.trim_start_matches('\u{feff}').trim();
        let tree = roxmltree::Document::parse(body).ok();
        // Members of the `Error` element take precedence over nested ones.
        let member = |name: &str| {
            let root = tree.as_ref()?.root();
            let is = |node: &roxmltree::Node<'_, '_>, name: &str| node.tag_name().name() == name;
            let error = root.descendants().find(|node| is(node, "Error")).unwrap_or(root);
            let own = error.children().find(|node| is(node, name));
            own.or_else(|| root.descendants().find(|node| is(node, name)))?.text()
        };
        let text = |name: &str| member(name).map(quoted).filter(|text| !text.is_empty());
        Self {
            // A HEAD response has no body; MinIO sends the code in a header.
            code: text("Code")
                .or_else(|| answer.header("x-minio-error-code").map(quoted))
                .map(|code| shortened(&code, 64))
                .unwrap_or_default(),
            message: text("Message")
                .or_else(|| answer.header("x-minio-error-desc").map(quoted))
                .unwrap_or_default(),
            bucket: member("BucketName").map(|name| name.trim().to_owned()),
            region: text("Region")
                .or_else(|| answer.header("x-amz-bucket-region").map(quoted))
                .filter(|region| is_region(region)),
            endpoint: text("Endpoint").map(|endpoint| shortened(&endpoint, 160)),
            server_time: text("ServerTime")
                .and_then(|text| DateTime::parse_from_rfc3339(&text).ok())
                .map(|time| time.with_timezone(&Utc)),
            // Sent by Alibaba OSS, and by Google for an organization policy.
            explicit_deny: member("NoPermissionType")
                .map(|kind| kind.trim() == "ExplicitDeny")
                .or_else(|| {
                    member("Details")?.contains("prohibited by organization").then_some(true)
                }),
            storage_class: text("StorageClass").map(|class| shortened(&class, 64)),
            request_id: text("RequestId")
                .or_else(|| answer.header("x-amz-request-id").map(quoted))
                .map(|id| shortened(&id, 128)),
        }
    }
}

/// Whether an untrusted text can be the name of a region.
pub(super) fn is_region(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}

/// The first `longest` characters of a text, followed by an ellipsis if it is longer.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
