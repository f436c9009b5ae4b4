//! Classifies error responses.
//!
//! Providers differ: messages may be missing, codes may be wrong, and a console or a proxy may answer in
//! place of the server. So the rules are tried in order, and the first one that matches decides.
//! `tests/it/s3_answers.rs` has the recorded responses behind each rule. `settings` has the rules about
//! settings, `denied` those about policies.

use chrono::{DateTime, Utc};

use super::answer::{Answer, Document, shortened};
use super::{Context, Operation};
use crate::error::{Code, Error, Upstream};

/// Maximum wait in seconds that a server may ask for.
const MAX_WAIT_S: u64 = 86_400;

/// Classifies an error response.
#[must_use]
pub fn classify(operation: Operation, context: &Context, answer: &Answer) -> Error {
    let document = Document::read(answer);
    let error = Rules { operation, context, answer, document: &document }.apply();
    error.upstream(Upstream {
        service: "s3".to_owned(),
        operation: operation.name().to_owned(),
        status: answer.status,
        code: Some(document.code).filter(|code| !code.is_empty()),
        message: Some(document.message).filter(|message| !message.is_empty()),
        request_id: document.request_id,
    })
}

/// An error response and the settings that it is read against.
pub(super) struct Rules<'a> {
    pub(super) operation: Operation,
    pub(super) context: &'a Context,
    pub(super) answer: &'a Answer,
    pub(super) document: &'a Document,
}

impl Rules<'_> {
    pub(super) fn apply(&self) -> Error {
        self.clock_without_document()
            .or_else(|| self.not_s3())
            .or_else(|| self.clock())
            .or_else(|| self.swapped_keys())
            .or_else(|| self.credentials())
            .or_else(|| self.addressing_style())
            .or_else(|| self.location())
            .or_else(|| self.quota())
            .or_else(|| self.object_state())
            .or_else(|| self.permission())
            .or_else(|| self.not_found())
            .or_else(|| self.overload())
            .unwrap_or_else(|| self.other())
    }

    pub(super) fn code(&self) -> &str {
        &self.document.code
    }

    pub(super) fn status(&self) -> u16 {
        self.answer.status
    }

    pub(super) fn says(&self, text: &str) -> bool {
        self.document.message.to_ascii_lowercase().contains(text)
    }

    /// The server's code and message, for a message of the agent.
    pub(super) fn server_words(&self) -> String {
        let message = shortened(&self.document.message, 120);
        match (self.code(), message.as_str()) {
            ("", "") => format!("HTTP status {}", self.status()),
            (code, "") => code.to_owned(),
            ("", message) => message.to_owned(),
            (code, message) => format!("{code}: {message}"),
        }
    }

    pub(super) fn quota(&self) -> Option<Error> {
        let full = match self.code() {
            "QuotaExceeded"
            | "StorageQuotaExceeded"
            | "XMinioStorageFull"
            | "InsufficientCapacity"
            | "XMinioAdminBucketQuotaExceeded"
            | "InsufficientStorage" => true,
            // Backblaze B2 and Garage.
            "AccessDenied" => self.says("cap exceeded") || self.says("quota is reached"),
            _ => self.status() == 507 || self.says("no space left"),
        };
        if full && self.says("cap exceeded") {
            let message = format!("a cap of the account is reached ({})", self.server_words());
            let hint = "raise it in the account's settings";
            return Some(Error::new(Code::QuotaExceeded, message).hint(hint));
        }
        full.then(|| {
            let message =
                format!("the storage is full or a quota is reached ({})", self.server_words());
            Error::new(Code::QuotaExceeded, message).hint("delete old backups or raise the quota")
        })
    }

    pub(super) fn object_state(&self) -> Option<Error> {
        let what = self.operation.name();
        let changed = |message: &str| Some(Error::new(Code::Modified, message));
        let shorter = "the object is shorter than it was a moment ago";
        match self.code() {
            "BadDigest"
            | "InvalidDigest"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch" => {
                let part = self.operation == Operation::UploadPart;
                let message = format!("{what}: the server received other bytes than were sent");
                Some(
                    Error::new(Code::IntegrityMismatch, message)
                        .detail("where", if part { "part" } else { "object" })
                        .detail("algorithm", "sha256"),
                )
            }
            // Buckets with a default retention require it.
            "MissingContentMD5" => Some(self.unsupported("Content-MD5")),
            "InvalidRequest" if self.says("content-md5") => Some(self.unsupported("Content-MD5")),
            "EntityTooLarge" => {
                Some(Error::new(Code::TooLarge, "the server refuses an object of this size"))
            }
            "EntityTooSmall" | "InvalidPart" | "InvalidPartOrder" => {
                let message =
                    format!("the server refuses the parts of the upload: {}", self.server_words());
                Some(Error::new(Code::LengthMismatch, message))
            }
            "IncompleteBody" => Some(
                Error::new(Code::NetworkLost, "the server received only a part of the request")
                    .detail("stage", "http"),
            ),
            "RequestTimeout" => Some(slow()),
            "InvalidObjectState" => {
                let class = self.document.storage_class.clone().unwrap_or_default();
                let message = "the object is in cold storage";
                Some(
                    Error::new(Code::ColdStorage, message)
                        .hint("restore it at the provider first")
                        .detail("storage_class", class),
                )
            }
            "InvalidStorageClass" => Some(
                Error::new(Code::InvalidConfig, "the server does not have this storage class")
                    .hint("set one that it has, or none")
                    .field("storage_class")
                    .detail("field", "storage_class"),
            ),
            "NoSuchUpload" => {
                changed("the upload no longer exists: another program or a lifecycle rule ended it")
            }
            "PreconditionFailed" | "ConditionalRequestConflict" => Some(self.precondition()),
            "InvalidRange" => changed(shorter),
            _ => match self.status() {
                408 => Some(slow()),
                412 => Some(self.precondition()),
                416 => changed(shorter),
                _ => None,
            },
        }
    }

    fn precondition(&self) -> Error {
        if self.operation.is_write() {
            Error::new(Code::AlreadyExists, "an object with this name exists")
        } else {
            Error::new(Code::Modified, "the object was replaced while it was being read")
        }
    }

    fn permission(&self) -> Option<Error> {
        if self.code() == "ObjectLocked" || self.says("worm") || self.says("object lock") {
            let message =
                format!("the server protects the object from changes: {}", self.server_words());
            return Some(Error::new(Code::ObjectLocked, message));
        }
        match self.code() {
            "AccountProblem" | "AllAccessDisabled" | "UserSuspended" => {
                let message =
                    format!("the server has blocked the account ({})", self.server_words());
                return Some(
                    Error::new(Code::AccessDenied, message)
                        .hint("contact its provider")
                        .field("access_key_id"),
                );
            }
            "AccessDenied" | "Forbidden" => {}
            _ if self.status() == 403 => {}
            _ => return None,
        }
        Some(self.denied())
    }

    fn not_found(&self) -> Option<Error> {
        (self.code() == "NoSuchKey" || self.status() == 404)
            .then(|| Error::new(Code::NotFound, "the object does not exist"))
    }

    fn overload(&self) -> Option<Error> {
        let status = self.status();
        let slow = match self.code() {
            "SlowDown"
            | "TooManyRequests"
            | "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "ServiceUnavailable"
            | "Busy" => true,
            // A page comes from a gateway in front of the server.
            _ => status == 429 || (status == 503 && !self.answer.is_page()),
        };
        if slow {
            let error =
                Error::new(Code::Throttled, "the server asks to slow down").hint("try again later");
            return Some(match self.retry_after_s() {
                Some(seconds) => error.retry_after_ms(seconds.min(MAX_WAIT_S) * 1000),
                None => error,
            });
        }
        if self.code() == "NotImplemented" || status == 501 {
            return None;
        }
        let is_transient =
            status >= 500 || matches!(self.code(), "InternalError" | "OperationAborted");
        is_transient.then(|| self.failed())
    }

    fn retry_after_s(&self) -> Option<u64> {
        let wanted = self.answer.header("retry-after")?.trim();
        wanted.parse().ok().or_else(|| {
            let until = DateTime::parse_from_rfc2822(wanted).ok()?.with_timezone(&Utc);
            let now = self.answer.date().unwrap_or_else(Utc::now);
            u64::try_from(until.signed_duration_since(now).num_seconds()).ok()
        })
    }

    fn other(&self) -> Error {
        if (200..300).contains(&self.status()) {
            self.failed()
        } else {
            self.unsupported(self.operation.name())
        }
    }

    fn failed(&self) -> Error {
        if self.code().is_empty() && matches!(self.status(), 502..=504 | 520..=530) {
            let message = format!(
                "a gateway in front of the server answers with {}: the server behind it is down, \
                 starting or unreachable",
                self.server_words()
            );
            return Error::new(Code::RemoteError, message)
                .detail("status", i64::from(self.status()));
        }
        Error::new(Code::RemoteError, format!("the server failed: {}", self.server_words()))
            .detail("status", i64::from(self.status()))
    }

    fn unsupported(&self, feature: &'static str) -> Error {
        let what = self.operation.name();
        Error::new(
            Code::UnsupportedFeature,
            format!("the server refuses {what}: {}", self.server_words()),
        )
        .detail("feature", feature)
    }
}

fn slow() -> Error {
    Error::new(Code::Timeout, "the server waited too long for data").detail("stage", "http")
}
