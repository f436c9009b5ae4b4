//! NetApp StorageGRID of the years before it had ListObjectsV2.

use super::super::answer::Refusal;
use super::super::traits::{ConditionalWrites, ListV2, PLAIN, Traits};

/// <https://github.com/polyaxon/hypertune/issues/3>
const LIST_V2: Refusal = Refusal {
    status: 501,
    code: "NotImplemented",
    message: "A header you provided implies functionality that is not implemented.",
};

pub(crate) const STORAGEGRID: Traits = Traits {
    name: "storagegrid",
    access_key_id: "SGKHSGHCOLDGRIDEXAMP",
    headers: &[
        ("x-amz-request-id", "1637394893123456"),
        ("x-ntap-sg-trace-id", "0123456789abcdef"),
    ],
    // <https://docs.netapp.com/us-en/storagegrid/release-notes/changes-to-s3-rest-api.html>
    conditional_writes: ConditionalWrites::Ignored,
    list_v2: ListV2::Refused(LIST_V2),
    ..PLAIN
};
