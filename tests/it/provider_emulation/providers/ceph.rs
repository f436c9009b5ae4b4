//! The RADOS Gateway of Ceph from the years in which its errors had no message.

use super::super::answer::Refusal;
use super::super::traits::{ListV2, PLAIN, Traits};

/// <https://github.com/home-assistant/core/issues/144015>,
/// <https://github.com/siderolabs/talos-backup/issues/36>
const TRAILER: Refusal = Refusal { status: 400, code: "XAmzContentSHA256Mismatch", message: "" };

/// <https://github.com/benbjohnson/litestream/issues/1059>
const UNSIGNED_PAYLOAD: Refusal =
    Refusal { status: 403, code: "SignatureDoesNotMatch", message: "" };

pub(crate) const CEPH: Traits = Traits {
    name: "ceph",
    access_key_id: "0555B35654AD1656D804",
    region: "default",
    messages: false,
    headers: &[("x-amz-request-id", "tx000000000000000000001-0061a2b3c4-1234-default")],
    refused_payloads: &[("STREAMING-", TRAILER), ("UNSIGNED-PAYLOAD", UNSIGNED_PAYLOAD)],
    // <https://github.com/minio/mc/issues/3067>, where DigitalOcean ran it.
    list_v2: ListV2::TakenForV1,
    ..PLAIN
};
