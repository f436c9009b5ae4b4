//! A bucket of AWS with object lock, default retention and KMS keys, for a user with only the
//! permissions that are needed.

use super::super::answer::Refusal;
use super::super::call::Call;
use super::super::etags::Etags;
use super::super::traits::{NamesRegion, PLAIN, Traits};

/// <https://github.com/s3tools/s3cmd/issues/1436>, <https://github.com/kopia/kopia/issues/711>
const WANTS_MD5: Refusal = Refusal {
    status: 400,
    code: "InvalidRequest",
    message: "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with \
              Object Lock parameters",
};

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const WRONG_REGION: Refusal = Refusal {
    status: 400,
    code: "AuthorizationHeaderMalformed",
    message: "The authorization header is malformed; the region '{}' is wrong; expecting \
              'eu-central-1'",
};

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>: the permission to list is
/// limited to one folder, and a request for an object is outside of it.
const MISSING: Refusal = Refusal { status: 403, code: "AccessDenied", message: "Access Denied" };

pub(crate) const AWS_LOCKED: Traits = Traits {
    name: "aws-locked",
    access_key_id: "AKIAIOSFODNN7EXAMPLE",
    region: "eu-central-1",
    regions: Some((&["eu-central-1"], WRONG_REGION)),
    names_region: NamesRegion::IfWrong,
    headers: &[
        ("server", "AmazonS3"),
        ("x-amz-request-id", "4442587FB7D0A2F9"),
        (
            "x-amz-id-2",
            "vlR7PnpV2Ce81l0PRw6jlUpck7Jo5ZsQjryTjKlc5aLWGVHPZLj5NeC6qMa0emYBDXOo6QBU0Wo=",
        ),
    ],
    wants_md5: &[(Call::PutObject, WANTS_MD5), (Call::UploadPart, WANTS_MD5)],
    // <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>: no MD5 with KMS keys.
    etags: Etags::Opaque,
    keeps_versions: true,
    missing: Some(MISSING),
    ..PLAIN
};
