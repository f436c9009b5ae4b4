//! The differences between providers.

use super::answer::Refusal;
use super::call::Call;
use super::etags::Etags;

type Refusals = &'static [(&'static str, Refusal)];

/// A provider as the agent sees it. Values that are `None` or empty mean: as AWS does it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    pub(crate) name: &'static str,
    /// The key id with all permissions, in the form of this provider.
    pub(crate) access_key_id: &'static str,
    pub(crate) region: &'static str,
    /// The regions that a signature may name, if it matters, and the refusal for others.
    pub(crate) regions: Option<(&'static [&'static str], Refusal)>,
    pub(crate) names_region: NamesRegion,
    /// Whether error documents have a message.
    pub(crate) messages: bool,
    /// Whether refusals of HEAD have their code in a header.
    pub(crate) head_says_why: bool,
    /// Headers of every answer.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// The required length of key ids, and the refusal for others.
    pub(crate) key_id_length: Option<(usize, Refusal)>,
    /// The refusal of requests without a signature.
    pub(crate) unsigned: Option<Refusal>,
    /// Codes that replace those of AWS.
    pub(crate) words: Refusals,
    /// The refusal of requests with a header that starts like this.
    pub(crate) refused_headers: Refusals,
    /// The refusal of payloads that are announced like this.
    pub(crate) refused_payloads: Refusals,
    /// The refusal of calls without `Content-MD5`.
    pub(crate) wants_md5: &'static [(Call, Refusal)],
    pub(crate) conditional_writes: ConditionalWrites,
    pub(crate) list_v2: ListV2,
    /// Incomplete uploads are listed only for a prefix that is the whole key.
    pub(crate) lists_uploads_of_one_key: bool,
    pub(crate) parts: Parts,
    pub(crate) etags: Etags,
    /// Every object has versions, and a deletion adds one.
    pub(crate) keeps_versions: bool,
    /// Once for each key, at its second write.
    pub(crate) too_soon: Option<Refusal>,
    /// Once for each upload, at its second part.
    pub(crate) crowded: Option<Refusal>,
    /// Once for each upload, with status 200.
    pub(crate) fails_to_complete: Option<Refusal>,
    /// The refusal of objects that do not exist.
    pub(crate) missing: Option<Refusal>,
    /// Whether its answers have the peculiarities of many servers; see `odd`.
    pub(crate) odd: bool,
}

/// When an error document names the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamesRegion {
    Never,
    /// When the request was for a wrong one.
    IfWrong,
    Always,
}

impl NamesRegion {
    pub(super) fn when(self, code: &str) -> bool {
        self == Self::Always || (self == Self::IfWrong && code == "AuthorizationHeaderMalformed")
    }
}

/// How `If-None-Match` and `If-Match` on writes are handled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ConditionalWrites {
    Enforced,
    Ignored,
    Refused(Refusal),
}

/// How ListObjectsV2 is handled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ListV2 {
    ExpectedBackup,
    Refused(Refusal),
    /// Treated as ListObjects, whose pages are requested in another way.
    TakenForV1,
}

/// The rules for the parts of an upload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// Parts of another size than the others, except the last one: when they are refused.
    pub(crate) uneven: Uneven,
    /// Parts with a higher number.
    pub(crate) most: Option<(u32, Refusal)>,
    /// Parts below 5 MiB that are not the last, as soon as this is clear; it ends the upload.
    pub(crate) small: Option<Refusal>,
    /// Parts with a number that was sent before.
    pub(crate) repeated: Option<Refusal>,
    pub(crate) empty: Option<Refusal>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Uneven {
    Accepted,
    AtTheEnd(Refusal),
    /// This ends the upload.
    AtOnce(Refusal),
}

/// A provider without peculiarities.
pub(crate) const PLAIN: Traits = Traits {
    name: "plain",
    access_key_id: "AKIATESTS",
    region: "us-east-1",
    regions: None,
    names_region: NamesRegion::Never,
    messages: true,
    head_says_why: false,
    headers: &[],
    key_id_length: None,
    unsigned: None,
    words: &[],
    refused_headers: &[],
    refused_payloads: &[],
    wants_md5: &[],
    conditional_writes: ConditionalWrites::Enforced,
    list_v2: ListV2::ExpectedBackup,
    lists_uploads_of_one_key: false,
    parts: Parts { uneven: Uneven::Accepted, most: None, small: None, repeated: None, empty: None },
    etags: Etags::Md5,
    keeps_versions: false,
    too_soon: None,
    crowded: None,
    fails_to_complete: None,
    missing: None,
    odd: false,
};
