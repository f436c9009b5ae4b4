//! Rewrites the XML documents of successful responses to a canonical form: the root element that the SDK
//! requires, only the members that are used, and each text percent-encoded, so that none of its bytes is
//! markup. [`decoded`] restores the text.
//!
//! Servers leave keys unescaped, encode them without being asked, write dates differently and use other
//! root elements; the parser accepts all of these. It rejects documents that are truncated or not
//! well-formed.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::{
    AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_decode_str, percent_encode,
};
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

use super::AnswerFault;
use super::headers::timestamp;
use crate::s3::bounds::{MAX_ENTRIES, MAX_KEY, MAX_MEMBER};

/// Largest number of bytes that the SDK reads.
const MAX_BYTES: u64 = i64::MAX.unsigned_abs();

/// Largest part number that the SDK reads.
const MAX_PART_NUMBER: u64 = i32::MAX.unsigned_abs() as u64;

/// A kind of document of the S3 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Objects,
    Uploads,
    Parts,
    Initiate,
    Complete,
}

impl Kind {
    /// The root element without its ending, which servers vary.
    fn root(self) -> &'static str {
        match self {
            Self::Objects => "ListBucket",
            Self::Uploads => "ListMultipartUploads",
            Self::Parts => "ListParts",
            Self::Initiate => "InitiateMultipartUpload",
            Self::Complete => "CompleteMultipartUpload",
        }
    }

    /// The used member at a path of elements below the root, if any.
    fn member(self, path: &[&[u8]]) -> Option<Member> {
        let members: &[(&[&str], Type)] = match self {
            Self::Objects => &[
                (&["Name"], Type::Text),
                (&["IsTruncated"], Type::Flag),
                (&["NextContinuationToken"], Type::Marker),
                (&["NextMarker"], Type::Key),
                (&["Contents", "Key"], Type::Key),
                (&["Contents", "Size"], Type::Number { max: MAX_BYTES }),
                (&["Contents", "ETag"], Type::Text),
                (&["Contents", "LastModified"], Type::Timestamp),
                (&["CommonPrefixes", "Prefix"], Type::Key),
            ],
            Self::Uploads => &[
                (&["IsTruncated"], Type::Flag),
                (&["NextKeyMarker"], Type::Key),
                (&["NextUploadIdMarker"], Type::Marker),
                (&["Upload", "Key"], Type::Key),
                (&["Upload", "UploadId"], Type::Text),
                (&["Upload", "Initiated"], Type::Timestamp),
            ],
            Self::Parts => &[
                (&["IsTruncated"], Type::Flag),
                (&["NextPartNumberMarker"], Type::Marker),
                (&["Part", "PartNumber"], Type::Number { max: MAX_PART_NUMBER }),
                (&["Part", "Size"], Type::Number { max: MAX_BYTES }),
                (&["Part", "ETag"], Type::Text),
                (&["Part", "LastModified"], Type::Timestamp),
            ],
            Self::Initiate => &[(&["UploadId"], Type::Marker)],
            Self::Complete => &[(&["ETag"], Type::Text)],
        };
        let found = members.iter().find(|(names, _)| {
            names.len() == path.len()
                && names.iter().zip(path).all(|(name, part)| name.as_bytes() == *part)
        });
        found.map(|(names, value_type)| Member {
            name: names.last().copied().unwrap_or_default(),
            value_type: *value_type,
        })
    }

    /// The list entry that an element below the root stands for, if any.
    fn entry(self, name: &[u8]) -> Option<&'static str> {
        let entries: &[&str] = match self {
            Self::Objects => &["Contents", "CommonPrefixes"],
            Self::Uploads => &["Upload"],
            Self::Parts => &["Part"],
            Self::Initiate | Self::Complete => &[],
        };
        entries.iter().copied().find(|entry| entry.as_bytes() == name)
    }
}

#[derive(Clone, Copy)]
struct Member {
    name: &'static str,
    value_type: Type,
}

/// The type of a member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    /// Any text. Left out when it is too long.
    Text,
    /// A text that a later request repeats. An error when it is too long.
    Marker,
    /// A key, percent-encoded if the document says so. The entry is left out when its key is too
    /// long.
    Key,
    /// A whole number in digits. Left out (unknown) when it is not.
    Number { max: u64 },
    /// `true` or `false`. Anything else is an error.
    Flag,
    /// A timestamp, see [`timestamp`]. Left out (unknown) when it is not.
    Timestamp,
}

/// Why a document cannot be read.
#[derive(Debug)]
pub(super) enum ReadFault {
    /// It is truncated.
    Truncated,
    /// It is a different document; the caller classifies it.
    OtherDocument,
    /// A member is invalid.
    Invalid(AnswerFault),
}

fn invalid(member: &'static str, why: impl Into<String>) -> ReadFault {
    ReadFault::Invalid(AnswerFault::new(member, why))
}

/// Maximum nesting of elements; deeper ones are skipped.
const MAX_DEPTH: usize = 4;

/// Rewrites a document to its canonical form.
///
/// # Errors
/// See [`ReadFault`].
pub(super) fn canonical(body: &[u8], kind: Kind) -> Result<Vec<u8>, ReadFault> {
    let content = read(body, kind)?;
    let root = kind.root();
    let mut document = format!("<{root}Result>");
    for (member, text) in &content.top {
        if let Some(value) = value(*member, text, content.is_encoded)? {
            write_member(&mut document, member.name, &value);
        }
    }
    for (element, members) in &content.entries {
        let mut entry = format!("<{element}>");
        let mut is_used = true;
        for (member, text) in members {
            match value(*member, text, content.is_encoded)? {
                Some(value) => write_member(&mut entry, member.name, &value),
                // The agent uses no such keys.
                None if member.value_type == Type::Key => is_used = false,
                None => {}
            }
        }
        if is_used {
            let _ = write!(document, "{entry}</{element}>");
        }
    }
    let _ = write!(document, "</{root}Result>");
    Ok(document.into_bytes())
}

/// All characters except letters, digits and those of dates.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b':').remove(b'.').remove(b'/');

fn write_member(document: &mut String, name: &str, value: &[u8]) {
    let _ = write!(document, "<{name}>{}</{name}>", percent_encode(value, ENCODED));
}

/// The bytes of a text in a document that [`canonical`] wrote.
pub(in crate::s3) fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

type Members = Vec<(Member, Vec<u8>)>;

/// The used members of a document.
#[derive(Default)]
struct Content {
    /// Whether keys are percent-encoded.
    is_encoded: bool,
    top: Members,
    /// The members of each list entry, with the name of its element.
    entries: Vec<(&'static str, Members)>,
}

fn read(body: &[u8], kind: Kind) -> Result<Content, ReadFault> {
    let body = body.trim_ascii_start();
    let mut reader = Reader::from_reader(body.strip_prefix(BOM).unwrap_or(body));
    reader.config_mut().allow_dangling_amp = true;
    reader.config_mut().expand_empty_elements = true;
    let mut content = Content::default();
    // The names of the open elements, starting at the root.
    let mut path: Vec<Vec<u8>> = Vec::new();
    let (mut deeper, mut is_closed) = (0_usize, false);
    let mut text: Option<Vec<u8>> = None;
    loop {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the library adds variants at will")]
        let event = reader.read_event().map_err(|error| match error {
            // All of these errors mean that the document ends inside an element.
            quick_xml::Error::Syntax(_) if has_root(body, kind) => ReadFault::Truncated,
            _ if path.is_empty() => ReadFault::OtherDocument,
            error => invalid("body", format!("not well-formed XML ({error})")),
        })?;
        match event {
            Event::Start(_) if is_closed => {
                return Err(invalid(
                    "body",
                    "data after the end of the \
                                                                        document",
                ));
            }
            Event::Start(_) if path.len() == MAX_DEPTH => deeper += 1,
            Event::Start(start) => {
                let name = start.local_name().into_inner();
                if path.is_empty() && !name.starts_with(kind.root().as_bytes()) {
                    return Err(ReadFault::OtherDocument);
                }
                if path.len() == 1
                    && let Some(element) = kind.entry(name)
                {
                    if content.entries.len() == MAX_ENTRIES {
                        let why = format!("more than {MAX_ENTRIES} on one page");
                        return Err(invalid(element, why));
                    }
                    content.entries.push((element, Members::new()));
                }
                path.push(name.to_vec());
                text = Some(Vec::new());
            }
            Event::End(_) if deeper > 0 => deeper -= 1,
            Event::End(_) => {
                let names: Vec<_> = path.iter().skip(1).map(Vec::as_slice).collect();
                let read = text.take();
                if let Some(text) = read {
                    content.take(kind, &names, text);
                }
                path.pop();
                is_closed = path.is_empty();
            }
            Event::Text(found) if path.is_empty() => {
                if !is_closed && !found.trim_ascii().is_empty() {
                    return Err(ReadFault::OtherDocument);
                }
            }
            Event::Text(found) => append(&mut text, &found),
            Event::CData(found) => append(&mut text, &found),
            Event::GeneralRef(reference) => append(&mut text, &resolved(&reference)),
            Event::Eof if is_closed => return Ok(content),
            Event::Eof if path.is_empty() => return Err(ReadFault::OtherDocument),
            Event::Eof => return Err(ReadFault::Truncated),
            Event::Empty(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => {}
        }
    }
}

/// Whether the body contains the start of the expected root element.
fn has_root(body: &[u8], kind: Kind) -> bool {
    let root = kind.root().as_bytes();
    body.windows(root.len()).take(1024).any(|window| window == root)
}

const BOM: &[u8] = b"\xef\xbb\xbf";

impl Content {
    fn take(&mut self, kind: Kind, names: &[&[u8]], text: Vec<u8>) {
        if names == [b"EncodingType".as_slice()] {
            self.is_encoded = text.trim_ascii().eq_ignore_ascii_case(b"url");
            return;
        }
        let Some(member) = kind.member(names) else { return };
        match (names.len(), self.entries.last_mut()) {
            (2, Some((_, members))) => members.push((member, text)),
            _ => self.top.push((member, text)),
        }
    }
}

fn append(text: &mut Option<Vec<u8>>, found: &[u8]) {
    if let Some(text) = text {
        text.extend_from_slice(found);
    }
}

/// The bytes of a reference such as `&amp;`. An unknown one is kept, because it may be plain text.
fn resolved(reference: &BytesRef<'_>) -> Vec<u8> {
    if let Ok(Some(letter)) = reference.resolve_char_ref() {
        return letter.to_string().into_bytes();
    }
    let name: &[u8] = reference;
    let known = std::str::from_utf8(name).ok().and_then(resolve_predefined_entity);
    match known {
        Some(text) => text.as_bytes().to_vec(),
        None => [b"&", name, b";"].concat(),
    }
}

/// The canonical text of a member; `None` when it is left out.
fn value(
    member: Member,
    text: &[u8],
    is_encoded: bool,
) -> Result<Option<Cow<'_, [u8]>>, ReadFault> {
    let trimmed = text.trim_ascii();
    let as_text = || std::str::from_utf8(trimmed).unwrap_or_default();
    let fits = text.len() <= MAX_MEMBER;
    let kept = |text: &[u8]| Some(Cow::Owned(text.to_vec()));
    Ok(match member.value_type {
        Type::Text => fits.then_some(Cow::Borrowed(trimmed)),
        Type::Marker if !fits => {
            return Err(invalid(member.name, format!("longer than {MAX_MEMBER} bytes")));
        }
        Type::Marker => Some(Cow::Borrowed(text)),
        Type::Key => {
            let key = if is_encoded { url_decoded(text) } else { Cow::Borrowed(text) };
            (key.len() <= MAX_KEY).then_some(key)
        }
        Type::Number { max } => {
            number(as_text()).filter(|it| *it <= max).and_then(|it| kept(it.to_string().as_bytes()))
        }
        Type::Flag => match as_text().to_ascii_lowercase().as_str() {
            flag @ ("true" | "false") => kept(flag.as_bytes()),
            _ => return Err(invalid(member.name, "neither true nor false")),
        },
        Type::Timestamp => timestamp(as_text()).and_then(|timestamp| {
            kept(timestamp.format("%Y-%m-%dT%H:%M:%SZ").to_string().as_bytes())
        }),
    })
}

/// A whole number, possibly with a fraction of zeros such as `12.0`.
fn number(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    fraction.bytes().all(|digit| digit == b'0').then(|| whole.parse().ok()).flatten()
}

fn url_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    let text: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Cow::Owned(percent_decode(&text).collect())
}

#[cfg(test)]
mod tests;
