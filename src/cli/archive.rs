//! What kind of file somebody wants to store, found out before a byte of it is sent.
//!
//! Of a Home Assistant backup it reads `backup.json` and checks that the tar around it is whole,
//! looking at the headers only: a backup of 100 GB takes no longer than a small one.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;

use serde_json::{Value, json};

use super::output::moment;
use crate::error::{Code, Error, Result};
use crate::protocol::Metadata;

/// Largest `backup.json` that is read.
const MAX_BACKUP_JSON: u64 = 4 << 20;

/// Two blocks of zeros end a tar.
const BLOCK: u64 = 512;

/// What a file holds.
pub(super) enum Content {
    /// A whole backup of Home Assistant, with what its `backup.json` says.
    Backup(Metadata),
    /// Says that it is a backup of Home Assistant, and is not a whole one.
    DamagedBackup(Error),
    /// A tar that is cut off or damaged, and whatever it was, no backup can be seen in it.
    DamagedTar(Error),
    /// Anything else.
    Other,
}

/// Looks at a file of `size` bytes.
///
/// # Errors
/// `local_io` when it cannot be read.
pub(super) fn look_at(mut file: &File, path: &Path, size: u64) -> Result<Content> {
    let mut json = None;
    let scanned = scan(file, size, &mut json);
    file.rewind().map_err(|error| {
        Error::new(Code::LocalIo, format!("cannot read {}: {error}", path.display())).source(error)
    })?;
    let shown = path.display();
    Ok(match (scanned, json) {
        (Ok(Scan::Whole), Some(json)) => match metadata(&json, size) {
            Some(metadata) => Content::Backup(metadata),
            None => Content::DamagedBackup(Error::new(
                Code::CorruptMetadata,
                format!(
                    "the backup.json in {shown} is damaged: give the backup a --name to store the \
                     file as it is"
                ),
            )),
        },
        (Ok(Scan::CutOff { needed }), json) => {
            let error = Error::new(
                Code::LengthMismatch,
                format!(
                    "{shown} is cut off: it ends after {size} bytes in the middle of the tar, \
                     which needs at least {needed}; copy or download it again"
                ),
            )
            .fact("expected", needed)
            .fact("actual", size);
            if json.is_some() { Content::DamagedBackup(error) } else { Content::DamagedTar(error) }
        }
        (Err(damage), Some(_)) => Content::DamagedBackup(damaged(path, damage)),
        (Ok(Scan::Damaged(damage)), None) => Content::DamagedTar(damaged(path, damage)),
        (Ok(Scan::Damaged(damage)), Some(_)) => Content::DamagedBackup(damaged(path, damage)),
        (Ok(Scan::Whole) | Err(_), None) => Content::Other,
    })
}

fn damaged(path: &Path, damage: std::io::Error) -> Error {
    let message = format!("{} is a damaged tar: copy or download it again", path.display());
    Error::new(Code::IntegrityMismatch, message).fact("where", "object").source(damage)
}

enum Scan {
    Whole,
    /// Shorter than its headers say.
    CutOff {
        needed: u64,
    },
    /// Begins as a tar and does not go on as one.
    Damaged(std::io::Error),
}

/// Reads all headers, and `backup.json` where it is found.
///
/// # Errors
/// When it is no tar from the first block on.
fn scan(file: &File, size: u64, json: &mut Option<Vec<u8>>) -> std::io::Result<Scan> {
    let mut archive = tar::Archive::new(file);
    // Where the end mark must begin.
    let mut end = 0;
    for entry in archive.entries_with_seek()? {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) if end == 0 => return Err(error),
            Err(_) if size < end + 2 * BLOCK => {
                return Ok(Scan::CutOff { needed: end + 2 * BLOCK });
            }
            Err(error) => return Ok(Scan::Damaged(error)),
        };
        // Only the header of a sparse file says how much of it is stored; that of a large file
        // may say nothing, because its size stands in an extension.
        let sparse = entry.header().entry_type().is_gnu_sparse();
        let content = if sparse { entry.header().entry_size()? } else { entry.size() };
        end =
            entry.raw_file_position().saturating_add(content).div_ceil(BLOCK).saturating_mul(BLOCK);
        let name = entry.path_bytes();
        if matches!(name.as_ref(), b"./backup.json" | b"backup.json") && json.is_none() {
            let mut content = Vec::new();
            // A short one shows in the length of the whole.
            let _ = entry.by_ref().take(MAX_BACKUP_JSON).read_to_end(&mut content);
            *json = Some(content);
        }
        if size < end {
            return Ok(Scan::CutOff { needed: end + 2 * BLOCK });
        }
    }
    match end {
        0 => Err(std::io::ErrorKind::InvalidData.into()),
        end if size < end + 2 * BLOCK => Ok(Scan::CutOff { needed: end + 2 * BLOCK }),
        _ => Ok(Scan::Whole),
    }
}

/// What Home Assistant's own agents know of a backup, from its `backup.json`.
///
/// Mirrors `read_backup` in `homeassistant/components/backup/util.py`.
fn metadata(json: &[u8], size: u64) -> Option<Metadata> {
    let given: Metadata = serde_json::from_slice(json).ok()?;
    let text = |member: &str| given.get(member).and_then(Value::as_str);
    let list = |member: &str| given.get(member).and_then(Value::as_array).into_iter().flatten();
    let homeassistant = given.get("homeassistant").filter(|core| core.get("version").is_some());
    let excluded = homeassistant.and_then(|core| core.get("exclude_database")?.as_bool());
    let extra = given.get("extra").cloned().unwrap_or_else(|| json!({}));
    let asked_for = extra.get("supervisor.backup_request_date").and_then(Value::as_str);
    let addons = list("addons").map(|addon| {
        json!({"name": addon.get("name"), "slug": addon.get("slug"), "version": addon.get("version")})
    });
    let folders = list("folders").filter(|folder| *folder != "homeassistant").cloned();
    let members = json!({
        "addons": addons.collect::<Vec<_>>(),
        "backup_id": text("slug")?,
        "database_included": homeassistant.is_some() && !excluded.unwrap_or(false),
        "date": asked_for.or(text("date"))?,
        "extra_metadata": extra,
        "folders": folders.collect::<Vec<_>>(),
        "homeassistant_included": homeassistant.is_some(),
        "homeassistant_version": homeassistant.and_then(|core| core.get("version")),
        "name": text("name")?,
        "protected": given.get("protected").and_then(Value::as_bool).unwrap_or(false),
        "size": size,
    });
    members.as_object().cloned()
}

/// The file name, without its ending, that Home Assistant gives to a backup.
///
/// Mirrors `suggested_filename` in `homeassistant/components/backup/util.py`.
pub(super) fn suggested_name(name: &str, date: Option<&str>) -> String {
    let stamp = date.and_then(moment).map(|date| date.format(" %Y-%m-%d %H.%M %S%6f").to_string());
    let whole = format!("{name}{}", stamp.unwrap_or_default());
    whole.split_whitespace().collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_home_assistant_suggests() {
        for (name, date, expected) in [
            (
                "Automatic backup 2026.11.0",
                "2026-11-20T04:32:33.282898+00:00",
                "Automatic_backup_2026.11.0_2026-11-20_04.32_33282898",
            ),
            (
                "Nächtliche Sicherung Büro 🏠",
                "2026-11-20T04:32:33.526654+00:00",
                "Nächtliche_Sicherung_Büro_🏠_2026-11-20_04.32_33526654",
            ),
            ("x", "2026-11-20T04:32:33+01:00", "x_2026-11-20_04.32_33000000"),
            ("a  b", "some day", "a_b"),
        ] {
            assert_eq!(suggested_name(name, Some(date)), expected);
        }
    }

    #[test]
    fn a_supervisor_backup_is_read_like_home_assistant_reads_it() {
        let json = br#"{"slug":"9e346a5c","version":2,"name":"Nightly","date":"2025-02-21T03:53:34+00:00",
            "type":"partial","extra":{"instance_id":"i","supervisor.backup_request_date":"2025-02-21T04:53:34+01:00"},
            "addons":[{"slug":"ssh","name":"SSH","version":"20.0.0","size":0.1},{"slug":"x","name":null}],
            "homeassistant":{"version":"2025.2.4","exclude_database":false,"size":1.0},
            "folders":["share","homeassistant","media"],"protected":true}"#;
        let expected = json!({
            "addons": [
                {"name": "SSH", "slug": "ssh", "version": "20.0.0"},
                {"name": null, "slug": "x", "version": null},
            ],
            "backup_id": "9e346a5c",
            "database_included": true,
            "date": "2025-02-21T04:53:34+01:00",
            "extra_metadata": {
                "instance_id": "i", "supervisor.backup_request_date": "2025-02-21T04:53:34+01:00",
            },
            "folders": ["share", "media"],
            "homeassistant_included": true,
            "homeassistant_version": "2025.2.4",
            "name": "Nightly",
            "protected": true,
            "size": 7,
        });
        assert_eq!(Value::Object(metadata(json, 7).unwrap()), expected);
        assert!(metadata(br#"{"slug":"x"}"#, 7).is_none());
        assert!(metadata(b"[]", 7).is_none());
    }
}
