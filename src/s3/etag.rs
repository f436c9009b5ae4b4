//! Comparison of ETags.

/// Whether two ETags are the same, however they are quoted, and whether or not something on the way
/// calls one of them weak.
#[must_use]
pub fn same_tag(one: &str, other: &str) -> bool {
    bare(one) == bare(other)
}

/// An ETag without its quotes, and without the mark of a weak one.
pub(super) fn bare(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}
