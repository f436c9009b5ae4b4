//! Objects, writes and incomplete uploads.

use std::collections::HashMap;

/// Name of the upload marker, after `x-amz-meta-`.
pub(super) const UPLOAD_MARKER: &str = env!("CARGO_PKG_NAME");

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Full key.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// ETag as the server sent it, quotes included; empty when it sent none.
    pub etag: String,
    /// Time when it was stored, in seconds since 1970; 0 when the server does not send it.
    pub modified: i64,
}

/// The parameters of a write.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Key of the object.
    pub key: &'a str,
    /// MIME type.
    pub content_type: &'a str,
    /// Storage class; `None`: the default of the bucket.
    pub storage_class: Option<&'a str>,
    /// Upload marker, which [`super::Bucket::upload_marker`] returns.
    pub upload_marker: Option<&'a str>,
    /// Whether the write may replace an existing object.
    pub may_replace: bool,
}

impl Write<'_> {
    pub(super) fn metadata(&self) -> Option<HashMap<String, String>> {
        self.upload_marker
            .map(|marker| HashMap::from([(UPLOAD_MARKER.to_owned(), marker.to_owned())]))
    }
}

/// The server's response to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// ETag as the server sent it, quotes included.
    pub etag: String,
    /// Version ID, in a versioned bucket.
    pub version_id: Option<String>,
}

/// An incomplete multipart upload in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// Key of the object that it would create.
    pub key: String,
    /// Upload ID.
    pub id: String,
    /// Time when it was created, in seconds since 1970; 0 when the server does not send it.
    pub opened: i64,
}
