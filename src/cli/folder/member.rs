//! The headers of the members of a tar, in GNU's format.
//!
//! Names and link targets are stored byte by byte as the file system has them: a tar that says `a/b`
//! where the link says `a//b` would not be the same folder.

use std::io::{self, Write};

/// Tars are made of blocks of so many bytes.
pub(super) const BLOCK: usize = 512;

/// Longest name and longest link target that a header has room for.
const SHORT: usize = 100;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Link,
    Folder,
    /// A socket, a device and the like, which a backup cannot hold.
    Other,
}

/// What a header says beside the name.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Permissions.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Last change, in seconds since 1970; before that it is negative.
    pub(super) mtime: i64,
}

/// Writes the headers of a file, whose content has to follow.
///
/// # Errors
/// Those of `out`.
pub(super) fn file(out: &mut impl Write, name: &[u8], facts: &Facts) -> io::Result<()> {
    long(out, b'L', name)?;
    out.write_all(&header(name, b'0', b"", facts))
}

/// Writes the headers of a folder. The name ends in a slash.
///
/// # Errors
/// Those of `out`.
pub(super) fn folder(out: &mut impl Write, name: &[u8], facts: &Facts) -> io::Result<()> {
    long(out, b'L', name)?;
    out.write_all(&header(name, b'5', b"", &Facts { size: 0, ..facts.clone() }))
}

/// Writes the headers of a symbolic link.
///
/// # Errors
/// Those of `out`.
pub(super) fn link(
    out: &mut impl Write,
    name: &[u8],
    target: &[u8],
    facts: &Facts,
) -> io::Result<()> {
    long(out, b'K', target)?;
    long(out, b'L', name)?;
    out.write_all(&header(name, b'2', target, &Facts { size: 0, ..facts.clone() }))
}

/// Writes zeros up to the next block, after content of this length.
///
/// # Errors
/// Those of `out`.
pub(super) fn pad(out: &mut impl Write, length: u64) -> io::Result<()> {
    let zeros = length.next_multiple_of(BLOCK as u64) - length;
    io::copy(&mut io::Read::take(io::repeat(0), zeros), out).map(drop)
}

/// Writes the mark at the end of a tar.
///
/// # Errors
/// Those of `out`.
pub(super) fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// Writes a member that holds the name or target of the next one, if that needs one.
fn long(out: &mut impl Write, kind: u8, text: &[u8]) -> io::Result<()> {
    if text.len() <= SHORT {
        return Ok(());
    }
    let size = text.len() as u64 + 1;
    let facts = Facts { mode: 0o644, size, ..Facts::default() };
    out.write_all(&header(b"././@LongLink", kind, b"", &facts))?;
    out.write_all(text)?;
    out.write_all(&[0])?;
    pad(out, size)
}

fn header(name: &[u8], kind: u8, target: &[u8], facts: &Facts) -> Vec<u8> {
    let mut header = Vec::with_capacity(BLOCK);
    header.extend(text(name));
    header.extend(number(facts.mode.into(), 8));
    header.extend(number(facts.uid.into(), 8));
    header.extend(number(facts.gid.into(), 8));
    header.extend(number(facts.size.into(), 12));
    header.extend(number(facts.mtime.into(), 12));
    // The sum, which counts as blanks in itself.
    header.extend([b' '; 8]);
    header.push(kind);
    header.extend(text(target));
    header.extend(b"ustar  \0");
    header.resize(BLOCK, 0);
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header.splice(148..156, format!("{sum:06o}\0 ").into_bytes());
    header
}

/// As much of it as there is room for.
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut field: Vec<_> = bytes.iter().copied().take(SHORT).collect();
    field.resize(SHORT, 0);
    field
}

/// Octal digits, or where these do not suffice the number in binary: a mark, then the two's
/// complement.
fn number(value: i128, width: usize) -> Vec<u8> {
    let digits = width - 1;
    if (0..1 << (3 * digits)).contains(&value) {
        return format!("{value:0digits$o}\0").into_bytes();
    }
    let bytes = value.to_be_bytes();
    let mut field = bytes.get(bytes.len() - width..).unwrap_or_default().to_vec();
    if let Some(mark) = field.first_mut() {
        *mark = if value < 0 { 0xff } else { 0x80 };
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_outside_of_octal_is_binary() {
        assert_eq!(number(0o644, 8), b"0000644\0");
        assert_eq!(number((1 << 33) - 1, 12), b"77777777777\0");
        assert_eq!(number(1 << 33, 12), [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(number(-1, 12), [0xff; 12]);
        assert_eq!(number(0o7_777_777, 8), b"7777777\0");
        assert_eq!(number(u32::MAX.into(), 8), [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    }
}
