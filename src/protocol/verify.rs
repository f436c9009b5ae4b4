//! Messages about whether what is stored is still what was stored.

use serde::{Deserialize, Serialize};

use super::{CheckError, Common};

/// How closely `backup.verify` looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum VerifyLevel {
    /// At lengths only; no byte of the archive is read.
    Quick,
    /// At every byte.
    #[default]
    Full,
}

/// Parameters of `backup.verify`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerifyRequest {
    /// Name of the target.
    pub target: String,
    /// Identity of the backup.
    pub backup_id: String,
    /// Default: `full`.
    #[serde(default)]
    pub level: VerifyLevel,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// What was found of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum VerifyStatus {
    /// Every byte is the one that was stored.
    Ok,
    /// Nothing speaks against it, and not every byte could be compared, or was to be.
    Unverified,
    /// It is not what was stored, and cannot be restored as it is.
    Damaged,
}

/// Result of `backup.verify`. A broken backup is a result, not an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerifyResult {
    /// Identity of the backup.
    pub backup_id: String,
    /// How closely it was looked at.
    pub level: VerifyLevel,
    /// What was found.
    pub status: VerifyStatus,
    /// Length of the stored archive; 0 where there is none, or where it was not looked at.
    pub length: u64,
    /// How it is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CheckError>,
}
