//! ETags that are not an MD5.
//!
//! The ETags of the embedded server are MD5s in hexadecimal, followed by the number of parts for
//! multipart uploads. They are converted on the way out and converted back on the way in.

use super::answer::{rewritten, unescaped};

/// The content of the ETags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Etags {
    /// An MD5, as AWS uses it.
    Md5,
    /// Other digits for objects that were made of parts.
    NoMd5OfParts,
    /// Letters that nothing can mistake for hexadecimal digits.
    Opaque,
}

impl Etags {
    /// The ETag that is shown instead of one of the embedded server.
    pub(super) fn shown(self, tag: &str) -> String {
        match self {
            Self::Md5 => tag.to_owned(),
            Self::NoMd5OfParts if !tag.contains('-') => tag.to_owned(),
            Self::NoMd5OfParts => digits(tag, mirrored),
            Self::Opaque => digits(tag, letter),
        }
    }

    /// The ETag of the embedded server for one that was shown.
    pub(super) fn kept(self, tag: &str) -> String {
        match self {
            Self::Opaque => digits(tag, digit),
            // Applied twice, this gives the original ETag.
            _ => self.shown(tag),
        }
    }
}

/// The ETag with other digits, and the same number of parts.
fn digits(tag: &str, other: impl Fn(char) -> char) -> String {
    let end = tag.find('-').unwrap_or(tag.len());
    let (digits, parts) = tag.split_at(end);
    digits.chars().map(other).chain(parts.chars()).collect()
}

/// A document with this conversion applied to all of its `ETag` elements.
pub(super) fn in_document(document: &str, tag: impl Fn(&str) -> String) -> String {
    rewritten(document, "ETag", |old| Some(tag(&unescaped(old)).replace('"', "&quot;")))
}

fn hexadecimal(value: u32) -> char {
    char::from_digit(value, 16).unwrap()
}

fn mirrored(digit: char) -> char {
    digit.to_digit(16).map_or(digit, |value| hexadecimal(15 - value))
}

fn letter(digit: char) -> char {
    let value = digit.to_digit(16);
    value.map_or(digit, |value| char::from(b'g' + u8::try_from(value).unwrap()))
}

fn digit(letter: char) -> char {
    match letter {
        'g'..='v' => hexadecimal(u32::from(letter) - u32::from('g')),
        other => other,
    }
}

#[test]
fn etag_mapping_is_reversible() {
    let parts = "\"0123456789abcdef0123456789abcdef-12\"";
    for (etags, tag, shown) in [
        (Etags::Md5, parts, parts),
        (Etags::NoMd5OfParts, "\"00ff\"", "\"00ff\""),
        (Etags::NoMd5OfParts, "\"00ff-3\"", "\"ff00-3\""),
        (Etags::Opaque, "\"09af-3\"", "\"gpqv-3\""),
    ] {
        assert_eq!(etags.shown(tag), shown);
        assert_eq!(etags.kept(shown), tag);
    }
    let document = "<a><ETag>&quot;0f&quot;</ETag><b/><ETag>\"ff-1\"</ETag></a>";
    assert_eq!(
        in_document(document, |tag| Etags::NoMd5OfParts.shown(tag)),
        "<a><ETag>&quot;0f&quot;</ETag><b/><ETag>&quot;00-1&quot;</ETag></a>"
    );
}
