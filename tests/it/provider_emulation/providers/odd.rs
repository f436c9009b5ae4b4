//! Not a provider, but the peculiarities of many at once, as far as they can be combined; see
//! `odd`.

use super::super::traits::{ListV2, PLAIN, Traits};

pub(crate) const ODD: Traits = Traits {
    name: "odd",
    access_key_id: "AKIAODD",
    // <https://github.com/minio/mc/issues/3067>
    list_v2: ListV2::TakenForV1,
    odd: true,
    ..PLAIN
};
