//! Rules for errors that a wrong setting causes: endpoint, clock, keys, region and bucket.
//!
//! These rules come first, and a person has to change a setting.

use url::Url;

use super::answer::{is_region, shortened};
use super::rules::Rules;
use super::{Context, Operation};
use crate::error::text::quoted;
use crate::error::{Code, Error};
use crate::platform::now;

/// Clock difference in seconds from which servers refuse requests: 15 minutes.
const MAX_SKEW_S: u64 = 900;

const SET_CLOCK: &str = "correct it, or turn on time synchronization";

/// The error for a clock of this machine that is `ahead_s` seconds ahead of the server's, or behind
/// it when negative.
#[must_use]
pub fn clock_skew(ahead_s: i64) -> Error {
    let direction = if ahead_s < 0 { "behind" } else { "ahead of" };
    let difference = duration_text(ahead_s.unsigned_abs());
    let message = format!("this machine's clock is {difference} {direction} the server's");
    Error::new(Code::ClockSkew, message).hint(SET_CLOCK).detail("skew_s", ahead_s)
}

impl Rules<'_> {
    pub(super) fn not_s3(&self) -> Option<Error> {
        let Context { endpoint, .. } = self.context;
        let status = self.status();
        if status == 407 {
            return Some(crate::net::proxy_login_required(endpoint));
        }
        let invalid = |reason: &'static str, message: String| {
            Error::new(Code::InvalidEndpoint, message).field("endpoint").detail("reason", reason)
        };
        let body = self.answer.body.to_ascii_lowercase();
        let location_header = self.answer.header("location").unwrap_or_default();
        let port_for_tls = ["sent to https port", "http request to an https server"];
        if (status == 400 && port_for_tls.iter().any(|words| body.contains(words)))
            || (status == 403 && (self.says("ssl required") || self.says("ssl is required")))
            || (endpoint.starts_with("http://") && self.redirects_to_tls(location_header))
        {
            let message = format!("{endpoint} requires TLS");
            let hint = "write https:// instead of http://";
            return Some(invalid("plain_http_on_tls", message).hint(hint));
        }
        if status == 413 && self.code().is_empty() {
            return Some(
                Error::new(
                    Code::TooLarge,
                    "a proxy in front of the server refuses requests of this size",
                )
                .hint("raise its limit, or set a smaller part_size")
                .field("part_size"),
            );
        }
        // A gateway in front of a server that is down also answers with a page, and these statuses
        // are specific enough.
        let plain =
            matches!(status, 304 | 408 | 412 | 416 | 429) || (status >= 500 && status != 501);
        if plain || !self.code().is_empty() {
            return None;
        }
        let is_redirect = (300..400).contains(&status) && self.document.region.is_none();
        let login = status == 401 && self.answer.header("www-authenticate").is_some();
        let unknown = matches!(status, 404 | 405)
            && self.answer.is_empty()
            && self.operation == Operation::ListObjectsV2;
        if is_redirect && !location_header.is_empty() {
            let location = shortened(&quoted(location_header), 120);
            let message =
                format!("{endpoint} does not answer as an S3 service: it redirects to {location}");
            return Some(invalid("not_s3", message));
        }
        if endpoint.ends_with(":9001") && (self.answer.is_not_s3() || is_redirect || unknown) {
            let message = format!(
                "{endpoint} does not answer as an S3 service: this looks like the port of a web \
                 console: the S3 port is often 9000"
            );
            return Some(invalid("console_port", message));
        }
        if self.answer.is_not_s3() || is_redirect || login || unknown {
            let message = format!("{endpoint} does not answer as an S3 service");
            let hint = "check the endpoint, which may be a web console, web page or login";
            return Some(invalid("not_s3", message).hint(hint));
        }
        None
    }

    /// Whether a redirect changes only the scheme, and not the host.
    fn redirects_to_tls(&self, location_header: &str) -> bool {
        let Context { endpoint, bucket, .. } = self.context;
        let host = |url: &str| Some(Url::parse(url).ok()?.host_str()?.to_owned());
        let (Some(there), Some(here)) = (host(location_header), host(endpoint)) else {
            return false;
        };
        let in_host = there.strip_prefix(bucket.as_str()).and_then(|rest| rest.strip_prefix('.'));
        location_header.starts_with("https://") && (there == here || in_host == Some(here.as_str()))
    }

    /// Comes first when there is no error document: after the clock was set, a server refuses
    /// requests as if a permission were missing. The request is then repeated with the server's
    /// time.
    pub(super) fn clock_without_document(&self) -> Option<Error> {
        self.answer.is_status_only().then(|| self.clock()).flatten()
    }

    pub(super) fn clock(&self) -> Option<Error> {
        let server = self.document.server_time.or_else(|| self.answer.date());
        let ahead = server.map(|server| now().signed_duration_since(server).num_seconds());
        // A request that was signed with the server's time failed for another reason.
        let looks_skewed = !self.context.clock_corrected
            && ahead.is_some_and(|ahead| ahead.unsigned_abs() > MAX_SKEW_S);
        let skewed = match self.code() {
            "RequestTimeTooSkewed" | "RequestInTheFuture" | "RequestExpired" | "ExpiredRequest" => {
                true
            }
            _ if self.says("date is too old") => true,
            // The signature covers the time. rclone answers AccessDenied with status 400.
            "SignatureDoesNotMatch" => looks_skewed,
            "AccessDenied" if self.status() == 400 => looks_skewed,
            "" | "AccessDenied" | "Forbidden" | "Unauthorized" | "BadRequest" => {
                let other_region = self.status() == 400 && self.expected_region().is_some();
                self.answer.is_status_only() && looks_skewed && !other_region
            }
            _ => false,
        };
        if !skewed {
            return None;
        }
        let (Some(server), Some(ahead)) = (server, ahead) else {
            let message = "this machine's clock and the server's differ";
            return Some(Error::new(Code::ClockSkew, message).hint(SET_CLOCK));
        };
        Some(clock_skew(ahead).detail("server_time", server.to_rfc3339()))
    }

    /// Servers refuse swapped keys with many codes: a secret with a slash breaks the scope of the
    /// signature. So the code is ignored, unless the error is about something else.
    pub(super) fn swapped_keys(&self) -> Option<Error> {
        let refused = matches!(self.status(), 400 | 401 | 403 | 405 | 501);
        let other =
            || self.addressing_style().or_else(|| self.quota()).or_else(|| self.object_state());
        if !self.context.keys_look_swapped || !refused || other().is_some() {
            return None;
        }
        let message = "the access key ID and the secret access key look swapped";
        Some(
            Error::new(Code::InvalidCredentials, message)
                .hint("exchange them")
                .field("access_key_id")
                .detail("which", "swapped"),
        )
    }

    pub(super) fn credentials(&self) -> Option<Error> {
        let refused = |which: &'static str, field: &'static str, message: &str, hint: &str| {
            let error = Error::new(Code::InvalidCredentials, message).hint(hint);
            Some(error.field(field).detail("which", which))
        };
        let unknown_key = || {
            refused(
                "access_key",
                "access_key_id",
                "the server does not know this access key ID",
                "check it, and that it belongs to this endpoint",
            )
        };
        let wrong_signature = || {
            refused(
                "signature",
                "secret_access_key",
                "the server refuses the signature: the secret access key does not match the \
                 access key ID",
                "check both",
            )
        };
        match self.code() {
            // Backblaze B2, for its master key.
            "InvalidAccessKeyId" if self.says("malformed access key") => refused(
                "access_key",
                "access_key_id",
                "the server does not accept this kind of access key ID",
                "on Backblaze B2 create an application key, the master key does not work",
            ),
            // Google answers InvalidSecurity.
            "InvalidAccessKeyId" | "NotSignedUp" | "InvalidClientTokenId" | "InvalidSecurity" => {
                unknown_key()
            }
            // Cloudflare R2, for keys of another length.
            "InvalidArgument" if self.says("credential access key has length") => {
                let message = format!(
                    "the server does not accept this kind of access key ID ({})",
                    self.server_words()
                );
                let hint = "enter the access key ID that belongs to this server";
                refused("access_key", "access_key_id", &message, hint)
            }
            // Garage answers AccessDenied for everything; only its message tells.
            "AccessDenied" if self.says("no such key") => unknown_key(),
            "AccessDenied" if self.says("invalid signature") => wrong_signature(),
            "SignatureDoesNotMatch" => wrong_signature(),
            "InvalidToken" => refused(
                "token",
                "session_token",
                "the server refuses the session token",
                "get new credentials and enter all three parts",
            ),
            "ExpiredToken" | "TokenRefreshRequired" => Some(
                Error::new(Code::CredentialsExpired, "the credentials have expired")
                    .hint("get new ones")
                    .field("session_token"),
            ),
            _ if self.status() == 401 => unknown_key(),
            _ => None,
        }
    }

    pub(super) fn addressing_style(&self) -> Option<Error> {
        let bucket = &self.context.bucket;
        let (usage, message, hint) = match self.code() {
            // Alibaba OSS, Tencent COS, Huawei OBS.
            "SecondLevelDomainForbidden"
            | "PathStyleDomainForbidden"
            | "VirtualHostDomainRequired" => (
                "virtual",
                "the server requires virtual-hosted-style requests",
                "set the addressing style to virtual",
            ),
            // A server that ignores the host name takes the first path segment for the bucket.
            "NoSuchBucket"
                if self.document.bucket.as_ref().is_some_and(|named| named != bucket) =>
            {
                (
                    "path",
                    "the server requires path-style requests",
                    "set the addressing style to path",
                )
            }
            _ => return None,
        };
        Some(
            Error::new(Code::WrongAddressingStyle, message)
                .hint(hint)
                .field("addressing_style")
                .detail("use", usage),
        )
    }

    pub(super) fn location(&self) -> Option<Error> {
        let Context { bucket, region, endpoint, .. } = self.context;
        let unusable = |code, message: String, hint: &str| {
            let error = Error::new(code, message).hint(hint);
            Some(error.field("bucket").detail("bucket", bucket.as_str()))
        };
        match self.code() {
            "NoSuchBucket" => {
                let message = format!("the bucket \"{bucket}\" does not exist");
                return unusable(Code::BucketNotFound, message, "check its name or create it");
            }
            "InvalidBucketName" => {
                let message = format!("the server refuses \"{bucket}\" as a bucket name");
                return unusable(Code::InvalidBucketName, message, "check it");
            }
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "InvalidRegionName"
            | "InvalidRegion" => {}
            _ if matches!(self.status(), 301 | 307 | 308) => {}
            // AWS, in a response to HEAD.
            "" if self.status() == 400 && self.expected_region().is_some() => {}
            _ => return None,
        }
        if let Some(expected) = self.expected_region() {
            let moved = endpoint.replace(&format!(".{region}."), &format!(".{expected}."));
            let hint = if moved == *endpoint {
                "set the region".to_owned()
            } else {
                format!("set the region, and {moved} as endpoint")
            };
            let message = format!("the bucket is in the region \"{expected}\", not \"{region}\"");
            return Some(
                Error::new(Code::WrongRegion, message)
                    .hint(hint)
                    .field("region")
                    .detail("configured", region.as_str())
                    .detail("expected", expected),
            );
        }
        if let Some(named) = &self.document.endpoint {
            let named =
                named.strip_prefix(bucket).and_then(|rest| rest.strip_prefix('.')).unwrap_or(named);
            let message = format!("the bucket must be addressed at {named}");
            return Some(
                Error::new(Code::InvalidEndpoint, message)
                    .hint("use that endpoint")
                    .field("endpoint")
                    .detail("reason", "redirect")
                    .detail("expected", named),
            );
        }
        let message =
            format!("the region \"{region}\" is not the bucket's: {}", self.server_words());
        Some(
            Error::new(Code::WrongRegion, message)
                .field("region")
                .detail("configured", region.as_str()),
        )
    }

    fn expected_region(&self) -> Option<String> {
        let message = &self.document.message;
        // AWS names the location constraint of the bucket; us-east-1 has none, and eu-west-1 an old
        // name.
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
        // Cloudflare R2 lists the regions that it accepts.
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
}

fn duration_text(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7199 => format!("{} minutes", seconds / 60),
        7200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
