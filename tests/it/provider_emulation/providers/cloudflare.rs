//! Cloudflare R2.

use super::super::answer::Refusal;
use super::super::traits::{PLAIN, Parts, Traits, Uneven};

/// <https://github.com/apache/opendal/issues/2904>
const UNEVEN: Refusal = Refusal {
    status: 400,
    code: "InvalidPart",
    message: "All non-trailing parts must have the same length.",
};

/// <https://github.com/cloudflare/cloudflare-docs/pull/19236>, in January 2025.
const HEADER: Refusal = Refusal {
    status: 501,
    code: "NotImplemented",
    message: "Header '{}' with value 'x' not implemented",
};

/// <https://github.com/soto-project/soto/issues/643>
const STREAMING: Refusal = Refusal {
    status: 501,
    code: "NotImplemented",
    message: "STREAMING-UNSIGNED-PAYLOAD-TRAILER not implemented",
};

/// <https://github.com/jeessy2/backup-x/issues/127>
const WRONG_REGION: Refusal = Refusal {
    status: 400,
    code: "InvalidRegionName",
    message: "The region name '{}' is not valid. Must be one of: wnam, enam, weur, eeur, apac, oc, auto",
};

/// <https://developers.cloudflare.com/r2/api/error-codes>
const UNAUTHORIZED: Refusal =
    Refusal { status: 401, code: "Unauthorized", message: "Unauthorized" };

/// For keys of another service.
const KEY_LENGTH: Refusal = Refusal {
    status: 400,
    code: "InvalidArgument",
    message: "Credential access key has length {}, should be 32",
};

/// <https://github.com/WWBN/AVideo/issues/9667>
const SIGNATURE: Refusal = Refusal {
    status: 403,
    code: "SignatureDoesNotMatch",
    message: "The request signature we calculated does not match the signature you provided. Check \
              your secret access key and signing method.",
};

/// One write per second: <https://developers.cloudflare.com/r2/platform/limits>,
/// <https://github.com/vargHQ/sdk/pull/151>
const TOO_SOON: Refusal = Refusal {
    status: 429,
    code: "TooManyRequests",
    message: "Reduce your concurrent request rate for the same object.",
};

pub(crate) const CLOUDFLARE: Traits = Traits {
    name: "cloudflare",
    access_key_id: "0123456789abcdef0123456789abcdef",
    region: "auto",
    regions: Some((
        // <https://developers.cloudflare.com/r2/api/s3/api/>
        &["auto", "us-east-1", "wnam", "enam", "weur", "eeur", "apac", "oc"],
        WRONG_REGION,
    )),
    headers: &[("server", "cloudflare"), ("cf-ray", "7faa23b91daf3b12-IAD")],
    key_id_length: Some((32, KEY_LENGTH)),
    unsigned: Some(UNAUTHORIZED),
    words: &[("InvalidAccessKeyId", UNAUTHORIZED), ("SignatureDoesNotMatch", SIGNATURE)],
    refused_headers: &[("x-amz-checksum-", HEADER), ("x-amz-sdk-checksum-algorithm", HEADER)],
    refused_payloads: &[("STREAMING-", STREAMING)],
    parts: Parts { uneven: Uneven::AtTheEnd(UNEVEN), ..PLAIN.parts },
    too_soon: Some(TOO_SOON),
    ..PLAIN
};
