//! Messages about archives whose documents are lost.

use serde::{Deserialize, Serialize};

use super::{CheckError, Common};

/// Parameters of `target.repair`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RepairRequest {
    /// Name of the target.
    pub target: String,
    /// Whether only to look.
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
    /// Archives without document that nobody is storing, in the order of their names, as far as
    /// they fit into a line.
    pub archives: Vec<RepairedArchive>,
    /// Whether there were more.
    pub more: bool,
}

/// An archive without document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RepairedArchive {
    /// Name of the object, without folder and ending.
    pub name: String,
    /// Its key.
    pub key: String,
    /// Its length.
    pub size: u64,
    /// What became of it.
    pub status: RepairStatus,
    /// Identity of the backup, as the archive says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// What the backup is called, as the archive says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Why it is no backup again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CheckError>,
}

/// What became of an archive without document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RepairStatus {
    /// It says what a document needs, which was not written: a dry run, or an error.
    Repairable,
    /// It has a document again, and is listed.
    Repaired,
    /// It does not say what a document needs, or that cannot stand beside what is listed.
    Unknown,
}
