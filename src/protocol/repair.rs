//! Messages for archives whose metadata objects are lost.

use serde::{Deserialize, Serialize};

use super::{CheckError, Common};

/// Parameters of `target.repair`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RepairRequest {
    /// Name of the target.
    pub target: String,
    /// Whether to report without writing anything.
    #[serde(default)]
    pub dry_run: bool,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// Result of `target.repair`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RepairResult {
    /// Archives without a metadata object that no upload is writing, in the order of their names,
    /// as many as fit into a line.
    pub archives: Vec<RepairedArchive>,
    /// Whether there were more.
    pub more: bool,
}

/// An archive without a metadata object.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RepairedArchive {
    /// Name of the object, without folder and extension.
    pub name: String,
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// The result.
    pub status: RepairStatus,
    /// Backup ID, from the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// Title of the backup, from the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Why it was not repaired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CheckError>,
}

/// Result for an archive without a metadata object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RepairStatus {
    /// The archive contains the data for a metadata object, but none was written: a dry run, or an
    /// error.
    Repairable,
    /// The metadata object was written, and the backup is listed again.
    Repaired,
    /// The archive does not contain the data for a metadata object, or the data conflicts with a
    /// listed backup.
    Unknown,
}
