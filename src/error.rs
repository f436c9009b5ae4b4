//! The error type and the error codes of the crate.
//!
//! Modules that call S3, sockets or files translate their errors to this type once.

mod code;
pub mod secrets;
pub mod text;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::code::{Code, Kind};
pub use self::text::{MAX_TEXT, clean, shortened};

/// Pattern of the characters that texts of the server never contain.
#[cfg(test)]
pub(crate) const CONTROL: &str = r"[\u0000-\u001f\u007f-\u009f]";

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A value for the host's own messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
#[cfg_attr(test, schemars(rename = "DetailValue"))]
pub enum Detail {
    /// A whole number.
    Number(i64),
    /// Text. Text of the server is untrusted: shortened and without control characters.
    Text(
        #[cfg_attr(test, schemars(length(max = MAX_TEXT), extend("not" = { "pattern": CONTROL })))]
        String,
    ),
    /// Several whole numbers.
    Numbers(Vec<i64>),
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(clean(text))
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::Text(clean(&text))
    }
}

impl From<i64> for Detail {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Detail {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Numbers(numbers) => fmt::Debug::fmt(numbers, f),
        }
    }
}

/// What is left in the bucket after a failed or canceled upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CleanupOutcome {
    /// Everything was deleted.
    Complete,
    /// The cleanup took too long and may not have finished.
    Pending,
    /// The cleanup failed; objects or an incomplete upload may be left.
    Failed,
    /// The stored parts are kept, so that a repeated upload can resume.
    Kept,
}

/// The response of the server. Its texts are untrusted and shortened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Upstream {
    /// Always `s3`.
    pub service: String,
    /// The operation of the S3 API, such as `UploadPart`.
    pub operation: String,
    /// The HTTP status.
    #[cfg_attr(test, schemars(range(min = 100, max = 599)))]
    pub status: u16,
    /// The S3 error code, if the server sent one.
    #[cfg_attr(test, schemars(length(max = MAX_TEXT), extend("not" = { "pattern": CONTROL })))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The server's message, if it sent one.
    #[cfg_attr(test, schemars(length(max = MAX_TEXT), extend("not" = { "pattern": CONTROL })))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The request ID, for the provider's support.
    #[cfg_attr(test, schemars(length(max = MAX_TEXT), extend("not" = { "pattern": CONTROL })))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An error with a stable [`Code`], a message for people and details for programs.
///
/// `Display` prints only the message; the cause, if there is one, is its `source`.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    message: String,
    hint: Option<String>,
    field: Option<Cow<'static, str>>,
    details: BTreeMap<&'static str, Detail>,
    retry_after_ms: Option<u64>,
    cleanup: Option<CleanupOutcome>,
    upstream: Option<Upstream>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a sentence that says what failed and why, `what: why`. It may quote a server, so
    /// that it is [`clean`]ed as a whole. What to do about it is the [`hint`](Self::hint).
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            message: clean(&message.into()),
            hint: None,
            field: None,
            details: BTreeMap::new(),
            retry_after_ms: None,
            cleanup: None,
            upstream: None,
            source: None,
        }))
    }

    /// Appends text to what failed and why, before the hint.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        self.0.message.push_str(more);
        self
    }

    /// Says what to do about it, in the imperative: `check the port`.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(clean(&hint.into()));
        self
    }

    /// Sets the setting to change.
    #[must_use]
    pub fn field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Adds a detail for the host's own messages.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: impl Into<Detail>) -> Self {
        self.0.details.insert(name, value.into());
        self
    }

    /// Sets the time that the server asks to wait, in milliseconds.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.0.retry_after_ms = Some(ms);
        self
    }

    /// Sets the result of the cleanup after a failed upload.
    #[must_use]
    pub fn cleanup(mut self, cleanup: CleanupOutcome) -> Self {
        self.0.cleanup = Some(cleanup);
        self
    }

    /// Adds the server's response.
    #[must_use]
    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.0.upstream = Some(upstream);
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What failed and why.
    #[must_use]
    pub fn fact(&self) -> &str {
        &self.0.message
    }

    /// What to do about it, if that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The whole sentence for people: what failed, why, and what to do about it.
    #[must_use]
    pub fn message(&self) -> String {
        match &self.0.hint {
            Some(hint) => format!("{}: {hint}", self.0.message),
            None => self.0.message.clone(),
        }
    }

    /// The time that the server asks to wait, if any.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after_ms.map(Duration::from_millis)
    }

    /// The details by name.
    #[must_use]
    pub fn details(&self) -> &BTreeMap<&'static str, Detail> {
        &self.0.details
    }

    /// The server's response, if there is one.
    #[must_use]
    pub fn upstream_answer(&self) -> Option<&Upstream> {
        self.0.upstream.as_ref()
    }

    /// The machine-readable part, as the protocol sends it.
    #[must_use]
    pub fn data(&self) -> ErrorData {
        let inner = &self.0;
        ErrorData {
            code: inner.code.as_str().to_owned(),
            kind: inner.code.kind(),
            retryable: inner.code.retryable(),
            retry_after_ms: inner.retry_after_ms,
            field: inner.field.as_deref().map(str::to_owned),
            details: inner
                .details
                .iter()
                .map(|(name, detail)| ((*name).to_owned(), detail.clone()))
                .collect(),
            cleanup: inner.cleanup,
            upstream: inner.upstream.clone(),
        }
    }
}

/// The machine-readable part of an error: `error.data` in the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorData {
    /// The stable code.
    #[cfg_attr(test, schemars(with = "Code"))]
    pub code: String,
    /// The kind of error, for hosts that do not know the code.
    pub kind: Kind,
    /// Whether the same request may succeed later without any change.
    pub retryable: bool,
    /// How long the server asks to wait, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The setting to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Details for the host's own messages.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Detail>,
    /// Result of the cleanup after a failed upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<CleanupOutcome>,
    /// The response of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.0.code.as_str())
            .field("message", &self.message())
            .field("field", &self.0.field)
            .field("details", &self.0.details)
            .field("upstream", &self.0.upstream)
            .field("source", &Causes(self))
            .finish_non_exhaustive()
    }
}

/// Formats only the messages of the causes: other fields may contain a whole request.
struct Causes<'a>(&'a Error);

impl fmt::Debug for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = std::error::Error::source(self.0);
        let causes = std::iter::successors(first, |cause| cause.source());
        f.debug_list().entries(causes.map(|cause| text::quoted(&cause.to_string()))).finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// The error for a failed memory allocation.
#[must_use]
pub fn no_memory(error: std::io::Error) -> Error {
    Error::new(Code::Busy, "this machine has no memory left for the transfer").source(error)
}
