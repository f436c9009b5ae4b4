//! Translates failed S3 calls to error codes.
//!
//! `net` translates broken connections; `answer` parses error responses, and `rules` and `settings`
//! classify them.

mod answer;
mod denied;
mod rules;
mod settings;

use std::error::Error as StdError;

use aws_sdk_s3::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

pub use self::answer::Answer;
pub use self::rules::classify;
pub use self::settings::clock_skew;
use super::answers::AnswerFault;
use crate::error::{Code, Error, Upstream};
use crate::net::{broken, find};

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

    /// The permission that the call needs, as policies name it.
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

/// The settings that an error response is read against.
#[derive(Clone, Debug)]
pub struct Context {
    /// Scheme and host of the endpoint, such as `https://s3.example.com`.
    pub endpoint: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Region that the requests are signed for.
    pub region: String,
    /// Whether the access key ID looks like a secret, and the secret like an access key ID.
    pub keys_look_swapped: bool,
    /// Whether the request was signed with the server's time, because the server refused this
    /// machine's.
    pub clock_corrected: bool,
}

/// Translates an error of the SDK.
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
            let (member, why) = match (operation, status) {
                (_, Some(status @ (100..=199 | 204))) => {
                    ("status", format!("{status} is no response to this request"))
                }
                (Operation::HeadObject, _) => ("headers", "unreadable".to_owned()),
                _ => ("body", "no response to this request".to_owned()),
            };
            let error = invalid_response(operation, member, &why).source(other);
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

/// The error for a response with an invalid member.
pub(super) fn invalid_response(operation: Operation, member: &'static str, why: &str) -> Error {
    let message = format!("{}: invalid response: {member}: {why}", operation.name());
    Error::new(Code::RemoteError, message).detail("member", member)
}
