//! What a personality remembers of the requests before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use http::Response;
use http::request::Parts;

use super::call::{Call, place};
use super::recorded::Recorded;
use crate::relay::Body;

#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) recorded: Vec<Recorded>,
    pub(super) played: usize,
    /// Size of each part by the id of its upload and its number.
    parts: BTreeMap<String, BTreeMap<u32, u64>>,
    written: BTreeSet<String>,
    refused: BTreeSet<String>,
    versions: BTreeMap<String, String>,
}

/// A part and what is known of those before it.
pub(super) struct Part<'a> {
    pub(super) number: u32,
    pub(super) size: u64,
    pub(super) others: &'a BTreeMap<u32, u64>,
}

impl Part<'_> {
    /// Sizes of all parts that cannot be the last one, and the last one's.
    pub(super) fn sizes(&self) -> (Vec<u64>, u64) {
        let mut all = self.others.clone();
        all.insert(self.number, self.size);
        let (_, last) = all.pop_last().unwrap();
        (all.into_values().collect(), last)
    }
}

impl Memory {
    /// What was recorded for this call.
    pub(super) fn recorded(&mut self, call: Call) -> Option<Response<Body>> {
        let index = self.recorded.iter().rposition(|recorded| recorded.call == call)?;
        self.played += 1;
        let answer = self.recorded[index].answer();
        if self.recorded[index].once {
            self.recorded.remove(index);
        }
        Some(answer)
    }

    /// Whether this is the first time that something is refused.
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

    /// Something else is at the place of an object now.
    pub(super) fn changed(&mut self, head: &Parts) {
        self.versions.remove(head.uri.path());
    }

    /// The version of an object that counts now.
    pub(super) fn version(&mut self, head: &Parts) -> String {
        let (_, key) = place(head);
        let fresh = format!("4_z{:016x}_f{:04x}", fastrand::u64(..), key.len());
        self.versions.entry(head.uri.path().to_owned()).or_insert(fresh).clone()
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
