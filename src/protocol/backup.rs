//! Messages about backups.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Common;
#[cfg(test)]
use super::{MAX_BACKUP_ID, MAX_PAGE, MAX_RESUME_S, MAX_RETRY_FOR_MS, MAX_STALE_S};
#[cfg(test)]
use crate::error::CONTROL;
use crate::error::Code;

/// Metadata of a backup, carried verbatim.
pub type Metadata = Map<String, Value>;

/// A backup to be stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NewBackup {
    /// Identity, 1 to 200 characters.
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_BACKUP_ID), extend("not" = { "pattern": CONTROL })))]
    pub id: String,
    /// Wish for the name of the objects; made safe and unique by the agent.
    pub name: String,
    /// Stored verbatim. `backup_id`, where present, must equal `id`.
    #[serde(default)]
    pub metadata: Metadata,
}

/// What to do when a backup of this id exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum IfExists {
    /// Answer `already_exists`.
    #[default]
    Fail,
    /// Store the new one, then delete the old one.
    Replace,
}

/// Parameters of `backup.upload`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UploadRequest {
    /// Name of the target.
    pub target: String,
    /// What to store.
    pub backup: NewBackup,
    /// Announced length; fewer bytes are refused.
    #[cfg_attr(test, schemars(range(min = 1)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Whether more bytes than `size` are refused as well.
    #[serde(default)]
    pub exact: bool,
    /// Default: `fail`.
    #[serde(default)]
    pub if_exists: IfExists,
    /// How long the storage may be away in the middle of it, 0 to 3,600,000.
    #[cfg_attr(test, schemars(range(max = MAX_RETRY_FOR_MS)))]
    #[serde(default)]
    pub retry_for_ms: u64,
    /// How long what was stored waits for a repetition that goes on with it, when the upload is
    /// interrupted, 0 to 86,400. Needs the capability `upload.resume`.
    #[cfg_attr(test, schemars(range(max = MAX_RESUME_S)))]
    #[serde(default)]
    pub resume_s: u64,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// Result of `backup.upload`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UploadResult {
    /// The backup as `backup.list` shows it from now on.
    pub backup: Backup,
    /// Entity tag of the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Version of the archive, in a versioned bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Bytes that were not sent to the storage, because an earlier upload had stored them.
    #[cfg_attr(test, schemars(range(min = 1)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_bytes: Option<u64>,
}

/// A stored backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Backup {
    /// Identity.
    pub id: String,
    /// Name of its objects in the bucket, without folder and ending.
    pub name: String,
    /// Length that its metadata announces.
    pub size: u64,
    /// Length of the stored archive.
    pub stored_size: u64,
    /// Whether a download is checked against digests kept since the upload.
    pub has_checksums: bool,
    /// Metadata as it was given.
    #[cfg_attr(test, schemars(with = "Metadata"))]
    pub metadata: MetadataText,
}

/// Metadata as text, because as values it takes many times the memory. Clones share it.
#[derive(Clone, Debug)]
pub struct MetadataText(Arc<RawValue>);

impl MetadataText {
    /// The text of these values.
    ///
    /// # Errors
    /// When they cannot be written as JSON.
    pub fn of(metadata: &Metadata) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(metadata).map(|text| Self(text.into()))
    }

    /// The values; none where the text is no object.
    #[must_use]
    pub fn values(&self) -> Metadata {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }

    /// Bytes of the text.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.get().len()
    }
}

impl PartialEq for MetadataText {
    fn eq(&self, other: &Self) -> bool {
        self.values() == other.values()
    }
}

impl Serialize for MetadataText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MetadataText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// Parameters of `backup.download`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DownloadRequest {
    /// Name of the target.
    pub target: String,
    /// Identity of the backup.
    pub backup_id: String,
    /// First credit: bytes of the stream that the agent may send.
    pub up_to: u64,
    /// First byte of the archive to send. Default: 0.
    #[serde(default)]
    pub offset: u64,
    /// How long the storage may be away in the middle of it, 0 to 3,600,000.
    #[cfg_attr(test, schemars(range(max = MAX_RETRY_FOR_MS)))]
    #[serde(default)]
    pub retry_for_ms: u64,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// Result of `backup.download`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DownloadResult {
    /// Bytes sent.
    pub length: u64,
    /// Whether every byte was checked against digests kept since the upload.
    pub verified: bool,
}

/// Parameters of `backup.list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListRequest {
    /// Name of the target.
    pub target: String,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Most entries in a page, 1 to 1,000. Default: as many as fit.
    #[cfg_attr(test, schemars(range(min = 1, max = MAX_PAGE)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<usize>,
    /// Whether to ask the storage even when a recent listing is at hand.
    #[serde(default)]
    pub refresh: bool,
    /// How much older than usual a listing may be that is given at once, in seconds, 0 to 86,400. A
    /// new one is made meanwhile.
    #[cfg_attr(test, schemars(range(max = MAX_STALE_S)))]
    #[serde(default)]
    pub stale_s: u64,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// An object that looks like a part of a backup and is not offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Skipped {
    /// Its key.
    pub key: String,
    /// Why, as an error code.
    pub code: Code,
    /// Why, as a sentence.
    pub message: String,
}

/// Result of `backup.list`: one page.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListResult {
    /// Backups in the order of their names.
    pub backups: Vec<Backup>,
    /// What to give as `cursor` for the next page, if there is one.
    pub next: Option<String>,
    /// Objects that are not offered.
    pub skipped: Vec<Skipped>,
}

/// Parameters of `backup.get` and `backup.delete`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BackupRequest {
    /// Name of the target.
    pub target: String,
    /// Identity of the backup.
    pub backup_id: String,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// Result of `backup.get`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GetResult {
    /// The backup.
    pub backup: Backup,
}

/// Result of `backup.delete`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeleteResult {
    /// Always true.
    pub deleted: bool,
}
