//! The state that an emulated provider keeps between requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use http::Response;
use http::request::Parts;

use super::call::Call;
use super::recorded::Recorded;
use crate::relay::Body;

#[derive(Debug, Default)]
pub(super) struct EmulationState {
    pub(super) recorded: Vec<Recorded>,
    pub(super) recorded_count: usize,
    /// Size of each part by the id of its upload and its number.
    parts: BTreeMap<String, BTreeMap<u32, u64>>,
    written: BTreeSet<String>,
    refused: BTreeSet<String>,
    /// The versions of each path, including delete markers; the last one is the current one.
    versions: BTreeMap<String, Vec<Version>>,
}

#[derive(Debug)]
struct Version {
    id: String,
    deleted: bool,
}

/// A part and the known parts before it.
pub(super) struct Part<'a> {
    pub(super) number: u32,
    pub(super) size: u64,
    pub(super) others: &'a BTreeMap<u32, u64>,
}

impl Part<'_> {
    /// Sizes of all parts that cannot be the last one, and the size of the last one.
    pub(super) fn sizes(&self) -> (Vec<u64>, u64) {
        let mut all = self.others.clone();
        all.insert(self.number, self.size);
        let (_, last) = all.pop_last().unwrap();
        (all.into_values().collect(), last)
    }
}

impl EmulationState {
    /// The recorded answer for this call.
    pub(super) fn recorded(&mut self, call: Call) -> Option<Response<Body>> {
        let index = self.recorded.iter().rposition(|recorded| recorded.call == call)?;
        self.recorded_count += 1;
        let answer = self.recorded[index].answer();
        if self.recorded[index].once {
            self.recorded.remove(index);
        }
        Some(answer)
    }

    /// Whether this refusal happens for the first time.
    pub(super) fn first_time(&mut self, what: impl Debug) -> bool {
        self.refused.insert(format!("{what:?}"))
    }

    /// Whether the object of a request was written before.
    pub(super) fn is_rewritten(&self, head: &Parts) -> bool {
        self.written.contains(head.uri.path())
    }

    pub(super) fn wrote(&mut self, head: &Parts) {
        self.written.insert(head.uri.path().to_owned());
    }

    /// Adds the version that another write or a deletion makes the current one.
    pub(super) fn add_version(&mut self, head: &Parts, deleted: bool) -> String {
        let id = format!("4_z{:016x}", fastrand::u64(..));
        let versions = self.versions.entry(head.uri.path().to_owned()).or_default();
        versions.push(Version { id: id.clone(), deleted });
        id
    }

    /// The current version of an object.
    pub(super) fn version(&mut self, head: &Parts) -> String {
        let known = self.versions.get(head.uri.path()).and_then(|versions| versions.last());
        let known = known.map(|version| version.id.clone());
        known.unwrap_or_else(|| self.add_version(head, false))
    }

    /// Deletes a version permanently, unless another one would then become the current one.
    pub(super) fn remove_version(&mut self, head: &Parts, id: &str) -> bool {
        let versions = self.versions.entry(head.uri.path().to_owned()).or_default();
        let counts = versions
            .last()
            .is_some_and(|last| last.id == id && !(last.deleted && versions.len() == 1));
        versions.retain(|version| counts || version.id != id);
        !counts
    }

    /// How many versions the objects with matching paths have.
    pub(super) fn versions(&self, is_it: impl Fn(&str) -> bool) -> usize {
        let kept = self.versions.iter().filter(|(path, _)| is_it(path));
        kept.map(|(_, versions)| versions.len()).sum()
    }

    pub(super) fn part(&self, upload: &str, number: u32, size: u64) -> Part<'_> {
        static NONE: BTreeMap<u32, u64> = BTreeMap::new();
        Part { number, size, others: self.parts.get(upload).unwrap_or(&NONE) }
    }

    pub(super) fn add_part(&mut self, upload: &str, number: u32, size: u64) {
        self.parts.entry(upload.to_owned()).or_default().insert(number, size);
    }

    pub(super) fn forget_part(&mut self, upload: &str, number: u32) {
        self.parts.entry(upload.to_owned()).or_default().remove(&number);
    }

    /// Whether all parts but the last are of one size, and the last is not larger.
    pub(super) fn is_even(&self, upload: &str) -> bool {
        let mut sizes: Vec<_> = self.parts.get(upload).into_iter().flatten().collect();
        let last = sizes.pop().map_or(0, |(_, size)| *size);
        sizes.iter().all(|(_, size)| *size == sizes[0].1 && last <= **size)
    }
}
