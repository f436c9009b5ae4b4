//! The requests that an emulated provider refuses before the embedded server sees them.

use http::request::Parts as Head;

use super::answer::{ErrorDocument, Refusal};
use super::call::{Call, credential, header, parameter, place};
use super::odd;
use super::state::EmulationState;
use super::traits::{ConditionalWrites, ListV2, Traits, Uneven};

/// Smallest part that may be followed by another.
const SMALLEST_PART: u64 = 5 << 20;

/// A request that arrived.
pub(super) struct IncomingRequest<'a> {
    pub(super) call: Call,
    pub(super) head: &'a Head,
    pub(super) size: u64,
}

/// A refusal, and whether it ends the upload of the request.
pub(super) struct Refused {
    pub(super) fault: ErrorDocument,
    pub(super) ends_upload: bool,
}

impl From<ErrorDocument> for Refused {
    fn from(fault: ErrorDocument) -> Self {
        Self { fault, ends_upload: false }
    }
}

impl IncomingRequest<'_> {
    pub(super) fn refused(&self, traits: &Traits, state: &mut EmulationState) -> Option<Refused> {
        self.identity(traits)
            .or_else(|| self.headers(traits))
            .or_else(|| self.md5(traits))
            .or_else(|| self.listing(traits))
            .or_else(|| self.condition(traits))
            .or_else(|| self.load(traits, state))
            .map(Refused::from)
            .or_else(|| self.part(traits, state))
            .or_else(|| self.completion(traits, state).map(Refused::from))
    }

    fn identity(&self, traits: &Traits) -> Option<ErrorDocument> {
        let Some((key_id, region)) = credential(self.head) else {
            let (bucket, _) = place(self.head);
            return traits.unsigned.map(|refusal| refusal.about(bucket));
        };
        if let Some((length, refusal)) = traits.key_id_length
            && key_id.len() != length
        {
            return Some(refusal.about(&key_id.len().to_string()));
        }
        let (known, refusal) = traits.regions?;
        (!known.contains(&region)).then(|| refusal.about(region))
    }

    fn headers(&self, traits: &Traits) -> Option<ErrorDocument> {
        let payload = header(self.head, "x-amz-content-sha256");
        let payload = traits.refused_payloads.iter().find(|(start, _)| payload.starts_with(start));
        if let Some((start, refusal)) = payload {
            return Some(refusal.about(start));
        }
        self.head.headers.keys().find_map(|name| {
            let name = name.as_str();
            let (_, refusal) =
                traits.refused_headers.iter().find(|(start, _)| name.starts_with(start))?;
            Some(refusal.about(name))
        })
    }

    fn md5(&self, traits: &Traits) -> Option<ErrorDocument> {
        let (_, refusal) = traits.wants_md5.iter().find(|(call, _)| *call == self.call)?;
        header(self.head, "content-md5").is_empty().then(|| refusal.about(""))
    }

    fn listing(&self, traits: &Traits) -> Option<ErrorDocument> {
        match (self.call, traits.list_v2) {
            (Call::ListObjectsV2, ListV2::Refused(refusal)) => Some(refusal.about("")),
            _ => None,
        }
    }

    fn condition(&self, traits: &Traits) -> Option<ErrorDocument> {
        (traits.odd && odd::compares_weakly(self.head)).then(|| odd::WEAK.about(""))
    }

    /// Conditional writes, and refusals that a retry passes.
    fn load(&self, traits: &Traits, state: &mut EmulationState) -> Option<ErrorDocument> {
        let condition = ["if-none-match", "if-match"]
            .into_iter()
            .find(|name| self.head.headers.contains_key(*name));
        if let ConditionalWrites::Refused(refusal) = traits.conditional_writes
            && let Some(condition) = condition
            && self.call.writes()
        {
            return Some(refusal.about(condition));
        }
        let path = self.head.uri.path();
        let (refusal, now) = match self.call {
            Call::PutObject => (traits.too_soon, state.is_rewritten(self.head)),
            Call::UploadPart => (traits.crowded, self.number() == 2),
            _ => return None,
        };
        let refusal = refusal.filter(|_| now)?;
        state.first_time((path, self.call, self.upload())).then(|| refusal.about(""))
    }

    fn part(&self, traits: &Traits, state: &mut EmulationState) -> Option<Refused> {
        if self.call != Call::UploadPart {
            return None;
        }
        let rules = &traits.parts;
        if let Some((most, refusal)) = rules.most
            && self.number() > most
        {
            return Some(refusal.about("").into());
        }
        if let Some(refusal) = rules.empty.filter(|_| self.size == 0) {
            return Some(refusal.about("").into());
        }
        let part = state.part(&self.upload(), self.number(), self.size);
        if let Some(refusal) = rules.repeated
            && part.others.contains_key(&part.number)
        {
            return Some(refusal.about("").into());
        }
        let (before, last) = part.sizes();
        let ends = |refusal: Refusal| Refused { fault: refusal.about(""), ends_upload: true };
        if let Some(refusal) = rules.small
            && before.iter().any(|size| *size < SMALLEST_PART)
        {
            return Some(ends(refusal));
        }
        match rules.uneven {
            Uneven::AtOnce(refusal)
                if before.iter().any(|size| *size != before[0] || last > *size) =>
            {
                Some(ends(refusal))
            }
            _ => None,
        }
    }

    fn completion(&self, traits: &Traits, state: &mut EmulationState) -> Option<ErrorDocument> {
        if self.call != Call::CompleteMultipartUpload {
            return None;
        }
        let upload = self.upload();
        match traits.parts.uneven {
            Uneven::AtTheEnd(refusal) if !state.is_even(&upload) => Some(refusal.about("")),
            _ => {
                let refusal = traits.fails_to_complete?;
                state.first_time(upload).then(|| refusal.about(""))
            }
        }
    }

    pub(super) fn upload(&self) -> String {
        parameter(self.head, "uploadId").unwrap_or_default()
    }

    pub(super) fn number(&self) -> u32 {
        parameter(self.head, "partNumber").and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}
