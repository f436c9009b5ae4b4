//! Backblaze B2.

use super::super::answer::Refusal;
use super::super::traits::{ConditionalWrites, PLAIN, Traits};

/// <https://github.com/home-assistant/core/issues/143995>,
/// <https://github.com/iterate-ch/cyberduck/issues/16107>
const HEADER: Refusal = Refusal {
    status: 400,
    code: "InvalidArgument",
    message: "Unsupported header '{}' received for this API call.",
};

/// <https://github.com/sathinduga/obsidian-s3-sync-and-backup/issues/78>
const CONDITION: Refusal = Refusal {
    status: 501,
    code: "NotImplemented",
    message: "A header you provided implies functionality that is not implemented",
};

/// <https://github.com/AlistGo/alist/issues/8364>, for keys of another kind.
const MALFORMED_KEY: Refusal =
    Refusal { status: 403, code: "InvalidAccessKeyId", message: "Malformed Access Key Id" };

/// <https://github.com/peak/s5cmd/issues/269>, for keys of another region as well.
const UNKNOWN_KEY: Refusal =
    Refusal { status: 403, code: "InvalidAccessKeyId", message: "The key '{}' is not valid" };

/// <https://github.com/backblaze-b2-samples/cloudflare-b2/issues/5>
const SIGNATURE: Refusal =
    Refusal { status: 403, code: "SignatureDoesNotMatch", message: "Signature validation failed" };

/// <https://github.com/Backblaze/b2-sdk-python/issues/136>
const UNSIGNED: Refusal =
    Refusal { status: 401, code: "UnauthorizedAccess", message: "bucket is not authorized: {}" };

pub(crate) const BACKBLAZE: Traits = Traits {
    name: "backblaze",
    access_key_id: "00412345678901a0000000001",
    region: "us-west-004",
    headers: &[
        ("server", "nginx"),
        ("x-amz-request-id", "f15a449517f8b909"),
        ("x-amz-id-2", "ade1uE2uxbjtvOXd2bpg="),
    ],
    key_id_length: Some((25, MALFORMED_KEY)),
    unsigned: Some(UNSIGNED),
    words: &[("InvalidAccessKeyId", UNKNOWN_KEY), ("SignatureDoesNotMatch", SIGNATURE)],
    refused_headers: &[
        ("x-amz-checksum-", HEADER),
        ("x-amz-sdk-checksum-algorithm", HEADER),
        ("x-amz-trailer", HEADER),
    ],
    conditional_writes: ConditionalWrites::Refused(CONDITION),
    // <https://www.backblaze.com/apidocs/s3-delete-object>
    keeps_versions: true,
    ..PLAIN
};
