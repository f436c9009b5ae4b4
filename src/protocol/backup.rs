//! Messages for backups: upload, download, list, get, delete.

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

/// Metadata of a backup, a JSON object that is stored verbatim.
pub type Metadata = Map<String, Value>;

/// A backup to upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NewBackup {
    /// Backup ID, 1 to 200 characters.
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_BACKUP_ID), extend("not" = { "pattern": CONTROL })))]
    pub id: String,
    /// Requested name of the objects; the agent makes it safe and unique.
    pub name: String,
    /// Stored verbatim. If it contains `backup_id`, this must equal `id`.
    #[serde(default)]
    pub metadata: Metadata,
}

/// What to do when a backup with this ID exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum IfExists {
    /// Fail with `already_exists`.
    #[default]
    Fail,
    /// Store the new backup, then delete the existing one.
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
    /// Announced length in bytes; an upload with fewer bytes fails.
    #[cfg_attr(test, schemars(range(min = 1)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Whether an upload with more bytes than `size` fails as well.
    #[serde(default)]
    pub exact: bool,
    /// Default: `fail`.
    #[serde(default)]
    pub if_exists: IfExists,
    /// How long to keep retrying if the server becomes unreachable during the transfer, in
    /// milliseconds, 0 to 3,600,000.
    #[cfg_attr(test, schemars(range(max = MAX_RETRY_FOR_MS)))]
    #[serde(default)]
    pub retry_for_ms: u64,
    /// How long the parts of an interrupted upload are kept so that a repeated upload can resume,
    /// in seconds, 0 to 86,400. Needs the capability `upload.resume`.
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
    /// The backup, as `backup.list` returns it.
    pub backup: Backup,
    /// ETag of the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Version ID of the archive, in a versioned bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Bytes that were not sent, because an earlier upload had stored them.
    #[cfg_attr(test, schemars(range(min = 1)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_bytes: Option<u64>,
}

/// A stored backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Backup {
    /// Backup ID.
    pub id: String,
    /// Name of its objects in the bucket, without folder and extension.
    pub name: String,
    /// Length in bytes from its metadata.
    pub size: u64,
    /// Length of the stored archive in bytes.
    pub stored_size: u64,
    /// Whether downloads are verified against checksums recorded at upload.
    pub has_checksums: bool,
    /// Metadata as it was uploaded.
    #[cfg_attr(test, schemars(with = "Metadata"))]
    pub metadata: MetadataText,
}

/// Metadata as JSON text, because parsed values take many times the memory. Clones share it.
#[derive(Clone, Debug)]
pub struct MetadataText(Arc<RawValue>);

impl MetadataText {
    /// Serializes metadata.
    ///
    /// # Errors
    /// When the values cannot be serialized.
    pub fn of(metadata: &Metadata) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(metadata).map(|text| Self(text.into()))
    }

    /// The parsed metadata; empty when the text is not an object.
    #[must_use]
    pub fn values(&self) -> Metadata {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }

    /// Length of the text in bytes.
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
    /// Backup ID.
    pub backup_id: String,
    /// Initial credit: number of bytes of the stream that the agent may send.
    pub up_to: u64,
    /// First byte of the archive to send. Default: 0.
    #[serde(default)]
    pub offset: u64,
    /// How long to keep retrying if the server becomes unreachable during the transfer, in
    /// milliseconds, 0 to 3,600,000.
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
    /// Number of bytes sent.
    pub length: u64,
    /// Whether every byte was verified against checksums recorded at upload.
    pub verified: bool,
}

/// Parameters of `backup.list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListRequest {
    /// Name of the target.
    pub target: String,
    /// `next` of the previous page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Maximum number of entries on a page, 1 to 1,000. Default: as many as fit.
    #[cfg_attr(test, schemars(range(min = 1, max = MAX_PAGE)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<usize>,
    /// Whether to list the bucket even if a recent listing is cached.
    #[serde(default)]
    pub refresh: bool,
    /// Additional age up to which a cached listing is returned at once, in seconds, 0 to 86,400.
    /// The agent then lists the bucket in the background.
    #[cfg_attr(test, schemars(range(max = MAX_STALE_S)))]
    #[serde(default)]
    pub stale_s: u64,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// An object that looks like part of a backup, but is not listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Skipped {
    /// Its key.
    pub key: String,
    /// The reason, as an error code.
    pub code: Code,
    /// The reason, as a message.
    pub message: String,
}

/// Result of `backup.list`: one page.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListResult {
    /// Backups in the order of their names.
    pub backups: Vec<Backup>,
    /// `cursor` for the next page, if there is one.
    pub next: Option<String>,
    /// Objects that are not listed as backups.
    pub skipped: Vec<Skipped>,
}

/// Parameters of `backup.get` and `backup.delete`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BackupRequest {
    /// Name of the target.
    pub target: String,
    /// Backup ID.
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
