//! Which records can come from an agent. What one holds is used as keys, as file names and in log
//! lines, so that nothing in it is taken as it is.

use super::{Beginning, Replacement, Resumable, StoredPart};

/// Largest part that S3 accepts, in bytes, and largest number of one.
const LARGEST_PART: u64 = 5 << 30;
const LAST_PART: u16 = 10_000;

/// Longest key of an object, in bytes.
const LONGEST_KEY: usize = 1024;

/// Longest id of a multipart upload, or of a backup, in bytes: far more than any server gives.
const LONGEST_ID: usize = 4096;

/// Longest mark in characters. Those of agents have 32.
const LONGEST_MARK: usize = 64;

/// Longest name, checksum or tag of something, in bytes.
const LONGEST_NAME: usize = 1024;

/// Whether an agent can have given this mark, which is also the name of a file.
#[must_use]
pub fn is_mark(text: &str) -> bool {
    let plain = text.chars().all(|character| character.is_ascii_alphanumeric());
    plain && (1..=LONGEST_MARK).contains(&text.len())
}

impl Beginning {
    /// Whether all of it can be used. Which folder the keys are in is not looked at.
    pub(super) fn is_sound(&self) -> bool {
        let Self { endpoint, bucket, archive, document, mark, resumable, replacement } = self;
        is_mark(mark)
            && [endpoint, bucket].into_iter().all(|name| is_text(name, LONGEST_NAME))
            && [archive, document].into_iter().all(|key| is_text(key, LONGEST_KEY))
            && resumable.as_ref().is_none_or(Resumable::is_sound)
            && replacement.as_ref().is_none_or(Replacement::is_sound)
    }
}

impl Resumable {
    fn is_sound(&self) -> bool {
        let Self { backup_id, part_size, storage_class } = self;
        is_text(backup_id, LONGEST_ID)
            && (1..=LARGEST_PART).contains(part_size)
            && storage_class.as_ref().is_none_or(|class| is_text(class, LONGEST_NAME))
    }
}

impl Replacement {
    fn is_sound(&self) -> bool {
        let Self { backup_id, archive, document } = self;
        is_text(backup_id, LONGEST_ID)
            && is_text(archive, LONGEST_KEY)
            && is_text(document, LONGEST_KEY)
    }
}

impl StoredPart {
    pub(super) fn is_sound(&self) -> bool {
        let Self { number, length, sha256, etag } = self;
        (1..=LAST_PART).contains(number)
            && (1..=LARGEST_PART).contains(length)
            && is_text(sha256, LONGEST_NAME)
            && is_text(etag, LONGEST_NAME)
    }
}

/// Whether it can be the id of a multipart upload.
pub(super) fn is_upload_id(text: &str) -> bool {
    is_text(text, LONGEST_ID)
}

fn is_text(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && !text.chars().any(char::is_control)
}
