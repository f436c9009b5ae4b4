//! The XML documents of good answers, brought into one form: the root that the SDK insists on, the
//! members that are used and no others, each text percent-encoded so that no byte of it is markup.
//! [`decoded`] gives the text back.
//!
//! Servers leave keys unescaped, encode them without being asked, write dates in their own way and name
//! roots as they like; all of that is read. A document that is cut or that is not well-formed is not.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::{
    AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_decode_str, percent_encode,
};
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

use super::AnswerFault;
use super::headers::moment;
use crate::s3::bounds::{ENTRIES, KEY, MEMBER};

/// More are no number of bytes, as the SDK reads it.
const MOST_BYTES: u64 = i64::MAX.unsigned_abs();

/// More are no number of a part, as the SDK reads it.
const MOST_PARTS: u64 = i32::MAX.unsigned_abs() as u64;

/// A document of the S3 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Objects,
    Uploads,
    Parts,
    Initiate,
    Complete,
}

impl Kind {
    /// The root without its ending, which servers vary.
    fn root(self) -> &'static str {
        match self {
            Self::Objects => "ListBucket",
            Self::Uploads => "ListMultipartUploads",
            Self::Parts => "ListParts",
            Self::Initiate => "InitiateMultipartUpload",
            Self::Complete => "CompleteMultipartUpload",
        }
    }

    /// The member that a path of elements below the root is, if it is used.
    fn member(self, path: &[&[u8]]) -> Option<Member> {
        let members: &[(&[&str], Form)] = match self {
            Self::Objects => &[
                (&["Name"], Form::Text),
                (&["IsTruncated"], Form::Flag),
                (&["NextContinuationToken"], Form::Marker),
                (&["NextMarker"], Form::Key),
                (&["Contents", "Key"], Form::Key),
                (&["Contents", "Size"], Form::Number { most: MOST_BYTES }),
                (&["Contents", "ETag"], Form::Text),
                (&["Contents", "LastModified"], Form::Moment),
                (&["CommonPrefixes", "Prefix"], Form::Key),
            ],
            Self::Uploads => &[
                (&["IsTruncated"], Form::Flag),
                (&["NextKeyMarker"], Form::Key),
                (&["NextUploadIdMarker"], Form::Marker),
                (&["Upload", "Key"], Form::Key),
                (&["Upload", "UploadId"], Form::Text),
                (&["Upload", "Initiated"], Form::Moment),
            ],
            Self::Parts => &[
                (&["IsTruncated"], Form::Flag),
                (&["NextPartNumberMarker"], Form::Marker),
                (&["Part", "PartNumber"], Form::Number { most: MOST_PARTS }),
                (&["Part", "Size"], Form::Number { most: MOST_BYTES }),
                (&["Part", "ETag"], Form::Text),
                (&["Part", "LastModified"], Form::Moment),
            ],
            Self::Initiate => &[(&["UploadId"], Form::Marker)],
            Self::Complete => &[(&["ETag"], Form::Text)],
        };
        let found = members.iter().find(|(names, _)| {
            names.len() == path.len()
                && names.iter().zip(path).all(|(name, part)| name.as_bytes() == *part)
        });
        found.map(|(names, form)| Member {
            name: names.last().copied().unwrap_or_default(),
            form: *form,
        })
    }

    /// The entry of a list that an element below the root is, if it is one.
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
    form: Form,
}

/// How the text of a member is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is. One that is too long is left out.
    Text,
    /// What a later request repeats. One that is too long is an error.
    Marker,
    /// Encoded, where the document says so. An entry whose key is too long is left out.
    Key,
    /// A whole number, as digits. Another one is left out, so that it is unknown.
    Number { most: u64 },
    /// `true` or `false`. Anything else is an error.
    Flag,
    /// A moment, see [`moment`]. Another one is left out, so that it is unknown.
    Moment,
}

/// Why a document is not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It ends too early.
    Cut,
    /// It is no document of this kind; what it is instead is found out elsewhere.
    Other,
    /// It makes no sense.
    Wrong(AnswerFault),
}

fn wrong(member: &'static str, why: impl Into<String>) -> Unread {
    Unread::Wrong(AnswerFault::new(member, why))
}

/// Elements inside each other that are looked at. What is deeper is skipped.
const DEEPEST: usize = 4;

/// Rewrites the document of an answer.
///
/// # Errors
/// See [`Unread`].
pub(super) fn canonical(body: &[u8], kind: Kind) -> Result<Vec<u8>, Unread> {
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
        let mut is_ours = true;
        for (member, text) in members {
            match value(*member, text, content.is_encoded)? {
                Some(value) => write_member(&mut entry, member.name, &value),
                // Nothing of ours has such a key.
                None if member.form == Form::Key => is_ours = false,
                None => {}
            }
        }
        if is_ours {
            let _ = write!(document, "{entry}</{element}>");
        }
    }
    let _ = write!(document, "</{root}Result>");
    Ok(document.into_bytes())
}

/// All but what is neither markup nor blank, and what dates are written with.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b':').remove(b'.').remove(b'/');

fn write_member(document: &mut String, name: &str, value: &[u8]) {
    let _ = write!(document, "<{name}>{}</{name}>", percent_encode(value, ENCODED));
}

/// The bytes of a text in a document of [`canonical`].
pub(in crate::s3) fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

type Members = Vec<(Member, Vec<u8>)>;

/// What is used of a document.
#[derive(Default)]
struct Content {
    /// Whether keys are encoded as in a URL.
    is_encoded: bool,
    top: Members,
    /// With the names of their elements.
    entries: Vec<(&'static str, Members)>,
}

fn read(body: &[u8], kind: Kind) -> Result<Content, Unread> {
    let body = body.trim_ascii_start();
    let mut reader = Reader::from_reader(body.strip_prefix(BOM).unwrap_or(body));
    reader.config_mut().allow_dangling_amp = true;
    reader.config_mut().expand_empty_elements = true;
    let mut content = Content::default();
    // The names of the open elements, from the root on.
    let mut path: Vec<Vec<u8>> = Vec::new();
    let (mut deeper, mut is_over) = (0_usize, false);
    let mut text: Option<Vec<u8>> = None;
    loop {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the library adds variants at will")]
        let event = reader.read_event().map_err(|error| match error {
            // All of these mean that something has no end.
            quick_xml::Error::Syntax(_) if begins(body, kind) => Unread::Cut,
            _ if path.is_empty() => Unread::Other,
            error => wrong("body", format!("it is not well-formed XML ({error})")),
        })?;
        match event {
            Event::Start(_) if is_over => return Err(wrong("body", "it goes on behind its end")),
            Event::Start(_) if path.len() == DEEPEST => deeper += 1,
            Event::Start(start) => {
                let name = start.local_name().into_inner();
                if path.is_empty() && !name.starts_with(kind.root().as_bytes()) {
                    return Err(Unread::Other);
                }
                if path.len() == 1
                    && let Some(element) = kind.entry(name)
                {
                    if content.entries.len() == ENTRIES {
                        let why = format!("there are more than {ENTRIES} on one page");
                        return Err(wrong(element, why));
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
                is_over = path.is_empty();
            }
            Event::Text(found) if path.is_empty() => {
                if !is_over && !found.trim_ascii().is_empty() {
                    return Err(Unread::Other);
                }
            }
            Event::Text(found) => append(&mut text, &found),
            Event::CData(found) => append(&mut text, &found),
            Event::GeneralRef(reference) => append(&mut text, &resolved(&reference)),
            Event::Eof if is_over => return Ok(content),
            Event::Eof if path.is_empty() => return Err(Unread::Other),
            Event::Eof => return Err(Unread::Cut),
            Event::Empty(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => {}
        }
    }
}

/// Whether a root begins that is the right one as far as it goes.
fn begins(body: &[u8], kind: Kind) -> bool {
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

/// The bytes that a reference stands for; those of an unknown one are kept, as it may be none.
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

/// The text of a member as it is passed on; none where it is left out.
fn value(member: Member, text: &[u8], is_encoded: bool) -> Result<Option<Cow<'_, [u8]>>, Unread> {
    let trimmed = text.trim_ascii();
    let letters = || std::str::from_utf8(trimmed).unwrap_or_default();
    let fits = text.len() <= MEMBER;
    let kept = |text: &[u8]| Some(Cow::Owned(text.to_vec()));
    Ok(match member.form {
        Form::Text => fits.then_some(Cow::Borrowed(trimmed)),
        Form::Marker if !fits => {
            return Err(wrong(member.name, format!("it is longer than {MEMBER} bytes")));
        }
        Form::Marker => Some(Cow::Borrowed(text)),
        Form::Key => {
            let key = if is_encoded { url_decoded(text) } else { Cow::Borrowed(text) };
            (key.len() <= KEY).then_some(key)
        }
        Form::Number { most } => number(letters())
            .filter(|it| *it <= most)
            .and_then(|it| kept(it.to_string().as_bytes())),
        Form::Flag => match letters().to_ascii_lowercase().as_str() {
            flag @ ("true" | "false") => kept(flag.as_bytes()),
            _ => return Err(wrong(member.name, "it is neither true nor false")),
        },
        Form::Moment => moment(letters())
            .and_then(|moment| kept(moment.format("%Y-%m-%dT%H:%M:%SZ").to_string().as_bytes())),
    })
}

/// A whole number, also where a server writes it with a fraction of zeros.
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
