//! Messages about whether what is stored is still what was stored.

use serde::{Deserialize, Serialize};

use super::{CheckError, Common};

/// How closely `backup.verify` looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// At lengths only; no byte of the archive is read.
    Quick,
    /// At every byte.
    #[default]
    Full,
}

/// Parameters of `backup.verify`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verify {
    /// Name of the target.
    pub target: String,
    /// Identity of the backup.
    pub backup_id: String,
    /// Default: `full`.
    #[serde(default)]
    pub level: Depth,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// What was found of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Every byte is the one that was stored.
    Whole,
    /// Nothing speaks against it, and not every byte could be compared, or was to be.
    Plausible,
    /// It is not what was stored, and cannot be restored as it is.
    Broken,
}

/// Result of `backup.verify`. A broken backup is a result, not an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verified {
    /// Identity of the backup.
    pub backup_id: String,
    /// How closely it was looked at.
    pub level: Depth,
    /// What was found.
    pub status: Condition,
    /// Length of the stored archive; 0 where there is none, or where it was not looked at.
    pub length: u64,
    /// How it is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CheckError>,
}
