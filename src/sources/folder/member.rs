//! Tar headers in GNU format.
//!
//! Names and link targets are stored byte for byte, as in the file system: a tar with `a/b` for the
//! link target `a//b` would not be the same folder.

use std::io::{self, Write};

use tar::{EntryType, Header};

/// Size of a tar block, in bytes.
pub(super) const BLOCK: usize = 512;

/// Longest name and longest link target that fit into a header, in bytes.
const SHORT: usize = 100;

/// Kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Link,
    Folder,
    /// A socket, a device and the like, which a backup cannot contain.
    Other,
}

/// Values of a header, besides the name.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    /// Permissions.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Time of the last change, in seconds since 1970; negative before that.
    pub(super) mtime: i64,
}

/// Writes the headers of a file. The caller writes its content next.
///
/// # Errors
/// Those of `out`.
pub(super) fn file(out: &mut impl Write, name: &[u8], attributes: &Attributes) -> io::Result<()> {
    long(out, EntryType::GNULongName, name)?;
    out.write_all(header(name, EntryType::Regular, b"", attributes).as_bytes())
}

/// Writes the headers of a folder. The name ends in a slash.
///
/// # Errors
/// Those of `out`.
pub(super) fn folder(out: &mut impl Write, name: &[u8], attributes: &Attributes) -> io::Result<()> {
    long(out, EntryType::GNULongName, name)?;
    let attributes = Attributes { size: 0, ..attributes.clone() };
    out.write_all(header(name, EntryType::Directory, b"", &attributes).as_bytes())
}

/// Writes the headers of a symbolic link.
///
/// # Errors
/// Those of `out`.
pub(super) fn link(
    out: &mut impl Write,
    name: &[u8],
    target: &[u8],
    attributes: &Attributes,
) -> io::Result<()> {
    long(out, EntryType::GNULongLink, target)?;
    long(out, EntryType::GNULongName, name)?;
    let attributes = Attributes { size: 0, ..attributes.clone() };
    out.write_all(header(name, EntryType::Symlink, target, &attributes).as_bytes())
}

/// Writes zeros up to the next block boundary, after content of `length` bytes.
///
/// # Errors
/// Those of `out`.
pub(super) fn pad(out: &mut impl Write, length: u64) -> io::Result<()> {
    let zeros = length.next_multiple_of(BLOCK as u64) - length;
    io::copy(&mut io::Read::take(io::repeat(0), zeros), out).map(drop)
}

/// Writes the end of a tar.
///
/// # Errors
/// Those of `out`.
pub(super) fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// Writes a member that holds the name or target of the next one, if it is too long for a header.
fn long(out: &mut impl Write, kind: EntryType, text: &[u8]) -> io::Result<()> {
    if text.len() <= SHORT {
        return Ok(());
    }
    let size = text.len() as u64 + 1;
    let attributes = Attributes { mode: 0o644, size, ..Attributes::default() };
    out.write_all(header(b"././@LongLink", kind, b"", &attributes).as_bytes())?;
    out.write_all(text)?;
    out.write_all(&[0])?;
    pad(out, size)
}

fn header(name: &[u8], kind: EntryType, target: &[u8], attributes: &Attributes) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(attributes.mode);
    header.set_uid(attributes.uid.into());
    header.set_gid(attributes.gid.into());
    header.set_size(attributes.size);
    header.set_mtime(attributes.mtime.unsigned_abs());
    if let Some(fields) = header.as_gnu_mut() {
        // Byte for byte: the library would normalize names and targets.
        fill(&mut fields.name, name);
        fill(&mut fields.linkname, target);
        if attributes.mtime < 0 {
            fields.mtime = negative(attributes.mtime);
        }
    }
    header.set_cksum();
    header
}

/// Copies as many bytes as fit.
fn fill(field: &mut [u8; SHORT], bytes: &[u8]) {
    for (place, byte) in field.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

/// A negative number in binary, as two's complement, which the library does not write.
fn negative(value: i64) -> [u8; 12] {
    let mut field = [0xff; 12];
    for (place, byte) in field.iter_mut().skip(4).zip(value.to_be_bytes()) {
        *place = byte;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(size: u64, mtime: i64) -> ([u8; 12], [u8; 12]) {
        let attributes = Attributes { mode: 0o644, size, mtime, ..Attributes::default() };
        let header = header(b"name", EntryType::Regular, b"", &attributes);
        let fields = header.as_gnu().unwrap();
        (fields.size, fields.mtime)
    }

    #[test]
    fn number_beyond_octal_range_is_binary() {
        let binary = |value: i128| {
            let mut field: [u8; 12] = value.to_be_bytes()[4..].try_into().unwrap();
            field[0] = if value < 0 { 0xff } else { 0x80 };
            field
        };
        assert_eq!(numbers((1 << 33) - 1, 0o17), (*b"77777777777\0", *b"00000000017\0"));
        assert_eq!(numbers(1 << 33, 1 << 33), (binary(1 << 33), binary(1 << 33)));
        assert_eq!(numbers(u64::MAX, i64::MAX), (binary(u64::MAX.into()), binary(i64::MAX.into())));
        for before_1970 in [-1, -86_400, i64::MIN] {
            assert_eq!(numbers(0, before_1970).1, binary(before_1970.into()));
        }
    }

    #[test]
    fn names_and_link_targets_are_stored_unchanged() {
        let header =
            header(b"./a//b/../c", EntryType::Symlink, b"a//b/./\xff", &Attributes::default());
        assert_eq!(&header.path_bytes()[..], b"./a//b/../c");
        assert_eq!(&header.link_name_bytes().unwrap()[..], b"a//b/./\xff");
    }
}
