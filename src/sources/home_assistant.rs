//! Inspection of local Home Assistant backups before the upload.
//!
//! Reads `backup.json` and checks that the tar is complete, by its headers only: a backup of 100 GB
//! takes no longer than a small one.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use chrono::Datelike as _;

use crate::error::{Code, Error, Result};
use crate::ops::backup_json::{self, BLOCK, Member};
use crate::protocol::Metadata;

/// Content of a file.
pub(crate) enum Content {
    /// A complete Home Assistant backup, with the metadata from its `backup.json`.
    Backup(Metadata),
    /// A damaged Home Assistant backup.
    DamagedBackup(Error),
    /// A truncated or damaged tar that is not known to be a backup.
    DamagedTar(Error),
    /// Anything else.
    Other,
}

/// Inspects a file of `size` bytes.
///
/// # Errors
/// `local_io` when it cannot be read.
pub(crate) fn inspect(mut file: &File, path: &Path, size: u64) -> Result<Content> {
    let mut json = None;
    let scanned = scan(file, size, &mut json);
    file.rewind().map_err(|error| {
        Error::new(Code::LocalIo, format!("cannot read {}: {error}", path.display())).source(error)
    })?;
    let shown = path.display();
    Ok(match (scanned, json) {
        (Ok(Scan::Whole), Some(json)) => match backup_json::metadata(&json, size) {
            Some(metadata) => Content::Backup(metadata),
            None => Content::DamagedBackup(
                Error::new(Code::CorruptMetadata, format!("the backup.json in {shown} is damaged"))
                    .hint("use --name to store the file as it is"),
            ),
        },
        (Ok(Scan::CutOff { needed }), json) => {
            let error = Error::new(
                Code::LengthMismatch,
                format!(
                    "{shown} is truncated: it has {size} bytes, but the tar needs at least {needed}"
                ),
            )
            .hint("copy or download it again")
            .detail("expected", needed)
            .detail("actual", size);
            if json.is_some() { Content::DamagedBackup(error) } else { Content::DamagedTar(error) }
        }
        (Err(damage), Some(_)) => Content::DamagedBackup(damaged(path, damage)),
        (Ok(Scan::Damaged(damage)), None) => Content::DamagedTar(damaged(path, damage)),
        (Ok(Scan::Damaged(damage)), Some(_)) => Content::DamagedBackup(damaged(path, damage)),
        (Ok(Scan::Whole) | Err(_), None) => Content::Other,
    })
}

fn damaged(path: &Path, damage: std::io::Error) -> Error {
    let message = format!("{} is a damaged tar", path.display());
    Error::new(Code::IntegrityMismatch, message)
        .hint("copy or download it again")
        .detail("where", "object")
        .source(damage)
}

enum Scan {
    Whole,
    /// The file is shorter than its headers say.
    CutOff {
        needed: u64,
    },
    /// The file starts as a tar and does not continue as one.
    Damaged(std::io::Error),
}

/// Most members that are checked. Home Assistant has one for each add-on and folder; a tar with
/// more members is not one of its backups, and is not read to its end.
const MEMBERS: usize = 10_000;

/// Reads all headers, and `backup.json` if it is found.
///
/// # Errors
/// When the first block is not a tar header.
fn scan(mut file: &File, size: u64, json: &mut Option<Vec<u8>>) -> std::io::Result<Scan> {
    // Where the next header or the end marker must begin.
    let mut end = 0_u64;
    for _ in 0..MEMBERS {
        let needed = end.saturating_add(2 * BLOCK);
        let member = match Member::read(&mut file, end) {
            Ok(Some(member)) => member,
            Ok(None) if end == 0 => return Err(std::io::ErrorKind::InvalidData.into()),
            Err(error) if end == 0 => return Err(error),
            _ if size < needed => return Ok(Scan::CutOff { needed }),
            Ok(None) => return Ok(Scan::Whole),
            Err(error) => return Ok(Scan::Damaged(error)),
        };
        if json.is_none() && member.is_backup_json {
            file.seek(SeekFrom::Start(end.saturating_add(member.content)))?;
            // If it is truncated, the length of the file shows it.
            *json = Some(backup_json::read(file.take(member.size)).unwrap_or_default());
        }
        end = end.saturating_add(member.end());
        if size < end {
            return Ok(Scan::CutOff { needed: end.saturating_add(2 * BLOCK) });
        }
    }
    Ok(Scan::Whole)
}

/// The file name, without its extension, that Home Assistant gives a backup.
///
/// Mirrors `suggested_filename` in `homeassistant/components/backup/util.py`.
pub(crate) fn suggested_name(name: &str, date: Option<&str>) -> String {
    let stamp = date.and_then(moment).map(|date| date.format(" %Y-%m-%d %H.%M %S%6f").to_string());
    let whole = format!("{name}{}", stamp.unwrap_or_default());
    whole.split_whitespace().collect::<Vec<_>>().join("_")
}

/// Parses an ISO 8601 date; without an offset it is UTC. Years outside of 0 to 9999 are refused,
/// because they could not be shown in another time zone with four digits.
pub(crate) fn moment(date: &str) -> Option<chrono::DateTime<chrono::FixedOffset>> {
    let with_offset = chrono::DateTime::parse_from_rfc3339(date).ok();
    let moment = with_offset.or_else(|| {
        let naive = chrono::NaiveDateTime::parse_from_str(date, "%Y-%m-%dT%H:%M:%S%.f");
        naive.ok().map(|naive| naive.and_utc().fixed_offset())
    });
    moment.filter(|moment| (0..10_000).contains(&moment.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_name_matches_home_assistant_suggestion() {
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
}
