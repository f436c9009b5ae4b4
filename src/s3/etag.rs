//! Comparison of ETags.

/// Whether two ETags are equal, regardless of quotes and of the prefix `W/`, which a proxy may add.
#[must_use]
pub fn same_etag(one: &str, other: &str) -> bool {
    bare(one) == bare(other)
}

/// An ETag without its quotes and without the prefix `W/`.
pub(super) fn bare(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}
