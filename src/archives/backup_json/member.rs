//! Parser for the headers of one tar member.
//!
//! A header can announce any size, so announced sizes do not control how much is read: names and
//! extension headers are read up to a limit, and everything else is skipped.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

/// Size of a tar block, in bytes.
pub const BLOCK: u64 = 512;

/// Longest extension header that is read. Its length depends on the names and attributes in it.
const LONGEST: u64 = 1 << 20;

/// Longest name that is read, in bytes.
const LONGEST_NAME: u64 = 4 << 10;

/// Most headers of one member.
const HEADERS: usize = 64;

/// Most blocks of the map of a sparse file.
const MAPS: u64 = 4096;

/// The file names of the description of a backup. Before 2021.8 a backup was called snapshot.
const DESCRIPTIONS: [&[u8]; 4] =
    [b"./backup.json", b"backup.json", b"./snapshot.json", b"snapshot.json"];

/// One member of a tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whether it is `backup.json`, or `snapshot.json` of an old backup.
    pub is_backup_json: bool,
    /// Offset of the content from the first header, in bytes.
    pub content: u64,
    /// Length of the content in bytes.
    pub size: u64,
}

impl Member {
    /// Offset of the next member from the first header of this one, in bytes.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.content.saturating_add(self.size).div_ceil(BLOCK).saturating_mul(BLOCK)
    }

    /// The member whose headers start at the beginning of `bytes`. None at the end of a tar, or if
    /// there is no member.
    #[must_use]
    pub fn first_of(bytes: &[u8]) -> Option<Self> {
        Self::read(&mut Cursor::new(bytes), 0).ok().flatten()
    }

    /// The member whose first header is at offset `start`. None at the end of a tar.
    ///
    /// # Errors
    /// When the headers are damaged, implausible or truncated, or cannot be read.
    pub fn read(from: &mut (impl Read + Seek), start: u64) -> io::Result<Option<Self>> {
        let (mut name, mut size) = (None, None);
        let mut at = start;
        for nth in 0..HEADERS {
            let header = match Header::read(from, at)? {
                Some(header) => header,
                None if nth == 0 => return Ok(None),
                None => return Err(invalid("an extension header without a member")),
            };
            let content = at.checked_add(BLOCK).ok_or_else(too_far)?;
            let stored = header.size()?;
            match header.kind() {
                b'L' => name = Some(read(from, content, stored.min(LONGEST_NAME))?),
                b'x' if stored > LONGEST => return Err(invalid("an extension header too long")),
                b'x' => {
                    let records = read(from, content, stored)?;
                    name = record(&records, b"path").map(<[u8]>::to_vec).or(name);
                    size = record(&records, b"size").and_then(decimal).or(size);
                }
                b'K' | b'g' => {}
                kind => {
                    let maps = if kind == b'S' { maps(from, &header, content)? } else { 0 };
                    // Entries other than files have no content, whatever the header says.
                    let has_content = !(b'1'..=b'6').contains(&kind);
                    let is_file = matches!(kind, b'0' | 0 | b'7');
                    let name = name.unwrap_or_else(|| header.name());
                    return Ok(Some(Self {
                        is_backup_json: is_file && DESCRIPTIONS.contains(&until_nul(&name)),
                        content: content - start + maps * BLOCK,
                        size: if has_content { size.unwrap_or(stored) } else { 0 },
                    }));
                }
            }
            let padded = stored.checked_next_multiple_of(BLOCK);
            at = padded.and_then(|padded| content.checked_add(padded)).ok_or_else(too_far)?;
        }
        Err(invalid("too many extension headers"))
    }
}

/// Number of blocks between the header of a sparse file and its content.
fn maps(from: &mut (impl Read + Seek), header: &Header, start: u64) -> io::Result<u64> {
    let mut goes_on = header.byte(482) != 0;
    let mut count = 0;
    while goes_on {
        if count == MAPS {
            return Err(invalid("the map of a sparse file is too long"));
        }
        let map = read(from, start.saturating_add(count * BLOCK), BLOCK)?;
        goes_on = map.get(504).is_some_and(|byte| *byte != 0);
        count += 1;
    }
    Ok(count)
}

/// A header block.
struct Header(Vec<u8>);

impl Header {
    /// None at the end of the tar: a block of zeros, or the end of the input.
    fn read(from: &mut (impl Read + Seek), at: u64) -> io::Result<Option<Self>> {
        from.seek(SeekFrom::Start(at))?;
        let mut block = Vec::new();
        from.take(BLOCK).read_to_end(&mut block)?;
        if block.iter().all(|byte| *byte == 0) && matches!(block.len() as u64, 0 | BLOCK) {
            return Ok(None);
        }
        let header = Self(block);
        if header.0.len() as u64 == BLOCK && header.is_intact() {
            Ok(Some(header))
        } else {
            Err(invalid("no header of a tar"))
        }
    }

    /// Whether its checksum matches; the checksum field itself counts as blanks.
    fn is_intact(&self) -> bool {
        let counted = |(at, byte): (usize, &u8)| {
            if (148..156).contains(&at) { b' ' } else { *byte }
        };
        let bytes = || self.0.iter().enumerate().map(counted);
        let sum: i64 = bytes().map(i64::from).sum();
        // Some old programs summed signed bytes.
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        let said = number(self.field(148, 8)).and_then(|said| i64::try_from(said).ok());
        said.is_some_and(|said| said == sum || said == signed)
    }

    fn field(&self, at: usize, length: usize) -> &[u8] {
        self.0.get(at..at + length).unwrap_or_default()
    }

    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or_default()
    }

    fn kind(&self) -> u8 {
        self.byte(156)
    }

    fn size(&self) -> io::Result<u64> {
        number(self.field(124, 12)).ok_or_else(|| invalid("a size that is no number"))
    }

    fn name(&self) -> Vec<u8> {
        let name = until_nul(self.field(0, 100));
        let prefix = if self.field(257, 6) == b"ustar\0" { self.field(345, 155) } else { b"" };
        match until_nul(prefix) {
            b"" => name.to_vec(),
            prefix => [prefix, b"/", name].concat(),
        }
    }
}

/// Reads `length` bytes; callers limit `length` to [`LONGEST`].
fn read(from: &mut (impl Read + Seek), at: u64, length: u64) -> io::Result<Vec<u8>> {
    from.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Parses a number: octal digits, or binary for large values.
fn number(field: &[u8]) -> Option<u64> {
    match field.split_first()? {
        (0x80, rest) => rest
            .iter()
            .try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte))),
        _ => {
            let text = std::str::from_utf8(until_nul(field)).ok()?.trim();
            if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
        }
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The value of the last record with this name in an extension header.
fn record<'a>(mut records: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    while let Some(blank) = records.iter().position(|byte| *byte == b' ') {
        let length = decimal(records.get(..blank)?)?;
        let (record, rest) = records.split_at_checked(usize::try_from(length).ok()?)?;
        let value = record.get(blank + 1..).and_then(|record| record.strip_prefix(name));
        let value = value.and_then(|value| value.strip_prefix(b"=")?.strip_suffix(b"\n"));
        found = value.or(found);
        records = rest;
    }
    found
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn too_far() -> io::Error {
    invalid("a size beyond all files")
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: u8, size: &[u8]) -> Vec<u8> {
        let mut block = vec![0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..124 + size.len()].copy_from_slice(size);
        block[156] = kind;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    /// `size` in binary, which can exceed the size of any file.
    fn binary(size: u64) -> Vec<u8> {
        [&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat()
    }

    #[test]
    fn tar_member_with_huge_sizes_is_read_in_bounded_memory() {
        let file = header("./backup.json", b'0', b"00000000007");
        let huge = binary(700 << 20);
        // A long link target is skipped, a long name is truncated, the rest is refused.
        for kind in [b'L', b'K', b'x', b'g', b'S'] {
            let bytes = [header("x", kind, &huge), file.clone()].concat();
            assert!(
                Member::first_of(&bytes)
                    .is_none_or(|member| kind == b'S' && !member.is_backup_json)
            );
            let bytes = header("x", kind, &binary(u64::MAX));
            assert!(Member::first_of(&bytes).is_none_or(|member| member.end() > u64::MAX - 512));
        }
        let overflow = header("x", b'0', &[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Member::first_of(&overflow), None);
        let negative = header("x", b'0', &[0xff; 12]);
        assert_eq!(Member::first_of(&negative), None);
        let endless = header("x", b'g', b"00000000000").repeat(100);
        assert_eq!(Member::first_of(&endless), None);
        let mut sparse = header("x", b'S', b"00000000000");
        sparse[482] = 1;
        sparse[148..156].fill(b' ');
        let sum: u32 = sparse.iter().map(|byte| u32::from(*byte)).sum();
        sparse[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let endless = [sparse, vec![1; 512 * 5000]].concat();
        assert_eq!(Member::first_of(&endless), None);
    }

    #[test]
    fn tar_extension_header_gives_name_and_size() {
        let records = b"20 path=backup.json\n14 size=70000\n";
        let mut content = records.to_vec();
        content.resize(512, 0);
        let size = format!("{:011o}", records.len());
        let bytes = [header("x", b'x', size.as_bytes()), content, header("y", b'0', b"0")].concat();
        let member = Member::first_of(&bytes).unwrap();
        assert_eq!(member, Member { is_backup_json: true, content: 1536, size: 70000 });
    }

    #[test]
    fn backup_json_that_is_not_a_file_is_not_read() {
        for (name, kind, is_one) in [
            ("./backup.json", b'0', true),
            ("backup.json", 0, true),
            ("./snapshot.json", b'0', true),
            ("snapshot.json", b'0', true),
            ("./backup.json", b'1', false),
            ("./backup.json", b'2', false),
            ("./backup.json", b'5', false),
            ("backup.jso", b'0', false),
            ("x/backup.json", b'0', false),
        ] {
            let member = Member::first_of(&header(name, kind, b"00000000011")).unwrap();
            assert_eq!(member.is_backup_json, is_one, "{name} {kind}");
        }
    }
}
