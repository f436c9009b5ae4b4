//! The call of the S3 API that a request makes.

use http::Method;
use http::request::Parts;
use s3_backup_agent::s3::Operation;

use crate::support::BUCKET_NAME_START;

/// A call, as far as the emulation or a test distinguishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Either listing of objects, without a signature.
    UnsignedList,
    ListObjects,
    ListObjectsV2,
    GetObject,
    HeadObject,
    PutObject,
    DeleteObject,
    DeleteObjects,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListMultipartUploads,
    ListParts,
    GetObjectLockConfiguration,
    Other,
}

impl Call {
    /// Of a request to a bucket of the tests.
    pub(crate) fn of(head: &Parts) -> Self {
        let has = |name: &str| parameter(head, name).is_some();
        let (_, key) = place(head);
        match (&head.method, key.is_empty()) {
            (&Method::GET, true) if has("uploads") => Self::ListMultipartUploads,
            (&Method::GET, true) if has("object-lock") => Self::GetObjectLockConfiguration,
            (&Method::GET, true) if has("versioning") || has("location") || has("versions") => {
                Self::Other
            }
            (&Method::GET, true) if !is_signed(head) => Self::UnsignedList,
            (&Method::GET, true) if has("list-type") => Self::ListObjectsV2,
            (&Method::GET, true) => Self::ListObjects,
            (&Method::POST, true) if has("delete") => Self::DeleteObjects,
            (&Method::GET, false) if has("uploadId") => Self::ListParts,
            (&Method::GET, false) => Self::GetObject,
            (&Method::HEAD, false) => Self::HeadObject,
            (&Method::PUT, false) if has("uploadId") => Self::UploadPart,
            (&Method::PUT, false) => Self::PutObject,
            (&Method::POST, false) if has("uploads") => Self::CreateMultipartUpload,
            (&Method::POST, false) if has("uploadId") => Self::CompleteMultipartUpload,
            (&Method::DELETE, false) if has("uploadId") => Self::AbortMultipartUpload,
            (&Method::DELETE, false) => Self::DeleteObject,
            _ => Self::Other,
        }
    }

    /// Whether it writes an object.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::PutObject | Self::CompleteMultipartUpload)
    }
}

impl From<Operation> for Call {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::ListObjects => Self::ListObjects,
            Operation::ListObjectsV2 => Self::ListObjectsV2,
            Operation::GetObject => Self::GetObject,
            Operation::HeadObject => Self::HeadObject,
            Operation::PutObject => Self::PutObject,
            Operation::DeleteObject => Self::DeleteObject,
            Operation::CreateMultipartUpload => Self::CreateMultipartUpload,
            Operation::UploadPart => Self::UploadPart,
            Operation::CompleteMultipartUpload => Self::CompleteMultipartUpload,
            Operation::AbortMultipartUpload => Self::AbortMultipartUpload,
            Operation::ListMultipartUploads => Self::ListMultipartUploads,
            Operation::ListParts => Self::ListParts,
            Operation::GetObjectLockConfiguration => Self::GetObjectLockConfiguration,
        }
    }
}

/// Bucket and key, from the host name and the path.
pub(super) fn place(head: &Parts) -> (&str, &str) {
    let path = head.uri.path().trim_start_matches('/');
    match header(head, "host").split_once('.') {
        Some((bucket, _)) if bucket.starts_with(BUCKET_NAME_START) => (bucket, path),
        _ => path.split_once('/').unwrap_or((path, "")),
    }
}

/// A value of the query, decoded; empty for a name without a value.
pub(super) fn parameter(head: &Parts, name: &str) -> Option<String> {
    let query = url::form_urlencoded::parse(head.uri.query()?.as_bytes());
    query.into_owned().find_map(|(other, value)| (other == name).then_some(value))
}

/// A header, empty when it is missing.
pub(super) fn header<'a>(head: &'a Parts, name: &str) -> &'a str {
    head.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn is_signed(head: &Parts) -> bool {
    head.headers.contains_key("authorization") || parameter(head, "X-Amz-Signature").is_some()
}

/// Key id and region of a signature.
pub(super) fn credential(head: &Parts) -> Option<(&str, &str)> {
    let (_, rest) = header(head, "authorization").split_once("Credential=")?;
    let mut parts = rest.split([',', ' ']).next()?.rsplitn(5, '/');
    let region = parts.nth(2)?;
    Some((parts.nth(1)?, region))
}
