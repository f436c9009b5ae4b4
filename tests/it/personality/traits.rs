//! What providers differ in.

use super::answer::Refusal;
use super::call::Call;
use super::etags::Etags;

type Refusals = &'static [(&'static str, Refusal)];

/// A provider, as the agent gets to see it. What is `None` or empty is as AWS has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    pub(crate) name: &'static str,
    /// The one that may do everything, in the form that the provider gives out.
    pub(crate) access_key_id: &'static str,
    pub(crate) region: &'static str,
    /// The regions that may stand in a signature, if it matters, and what is said to others.
    pub(crate) regions: Option<(&'static [&'static str], Refusal)>,
    pub(crate) names_region: NamesRegion,
    /// Whether error documents have a message.
    pub(crate) messages: bool,
    /// Whether refusals of HEAD have their code in a header.
    pub(crate) head_says_why: bool,
    /// On every answer.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// Of key ids that are not so long.
    pub(crate) key_id_length: Option<(usize, Refusal)>,
    /// Of requests without a signature.
    pub(crate) unsigned: Option<Refusal>,
    /// In place of the codes of AWS.
    pub(crate) words: Refusals,
    /// Of requests with a header that begins so.
    pub(crate) refused_headers: Refusals,
    /// Of payloads that are announced so.
    pub(crate) refused_payloads: Refusals,
    /// Of calls without `Content-MD5`.
    pub(crate) wants_md5: &'static [(Call, Refusal)],
    pub(crate) conditional_writes: ConditionalWrites,
    pub(crate) list_v2: ListV2,
    /// Unfinished uploads are listed only for a prefix that is the whole key.
    pub(crate) lists_uploads_of_one_key: bool,
    pub(crate) parts: Parts,
    pub(crate) etags: Etags,
    /// Every object has versions, and a deletion adds one.
    pub(crate) keeps_versions: bool,
    /// Once for each key, when it is written for the second time.
    pub(crate) hurried_writes: Option<Refusal>,
    /// Once for each upload, at its second part.
    pub(crate) crowded: Option<Refusal>,
    /// Once for each upload, with status 200.
    pub(crate) fails_to_complete: Option<Refusal>,
    /// Of objects that do not exist.
    pub(crate) missing: Option<Refusal>,
    /// Whether its answers have the peculiarities of many servers; see `odd`.
    pub(crate) odd: bool,
}

/// Where an error document says which region it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamesRegion {
    Never,
    /// When the wrong one was asked for.
    IfWrong,
    Always,
}

impl NamesRegion {
    pub(super) fn when(self, code: &str) -> bool {
        self == Self::Always || (self == Self::IfWrong && code == "AuthorizationHeaderMalformed")
    }
}

/// What becomes of `If-None-Match` and `If-Match` on writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ConditionalWrites {
    Enforced,
    Ignored,
    Refused(Refusal),
}

/// What becomes of ListObjectsV2.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ListV2 {
    Known,
    Refused(Refusal),
    /// Taken for ListObjects, whose pages are asked for in another way.
    TakenForV1,
}

/// Of the parts of an upload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// Those of another size than the others, the last one aside: where it is noticed.
    pub(crate) uneven: Uneven,
    /// Those with a higher number.
    pub(crate) most: Option<(u32, Refusal)>,
    /// Those below 5 MiB that are not the last, as soon as this is clear; it ends the upload.
    pub(crate) small: Option<Refusal>,
    /// Those with a number that was sent before.
    pub(crate) repeated: Option<Refusal>,
    pub(crate) empty: Option<Refusal>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Uneven {
    Accepted,
    AtTheEnd(Refusal),
    /// It ends the upload.
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
    list_v2: ListV2::Known,
    lists_uploads_of_one_key: false,
    parts: Parts { uneven: Uneven::Accepted, most: None, small: None, repeated: None, empty: None },
    etags: Etags::Md5,
    keeps_versions: false,
    hurried_writes: None,
    crowded: None,
    fails_to_complete: None,
    missing: None,
    odd: false,
};
