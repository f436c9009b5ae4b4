//! Messages for verification: compares stored backups with their checksums.

use serde::{Deserialize, Serialize};

use super::{CheckError, Common};

/// How thorough `backup.verify` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum VerifyLevel {
    /// Compare lengths only; the archive is not read.
    Quick,
    /// Read and compare every byte.
    #[default]
    Full,
}

/// Parameters of `backup.verify`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerifyRequest {
    /// Name of the target.
    pub target: String,
    /// Backup ID.
    pub backup_id: String,
    /// How thorough the verification is. Default: `full`.
    #[serde(default)]
    pub level: VerifyLevel,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// Result for a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum VerifyStatus {
    /// Every byte matches its checksum.
    Ok,
    /// No error was found, but not every byte was compared: `quick`, or there are no checksums.
    Unverified,
    /// The backup differs from the uploaded one, and cannot be restored as it is.
    Damaged,
}

/// Result of `backup.verify`. A damaged backup is a result, not an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerifyResult {
    /// Backup ID.
    pub backup_id: String,
    /// How thorough the verification was.
    pub level: VerifyLevel,
    /// The result.
    pub status: VerifyStatus,
    /// Length of the stored archive in bytes; 0 if there is none, or if it was not checked.
    pub length: u64,
    /// What is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CheckError>,
}
