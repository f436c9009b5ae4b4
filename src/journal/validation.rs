//! Validation of journal records. Their values are used as keys, file names and in log lines, so
//! none is used unchecked.

use super::{Intent, Replacement, Resumable, StoredPart};

/// Largest part that S3 accepts, in bytes, and the largest part number.
const LARGEST_PART: u64 = 5 << 30;
const LAST_PART: u16 = 10_000;

/// Longest object key, in bytes.
const LONGEST_KEY: usize = 1024;

/// Longest ID of a multipart upload or a backup, in bytes: far longer than any server returns.
const LONGEST_ID: usize = 4096;

/// Longest upload marker in characters. Those of agents have 32.
const LONGEST_MARK: usize = 64;

/// Longest name, checksum or ETag, in bytes.
const LONGEST_NAME: usize = 1024;

/// Whether the text can be an upload marker of an agent, which is also a file name.
#[must_use]
pub fn is_upload_marker(text: &str) -> bool {
    let plain = text.chars().all(|character| character.is_ascii_alphanumeric());
    plain && (1..=LONGEST_MARK).contains(&text.len())
}

impl Intent {
    /// Whether all values can be used. Does not check the folder of the keys.
    pub(super) fn is_valid(&self) -> bool {
        let Self { endpoint, bucket, archive, metadata_key, marker, resumable, replacement } = self;
        is_upload_marker(marker)
            && [endpoint, bucket].into_iter().all(|name| is_text(name, LONGEST_NAME))
            && [archive, metadata_key].into_iter().all(|key| is_text(key, LONGEST_KEY))
            && resumable.as_ref().is_none_or(Resumable::is_valid)
            && replacement.as_ref().is_none_or(Replacement::is_valid)
    }
}

impl Resumable {
    fn is_valid(&self) -> bool {
        let Self { backup_id, part_size, storage_class } = self;
        is_text(backup_id, LONGEST_ID)
            && (1..=LARGEST_PART).contains(part_size)
            && storage_class.as_ref().is_none_or(|class| is_text(class, LONGEST_NAME))
    }
}

impl Replacement {
    fn is_valid(&self) -> bool {
        let Self { backup_id, archive, metadata_key } = self;
        is_text(backup_id, LONGEST_ID)
            && is_text(archive, LONGEST_KEY)
            && is_text(metadata_key, LONGEST_KEY)
    }
}

impl StoredPart {
    pub(super) fn is_valid(&self) -> bool {
        let Self { number, length, sha256, etag } = self;
        (1..=LAST_PART).contains(number)
            && (1..=LARGEST_PART).contains(length)
            && is_text(sha256, LONGEST_NAME)
            && is_text(etag, LONGEST_NAME)
    }
}

/// Whether the text can be the ID of a multipart upload.
pub(super) fn is_upload_id(text: &str) -> bool {
    is_text(text, LONGEST_ID)
}

fn is_text(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && !text.chars().any(char::is_control)
}
