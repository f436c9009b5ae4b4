//! MinIO of the year 2021, which many NAS devices still run.

use super::super::answer::Refusal;
use super::super::call::Call;
use super::super::traits::{ConditionalWrites, NamesRegion, PLAIN, Traits};

/// With a region in its settings; `cmd/api-errors.go` of <https://github.com/minio/minio>.
const WRONG_REGION: Refusal = Refusal {
    status: 400,
    code: "AuthorizationHeaderMalformed",
    message: "The authorization header is malformed; the region is wrong; expecting 'nas-1'.",
};

/// <https://github.com/minio/minio/pull/16484> added them.
const TRAILER: Refusal = Refusal {
    status: 400,
    code: "XAmzContentSHA256Mismatch",
    message: "The provided 'x-amz-content-sha256' header does not match what was computed.",
};

/// <https://github.com/aws/aws-sdk-php/issues/3068>
const MD5: Refusal = Refusal {
    status: 400,
    code: "MissingContentMD5",
    message: "Missing required header for this request: Content-Md5.",
};

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>: the status was
/// sent before.
const FAILED: Refusal = Refusal {
    status: 200,
    code: "InternalError",
    message: "We encountered an internal error, please try again.",
};

pub(crate) const MINIO: Traits = Traits {
    name: "minio",
    access_key_id: "minioadmin",
    region: "nas-1",
    regions: Some((&["nas-1"], WRONG_REGION)),
    names_region: NamesRegion::IfWrong,
    head_says_why: true,
    headers: &[
        ("server", "MinIO/RELEASE.2021-04-06T23-11-00Z"),
        ("x-amz-request-id", "181EE46F572C9D03"),
    ],
    refused_payloads: &[
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", TRAILER),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", TRAILER),
    ],
    wants_md5: &[(Call::DeleteObjects, MD5)],
    conditional_writes: ConditionalWrites::Ignored,
    // <https://github.com/minio/minio/issues/20989>, <https://github.com/minio/minio/issues/7632>
    lists_uploads_of_one_key: true,
    fails_to_complete: Some(FAILED),
    ..PLAIN
};
