//! What the answer of a storage means.
//!
//! Providers differ: messages may be missing, codes may be wrong, a console or a proxy answers in
//! place of the storage. So the answer is looked at from each side in turn, and the first side that
//! knows it decides. The facts behind each rule are the recorded answers in
//! `tests/it/s3_answers.rs`.

use chrono::{DateTime, Utc};

use super::answer::{Answer, Document, is_region, shortened};
use super::{Context, Operation};
use crate::error::{Code, Error, clean};

/// Difference of the clocks from which storages refuse, 15 minutes.
const MOST_SKEW: i64 = 900;

/// Longest wait that a storage may ask for.
const LONGEST_WAIT: u64 = 86_400;

/// One answer and what it is read against.
pub(super) struct Rules<'a> {
    pub(super) operation: Operation,
    pub(super) context: &'a Context,
    pub(super) answer: &'a Answer,
    pub(super) document: &'a Document,
}

impl Rules<'_> {
    pub(super) fn apply(&self) -> Error {
        self.not_s3()
            .or_else(|| self.clock())
            .or_else(|| self.identity())
            .or_else(|| self.addressing())
            .or_else(|| self.place())
            .or_else(|| self.space())
            .or_else(|| self.content())
            .or_else(|| self.permission())
            .or_else(|| self.absence())
            .or_else(|| self.pressure())
            .unwrap_or_else(|| self.other())
    }

    fn code(&self) -> &str {
        &self.document.code
    }

    fn status(&self) -> u16 {
        self.answer.status
    }

    fn says(&self, text: &str) -> bool {
        self.document.message.to_ascii_lowercase().contains(text)
    }

    /// What the storage said, to stand in a sentence.
    fn words(&self) -> String {
        let message = shortened(&self.document.message, 120);
        match (self.code(), message.as_str()) {
            ("", "") => format!("HTTP status {}", self.status()),
            (code, "") => code.to_owned(),
            ("", message) => message.to_owned(),
            (code, message) => format!("{code}: {message}"),
        }
    }

    fn not_s3(&self) -> Option<Error> {
        let Context { endpoint, .. } = self.context;
        let status = self.status();
        if status == 407 {
            let message = format!("the proxy on the way to {endpoint} wants a user name and password");
            return Some(Error::new(Code::CannotConnect, message).fact("stage", "proxy"));
        }
        let invalid = |reason: &'static str, message: String| {
            Some(Error::new(Code::InvalidEndpoint, message).field("endpoint").fact("reason", reason))
        };
        let body = self.answer.body.to_ascii_lowercase();
        let moved = self.answer.header("location").unwrap_or_default();
        if (status == 400 && body.contains("sent to https port"))
            || (status == 400 && body.contains("http request to an https server"))
            || (status == 403 && (self.says("ssl required") || self.says("ssl is required")))
            || (endpoint.starts_with("http://") && moved.starts_with("https://"))
        {
            let message = format!("{endpoint} wants TLS: write https:// instead of http://");
            return invalid("plain_http_on_tls", message);
        }
        if status == 413 && self.code().is_empty() {
            return Some(
                Error::new(
                    Code::TooLarge,
                    "a proxy in front of the storage refuses requests of this size: raise its limit, \
                     or set a smaller part_size_bytes",
                )
                .field("part_size_bytes"),
            );
        }
        // A gateway in front of a storage that is down answers with a page as well, and these
        // statuses speak for themselves.
        let plain = matches!(status, 304 | 408 | 412 | 416 | 429) || (status >= 500 && status != 501);
        if plain || !self.code().is_empty() {
            return None;
        }
        let elsewhere = (300..400).contains(&status) && self.document.region.is_none();
        let login = status == 401 && self.answer.header("www-authenticate").is_some();
        let unknown = matches!(status, 404 | 405)
            && self.answer.is_silent()
            && self.operation == Operation::ListObjectsV2;
        if elsewhere && !moved.is_empty() {
            let moved = shortened(&clean(moved), 120);
            let message =
                format!("{endpoint} does not answer as an S3 service: it redirects to {moved}");
            return invalid("not_s3", message);
        }
        if endpoint.ends_with(":9001") && (self.answer.is_foreign() || elsewhere || unknown) {
            let message = format!(
                "{endpoint} does not answer as an S3 service: this looks like the port of a web \
                 console; the S3 port is often 9000"
            );
            return invalid("console_port", message);
        }
        if self.answer.is_foreign() || elsewhere || login || unknown {
            let message = format!(
                "{endpoint} does not answer as an S3 service: check the endpoint; a console, web \
                 page or login may live there"
            );
            return invalid("not_s3", message);
        }
        None
    }

    fn clock(&self) -> Option<Error> {
        let server = self.document.server_time.or_else(|| self.answer.date());
        let ahead = server.map(|server| Utc::now().signed_duration_since(server).num_seconds());
        let skewed = match self.code() {
            "RequestTimeTooSkewed" | "RequestInTheFuture" | "RequestExpired" | "ExpiredRequest" => true,
            _ if self.says("date is too old") => true,
            // The signature covers the time. rclone says AccessDenied with status 400.
            "SignatureDoesNotMatch" => ahead.is_some_and(|ahead| ahead.abs() > MOST_SKEW),
            "AccessDenied" if self.status() == 400 => {
                ahead.is_some_and(|ahead| ahead.abs() > MOST_SKEW)
            }
            _ => false,
        };
        if !skewed {
            return None;
        }
        let remedy = "set it, or turn on time synchronisation";
        let (Some(server), Some(ahead)) = (server, ahead) else {
            return Some(Error::new(Code::ClockSkew, format!("this machine's clock is wrong: {remedy}")));
        };
        let direction = if ahead < 0 { "behind" } else { "ahead of" };
        let message = format!(
            "this machine's clock is {} {direction} the storage's: {remedy}",
            spoken(ahead.unsigned_abs())
        );
        Some(
            Error::new(Code::ClockSkew, message)
                .fact("skew_s", ahead)
                .fact("server_time", server.to_rfc3339()),
        )
    }

    fn identity(&self) -> Option<Error> {
        let refused = |which: &'static str, field: &'static str, message: &str| {
            Some(Error::new(Code::InvalidCredentials, message).field(field).fact("which", which))
        };
        let unknown_key = || {
            refused(
                "access_key",
                "access_key_id",
                "the storage does not know this access key id: check it, and that it belongs to this \
                 endpoint",
            )
        };
        let wrong_signature = || {
            refused(
                "signature",
                "secret_access_key",
                "the storage refuses the signature: the secret access key does not fit the access key id",
            )
        };
        match self.code() {
            // Backblaze B2, for its master key.
            "InvalidAccessKeyId" if self.says("malformed access key") => refused(
                "access_key",
                "access_key_id",
                "the storage does not take this kind of access key id: on Backblaze B2 make an \
                 application key, the master key does not work",
            ),
            // InvalidSecurity is Google's.
            "InvalidAccessKeyId" | "NotSignedUp" | "InvalidClientTokenId" | "InvalidSecurity" => {
                unknown_key()
            }
            // Cloudflare R2, for keys of another length.
            "InvalidArgument" if self.says("credential access key has length") => unknown_key(),
            // Garage says AccessDenied for everything; its message tells.
            "AccessDenied" if self.says("no such key") => unknown_key(),
            "AccessDenied" if self.says("invalid signature") => wrong_signature(),
            "SignatureDoesNotMatch" => wrong_signature(),
            "InvalidToken" => refused("token", "session_token", "the storage refuses the session token"),
            "ExpiredToken" | "TokenRefreshRequired" => Some(
                Error::new(Code::CredentialsExpired, "the credentials have expired: get new ones")
                    .field("session_token"),
            ),
            _ if self.status() == 401 => unknown_key(),
            _ => None,
        }
    }

    fn addressing(&self) -> Option<Error> {
        let bucket = &self.context.bucket;
        let (usage, message) = match self.code() {
            // Alibaba OSS, Tencent COS, Huawei OBS.
            "SecondLevelDomainForbidden" | "PathStyleDomainForbidden" | "VirtualHostDomainRequired" => {
                ("virtual", "the storage wants the bucket in the host name: set addressing to virtual")
            }
            // A server that does not read the host name takes the first folder for the bucket.
            "NoSuchBucket" if self.document.bucket.as_ref().is_some_and(|named| named != bucket) => {
                ("path", "the storage wants the bucket in the path: set addressing to path")
            }
            _ => return None,
        };
        Some(Error::new(Code::WrongAddressing, message).field("addressing").fact("use", usage))
    }

    fn place(&self) -> Option<Error> {
        let Context { bucket, region, endpoint } = self.context;
        let unusable = |code, message| {
            Some(Error::new(code, message).field("bucket").fact("bucket", bucket.as_str()))
        };
        match self.code() {
            "NoSuchBucket" => {
                let message =
                    format!("the bucket \"{bucket}\" does not exist: check its name or create it");
                return unusable(Code::BucketNotFound, message);
            }
            "InvalidBucketName" => {
                let message = format!("the storage refuses \"{bucket}\" as a bucket name");
                return unusable(Code::InvalidBucketName, message);
            }
            "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException" | "InvalidRegionName" | "InvalidRegion" => {}
            _ if matches!(self.status(), 301 | 307 | 308) => {}
            // AWS, to a HEAD.
            "" if self.status() == 400 && self.expected_region().is_some() => {}
            _ => return None,
        }
        if let Some(expected) = self.expected_region() {
            let moved = endpoint.replace(&format!(".{region}."), &format!(".{expected}."));
            let remedy = if moved == *endpoint {
                "set the region".to_owned()
            } else {
                format!("set the region, and {moved} as endpoint")
            };
            let message =
                format!("the bucket is in the region \"{expected}\", not \"{region}\": {remedy}");
            return Some(
                Error::new(Code::WrongRegion, message)
                    .field("region")
                    .fact("configured", region.as_str())
                    .fact("expected", expected),
            );
        }
        if let Some(named) = &self.document.endpoint {
            let named = named.strip_prefix(bucket).and_then(|rest| rest.strip_prefix('.')).unwrap_or(named);
            let message = format!("the bucket must be addressed at {named}: use that endpoint");
            return Some(
                Error::new(Code::InvalidEndpoint, message)
                    .field("endpoint")
                    .fact("reason", "redirect")
                    .fact("expected", named),
            );
        }
        let message = format!("the region \"{region}\" is not the bucket's: {}", self.words());
        Some(
            Error::new(Code::WrongRegion, message)
                .field("region")
                .fact("configured", region.as_str()),
        )
    }

    fn expected_region(&self) -> Option<String> {
        let message = &self.document.message;
        // AWS names the constraint of the bucket; us-east-1 has none, eu-west-1 an old name.
        let constraint = || {
            let (named, _) = message.strip_prefix("The ")?.split_once(" location constraint")?;
            Some(match named {
                "unspecified" => "us-east-1",
                "EU" => "eu-west-1",
                named => named,
            })
        };
        let quoted = || {
            let (_, rest) = message.split_once("expecting '")?;
            rest.split_once('\'').map(|(quoted, _)| quoted)
        };
        // Cloudflare R2 lists the regions that it takes.
        let automatic = || message.ends_with("auto").then_some("auto");
        self.document
            .region
            .as_deref()
            .or_else(quoted)
            .or_else(constraint)
            .or_else(automatic)
            .filter(|expected| is_region(expected) && expected != &self.context.region)
            .map(str::to_owned)
    }

    fn space(&self) -> Option<Error> {
        let full = match self.code() {
            "QuotaExceeded" | "StorageQuotaExceeded" | "XMinioStorageFull" | "InsufficientCapacity"
            | "XMinioAdminBucketQuotaExceeded" | "InsufficientStorage" => true,
            // Backblaze B2 and Garage.
            "AccessDenied" => self.says("cap exceeded") || self.says("quota is reached"),
            _ => self.status() == 507 || self.says("no space left"),
        };
        full.then(|| {
            let message = format!(
                "the storage is full or a quota is used up: delete old backups or raise the quota ({})",
                self.words()
            );
            Error::new(Code::QuotaExceeded, message)
        })
    }

    fn content(&self) -> Option<Error> {
        let what = self.operation.name();
        let changed = |message: &str| Some(Error::new(Code::Changed, message));
        let shorter = "the object is shorter than it was a moment ago";
        match self.code() {
            "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => {
                let part = self.operation == Operation::UploadPart;
                let message = format!("the storage received other bytes than were sent in {what}");
                Some(
                    Error::new(Code::IntegrityMismatch, message)
                        .fact("where", if part { "part" } else { "object" })
                        .fact("algorithm", "sha256"),
                )
            }
            // Buckets with a default retention want it.
            "MissingContentMD5" => Some(self.unsupported("Content-MD5")),
            "InvalidRequest" if self.says("content-md5") => Some(self.unsupported("Content-MD5")),
            "EntityTooLarge" => {
                Some(Error::new(Code::TooLarge, "the storage refuses an object of this size"))
            }
            "EntityTooSmall" | "InvalidPart" | "InvalidPartOrder" => {
                let message = format!("the storage refuses the parts of the upload: {}", self.words());
                Some(Error::new(Code::LengthMismatch, message))
            }
            "IncompleteBody" => Some(
                Error::new(Code::NetworkLost, "the storage received only a part of the request")
                    .fact("stage", "http"),
            ),
            "RequestTimeout" => Some(slow()),
            "InvalidObjectState" => {
                let class = self.document.storage_class.clone().unwrap_or_default();
                let message = "the object lies in an archive tier: restore it there first";
                Some(Error::new(Code::Archived, message).fact("storage_class", class))
            }
            "InvalidStorageClass" => Some(
                Error::new(Code::InvalidConfig, "the storage does not have this storage class")
                    .field("storage_class")
                    .fact("field", "storage_class"),
            ),
            "NoSuchUpload" => changed(
                "the upload does not exist any more: somebody else, or a clean-up rule, ended it",
            ),
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
            Error::new(Code::Changed, "the object was replaced while it was being read")
        }
    }

    fn permission(&self) -> Option<Error> {
        if self.code() == "ObjectLocked" || self.says("worm") || self.says("object lock") {
            let message = format!("the storage protects the object from changes: {}", self.words());
            return Some(Error::new(Code::Locked, message));
        }
        let bucket = &self.context.bucket;
        match self.code() {
            "AccountProblem" | "AllAccessDisabled" | "UserSuspended" => {
                let message = format!("the storage has blocked the account: {}", self.words());
                return Some(Error::new(Code::AccessDenied, message).field("access_key_id"));
            }
            "AccessDenied" | "Forbidden" => {}
            _ if self.status() == 403 => {}
            _ => return None,
        }
        let action = self.denied_action().unwrap_or(self.operation.action());
        let message = format!("the keys lack the right {action} on the bucket \"{bucket}\": grant it");
        Some(
            Error::new(Code::AccessDenied, message)
                .field("bucket")
                .fact("action", action)
                .fact("resource", format!("arn:aws:s3:::{bucket}")),
        )
    }

    /// The right that AWS itself names, which may be one on a key of KMS.
    fn denied_action(&self) -> Option<&str> {
        let (_, rest) = self.document.message.split_once("not authorized to perform: ")?;
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != ':');
        let action = rest.get(..end.unwrap_or(rest.len()))?;
        (action.contains(':') && action.len() <= 64).then_some(action)
    }

    fn absence(&self) -> Option<Error> {
        (self.code() == "NoSuchKey" || self.status() == 404)
            .then(|| Error::new(Code::NotFound, "the object does not exist"))
    }

    fn pressure(&self) -> Option<Error> {
        let status = self.status();
        let slow = match self.code() {
            "SlowDown" | "TooManyRequests" | "Throttling" | "ThrottlingException"
            | "RequestLimitExceeded" | "ServiceUnavailable" | "Busy" => true,
            _ => matches!(status, 429 | 503),
        };
        if slow {
            let error = Error::new(Code::Throttled, "the storage asks to slow down");
            return Some(match self.wanted_wait() {
                Some(seconds) => error.retry_after_ms(seconds.min(LONGEST_WAIT) * 1000),
                None => error,
            });
        }
        if self.code() == "NotImplemented" || status == 501 {
            return None;
        }
        let passing = status >= 500 || matches!(self.code(), "InternalError" | "OperationAborted");
        passing.then(|| self.failed())
    }

    fn wanted_wait(&self) -> Option<u64> {
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
        Error::new(Code::RemoteError, format!("the storage failed: {}", self.words()))
            .fact("status", i64::from(self.status()))
    }

    fn unsupported(&self, feature: &'static str) -> Error {
        let what = self.operation.name();
        Error::new(Code::UnsupportedFeature, format!("the storage refuses {what}: {}", self.words()))
            .fact("feature", feature)
    }
}

fn slow() -> Error {
    Error::new(Code::Timeout, "the storage waited too long for data").fact("stage", "http")
}

fn spoken(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7199 => format!("{} minutes", seconds / 60),
        7200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
