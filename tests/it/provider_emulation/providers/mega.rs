//! MEGA S4, which handles the parts of an upload in its own way.
//!
//! <https://github.com/meganz/s4-specs>; for the ETags
//! <https://github.com/rclone/rclone/blob/master/backend/s3/provider/Mega.yaml>.

use super::super::answer::Refusal;
use super::super::etags::Etags;
use super::super::traits::{ConditionalWrites, PLAIN, Parts, Traits, Uneven};

const fn bad_part(message: &'static str) -> Refusal {
    Refusal { status: 400, code: "InvalidPart", message }
}

const SMALL: Refusal =
    Refusal { status: 400, code: "EntityTooSmall", message: "The part is too small." };

const UNSIGNED: Refusal = Refusal {
    status: 400,
    code: "MissingSecurityHeader",
    message: "A header of the authorization is missing.",
};

/// <https://github.com/ruaan-deysel/vault/issues/100>
const SIGNATURE: Refusal = Refusal {
    status: 403,
    code: "SignatureDoesNotMatch",
    message: "Request signature does not match\\n== Canonical request ==\\n\\\"GET\\n/backups/",
};

const CROWDED: Refusal =
    Refusal { status: 503, code: "ServiceUnavailable", message: "The server is too crowded." };

pub(crate) const MEGA: Traits = Traits {
    name: "mega",
    access_key_id: "AKIAGOQQMEGAS4EXAMPLE01",
    region: "eu-central-1",
    headers: &[("x-amz-request-id", "HCFF0016002B8C6111")],
    unsigned: Some(UNSIGNED),
    words: &[("SignatureDoesNotMatch", SIGNATURE)],
    conditional_writes: ConditionalWrites::Ignored,
    parts: Parts {
        uneven: Uneven::AtOnce(bad_part("The part has another size than the others.")),
        most: None,
        small: Some(SMALL),
        repeated: Some(bad_part("The part was uploaded before.")),
        empty: Some(bad_part("The part is empty.")),
    },
    etags: Etags::NoMd5OfParts,
    crowded: Some(CROWDED),
    ..PLAIN
};
