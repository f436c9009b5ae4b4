//! Garage, which answers every key and signature problem with "forbidden".
//!
//! <https://git.deuxfleurs.fr/Deuxfleurs/garage>, `src/api/common/signature/payload.rs` and
//! `src/api/s3/multipart.rs`

use super::super::answer::Refusal;
use super::super::etags::Etags;
use super::super::traits::{ConditionalWrites, NamesRegion, PLAIN, Parts, Traits};

const fn forbidden(message: &'static str) -> Refusal {
    Refusal { status: 403, code: "AccessDenied", message }
}

const fn bad_request(message: &'static str) -> Refusal {
    Refusal { status: 400, code: "InvalidRequest", message }
}

const WRONG_REGION: Refusal = Refusal {
    status: 400,
    code: "AuthorizationHeaderMalformed",
    message: "Authorization header malformed, unexpected scope: 20261120/{}/s3/aws4_request",
};

pub(crate) const GARAGE: Traits = Traits {
    name: "garage",
    access_key_id: "GK31c2f218a2e44f485b94239e",
    region: "garage",
    regions: Some((&["garage"], WRONG_REGION)),
    names_region: NamesRegion::Always,
    unsigned: Some(forbidden("Forbidden: Garage does not support anonymous access yet")),
    words: &[
        ("InvalidAccessKeyId", forbidden("Forbidden: No such key: {}")),
        ("SignatureDoesNotMatch", forbidden("Forbidden: Invalid signature")),
        ("RequestTimeTooSkewed", bad_request("Bad request: Date is too old")),
    ],
    conditional_writes: ConditionalWrites::Ignored,
    parts: Parts { empty: Some(bad_request("Bad request: Empty body")), ..PLAIN.parts },
    // The MD5 of the hexadecimal ETags of the parts, not of their bytes.
    etags: Etags::NoMd5OfParts,
    ..PLAIN
};
