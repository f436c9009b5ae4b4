//! `backup.json` of a Home Assistant archive, and its position in the tar.

mod member;

use std::io::Read as _;

use serde_json::{Value, json};

pub use self::member::{BLOCK, Member};
use crate::protocol::Metadata;

/// Largest `backup.json` that is read, in bytes.
pub const MAX_BACKUP_JSON: u64 = 4 << 20;

/// Reads the content of a `backup.json`, up to [`MAX_BACKUP_JSON`].
///
/// # Errors
/// When the input cannot be read.
pub fn read(content: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut json = Vec::new();
    content.take(MAX_BACKUP_JSON).read_to_end(&mut json)?;
    Ok(json)
}

/// Metadata of a backup of `size` bytes, from its `backup.json`, as Home Assistant's own agents
/// return it. None if the ID, name or date is missing.
///
/// Mirrors `read_backup` in `homeassistant/components/backup/util.py`, and reads the format of
/// backups from before 2021.8 as the Supervisor does (`supervisor/backups/validate.py`).
#[must_use]
pub fn metadata(json: &[u8], size: u64) -> Option<Metadata> {
    let given: Metadata = serde_json::from_slice(json).ok()?;
    let text = |member: &str| given.get(member).and_then(Value::as_str);
    let list = |member: &str| given.get(member).and_then(Value::as_array).into_iter().flatten();
    let version = given.get("homeassistant").and_then(version);
    let extra = given.get("extra").cloned().unwrap_or_else(|| json!({}));
    let asked_for = extra.get("supervisor.backup_request_date").and_then(Value::as_str);
    let addons = list("addons").map(|addon| {
        json!({"name": addon.get("name"), "slug": addon.get("slug"), "version": addon.get("version")})
    });
    let folders = list("folders").filter(|folder| *folder != "homeassistant").cloned();
    let has_database = match given.get("homeassistant") {
        // A string means that the configuration is a folder like others, with the database in it.
        Some(Value::String(_)) => list("folders").any(|folder| *folder == "homeassistant"),
        Some(core) => !core.get("exclude_database").and_then(Value::as_bool).unwrap_or(false),
        None => false,
    };
    let members = json!({
        "addons": addons.collect::<Vec<_>>(),
        "backup_id": text("slug")?,
        "database_included": version.is_some() && has_database,
        "date": asked_for.or(text("date"))?,
        "extra_metadata": extra,
        "folders": folders.collect::<Vec<_>>(),
        "homeassistant_included": version.is_some(),
        "homeassistant_version": version,
        "name": text("name")?,
        "protected": given.get("protected").is_some_and(is_protected),
        "size": size,
    });
    members.as_object().cloned()
}

/// The version of Home Assistant in a backup: a member of an object, or in old backups a string.
fn version(core: &Value) -> Option<&Value> {
    match core.as_str() {
        Some(version) => (!version.is_empty()).then_some(core),
        None => core.get("version"),
    }
}

/// Old backups have a hash of their password instead of `true`.
fn is_protected(protected: &Value) -> bool {
    protected.as_bool().unwrap_or_else(|| protected.is_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supervisor_backup_is_read_like_home_assistant_does() {
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

    #[test]
    fn snapshot_of_old_supervisor_is_read() {
        let read = |core: Value, folders: Value, protected: Value| {
            let json = json!({
                "slug": "5nap0001", "type": "full", "name": "Snapshot",
                "date": "2021-03-04T05:06:07.000000+00:00", "homeassistant": core,
                "folders": folders, "protected": protected, "crypto": null,
                "addons": [{"slug": "core_ssh", "name": "SSH", "version": "9.0", "size": 0.0}],
                "repositories": ["https://github.com/hassio-addons/repository"],
            });
            let read = metadata(&serde_json::to_vec(&json).unwrap(), 7).unwrap();
            assert_eq!(read["backup_id"], "5nap0001");
            assert_eq!(read["addons"][0]["version"], "9.0");
            let members = [
                "homeassistant_version",
                "homeassistant_included",
                "database_included",
                "protected",
            ];
            (
                Value::from(members.map(|member| read[member].clone()).to_vec()),
                read["folders"].clone(),
            )
        };
        let all = json!(["homeassistant", "share", "ssl"]);
        for (core, folders, protected, expected) in [
            (json!("2021.9.4"), all.clone(), json!(false), json!(["2021.9.4", true, true, false])),
            (json!("0.42"), json!(["share"]), Value::Null, json!(["0.42", true, false, false])),
            (
                json!({"version": "2021.3.4", "boot": true, "port": 8123, "refresh_token": null}),
                all.clone(),
                json!("k"),
                json!(["2021.3.4", true, true, true]),
            ),
            (
                json!({"boot": true, "port": 8123}),
                json!([]),
                json!(true),
                json!([null, false, false, true]),
            ),
            (json!(""), all.clone(), json!(false), json!([null, false, false, false])),
            (Value::Null, all.clone(), json!(false), json!([null, false, false, false])),
            (json!(["share"]), all, json!(false), json!([null, false, false, false])),
        ] {
            let is_all = folders.as_array().unwrap().len() == 3;
            let (read, rest) = read(core, folders.clone(), protected);
            assert_eq!(read, expected);
            assert_eq!(rest, if is_all { json!(["share", "ssl"]) } else { folders });
        }
    }
}
