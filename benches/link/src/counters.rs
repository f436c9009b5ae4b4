//! Counters of a link.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

#[derive(Default)]
pub(crate) struct Counters(Mutex<BTreeMap<String, u64>>);

impl Counters {
    pub(crate) fn add(&self, name: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(name.to_owned()).or_default() += 1;
    }

    /// All counters, which are reset to 0.
    pub(crate) fn take(&self) -> String {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs: Vec<String> = std::mem::take(&mut *counts)
            .into_iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        pairs.join(" ")
    }
}
