//! The expected content of a backup in the soak test.

use crate::random_data::RandomData;

const MIB: u64 = 1 << 20;

/// The known content of a backup.
#[derive(Clone, Debug)]
pub(super) struct ExpectedBackup {
    /// Seeds of the contents that it may have.
    pub(super) seeds: Vec<u64>,
    pub(super) may_be_missing: bool,
}

impl ExpectedBackup {
    /// Whether this is a content that it may have, or the start of one, from an `offset` on.
    pub(super) fn allows(&self, content: &[u8], offset: u64) -> bool {
        let mut contents = self.seeds.iter().map(|seed| RandomData::new(*seed, length(*seed)));
        contents.any(|content_of_seed| content_of_seed.from(offset).bytes(content.len()) == content)
    }

    pub(super) fn has_length(&self, actual: u64) -> bool {
        self.seeds.iter().any(|seed| length(*seed) == actual)
    }
}

/// The length of a content: a few bytes, some more, or several parts.
pub(super) fn length(seed: u64) -> u64 {
    match seed % 16 {
        0 => 20 * MIB + seed % 50_000 * 97,
        1..=5 => 1 + seed % 1000,
        _ => 1000 + seed % 400_000,
    }
}
