//! File paths for s3s-fs, such that keys of any length work.
//!
//! s3s-fs builds one file name from bucket and key for the metadata of an object, and that name is
//! too long for a file system if the key is long. So an object with a long key is stored under a
//! hash, in a folder whose name is not a valid bucket name, with a second link to its file at the
//! path of its key. The buckets thus look the same for all keys, and listings need no translation.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Longest key in bytes for which the file names fit into 255 bytes with the longest bucket name.
const LONGEST_KEY: usize = 70;

/// The folder for objects with long keys.
const LONG: &str = ".long";

/// Bucket and key for s3s-fs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ObjectPath {
    pub(super) bucket: String,
    pub(super) key: String,
}

impl ObjectPath {
    pub(super) fn of(bucket: &str, key: &str) -> Self {
        if key.len() <= LONGEST_KEY {
            return Self { bucket: bucket.to_owned(), key: key.to_owned() };
        }
        let digest = Sha256::digest(format!("{bucket}/{key}"));
        Self { bucket: LONG.to_owned(), key: URL_SAFE_NO_PAD.encode(digest) }
    }

    /// Replaces bucket and key in a request.
    pub(super) fn redirect(bucket: &mut String, key: &mut String) -> Self {
        let place = Self::of(bucket, key);
        bucket.clone_from(&place.bucket);
        key.clone_from(&place.key);
        place
    }

    /// Start of the names of the files that s3s-fs keeps for the object.
    pub(super) fn file_name(&self) -> String {
        let [bucket, key] = [&self.bucket, &self.key].map(|name| URL_SAFE_NO_PAD.encode(name));
        format!(".bucket-{bucket}.object-{key}")
    }

    /// Links an object that was just written to `path`, the path of its key.
    pub(super) fn show(&self, root: &Path, path: &Path) -> io::Result<()> {
        if self.bucket != LONG {
            return Ok(());
        }
        let object = root.join(LONG).join(&self.key);
        let link = object.with_extension(format!("{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(path.parent().unwrap_or(root))?;
        std::fs::hard_link(object, &link)?;
        // In one step, so that the object is never missing while it is replaced.
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
            let place = ObjectPath::of(&bucket, &"k".repeat(length));
            let upload = "00000000-0000-0000-0000-000000000000";
            let name = format!("{}.upload-{upload}.metadata.json", place.file_name());
            assert!(name.len() <= 255, "{length}: {name}");
        }
        let long = "k".repeat(100);
        assert_ne!(ObjectPath::of("one", &long), ObjectPath::of("other", &long));
    }
}
