//! Scaleway Object Storage.

use super::super::answer::Refusal;
use super::super::traits::{PLAIN, Parts, Traits};

/// <https://github.com/rclone/rclone/issues/4159>
const NUMBER: Refusal = Refusal {
    status: 400,
    code: "InvalidArgument",
    message: "Part number must be an integer between 1 and 1000, inclusive",
};

pub(crate) const SCALEWAY: Traits = Traits {
    name: "scaleway",
    access_key_id: "SCWXXXXXXXXXXXXXXXXX",
    region: "fr-par",
    headers: &[
        ("x-amz-request-id", "txg0f1e2d3c4b5a69788-0061a2b3c4"),
        ("x-amz-id-2", "txg0f1e2d3c4b5a69788-0061a2b3c4"),
    ],
    parts: Parts { most: Some((1000, NUMBER)), ..PLAIN.parts },
    ..PLAIN
};
