//! Where s3s-fs is told to keep an object, so that any key can be kept.
//!
//! s3s-fs makes one file name of a whole key and its bucket for what it knows about an object, and
//! no file system takes such a name for a long key. An object with a long key therefore lives under
//! a digest in a folder that no bucket can be called, with a second link to its file where its key
//! says. So the buckets look the same for all keys, and listings need no translation.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Longest key, in bytes, for which the names fit into 255 bytes next to the longest bucket name.
const LONGEST_KEY: usize = 70;

/// The folder of the objects with long keys.
const LONG: &str = ".long";

/// Bucket and key as s3s-fs is to see them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) key: String,
}

impl Place {
    pub(super) fn of(bucket: &str, key: &str) -> Self {
        if key.len() <= LONGEST_KEY {
            return Self { bucket: bucket.to_owned(), key: key.to_owned() };
        }
        let digest = Sha256::digest(format!("{bucket}/{key}"));
        Self { bucket: LONG.to_owned(), key: URL_SAFE_NO_PAD.encode(digest) }
    }

    /// Puts the place of an object into a request in place of its bucket and key.
    pub(super) fn redirect(bucket: &mut String, key: &mut String) -> Self {
        let place = Self::of(bucket, key);
        bucket.clone_from(&place.bucket);
        key.clone_from(&place.key);
        place
    }

    /// The start of the names of the files that s3s-fs keeps beside the object.
    pub(super) fn file_name(&self) -> String {
        let [bucket, key] = [&self.bucket, &self.key].map(|name| URL_SAFE_NO_PAD.encode(name));
        format!(".bucket-{bucket}.object-{key}")
    }

    /// Makes an object that was just written visible at `path`, where its key says.
    pub(super) fn show(&self, root: &Path, path: &Path) -> io::Result<()> {
        if self.bucket != LONG {
            return Ok(());
        }
        let object = root.join(LONG).join(&self.key);
        let link = object.with_extension(format!("{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(path.parent().unwrap_or(root))?;
        std::fs::hard_link(object, &link)?;
        // In one step, so that nobody finds the object missing while it is replaced.
        std::fs::rename(link, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_name_fits_for_any_key() {
        let bucket = "b".repeat(63);
        for length in 1..=1024 {
            let place = Place::of(&bucket, &"k".repeat(length));
            let upload = "00000000-0000-0000-0000-000000000000";
            let name = format!("{}.upload-{upload}.metadata.json", place.file_name());
            assert!(name.len() <= 255, "{length}: {name}");
        }
        let long = "k".repeat(100);
        assert_ne!(Place::of("one", &long), Place::of("other", &long));
    }
}
