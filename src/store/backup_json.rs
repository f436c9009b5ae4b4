//! What an archive of Home Assistant says of itself: its `backup.json`, and where that is.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::protocol::Metadata;

/// Largest `backup.json` that is read.
pub const MAX_BACKUP_JSON: u64 = 4 << 20;

/// Tars are made of blocks of so many bytes.
pub const BLOCK: u64 = 512;

/// One member of a tar that is read piece by piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whether it is the `backup.json`.
    pub is_backup_json: bool,
    /// Where its content begins, counted from its first header.
    pub content: u64,
    /// Length of the content.
    pub size: u64,
}

impl Member {
    /// Where the next member begins, counted from the first header of this one.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.content.saturating_add(self.size).div_ceil(BLOCK).saturating_mul(BLOCK)
    }

    /// The member whose headers `bytes` begins with. None at the end of a tar, and where there is
    /// none.
    #[must_use]
    pub fn first_of(bytes: &[u8]) -> Option<Self> {
        let mut archive = tar::Archive::new(bytes);
        let entry = archive.entries().ok()?.next()?.ok()?;
        // Only the header of a sparse file says how much of it is stored.
        let sparse = entry.header().entry_type().is_gnu_sparse();
        let size = if sparse { entry.header().entry_size().ok()? } else { entry.size() };
        let is_backup_json = is_backup_json(&entry.path_bytes());
        Some(Self { is_backup_json, content: entry.raw_file_position(), size })
    }
}

/// Whether a member of this name is the one that tells of the backup.
#[must_use]
pub fn is_backup_json(path: &[u8]) -> bool {
    matches!(path, b"./backup.json" | b"backup.json")
}

/// Reads the content of a member that is a `backup.json`, as far as it may be long.
///
/// # Errors
/// When the input cannot be read.
pub fn read(content: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut json = Vec::new();
    content.take(MAX_BACKUP_JSON).read_to_end(&mut json)?;
    Ok(json)
}

/// What Home Assistant's own agents know of a backup of `size` bytes, from its `backup.json`. None where
/// that lacks its id, name or date.
///
/// Mirrors `read_backup` in `homeassistant/components/backup/util.py`.
#[must_use]
pub fn metadata(json: &[u8], size: u64) -> Option<Metadata> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
