//! The metadata object `<name>.metadata.json`: the host's metadata verbatim, plus the member
//! `s3_backup_agent`.
//!
//! Reading is tolerant: metadata objects of other tools lack that member and are listed too.
//! Writing fills in what readers of this layout rely on.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result};
use crate::platform::now;
use crate::protocol::{MAX_BACKUP_ID, MAX_METADATA, MAX_METADATA_DEPTH, Metadata};
use crate::s3::PartChecksums;

/// Name of the agent's member.
const AGENT_MEMBER: &str = "s3_backup_agent";

/// Version of the agent's member that this agent writes and reads.
pub const FORMAT: u32 = 1;

/// Bytes that the size of a tar may change for each inner archive when Home Assistant repacks it to
/// encrypt or decrypt.
const REPACKED: u64 = 10_240;

/// Checksums of an archive, part by part, computed during the upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksums {
    /// Length of the archive in bytes.
    pub size: u64,
    /// Length of every part except the last, in bytes.
    pub part_size: u64,
    /// Checksums of the parts, in order.
    pub parts: Vec<PartChecksums>,
}

impl Checksums {
    /// The composite checksum that AWS uses for multipart objects: SHA-256 over the SHA-256 of the
    /// parts, in base64, with the number of parts.
    #[must_use]
    pub fn composite(&self) -> String {
        let hash =
            self.parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part.sha256));
        format!("{}-{}", BASE64_STANDARD.encode(hash.finalize()), self.parts.len())
    }

    /// Removes the CRC checksums, so that only SHA-256 is compared.
    #[must_use]
    pub fn sha256_only(mut self) -> Self {
        self.parts.iter_mut().for_each(|part| part.crc64nvme = None);
        self
    }

    fn is_consistent(&self) -> bool {
        let parts = self.parts.len() as u64;
        self.part_size > 0 && self.size > 0 && self.size.div_ceil(self.part_size) == parts
    }
}

/// A parsed metadata object.
#[derive(Clone, Debug)]
pub struct MetadataObject {
    /// `backup_id` of the metadata.
    pub id: String,
    /// `size` of the metadata, if it names one.
    pub size: Option<u64>,
    /// The host's members.
    pub metadata: Metadata,
    /// The agent's checksums; None in a metadata object of another tool.
    pub checksums: Option<Checksums>,
    /// The problem with the agent's member: `corrupt_metadata`, or `unsupported_feature` when a
    /// newer agent wrote it.
    pub fault: Option<Error>,
}

impl MetadataObject {
    /// The possible lengths of the archive according to the metadata; None if it has no size. Home
    /// Assistant announces the largest size that a backup can have after encrypting or decrypting.
    #[must_use]
    pub fn lengths(&self) -> Option<RangeInclusive<u64>> {
        let most = self.size?;
        let count = |list: &str| {
            self.metadata.get(list).and_then(Value::as_array).map_or(0, |list| list.len() as u64)
        };
        let core = self.metadata.get("homeassistant_included") == Some(&Value::Bool(true));
        let inside = count("addons") + count("folders") + u64::from(core);
        // What each may lose, what each was expected to gain, and the end of the whole.
        let tolerance = if inside == 0 { 0 } else { (2 * inside + 1) * REPACKED };
        Some(most.saturating_sub(tolerance)..=most)
    }
}

#[derive(Serialize, Deserialize)]
struct AgentMember {
    format: u32,
    agent: String,
    size: u64,
    part_size: u64,
    sha256: String,
    parts: Vec<String>,
    /// Missing in metadata of earlier agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc64nvme: Option<Vec<String>>,
}

/// Serializes the metadata of a backup with an archive of `size` bytes, with checksums if they are
/// known.
///
/// Members that readers rely on and the host left out get neutral values.
#[must_use]
pub fn write(
    mut metadata: Metadata,
    id: &str,
    name: &str,
    size: u64,
    checksums: Option<&Checksums>,
) -> Bytes {
    metadata.remove(AGENT_MEMBER);
    let neutral = [
        ("addons", json!([])),
        ("backup_id", json!(id)),
        ("date", json!(now().to_rfc3339())),
        ("database_included", json!(false)),
        ("extra_metadata", json!({})),
        ("folders", json!([])),
        ("homeassistant_included", json!(false)),
        ("homeassistant_version", Value::Null),
        ("name", json!(name)),
        ("protected", json!(false)),
        ("size", json!(size)),
    ];
    for (member, value) in neutral {
        metadata.entry(member).or_insert(value);
    }
    if let Some(checksums) = checksums {
        let parts = &checksums.parts;
        let checksum = |part: &PartChecksums| {
            part.crc64nvme.map(|checksum| BASE64_STANDARD.encode(checksum.to_be_bytes()))
        };
        let ours = json!(AgentMember {
            format: FORMAT,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            size: checksums.size,
            part_size: checksums.part_size,
            sha256: checksums.composite(),
            parts: parts.iter().map(|part| BASE64_STANDARD.encode(part.sha256)).collect(),
            crc64nvme: parts.iter().map(checksum).collect(),
        });
        metadata.insert(AGENT_MEMBER.to_owned(), ours);
    }
    Bytes::from(Value::Object(metadata).to_string())
}

/// Longest metadata that is read, in bytes: the host's maximum, and what this agent adds.
const MAX_READ: usize = MAX_METADATA + (8 << 10);

/// Parses a metadata object.
///
/// # Errors
/// `corrupt_metadata` when it does not describe a backup, `too_large` when it holds more than a
/// listing can show.
pub fn read(content: &[u8]) -> Result<MetadataObject> {
    let corrupt = |message: &str| Error::new(Code::CorruptMetadata, message);
    let Ok(Members(mut members)) = serde_json::from_slice(content) else {
        return Err(corrupt("the metadata is not a JSON object"));
    };
    let ours =
        members.iter().rposition(|(name, _)| name == AGENT_MEMBER).map(|at| members.remove(at).1);
    members.retain(|(name, _)| name != AGENT_MEMBER);
    // Parsed values take many times the memory, so the length is checked first.
    let length: usize = members.iter().map(|(name, value)| name.len() + value.get().len()).sum();
    if length > MAX_READ {
        return Err(Error::new(Code::TooLarge, "the metadata is too large to be listed"));
    }
    let mut metadata = Metadata::new();
    for (name, value) in members {
        let value = serde_json::from_str(value.get());
        metadata.insert(name, value.map_err(|_| corrupt("the metadata is nested too deeply"))?);
    }
    let id = match metadata.get("backup_id") {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        _ => return Err(corrupt("the metadata has no backup_id")),
    };
    if id.chars().count() > MAX_BACKUP_ID {
        let message = format!("the backup_id is longer than {MAX_BACKUP_ID} characters");
        return Err(corrupt(&message));
    }
    let size = metadata.get("size").and_then(Value::as_u64);
    if depth(&metadata) > MAX_METADATA_DEPTH {
        return Err(corrupt("the metadata is nested too deeply"));
    }
    let (checksums, fault) = match ours.map(|ours| read_agent_member(&ours)).transpose() {
        Ok(checksums) => (checksums, None),
        Err(fault) => (None, Some(fault)),
    };
    Ok(MetadataObject { id, size, metadata, checksums, fault })
}

/// The members of an object as text, in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A>(self, mut map: A) -> Result<Members, A::Error>
            where
                A: serde::de::MapAccess<'de>,
            {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Nesting depth of objects and arrays in metadata, itself included.
#[must_use]
pub fn depth(metadata: &Metadata) -> usize {
    fn below<'a>(values: impl Iterator<Item = &'a Value>) -> usize {
        let depths = values.map(|value| match value {
            Value::Object(members) => below(members.values()),
            Value::Array(elements) => below(elements.iter()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        });
        1 + depths.max().unwrap_or_default()
    }
    below(metadata.values())
}

fn read_agent_member(ours: &RawValue) -> Result<Checksums> {
    #[derive(Deserialize)]
    struct Version {
        format: u64,
    }
    let corrupt = || {
        Error::new(
            Code::CorruptMetadata,
            format!("the member {AGENT_MEMBER} of the metadata is damaged"),
        )
    };
    let version = serde_json::from_str::<Version>(ours.get());
    if version.is_ok_and(|version| version.format > u64::from(FORMAT)) {
        return Err(Error::new(
            Code::UnsupportedFeature,
            "a newer version of the agent wrote this backup",
        )
        .hint("update the agent")
        .detail("feature", "metadata format"));
    }
    let ours: AgentMember = serde_json::from_str(ours.get()).map_err(|_| corrupt())?;
    let sha256 = decoded(&ours.parts).ok_or_else(corrupt)?;
    let crc64nvme = match &ours.crc64nvme {
        None => vec![None; sha256.len()],
        Some(list) if list.len() != sha256.len() => return Err(corrupt()),
        Some(list) => {
            let list = decoded(list).ok_or_else(corrupt)?;
            list.into_iter().map(|bytes| Some(u64::from_be_bytes(bytes))).collect()
        }
    };
    let parts = sha256.into_iter().zip(crc64nvme);
    let parts = parts.map(|(sha256, crc64nvme)| PartChecksums { sha256, crc64nvme }).collect();
    let checksums = Checksums { size: ours.size, part_size: ours.part_size, parts };
    if !checksums.is_consistent() || checksums.composite() != ours.sha256 {
        return Err(corrupt());
    }
    Ok(checksums)
}

fn decoded<const N: usize>(list: &[String]) -> Option<Vec<[u8; N]>> {
    list.iter().map(|text| BASE64_STANDARD.decode(text).ok()?.try_into().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksums() -> Checksums {
        let part = |number| PartChecksums { sha256: [number; 32], crc64nvme: Some(number.into()) };
        Checksums { size: 25, part_size: 10, parts: [1, 2, 3].map(part).to_vec() }
    }

    fn object(value: Value) -> Metadata {
        let Value::Object(map) = value else { panic!("an object") };
        map
    }

    #[test]
    fn host_metadata_reads_back_unchanged() {
        let given = object(json!({
            "name": "Nächtliche Sicherung 🏠", "size": 20480, "backup_id": "b1", "date": "2026-11-20",
            "extra_metadata": {"instance_id": "x", "nested": [1, 2.5, 1e70, null]}, "folders": ["share"],
            "addons": [], "database_included": true, "homeassistant_included": true,
            "homeassistant_version": "2026.11.0", "protected": true, "unknown": {"z": 1, "a": 2},
        }));
        let read = read(&write(given.clone(), "b1", "n", 25, Some(&checksums()))).unwrap();
        assert_eq!(Value::Object(read.metadata).to_string(), Value::Object(given).to_string());
        assert_eq!((read.id.as_str(), read.size), ("b1", Some(20480)));
        assert_eq!(read.checksums, Some(checksums()));
    }

    #[test]
    fn members_that_other_readers_need_are_filled_in() {
        let content = write(Metadata::new(), "b1", "Name", 25, Some(&checksums()));
        let value: Value = serde_json::from_slice(&content).unwrap();
        for member in [
            "addons",
            "backup_id",
            "date",
            "database_included",
            "extra_metadata",
            "folders",
            "homeassistant_included",
            "homeassistant_version",
            "name",
            "protected",
            "size",
        ] {
            assert!(value.get(member).is_some(), "{member}");
        }
        assert_eq!(value.get("size"), Some(&json!(25)));
    }

    #[test]
    fn announced_size_may_be_an_overestimate() {
        let lengths = |members: Value| {
            let mut metadata = object(json!({"backup_id": "f"}));
            metadata.extend(object(members));
            read(Value::Object(metadata).to_string().as_bytes()).unwrap().lengths()
        };
        assert_eq!(lengths(json!({})), None);
        assert_eq!(lengths(json!({"size": 5, "addons": [], "folders": []})), Some(5..=5));
        let packed = json!({"size": 99_999, "homeassistant_included": true});
        assert_eq!(lengths(packed), Some(69_279..=99_999));
        let small = json!({"size": 9, "addons": [{}], "folders": ["share"]});
        assert_eq!(lengths(small), Some(0..=9));
    }

    #[test]
    fn metadata_without_digests_is_read() {
        let read = read(&write(Metadata::new(), "b1", "Name", 7, None)).unwrap();
        assert!(read.checksums.is_none() && read.fault.is_none());
        assert_eq!(read.size, Some(7));
    }

    #[test]
    fn metadata_without_checksums_is_read() {
        let checksums = checksums().sha256_only();
        let content = write(Metadata::new(), "b1", "Name", 25, Some(&checksums));
        assert!(!String::from_utf8(content.to_vec()).unwrap().contains("crc64nvme"));
        let read = read(&content).unwrap();
        assert!(read.fault.is_none());
        assert_eq!(read.checksums, Some(checksums));
    }

    #[test]
    fn foreign_metadata_is_read_and_damage_is_named() {
        let foreign = read(br#"{"backup_id":"f","size":1}"#).unwrap();
        assert!(foreign.checksums.is_none());
        for content in
            ["", "[]", "{}", r#"{"backup_id":7}"#, r#"{"backup_id":""}"#, "\u{0}", "{\"a\":"]
        {
            assert_eq!(
                read(content.as_bytes()).unwrap_err().code(),
                Code::CorruptMetadata,
                "{content}"
            );
        }
        let ours = write(Metadata::new(), "b1", "Name", 25, Some(&checksums()));
        let ours = String::from_utf8(ours.to_vec()).unwrap();
        for (from, to, code) in [
            ("\"size\":25,\"part_size\":10", "\"size\":25,\"part_size\":5", Code::CorruptMetadata),
            ("\"size\":25,\"part_size\":10", "\"size\":35,\"part_size\":10", Code::CorruptMetadata),
            ("\"parts\":[\"A", "\"parts\":[\"B", Code::CorruptMetadata),
            ("\"AAAAAAAAAAM=\"", "\"AAAAAAAAAA==\"", Code::CorruptMetadata),
            ("\"AAAAAAAAAAM=\"", "\"AAAAAAAAAAM=\",\"AAAAAAAAAAM=\"", Code::CorruptMetadata),
            ("\"format\":1", "\"format\":2", Code::UnsupportedFeature),
        ] {
            let damaged = ours.replace(from, to);
            assert_ne!(damaged, ours);
            let read = read(damaged.as_bytes()).unwrap();
            assert_eq!(read.id, "b1");
            assert_eq!(read.fault.unwrap().code(), code, "{to}");
        }
    }
}
