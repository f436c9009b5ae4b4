//! Objects, writes and unfinished uploads, as the rest of the program sees them.

use std::collections::HashMap;

/// Name of the mark, behind `x-amz-meta-`.
pub(super) const UPLOAD_MARKER: &str = env!("CARGO_PKG_NAME");

/// One object as a listing names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Full key.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Entity tag as sent, quotes included; empty where the storage sends none.
    pub etag: String,
    /// When it was stored, in seconds since 1970; 0 where the storage does not say.
    pub modified: i64,
}

/// How an object is stored.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Key of the object.
    pub key: &'a str,
    /// MIME type.
    pub content_type: &'a str,
    /// Storage class; the bucket's default when missing.
    pub storage_class: Option<&'a str>,
    /// What [`super::Bucket::mark`] will say of it.
    pub mark: Option<&'a str>,
    /// Whether it may take the place of another object.
    pub replaces: bool,
}

impl Write<'_> {
    pub(super) fn metadata(&self) -> Option<HashMap<String, String>> {
        self.mark.map(|mark| HashMap::from([(UPLOAD_MARKER.to_owned(), mark.to_owned())]))
    }
}

/// What the storage says of an object that it has just stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Entity tag as sent, quotes included.
    pub etag: String,
    /// Version, in a versioned bucket.
    pub version_id: Option<String>,
}

/// An unfinished upload as a listing names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// Key of the object it is for.
    pub key: String,
    /// Id of the upload.
    pub id: String,
    /// When it was opened, in seconds since 1970; 0 where the storage does not say.
    pub opened: i64,
}
