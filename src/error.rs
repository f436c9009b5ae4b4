//! What went wrong, in terms a person or a host can act on.
//!
//! Owns the one table of error codes and the error type that every room returns. A code is a
//! stable string of the protocol: codes are added, never renamed. It does not know how S3, a
//! socket or a file failed; the rooms that talk to them translate into this type once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The closed set of causes. A host that does not know a code acts on its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A setting is wrong; a person must change it.
    Config,
    /// The storage cannot be reached or its certificate is not accepted.
    Connect,
    /// The storage does not accept who we are.
    Auth,
    /// The storage knows us and refuses this action.
    Permission,
    /// What was asked for does not exist.
    NotFound,
    /// The state of the storage forbids the action.
    Conflict,
    /// Bytes are missing or are not the bytes that were stored.
    Integrity,
    /// A passing fault.
    Transient,
    /// A limit of the storage or of the agent is reached.
    Limit,
    /// The request was stopped on purpose.
    Cancelled,
    /// A message broke the rules of the protocol.
    Protocol,
    /// A fault of the agent.
    Internal,
}

macro_rules! codes {
    ($( $(#[$doc:meta])* $variant:ident $name:literal $kind:ident $retryable:literal; )+) => {
        /// A stable error code. Sent as a string; listed in `protocol/errors.json`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $( $(#[$doc])* #[serde(rename = $name)] $variant, )+
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The string that stands for this code on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// The cause this code belongs to.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $( Self::$variant => Kind::$kind, )+ }
            }

            /// Whether the same request may succeed later without anybody changing anything.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self { $( Self::$variant => $retryable, )+ }
            }
        }
    };
}

codes! {
    /// A setting has a value that cannot work.
    InvalidConfig "invalid_config" Config false;
    /// The endpoint is not the address of an S3 service.
    InvalidEndpoint "invalid_endpoint" Config false;
    /// The bucket name breaks the naming rules.
    InvalidBucketName "invalid_bucket_name" Config false;
    /// No connection to the storage.
    CannotConnect "cannot_connect" Connect true;
    /// The certificate of the storage is not trusted.
    TlsUntrusted "tls_untrusted" Connect false;
    /// TLS could not be agreed on.
    TlsFailed "tls_failed" Connect false;
    /// The access key, the signature or the token is refused.
    InvalidCredentials "invalid_credentials" Auth false;
    /// The credentials were valid once.
    CredentialsExpired "credentials_expired" Auth false;
    /// The clocks of this machine and of the storage disagree too much.
    ClockSkew "clock_skew" Auth false;
    /// The credentials lack a right.
    AccessDenied "access_denied" Permission false;
    /// Object lock or a retention rule protects the object.
    Locked "locked" Permission false;
    /// The bucket does not exist.
    BucketNotFound "bucket_not_found" NotFound false;
    /// The bucket lives in another region.
    WrongRegion "wrong_region" Config false;
    /// The storage wants the bucket in the path, or in the host name.
    WrongAddressing "wrong_addressing" Config false;
    /// The storage lacks something the request needs.
    UnsupportedFeature "unsupported_feature" Config false;
    /// The backup or the object does not exist.
    NotFound "not_found" NotFound false;
    /// A backup with this id exists.
    AlreadyExists "already_exists" Conflict false;
    /// The object was replaced while it was being read.
    Changed "changed" Conflict false;
    /// The object lies in an archive tier and cannot be read at once.
    Archived "archived" Conflict false;
    /// A metadata document cannot be read as one.
    CorruptMetadata "corrupt_metadata" Integrity false;
    /// More or fewer bytes than announced.
    LengthMismatch "length_mismatch" Integrity false;
    /// Bytes differ from those that were stored or sent.
    IntegrityMismatch "integrity_mismatch" Integrity false;
    /// A size beyond what the storage or the settings allow.
    TooLarge "too_large" Limit false;
    /// The storage is full or the quota is used up.
    QuotaExceeded "quota_exceeded" Limit false;
    /// The agent runs as many requests as it takes.
    Busy "busy" Limit true;
    /// The storage asks to slow down.
    Throttled "throttled" Transient true;
    /// The storage failed.
    RemoteError "remote_error" Transient true;
    /// The connection broke.
    NetworkLost "network_lost" Transient true;
    /// Nothing moved for too long, or the deadline passed.
    Timeout "timeout" Transient true;
    /// The host neither sent nor took data for too long.
    Stalled "stalled" Transient true;
    /// The host cancelled the request.
    Cancelled "cancelled" Cancelled false;
    /// The agent is ending.
    ShuttingDown "shutting_down" Cancelled true;
    /// A local file or folder cannot be read or written.
    LocalIo "local_io" Config false;
    /// The input is not a frame.
    ParseError "parse_error" Protocol false;
    /// The frame is not a valid request.
    InvalidRequest "invalid_request" Protocol false;
    /// The method is unknown.
    MethodNotFound "method_not_found" Protocol false;
    /// A parameter is missing or has a wrong type or value.
    InvalidParams "invalid_params" Protocol false;
    /// The request id is in use.
    DuplicateId "duplicate_id" Protocol false;
    /// The request came before `initialize`.
    NotInitialized "not_initialized" Protocol false;
    /// The protocol version is not spoken here.
    UnsupportedProtocol "unsupported_protocol" Protocol false;
    /// The target was not opened.
    TargetUnknown "target_unknown" Protocol false;
    /// Stream data came at a wrong offset or after its end.
    StreamViolation "stream_violation" Protocol false;
    /// Stream data came without credit.
    FlowViolation "flow_violation" Protocol false;
    /// A fault of the agent.
    Internal "internal" Internal false;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A value in [`Error::facts`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fact {
    /// A whole number.
    Number(i64),
    /// Text. From the storage it is untrusted: shortened and without control characters.
    Text(String),
    /// Several whole numbers.
    Numbers(Vec<i64>),
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(clean(text))
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(clean(&text))
    }
}

impl From<i64> for Fact {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Numbers(numbers) => fmt::Debug::fmt(numbers, f),
        }
    }
}

/// Whether a failed or cancelled upload left something behind in the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleanup {
    /// Nothing is left.
    Complete,
    /// Cleaning up took too long and may not be done.
    Pending,
    /// Cleaning up failed; something may be left.
    Failed,
}

/// What the storage itself said. Its text is untrusted and shortened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Always `s3`.
    pub service: String,
    /// The operation of the S3 API, such as `UploadPart`.
    pub operation: String,
    /// The HTTP status.
    pub status: u16,
    /// The error code of S3, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The message of the storage, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What to quote to the provider's support.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An error with a stable [`Code`], a sentence for people and the facts behind it.
///
/// `Display` prints the sentence alone; the cause, where there is one, is its `source`.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    message: String,
    field: Option<&'static str>,
    facts: BTreeMap<&'static str, Fact>,
    retry_after_ms: Option<u64>,
    cleanup: Option<Cleanup>,
    upstream: Option<Upstream>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a sentence that says what was wrong and what to do.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            field: None,
            facts: BTreeMap::new(),
            retry_after_ms: None,
            cleanup: None,
            upstream: None,
            source: None,
        }))
    }

    /// Names the setting that is to be changed.
    #[must_use]
    pub fn field(mut self, field: &'static str) -> Self {
        self.0.field = Some(field);
        self
    }

    /// Adds a fact for the host's own wording.
    #[must_use]
    pub fn fact(mut self, name: &'static str, value: impl Into<Fact>) -> Self {
        self.0.facts.insert(name, value.into());
        self
    }

    /// Says how long the storage wants us to wait.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.0.retry_after_ms = Some(ms);
        self
    }

    /// Says what became of the half upload.
    #[must_use]
    pub fn cleanup(mut self, cleanup: Cleanup) -> Self {
        self.0.cleanup = Some(cleanup);
        self
    }

    /// Adds the answer of the storage.
    #[must_use]
    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.0.upstream = Some(upstream);
        self
    }

    /// Keeps the cause.
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

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The facts by name.
    #[must_use]
    pub fn facts(&self) -> &BTreeMap<&'static str, Fact> {
        &self.0.facts
    }

    /// The answer of the storage, if it gave one.
    #[must_use]
    pub fn upstream_answer(&self) -> Option<&Upstream> {
        self.0.upstream.as_ref()
    }

    /// The parts as the protocol sends them.
    #[must_use]
    pub fn data(&self) -> ErrorData {
        let inner = &self.0;
        ErrorData {
            code: inner.code.as_str().to_owned(),
            kind: inner.code.kind(),
            retryable: inner.code.retryable(),
            retry_after_ms: inner.retry_after_ms,
            field: inner.field.map(str::to_owned),
            facts: inner
                .facts
                .iter()
                .map(|(name, fact)| ((*name).to_owned(), fact.clone()))
                .collect(),
            cleanup: inner.cleanup,
            upstream: inner.upstream.clone(),
        }
    }
}

/// The machine-readable part of an error, as it stands in `error.data` on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorData {
    /// The stable code, one of [`Code`].
    pub code: String,
    /// The cause to act on when the code is unknown.
    pub kind: Kind,
    /// Whether the same request may succeed later without anybody changing anything.
    pub retryable: bool,
    /// How long the storage wants us to wait, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The setting to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Facts for the host's own wording.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Fact>,
    /// What became of a half upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,
    /// What the storage said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.0.code.as_str())
            .field("message", &self.0.message)
            .field("field", &self.0.field)
            .field("facts", &self.0.facts)
            .field("upstream", &self.0.upstream)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// The error for memory that the system does not give.
#[must_use]
pub fn no_memory(error: std::io::Error) -> Error {
    Error::new(Code::Busy, "this machine has no memory left for the transfer").source(error)
}

/// Text from outside: without control characters and at most 2 KiB, so that it can stand in a
/// log line, a terminal or a page.
#[must_use]
pub fn clean(text: &str) -> String {
    const LONGEST: usize = 2048;
    let mut cleaned = String::with_capacity(text.len().min(LONGEST));
    for character in text.trim().chars() {
        let character = if character.is_control() { ' ' } else { character };
        if cleaned.len() + character.len_utf8() > LONGEST {
            break;
        }
        cleaned.push(character);
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_codes_is_the_published_one() {
        let published: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../protocol/errors.json")).unwrap();
        let ours: Vec<serde_json::Value> = Code::ALL
            .iter()
            .map(|code| {
                serde_json::json!({
                    "code": code.as_str(), "kind": code.kind(), "retryable": code.retryable(),
                })
            })
            .collect();
        let published: Vec<_> = published
            .into_iter()
            .map(|mut entry| {
                entry.as_object_mut().unwrap().retain(|name, _| name != "meaning");
                entry
            })
            .collect();
        assert_eq!(published, ours);
    }

    #[test]
    fn text_from_outside_loses_control_characters_and_length() {
        assert_eq!(clean("a\u{1b}[31m\nb"), "a [31m b");
        assert!(clean(&"é".repeat(5000)).len() <= 2048);
    }
}
