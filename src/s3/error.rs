//! From how a call of the S3 API fails to one of our codes.
//!
//! Owns the translation of broken connections; what a storage answers is read in `answer` and
//! given its meaning in `rules` and `place`.

mod answer;
mod place;
mod rules;

use std::error::Error as StdError;

use aws_sdk_s3::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

pub use self::answer::{Answer, classify};
pub use self::place::clock_skew;
use super::answers::AnswerFault;
use super::http::{DnsFault, ProxyFault, StallFault};
use super::tls::UntrustedCertificate;
use crate::error::{Code, Error, Upstream};

/// A call of the S3 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the S3 API")]
pub enum Operation {
    ListObjectsV2,
    ListObjects,
    GetObject,
    HeadObject,
    PutObject,
    DeleteObject,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListMultipartUploads,
    ListParts,
    GetObjectLockConfiguration,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::ListObjects => "ListObjects",
            Self::GetObject => "GetObject",
            Self::HeadObject => "HeadObject",
            Self::PutObject => "PutObject",
            Self::DeleteObject => "DeleteObject",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::ListParts => "ListParts",
            Self::GetObjectLockConfiguration => "GetObjectLockConfiguration",
        }
    }

    /// The right that the call needs, as policies name it.
    fn action(self) -> &'static str {
        match self {
            Self::ListObjectsV2 | Self::ListObjects => "s3:ListBucket",
            Self::GetObject | Self::HeadObject => "s3:GetObject",
            Self::PutObject
            | Self::CreateMultipartUpload
            | Self::UploadPart
            | Self::CompleteMultipartUpload => "s3:PutObject",
            Self::DeleteObject => "s3:DeleteObject",
            Self::AbortMultipartUpload => "s3:AbortMultipartUpload",
            Self::ListMultipartUploads => "s3:ListBucketMultipartUploads",
            Self::ListParts => "s3:ListMultipartUploadParts",
            Self::GetObjectLockConfiguration => "s3:GetBucketObjectLockConfiguration",
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
        if answer.status >= 300 || answer.body.contains("<Error>") || answer.is_page() {
            return classify(operation, context, &answer);
        }
    }
    if let Some(fault) = find::<AnswerFault>(&error) {
        return invalid_response(operation, fault.member, &fault.why);
    }
    let what = operation.name();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library adds variants at will")]
    match error {
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => {
            broken(&context.endpoint, what, Box::new(error))
        }
        SdkError::ConstructionFailure(_) => {
            Error::new(Code::Internal, format!("cannot build the request {what}")).source(error)
        }
        other => {
            let status = other.raw_response().map(|response| response.status().as_u16());
            let message = format!("{what} got an answer that makes no sense");
            let error = Error::new(Code::RemoteError, message).source(other);
            match status {
                Some(status) => error.upstream(Upstream {
                    service: "s3".to_owned(),
                    operation: what.to_owned(),
                    status,
                    code: None,
                    message: None,
                    request_id: None,
                }),
                None => error,
            }
        }
    }
}

/// An answer of which a member cannot be read.
pub(super) fn invalid_response(operation: Operation, member: &'static str, why: &str) -> Error {
    let message = format!("{}: invalid response: {member}: {why}", operation.name());
    Error::new(Code::RemoteError, message).fact("member", member)
}

/// Translates a broken connection.
pub(super) fn broken(endpoint: &str, what: &str, source: Box<dyn StdError + Send + Sync>) -> Error {
    if let Some(error) = on_the_way(endpoint, source.as_ref()) {
        return error.source(source);
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
    // Absent while an answer is read; what breaks then is worth another try.
    let request = find::<hyper_util::client::legacy::Error>(source.as_ref());
    if let Some(fault) = find::<rustls::Error>(source.as_ref()).filter(|_| request.is_some()) {
        return tls_failed(endpoint, fault).source(source);
    }
    if request.is_some_and(hyper_util::client::legacy::Error::is_connect) {
        return not_connected(endpoint, source);
    }
    if endpoint.starts_with("http://")
        && let Some(fault) = find::<hyper::Error>(source.as_ref())
    {
        if fault.is_parse() {
            let message = format!(
                "{endpoint} does not answer in HTTP: if it wants TLS, write https:// instead of \
                 http://"
            );
            return Error::new(Code::InvalidEndpoint, message)
                .field("endpoint")
                .fact("reason", "plain_http_on_tls")
                .source(source);
        }
        if fault.is_incomplete_message() {
            let message = format!(
                "{endpoint} closed the connection without an answer to {what}; if it wants TLS, \
                 write https://"
            );
            return Error::new(Code::NetworkLost, message).fact("stage", "http").source(source);
        }
    }
    Error::new(Code::NetworkLost, format!("the connection to {endpoint} broke in {what}"))
        .fact("stage", "http")
        .source(source)
}

/// Translates why there is no connection.
pub(super) fn unreachable(endpoint: &str, source: Box<dyn StdError + Send + Sync>) -> Error {
    if let Some(error) = on_the_way(endpoint, source.as_ref()) {
        return error.source(source);
    }
    match find::<rustls::Error>(source.as_ref()) {
        Some(fault) => tls_failed(endpoint, fault).source(source),
        None => not_connected(endpoint, source),
    }
}

/// What our own types say of a connection.
fn on_the_way(endpoint: &str, source: &(dyn StdError + 'static)) -> Option<Error> {
    if let Some(fault) = find::<UntrustedCertificate>(source) {
        return Some(untrusted(endpoint, fault));
    }
    // Before the fault of a name, which may be the proxy's.
    if let Some(fault) = find::<ProxyFault>(source) {
        return Some(proxy_failed(endpoint, fault));
    }
    let fault = find::<DnsFault>(source)?;
    let message = format!("cannot find the host \"{}\": check the endpoint", fault.host);
    Some(
        Error::new(Code::CannotConnect, message)
            .field("endpoint")
            .fact("stage", "dns")
            .fact("host", fault.host.as_str()),
    )
}

fn proxy_failed(endpoint: &str, fault: &ProxyFault) -> Error {
    let proxy = fault.proxy.as_str();
    let error = if fault.wants_login {
        proxy_wants_login(endpoint)
    } else {
        let message = format!(
            "cannot reach {endpoint} through the proxy {proxy}: check HTTPS_PROXY, HTTP_PROXY and \
             NO_PROXY"
        );
        Error::new(Code::CannotConnect, message).fact("stage", "proxy")
    };
    error.fact("host", proxy)
}

/// To a request as well as to a connection.
fn proxy_wants_login(endpoint: &str) -> Error {
    let message = format!(
        "the proxy on the way to {endpoint} wants a user name and password: write the right ones \
         into its URL in HTTPS_PROXY or HTTP_PROXY"
    );
    Error::new(Code::CannotConnect, message).fact("stage", "proxy")
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
    let mut error =
        Error::new(Code::CannotConnect, format!("cannot connect to {endpoint}: {reason}"))
            .field("endpoint")
            .fact("stage", "tcp")
            .fact("host", endpoint.split_once("://").map_or(endpoint, |(_, host)| host));
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
