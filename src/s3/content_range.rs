//! The header `Content-Range`.

use std::ops::Range;

use super::error::{Operation, invalid_response};
use crate::error::{Code, Error, Result};

/// The byte range of an object that a response contains. `last` is inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    first: u64,
    last: u64,
    /// Length of the whole object, if the server sent it.
    pub(super) whole: Option<u64>,
}

impl ContentRange {
    /// Parses `bytes 0-99/1234`, or `bytes 0-99/*`.
    pub(super) fn read(header: &str) -> Option<Self> {
        let (unit, rest) = header.trim().split_once(char::is_whitespace)?;
        let (range, whole) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let whole = match whole.trim() {
            "*" => None,
            whole => Some(whole.parse().ok()?),
        };
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (unit.eq_ignore_ascii_case("bytes") && first <= last).then_some(Self { first, last, whole })
    }

    /// Checks that a response contains the `wanted` bytes of an object of `size` bytes. It may end
    /// early: the caller requests the rest.
    ///
    /// # Errors
    /// `modified` when the object now has a different size, `unsupported_feature` when the server
    /// does not support ranges, `remote_error` when it sends a different range.
    pub(super) fn check(header: Option<&str>, wanted: &Range<u64>, size: u64) -> Result<()> {
        let Some(header) = header else {
            // A response without the header is the whole object, which may be what was requested.
            return if *wanted == (0..size) { Ok(()) } else { Err(no_ranges()) };
        };
        let wrong = |why: String| invalid_response(Operation::GetObject, "Content-Range", &why);
        let Some(sent) = Self::read(header) else {
            return Err(wrong("not a byte range".to_owned()));
        };
        if sent.whole.is_some_and(|whole| whole != size) {
            return Err(Error::new(
                Code::Modified,
                "the object was replaced while it was being read",
            )
            .hint("start again"));
        }
        if sent.first == wanted.start && sent.last < wanted.end {
            return Ok(());
        }
        let Range { start, end } = wanted;
        let (first, last) = (sent.first, sent.last);
        let end = end.saturating_sub(1);
        Err(wrong(format!("requested bytes {start} to {end}, received {first} to {last}")))
    }
}

fn no_ranges() -> Error {
    let message = "GetObject: the server ignores the requested range and sends the whole object";
    Error::new(Code::UnsupportedFeature, message).detail("feature", "Range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read_in_every_server_format() {
        let range = |first, last, whole| Some(ContentRange { first, last, whole });
        assert_eq!(ContentRange::read("bytes 0-99/1234"), range(0, 99, Some(1234)));
        assert_eq!(ContentRange::read(" Bytes  5 - 5 / * "), range(5, 5, None));
        for header in
            ["", "bytes", "bytes */5", "bytes 5-4/9", "lines 0-1/2", "bytes -1-2/3", "bytes 0-1"]
        {
            assert_eq!(ContentRange::read(header), None, "{header}");
        }
    }

    #[test]
    fn content_range_of_other_bytes_is_refused() {
        let code = |header, wanted: Range<u64>| {
            ContentRange::check(header, &wanted, 100).map_err(|error| error.code())
        };
        assert_eq!(code(Some("bytes 10-19/100"), 10..20), Ok(()));
        assert_eq!(code(Some("bytes 10-19/*"), 10..20), Ok(()));
        // The caller requests the rest.
        assert_eq!(code(Some("bytes 10-14/100"), 10..20), Ok(()));
        assert_eq!(code(None, 0..100), Ok(()));
        for other in ["bytes 0-9/100", "bytes 11-19/100", "bytes 10-20/100", "junk"] {
            assert_eq!(code(Some(other), 10..20), Err(Code::RemoteError), "{other}");
        }
        assert_eq!(code(Some("bytes 10-19/101"), 10..20), Err(Code::Modified));
        assert_eq!(code(None, 10..20), Err(Code::UnsupportedFeature));
    }
}
