//! From what a storage answers, or how a connection breaks, to one of our codes.
//!
//! The only place that reads S3's error documents. Providers differ: messages may be missing,
//! codes may be wrong, and a console or proxy answers in HTML. The facts behind each rule are the
//! recorded answers in `tests/it/s3_answers.rs`.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use chrono::{DateTime, Utc};

use super::http::{DnsFault, ProxyFault, StallFault};
use super::tls::UntrustedCertificate;
use crate::config::TargetConfig;
use crate::error::{Code, Error, Upstream, clean};

/// A call of the S3 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the S3 API")]
pub enum Operation {
    ListObjectsV2,
    GetObject,
    HeadObject,
    PutObject,
    DeleteObject,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListMultipartUploads,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::GetObject => "GetObject",
            Self::HeadObject => "HeadObject",
            Self::PutObject => "PutObject",
            Self::DeleteObject => "DeleteObject",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::ListMultipartUploads => "ListMultipartUploads",
        }
    }

    /// The right that the call needs, as policies name it.
    fn action(self) -> &'static str {
        match self {
            Self::ListObjectsV2 => "s3:ListBucket",
            Self::GetObject | Self::HeadObject => "s3:GetObject",
            Self::PutObject
            | Self::CreateMultipartUpload
            | Self::UploadPart
            | Self::CompleteMultipartUpload => "s3:PutObject",
            Self::DeleteObject => "s3:DeleteObject",
            Self::AbortMultipartUpload => "s3:AbortMultipartUpload",
            Self::ListMultipartUploads => "s3:ListBucketMultipartUploads",
        }
    }

    fn is_write(self) -> bool {
        self.action() == "s3:PutObject"
    }
}

/// What an answer is read against.
#[derive(Clone, Debug)]
pub struct Context {
    /// Scheme and host of the service.
    pub endpoint: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Region that the requests are signed for.
    pub region: String,
}

impl Context {
    /// The context of a target.
    #[must_use]
    pub fn new(config: &TargetConfig) -> Self {
        Self {
            endpoint: config.endpoint.as_str().trim_end_matches('/').to_owned(),
            bucket: config.bucket.clone(),
            region: config.region.clone(),
        }
    }
}

/// An HTTP answer that reports a failure.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body, as text.
    pub body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn read(response: &HttpResponse) -> Self {
        let body = response.body().bytes().unwrap_or_default();
        let body = body.get(..body.len().min(64 << 10)).unwrap_or_default();
        Self {
            status: response.status().as_u16(),
            headers: response
                .headers()
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }
}

/// The first cause of type `T`, looking into the layers that wrap errors without naming them as
/// their source.
pub(super) fn find<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && let Some(inner) = io.get_ref()
            && let Some(found) = find::<T>(inner)
        {
            return Some(found);
        }
        if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(inner))) =
            error.downcast_ref::<rustls::Error>()
            && let Some(found) = inner.0.downcast_ref::<T>()
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Translates what the SDK reports.
pub(super) fn translate<E>(
    operation: Operation,
    context: &Context,
    error: SdkError<E, HttpResponse>,
) -> Error
where
    E: StdError + Send + Sync + 'static,
{
    if let Some(response) = error.raw_response() {
        let answer = Answer::read(response);
        if answer.status >= 300 || answer.body.contains("<Error>") || not_xml(&answer) {
            return classify(operation, context, &answer);
        }
    }
    let what = operation.name();
    match error {
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => {
            broken(context, what, Box::new(error))
        }
        SdkError::ConstructionFailure(_) => {
            Error::new(Code::Internal, format!("cannot build the request {what}")).source(error)
        }
        other => Error::new(Code::RemoteError, format!("{what} got an answer that makes no sense"))
            .source(other),
    }
}

/// Translates a broken connection.
pub(super) fn broken(
    context: &Context,
    what: &str,
    source: Box<dyn StdError + Send + Sync>,
) -> Error {
    let endpoint = &context.endpoint;
    if let Some(fault) = find::<UntrustedCertificate>(source.as_ref()) {
        return untrusted(endpoint, fault).source(source);
    }
    if let Some(fault) = find::<DnsFault>(source.as_ref()) {
        let message = format!("cannot find the host \"{}\": check the endpoint", fault.host);
        return Error::new(Code::CannotConnect, message)
            .field("endpoint")
            .fact("stage", "dns")
            .fact("host", fault.host.as_str())
            .source(source);
    }
    if let Some(fault) = find::<ProxyFault>(source.as_ref()) {
        let message = format!(
            "cannot reach {endpoint} through the proxy {}: check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
            fault.proxy
        );
        return Error::new(Code::CannotConnect, message)
            .fact("stage", "proxy")
            .fact("host", fault.proxy.as_str())
            .source(source);
    }
    if let Some(fault) = find::<StallFault>(source.as_ref()) {
        let ms = u64::try_from(fault.limit.as_millis()).unwrap_or(u64::MAX);
        let message =
            format!("{endpoint} was silent for {} seconds in {what}", fault.limit.as_secs());
        return Error::new(Code::Timeout, message)
            .fact("stage", "http")
            .fact("ms", ms)
            .source(source);
    }
    if let Some(fault) = find::<rustls::Error>(source.as_ref()) {
        return tls_failed(endpoint, fault).source(source);
    }
    let connecting = find::<hyper_util::client::legacy::Error>(source.as_ref())
        .is_some_and(hyper_util::client::legacy::Error::is_connect);
    if connecting {
        return not_connected(endpoint, source);
    }
    Error::new(Code::NetworkLost, format!("the connection to {endpoint} broke in {what}"))
        .fact("stage", "http")
        .source(source)
}

fn not_connected(endpoint: &str, source: Box<dyn StdError + Send + Sync>) -> Error {
    let io = find::<std::io::Error>(source.as_ref());
    let reason = match io.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => {
            "nothing listens there: check host and port, and that the storage runs"
        }
        Some(std::io::ErrorKind::TimedOut) => {
            "it does not answer: check host and port, and firewalls on the way"
        }
        _ => "check host and port",
    };
    let mut error = Error::new(Code::CannotConnect, format!("cannot connect to {endpoint}: {reason}"))
        .field("endpoint")
        .fact("stage", "tcp")
        .fact("host", endpoint);
    if let Some(io) = io {
        error = error.fact("os_error", io.to_string());
    }
    error.source(source)
}

fn untrusted(endpoint: &str, fault: &UntrustedCertificate) -> Error {
    let remedy = match fault.reason {
        "expired" => "it has expired: renew it on the storage, or check this machine's clock",
        "not_yet_valid" => "it is not valid yet: check this machine's clock",
        "name_mismatch" => {
            "it was made for another host name: use that name in the endpoint, or path addressing"
        }
        "self_signed" => "it signed itself: give it as CA certificate if the fingerprint is right",
        _ => "its issuer is unknown here: give the CA certificate of your storage",
    };
    let field = if fault.reason == "name_mismatch" { "endpoint" } else { "ca_certificate" };
    let message = format!("the certificate of {endpoint} is not trusted: {remedy}");
    Error::new(Code::TlsUntrusted, message)
        .field(field)
        .fact("reason", fault.reason)
        .fact("subject", fault.subject.as_str())
        .fact("issuer", fault.issuer.as_str())
        .fact("sha256", fault.sha256.as_str())
}

fn tls_failed(endpoint: &str, fault: &rustls::Error) -> Error {
    if matches!(fault, rustls::Error::InvalidMessage(_)) {
        let message = format!(
            "{endpoint} does not speak TLS on this port: use http://, or the port for https"
        );
        return Error::new(Code::InvalidEndpoint, message)
            .field("endpoint")
            .fact("reason", "tls_on_plain_http");
    }
    Error::new(Code::TlsFailed, format!("{endpoint} and this agent cannot agree on TLS: {fault}"))
        .field("endpoint")
        .fact("alert", fault.to_string())
}

/// The members of an error document.
#[derive(Debug, Default)]
struct Document {
    code: Option<String>,
    message: Option<String>,
    region: Option<String>,
    endpoint: Option<String>,
    server_time: Option<String>,
    request_id: Option<String>,
    storage_class: Option<String>,
}

impl Document {
    fn parse(body: &str) -> Self {
        let Ok(tree) = roxmltree::Document::parse(body.trim_start_matches('\u{feff}').trim()) else {
            return Self::default();
        };
        let text = |name: &str| {
            tree.descendants()
                .find(|node| node.tag_name().name() == name)
                .and_then(|node| node.text())
                .map(clean)
                .filter(|text| !text.is_empty())
        };
        Self {
            code: text("Code"),
            message: text("Message"),
            region: text("Region"),
            endpoint: text("Endpoint"),
            server_time: text("ServerTime"),
            request_id: text("RequestId"),
            storage_class: text("StorageClass"),
        }
    }
}

fn not_xml(answer: &Answer) -> bool {
    let start = answer.body.trim_start_matches('\u{feff}').trim_start();
    let start: String = start.chars().take(15).collect::<String>().to_ascii_lowercase();
    start.starts_with("<!doctype html") || start.starts_with("<html") || start.starts_with('{')
}

/// Gives the answer of a storage its meaning.
#[must_use]
pub fn classify(operation: Operation, context: &Context, answer: &Answer) -> Error {
    let document = Document::parse(&answer.body);
    let code = document
        .code
        .clone()
        .or_else(|| answer.header("x-minio-error-code").map(clean))
        .unwrap_or_default();
    let message = document.message.clone().unwrap_or_default();
    let rule = Rule { operation, context, answer, document: &document, code: &code, message: &message };
    let error = rule
        .not_s3()
        .or_else(|| rule.identity())
        .or_else(|| rule.clock())
        .or_else(|| rule.place())
        .or_else(|| rule.space())
        .or_else(|| rule.content())
        .or_else(|| rule.permission())
        .or_else(|| rule.absence())
        .or_else(|| rule.pressure())
        .unwrap_or_else(|| rule.other());
    let request_id = document
        .request_id
        .or_else(|| answer.header("x-amz-request-id").map(clean));
    error.upstream(Upstream {
        service: "s3".to_owned(),
        operation: operation.name().to_owned(),
        status: answer.status,
        code: Some(code).filter(|code| !code.is_empty()),
        message: Some(message).filter(|message| !message.is_empty()),
        request_id,
    })
}

/// One answer, looked at from each side in turn; the first side that knows it decides.
struct Rule<'a> {
    operation: Operation,
    context: &'a Context,
    answer: &'a Answer,
    document: &'a Document,
    code: &'a str,
    message: &'a str,
}

impl Rule<'_> {
    fn says(&self, text: &str) -> bool {
        self.message.to_ascii_lowercase().contains(text)
    }

    /// What the storage said, to follow a colon.
    fn words(&self) -> String {
        match (self.code, self.message) {
            ("", "") => format!("HTTP status {}", self.answer.status),
            (code, "") => code.to_owned(),
            ("", message) => message.to_owned(),
            (code, message) => format!("{code}: {message}"),
        }
    }

    fn not_s3(&self) -> Option<Error> {
        let Context { endpoint, .. } = self.context;
        let status = self.answer.status;
        if status == 407 {
            let message = format!("the proxy on the way to {endpoint} wants a user name and password");
            return Some(Error::new(Code::CannotConnect, message).fact("stage", "proxy"));
        }
        let body = self.answer.body.to_ascii_lowercase();
        if status == 400
            && (body.contains("sent to https port") || body.contains("http request to an https server"))
        {
            let message = format!("{endpoint} wants TLS: write https:// instead of http://");
            return Some(
                Error::new(Code::InvalidEndpoint, message)
                    .field("endpoint")
                    .fact("reason", "plain_http_on_tls"),
            );
        }
        let moved = self.answer.header("location").unwrap_or_default();
        if endpoint.starts_with("http://") && moved.starts_with("https://") {
            let message = format!("{endpoint} wants TLS: write https:// instead of http://");
            return Some(
                Error::new(Code::InvalidEndpoint, message)
                    .field("endpoint")
                    .fact("reason", "plain_http_on_tls"),
            );
        }
        // A gateway in front of a storage that is down answers in HTML as well.
        let gateway = matches!(status, 429 | 500 | 502 | 503 | 504);
        let silent = self.answer.body.trim().is_empty();
        let missing_service = status == 404 && silent && self.operation == Operation::ListObjectsV2;
        if self.code.is_empty() && !gateway && (not_xml(self.answer) || missing_service) {
            let console = endpoint.ends_with(":9001");
            let (reason, hint) = if console {
                ("console_port", "this looks like the port of a web console; the S3 port is often 9000")
            } else {
                ("not_s3", "check the endpoint; a console, web page or login may live there")
            };
            let message = format!("{endpoint} does not answer as an S3 service: {hint}");
            return Some(
                Error::new(Code::InvalidEndpoint, message).field("endpoint").fact("reason", reason),
            );
        }
        None
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
        match self.code {
            "InvalidAccessKeyId" | "NotSignedUp" | "InvalidClientTokenId" => unknown_key(),
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
            _ if self.answer.status == 401 => unknown_key(),
            _ => None,
        }
    }

    fn clock(&self) -> Option<Error> {
        let skewed = matches!(self.code, "RequestTimeTooSkewed" | "RequestInTheFuture" | "ExpiredRequest")
            || self.says("date is too old");
        if !skewed {
            return None;
        }
        let server = self
            .document
            .server_time
            .as_deref()
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
            .or_else(|| {
                let date = self.answer.header("date")?;
                DateTime::parse_from_rfc2822(date).ok()
            });
        let Some(server) = server else {
            let message = "this machine's clock is wrong: set it, or turn on time synchronisation";
            return Some(Error::new(Code::ClockSkew, message));
        };
        let seconds = Utc::now().signed_duration_since(server).num_seconds();
        let direction = if seconds < 0 { "behind" } else { "ahead of" };
        let message = format!(
            "this machine's clock is {} {direction} the storage's: set it, or turn on time \
             synchronisation",
            spoken(seconds.unsigned_abs())
        );
        Some(
            Error::new(Code::ClockSkew, message)
                .fact("skew_s", seconds)
                .fact("server_time", server.with_timezone(&Utc).to_rfc3339()),
        )
    }

    fn place(&self) -> Option<Error> {
        let Context { bucket, region, .. } = self.context;
        match self.code {
            "NoSuchBucket" => {
                return Some(
                    Error::new(
                        Code::BucketNotFound,
                        format!("the bucket \"{bucket}\" does not exist: check its name or create it"),
                    )
                    .field("bucket")
                    .fact("bucket", bucket.as_str()),
                );
            }
            "InvalidBucketName" => {
                return Some(
                    Error::new(
                        Code::InvalidBucketName,
                        format!("the storage refuses \"{bucket}\" as a bucket name"),
                    )
                    .field("bucket")
                    .fact("bucket", bucket.as_str()),
                );
            }
            _ => {}
        }
        let elsewhere = matches!(
            self.code,
            "PermanentRedirect"
                | "TemporaryRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException"
                | "InvalidRegionName"
                | "InvalidRegion"
        ) || matches!(self.answer.status, 301 | 307 | 308);
        if !elsewhere {
            return None;
        }
        let expected = self
            .document
            .region
            .clone()
            .or_else(|| self.answer.header("x-amz-bucket-region").map(clean))
            .or_else(|| quoted_after(self.message, "expecting '"))
            .filter(|expected| expected != region);
        let error = match (expected, &self.document.endpoint) {
            (Some(expected), _) => Error::new(
                Code::WrongRegion,
                format!("the bucket is in the region \"{expected}\", not \"{region}\": set the region"),
            )
            .field("region")
            .fact("configured", region.as_str())
            .fact("expected", expected),
            (None, Some(endpoint)) => Error::new(
                Code::InvalidEndpoint,
                format!("the bucket must be addressed at {endpoint}: use that endpoint"),
            )
            .field("endpoint")
            .fact("reason", "redirect")
            .fact("expected", endpoint.as_str()),
            (None, None) => Error::new(
                Code::WrongRegion,
                format!("the region \"{region}\" is not the bucket's: {}", self.words()),
            )
            .field("region")
            .fact("configured", region.as_str()),
        };
        Some(error)
    }

    fn space(&self) -> Option<Error> {
        let full = matches!(
            self.code,
            "QuotaExceeded"
                | "StorageQuotaExceeded"
                | "XMinioStorageFull"
                | "XMinioAdminBucketQuotaExceeded"
                | "InsufficientCapacity"
                | "InsufficientStorage"
        ) || self.answer.status == 507
            || (self.answer.status == 403 && self.says("cap exceeded"));
        full.then(|| {
            Error::new(
                Code::QuotaExceeded,
                "the storage is full or its quota is used up: delete old backups or raise the quota",
            )
        })
    }

    fn content(&self) -> Option<Error> {
        let what = self.operation.name();
        match self.code {
            "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => {
                Some(
                    Error::new(
                        Code::IntegrityMismatch,
                        format!("the storage received other bytes than were sent in {what}"),
                    )
                    .fact("where", if self.operation == Operation::UploadPart { "part" } else { "object" })
                    .fact("algorithm", "sha256"),
                )
            }
            "EntityTooLarge" => {
                Some(Error::new(Code::TooLarge, "the storage refuses an object of this size"))
            }
            "EntityTooSmall" | "InvalidPart" | "InvalidPartOrder" => Some(Error::new(
                Code::LengthMismatch,
                format!("the storage refuses the parts of the upload: {}", self.words()),
            )),
            "IncompleteBody" => Some(
                Error::new(Code::NetworkLost, "the storage received only a part of the request")
                    .fact("stage", "http"),
            ),
            "RequestTimeout" => Some(
                Error::new(Code::Timeout, "the storage waited too long for data").fact("stage", "http"),
            ),
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
            "InvalidRange" => {
                Some(Error::new(Code::Changed, "the object is shorter than it was a moment ago"))
            }
            "NoSuchUpload" => Some(Error::new(
                Code::Changed,
                "the upload does not exist any more: somebody else, or a clean-up rule, ended it",
            )),
            "PreconditionFailed" | "ConditionalRequestConflict" => Some(self.precondition()),
            _ if self.answer.status == 412 => Some(self.precondition()),
            _ if self.answer.status == 416 => {
                Some(Error::new(Code::Changed, "the object is shorter than it was a moment ago"))
            }
            _ => None,
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
        if self.code == "ObjectLocked" || self.says("worm") || self.says("object lock") {
            let message = format!("the storage protects the object from changes: {}", self.words());
            return Some(Error::new(Code::Locked, message));
        }
        let denied = matches!(self.code, "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden");
        if !denied && self.answer.status != 403 {
            return None;
        }
        let action = self.operation.action();
        let bucket = &self.context.bucket;
        Some(
            Error::new(
                Code::AccessDenied,
                format!("the keys lack the right {action} on the bucket \"{bucket}\": grant it"),
            )
            .field("bucket")
            .fact("action", action)
            .fact("resource", format!("arn:aws:s3:::{bucket}")),
        )
    }

    fn absence(&self) -> Option<Error> {
        (self.code == "NoSuchKey" || self.answer.status == 404)
            .then(|| Error::new(Code::NotFound, "the object does not exist"))
    }

    fn pressure(&self) -> Option<Error> {
        let status = self.answer.status;
        let slow = matches!(
            self.code,
            "SlowDown" | "TooManyRequests" | "Throttling" | "ThrottlingException"
                | "RequestLimitExceeded" | "ServiceUnavailable" | "Busy"
        ) || matches!(status, 429 | 503);
        if slow {
            let mut error = Error::new(Code::Throttled, "the storage asks to slow down");
            if let Some(seconds) =
                self.answer.header("retry-after").and_then(|value| value.trim().parse::<u64>().ok())
            {
                error = error.retry_after_ms(seconds.saturating_mul(1000));
            }
            return Some(error);
        }
        if self.code == "NotImplemented" || status == 501 {
            return Some(self.unsupported());
        }
        (status >= 500 || self.code == "InternalError").then(|| {
            Error::new(Code::RemoteError, format!("the storage failed: {}", self.words()))
                .fact("status", i64::from(status))
        })
    }

    fn other(&self) -> Error {
        if (200..300).contains(&self.answer.status) {
            return Error::new(Code::RemoteError, format!("the storage failed: {}", self.words()))
                .fact("status", i64::from(self.answer.status));
        }
        self.unsupported()
    }

    fn unsupported(&self) -> Error {
        let what = self.operation.name();
        Error::new(Code::UnsupportedFeature, format!("the storage refuses {what}: {}", self.words()))
            .fact("feature", what)
    }
}

fn quoted_after(text: &str, start: &str) -> Option<String> {
    let (_, rest) = text.split_once(start)?;
    let (quoted, _) = rest.split_once('\'')?;
    (!quoted.is_empty()).then(|| quoted.to_owned())
}

fn spoken(seconds: u64) -> String {
    let duration = Duration::from_secs(seconds);
    match duration.as_secs() {
        0..=119 => format!("{seconds} seconds"),
        120..=7199 => format!("{} minutes", seconds / 60),
        7200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
