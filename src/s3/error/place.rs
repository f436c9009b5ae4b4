//! Whether the answer comes from the right place, at the right time, to the right keys.
//!
//! The first half of the rules: everything about the endpoint, the clock, the keys, the region and
//! the bucket, where a person has to change a setting.

use url::Url;

use super::answer::{is_region, shortened};
use super::rules::Rules;
use super::{Context, Operation};
use crate::error::text::quoted;
use crate::error::{Code, Error};
use crate::platform::now;

/// Difference of the clocks from which storages refuse, 15 minutes.
const MOST_SKEW: u64 = 900;

const SET_IT: &str = "set it, or turn on time synchronisation";

/// The clock of this machine is so many seconds ahead of the storage's, or behind it.
#[must_use]
pub fn clock_skew(ahead_s: i64) -> Error {
    let direction = if ahead_s < 0 { "behind" } else { "ahead of" };
    let difference = spoken(ahead_s.unsigned_abs());
    let message =
        format!("this machine's clock is {difference} {direction} the storage's: {SET_IT}");
    Error::new(Code::ClockSkew, message).detail("skew_s", ahead_s)
}

impl Rules<'_> {
    pub(super) fn not_s3(&self) -> Option<Error> {
        let Context { endpoint, .. } = self.context;
        let status = self.status();
        if status == 407 {
            return Some(crate::net::proxy_wants_login(endpoint));
        }
        let invalid = |reason: &'static str, message: String| {
            Some(
                Error::new(Code::InvalidEndpoint, message)
                    .field("endpoint")
                    .detail("reason", reason),
            )
        };
        let body = self.answer.body.to_ascii_lowercase();
        let moved = self.answer.header("location").unwrap_or_default();
        let port_for_tls = ["sent to https port", "http request to an https server"];
        if (status == 400 && port_for_tls.iter().any(|words| body.contains(words)))
            || (status == 403 && (self.says("ssl required") || self.says("ssl is required")))
            || (endpoint.starts_with("http://") && self.leads_to_tls_here(moved))
        {
            let message = format!("{endpoint} wants TLS: write https:// instead of http://");
            return invalid("plain_http_on_tls", message);
        }
        if status == 413 && self.code().is_empty() {
            return Some(
                Error::new(
                    Code::TooLarge,
                    "a proxy in front of the storage refuses requests of this size: raise its limit, \
                     or set a smaller part_size",
                )
                .field("part_size"),
            );
        }
        // A gateway in front of a storage that is down answers with a page as well, and these
        // statuses speak for themselves.
        let plain =
            matches!(status, 304 | 408 | 412 | 416 | 429) || (status >= 500 && status != 501);
        if plain || !self.code().is_empty() {
            return None;
        }
        let elsewhere = (300..400).contains(&status) && self.document.region.is_none();
        let login = status == 401 && self.answer.header("www-authenticate").is_some();
        let unknown = matches!(status, 404 | 405)
            && self.answer.is_silent()
            && self.operation == Operation::ListObjectsV2;
        if elsewhere && !moved.is_empty() {
            let moved = shortened(&quoted(moved), 120);
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

    /// Whether a redirect changes the scheme alone, and not the host.
    fn leads_to_tls_here(&self, moved: &str) -> bool {
        let Context { endpoint, bucket, .. } = self.context;
        let host = |url: &str| Some(Url::parse(url).ok()?.host_str()?.to_owned());
        let (Some(there), Some(here)) = (host(moved), host(endpoint)) else { return false };
        let in_host = there.strip_prefix(bucket.as_str()).and_then(|rest| rest.strip_prefix('.'));
        moved.starts_with("https://") && (there == here || in_host == Some(here.as_str()))
    }

    /// Before everything else where there is no document: a clock that has just been set looks like
    /// a right that is missing. What comes of it is corrected and asked again.
    pub(super) fn bare_clock(&self) -> Option<Error> {
        self.answer.is_bare().then(|| self.clock()).flatten()
    }

    pub(super) fn clock(&self) -> Option<Error> {
        let server = self.document.server_time.or_else(|| self.answer.date());
        let ahead = server.map(|server| now().signed_duration_since(server).num_seconds());
        // Once a request was signed by the server's clock, the reason is another one.
        let looks_skewed = !self.context.clock_corrected
            && ahead.is_some_and(|ahead| ahead.unsigned_abs() > MOST_SKEW);
        let skewed = match self.code() {
            "RequestTimeTooSkewed" | "RequestInTheFuture" | "RequestExpired" | "ExpiredRequest" => {
                true
            }
            _ if self.says("date is too old") => true,
            // The signature covers the time. rclone says AccessDenied with status 400.
            "SignatureDoesNotMatch" => looks_skewed,
            "AccessDenied" if self.status() == 400 => looks_skewed,
            "" | "AccessDenied" | "Forbidden" | "Unauthorized" | "BadRequest" => {
                let other_region = self.status() == 400 && self.expected_region().is_some();
                self.answer.is_bare() && looks_skewed && !other_region
            }
            _ => false,
        };
        if !skewed {
            return None;
        }
        let (Some(server), Some(ahead)) = (server, ahead) else {
            let message = format!("this machine's clock and the storage's differ: {SET_IT}");
            return Some(Error::new(Code::ClockSkew, message));
        };
        Some(clock_skew(ahead).detail("server_time", server.to_rfc3339()))
    }

    /// Servers refuse swapped keys with many codes: a secret with a slash breaks the scope of the
    /// signature. So what is refused is not read, as long as it is not about something else.
    pub(super) fn swapped(&self) -> Option<Error> {
        let refused = matches!(self.status(), 400 | 401 | 403 | 405 | 501);
        let other = || self.addressing_style().or_else(|| self.space()).or_else(|| self.content());
        if !self.context.keys_look_swapped || !refused || other().is_some() {
            return None;
        }
        let message = "the access key id and the secret access key look swapped: enter each in \
                       the place of the other";
        Some(
            Error::new(Code::InvalidCredentials, message)
                .field("access_key_id")
                .detail("which", "swapped"),
        )
    }

    pub(super) fn identity(&self) -> Option<Error> {
        let refused = |which: &'static str, field: &'static str, message: &str| {
            Some(Error::new(Code::InvalidCredentials, message).field(field).detail("which", which))
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
                "the storage refuses the signature: the secret access key does not belong to the \
                 access key id, check both",
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
            "InvalidArgument" if self.says("credential access key has length") => {
                let message = format!(
                    "the storage does not take this kind of access key id ({}): enter the access key \
                     id that belongs to this storage",
                    self.words()
                );
                refused("access_key", "access_key_id", &message)
            }
            // Garage says AccessDenied for everything; its message tells.
            "AccessDenied" if self.says("no such key") => unknown_key(),
            "AccessDenied" if self.says("invalid signature") => wrong_signature(),
            "SignatureDoesNotMatch" => wrong_signature(),
            "InvalidToken" => refused(
                "token",
                "session_token",
                "the storage refuses the session token: get new credentials and enter all three \
                     parts of them",
            ),
            "ExpiredToken" | "TokenRefreshRequired" => Some(
                Error::new(Code::CredentialsExpired, "the credentials have expired: get new ones")
                    .field("session_token"),
            ),
            _ if self.status() == 401 => unknown_key(),
            _ => None,
        }
    }

    pub(super) fn addressing_style(&self) -> Option<Error> {
        let bucket = &self.context.bucket;
        let (usage, message) = match self.code() {
            // Alibaba OSS, Tencent COS, Huawei OBS.
            "SecondLevelDomainForbidden"
            | "PathStyleDomainForbidden"
            | "VirtualHostDomainRequired" => (
                "virtual",
                "the storage wants the bucket in the host name: set addressing style to virtual",
            ),
            // A server that does not read the host name takes the first folder for the bucket.
            "NoSuchBucket"
                if self.document.bucket.as_ref().is_some_and(|named| named != bucket) =>
            {
                ("path", "the storage wants the bucket in the path: set addressing style to path")
            }
            _ => return None,
        };
        Some(
            Error::new(Code::WrongAddressingStyle, message)
                .field("addressing_style")
                .detail("use", usage),
        )
    }

    pub(super) fn place(&self) -> Option<Error> {
        let Context { bucket, region, endpoint, .. } = self.context;
        let unusable = |code, message| {
            Some(Error::new(code, message).field("bucket").detail("bucket", bucket.as_str()))
        };
        match self.code() {
            "NoSuchBucket" => {
                let message =
                    format!("the bucket \"{bucket}\" does not exist: check its name or create it");
                return unusable(Code::BucketNotFound, message);
            }
            "InvalidBucketName" => {
                let message =
                    format!("the storage refuses \"{bucket}\" as a bucket name: check it");
                return unusable(Code::InvalidBucketName, message);
            }
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "InvalidRegionName"
            | "InvalidRegion" => {}
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
                    .detail("configured", region.as_str())
                    .detail("expected", expected),
            );
        }
        if let Some(named) = &self.document.endpoint {
            let named =
                named.strip_prefix(bucket).and_then(|rest| rest.strip_prefix('.')).unwrap_or(named);
            let message = format!("the bucket must be addressed at {named}: use that endpoint");
            return Some(
                Error::new(Code::InvalidEndpoint, message)
                    .field("endpoint")
                    .detail("reason", "redirect")
                    .detail("expected", named),
            );
        }
        let message = format!("the region \"{region}\" is not the bucket's: {}", self.words());
        Some(
            Error::new(Code::WrongRegion, message)
                .field("region")
                .detail("configured", region.as_str()),
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
}

fn spoken(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7199 => format!("{} minutes", seconds / 60),
        7200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
