//! Object names and keys of backups. Pure, no I/O.
//!
//! A backup is the pair `<prefix>/<folder>/<name>.tar` and
//! `<prefix>/<folder>/<name>.metadata.json`; an empty prefix or folder is left out together with
//! its slash.

use sha2::{Digest, Sha256};

use crate::config::MAX_FOLDER;
use crate::error::{Code, Error, Result};

/// Longest object name in bytes. File systems behind some servers allow 255 for a file, including
/// the ending and a suffix that makes names unique.
const MAX_NAME: usize = 200;

/// Longest prefix and folder together, in bytes with their slashes; a whole key may have 1,024.
const MAX_BOTH: usize = 750;

const ARCHIVE: &str = ".tar";
const METADATA: &str = ".metadata.json";

/// Start of the name of a test object, before 16 hexadecimal digits.
const PROBE: &str = ".probe-";

/// The folder of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    folder: String,
}

/// Kind and name of a key of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PairKey<'a> {
    /// The archive with this name.
    Archive(&'a str),
    /// The metadata object with this name.
    Metadata(&'a str),
}

impl<'a> PairKey<'a> {
    /// The name that both keys share.
    #[must_use]
    pub fn name(self) -> &'a str {
        match self {
            Self::Archive(name) | Self::Metadata(name) => name,
        }
    }
}

impl Layout {
    /// The layout of `folder` under `prefix`. Slashes around them are ignored; each may be empty or
    /// nested.
    ///
    /// # Errors
    /// `invalid_config` for a prefix or folder that some server could not store.
    pub fn new(prefix: &str, folder: &str) -> Result<Self> {
        let whole = path("prefix", prefix)? + &path("folder", folder)?;
        if whole.len() > MAX_BOTH {
            return Err(invalid(
                "folder",
                format!("the prefix and the folder must not be longer than {MAX_BOTH} bytes"),
            ));
        }
        Ok(Self { folder: whole })
    }

    /// The path of the backups, with a final slash; empty for the root of the bucket.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Key of the archive with this name.
    #[must_use]
    pub fn archive_key(&self, name: &str) -> String {
        format!("{}{name}{ARCHIVE}", self.folder)
    }

    /// Key of the metadata object with this name.
    #[must_use]
    pub fn metadata_key(&self, name: &str) -> String {
        format!("{}{name}{METADATA}", self.folder)
    }

    /// Common start of both keys of this name.
    #[must_use]
    pub fn common_prefix(&self, name: &str) -> String {
        format!("{}{name}.", self.folder)
    }

    /// An unused key for a test object.
    #[must_use]
    pub fn probe_key(&self) -> String {
        format!("{}{PROBE}{:016x}", self.folder, fastrand::u64(..))
    }

    /// Whether `key` is the key of a test object.
    #[must_use]
    pub fn is_probe(&self, key: &str) -> bool {
        let file = key.strip_prefix(&self.folder);
        file.and_then(|file| file.strip_prefix(PROBE)).is_some_and(|digits| {
            digits.len() == 16 && digits.chars().all(|digit| digit.is_ascii_hexdigit())
        })
    }

    /// Kind and name of `key`, if it is directly in the folder and part of a backup.
    #[must_use]
    pub fn pair_key<'a>(&self, key: &'a str) -> Option<PairKey<'a>> {
        let file = key.strip_prefix(&self.folder)?;
        if file.contains('/') {
            return None;
        }
        let named = |name: &'a str| (!name.is_empty()).then_some(name);
        if let Some(name) = file.strip_suffix(METADATA) {
            return named(name).map(PairKey::Metadata);
        }
        file.strip_suffix(ARCHIVE).and_then(named).map(PairKey::Archive)
    }
}

fn invalid(field: &'static str, message: String) -> Error {
    Error::new(Code::InvalidConfig, message).field(field).detail("field", field)
}

/// Checks the path in the setting `field`. Returns it with a final slash, unless it is empty.
fn path(field: &'static str, given: &str) -> Result<String> {
    let path = given.trim().trim_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    if path.len() > MAX_FOLDER {
        return Err(invalid(
            field,
            format!("the {field} must not be longer than {MAX_FOLDER} bytes"),
        ));
    }
    if path.chars().any(|character| character.is_control() || character == '\\') {
        return Err(invalid(
            field,
            format!("the {field} must not contain backslashes or control characters"),
        ));
    }
    if path.split('/').any(|part| matches!(part.trim(), "" | "." | "..")) {
        return Err(invalid(
            field,
            format!(
                "the {field} must be folder names separated by single slashes, without . and .."
            ),
        ));
    }
    Ok(format!("{path}/"))
}

/// Object names for a backup, best first: as wished, then with a hash of its ID, then numbered.
/// Endless.
pub fn candidates(wished: &str, id: &str) -> impl Iterator<Item = String> {
    let plain = safe(wished);
    let marked = format!("{plain}_{}", short_hash(id));
    let numbered = marked.clone();
    std::iter::once(plain)
        .chain(std::iter::once(marked))
        .chain((2..).map(move |number: u32| format!("{numbered}_{number}")))
}

/// A name that every server can store, as close to `wished` as possible.
///
/// Letters of all scripts are kept. Characters that end a path, hide a file, break XML or a Windows
/// file name become `_`. A shortened name ends in a hash of the whole, so that different wishes
/// stay different.
#[must_use]
pub fn safe(wished: &str) -> String {
    let wished = wished.trim();
    let mut name = String::with_capacity(wished.len());
    let replaced = wished.chars().map(|character| match character {
        '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
        character if character.is_control() || is_noncharacter(character) => '_',
        character => character,
    });
    for character in replaced {
        name.push(character);
    }
    let cut = if name.len() > MAX_NAME { cut_at(&name, MAX_NAME - 9) } else { &name };
    let cut = cut.trim_matches(|character: char| character == '.' || character.is_whitespace());
    if cut.is_empty() {
        return "backup".to_owned();
    }
    if name.len() > MAX_NAME {
        return format!("{cut}_{}", short_hash(wished));
    }
    cut.to_owned()
}

/// Not allowed in XML 1.0, the format of listings, or invisible and misleading.
fn is_noncharacter(character: char) -> bool {
    matches!(character, '\u{fffe}' | '\u{ffff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn cut_at(text: &str, limit: usize) -> &str {
    let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

/// Eight hexadecimal digits of a hash of `text`.
fn short_hash(text: &str) -> String {
    Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slashes_around_prefix_and_folder_are_ignored() {
        for (prefix, folder, whole) in [
            ("", "backups", "backups/"),
            ("/", "/backups/", "backups/"),
            ("ha", "backups", "ha/backups/"),
            ("/ha/", " a/b ", "ha/a/b/"),
            ("home/ha main/", "", "home/ha main/"),
            ("ha", "/", "ha/"),
            ("", "", ""),
        ] {
            assert_eq!(Layout::new(prefix, folder).unwrap().folder(), whole);
        }
    }

    #[test]
    fn paths_with_dot_segments_are_refused() {
        let refused = |prefix: &str, folder: &str| {
            let error = Layout::new(prefix, folder).unwrap_err();
            assert_eq!(error.code(), Code::InvalidConfig);
            error.data().field.unwrap_or_default()
        };
        for path in ["..", "a/../b", "a//b", "a/./b", "a\\b", "a\nb", &"x".repeat(701)] {
            assert_eq!(refused(path, ""), "prefix");
            assert_eq!(refused("ha", path), "folder");
        }
        let (prefix, folder) = ("x".repeat(700), "y".repeat(48));
        assert_eq!(Layout::new(&prefix, &folder).unwrap().folder().len(), MAX_BOTH);
        assert_eq!(refused(&prefix, &format!("{folder}y")), "folder");
    }

    #[test]
    fn only_direct_children_belong_to_backups() {
        let layout = Layout::new("ha", "backups").unwrap();
        assert_eq!(layout.pair_key("ha/backups/a.tar"), Some(PairKey::Archive("a")));
        assert_eq!(layout.pair_key("ha/backups/a.b.metadata.json"), Some(PairKey::Metadata("a.b")));
        for key in [
            "ha/backups/x/a.tar",
            "ha/backups/a.zip",
            "ha/backups/.tar",
            "backups/a.tar",
            "ha/backups/",
            "ha/backups/a.metadata.json/",
        ] {
            assert_eq!(layout.pair_key(key), None, "{key}");
        }
        let top = Layout::new("", "").unwrap();
        assert_eq!(top.pair_key("a.tar"), Some(PairKey::Archive("a")));
        for key in ["/a.tar", "ha/a.tar", ".tar", ".metadata.json", ""] {
            assert_eq!(top.pair_key(key), None, "{key}");
        }
    }

    #[test]
    fn backup_names_stay_readable_in_keys() {
        assert_eq!(safe("Nächtliche Sicherung Büro 🏠"), "Nächtliche Sicherung Büro 🏠");
        assert_eq!(safe("a/b\\c"), "a_b_c");
        assert_eq!(safe("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(safe(" . "), "backup");
        assert_eq!((safe(". .a"), safe("a.\u{2003}.")), ("a".to_owned(), "a".to_owned()));
        assert_eq!(safe("line\nbreak\u{202e}"), "line_break_");
        let long = safe(&"ü".repeat(300));
        assert!(long.len() <= MAX_NAME && long.starts_with("üüü"));
        assert_ne!(long, safe(&"ü".repeat(301)));
    }

    /// None to three folders, with or without slashes around them.
    const PATH: &str =
        "/?([a-zäß0-9][a-z .äß0-9]{0,8}[a-z0-9]/){0,2}([a-z0-9][a-z ß0-9]{0,8}[a-z0-9])?/?";

    proptest! {
        #[test]
        fn every_name_maps_to_keys_and_back(
            wished in ".*", id in ".*", prefix in PATH, folder in PATH,
        ) {
            let layout = Layout::new(&prefix, &folder).unwrap();
            let inner = format!("{}/deeper", folder.trim_end_matches('/'));
            let inner = Layout::new(&prefix, &inner).unwrap();
            let names: Vec<_> = candidates(&wished, &id).take(4).collect();
            for name in &names {
                prop_assert!(!name.is_empty() && name.len() <= 220 && !name.starts_with('.'));
                prop_assert!(!name.contains(['/', '\\']) && !name.contains(char::is_control));
                let (archive, metadata) = (layout.archive_key(name), layout.metadata_key(name));
                prop_assert_eq!(layout.pair_key(&archive), Some(PairKey::Archive(name.as_str())));
                prop_assert_eq!(layout.pair_key(&metadata), Some(PairKey::Metadata(name.as_str())));
                prop_assert!(!archive.starts_with('/') && !archive.contains("//"));
                let deeper = inner.archive_key(name);
                prop_assert_eq!(layout.pair_key(&deeper), None);
                prop_assert_eq!(inner.pair_key(&metadata), None);
            }
            let mut distinct = names.clone();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), names.len());
        }
    }
}
