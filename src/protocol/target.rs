//! Messages about targets: where backups live.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[cfg(test)]
use super::{MAX_OLDER_THAN_S, MAX_PROGRESS_MS, MAX_TARGET, MIN_PROGRESS_MS};
use crate::config::{AddressingStyle, Limits, LimitsUpdate, S3Config};
#[cfg(test)]
use crate::config::{MIN_BYTES_PER_SECOND, MIN_MEMORY_BUDGET, MOST_PARALLEL_PARTS};
#[cfg(test)]
use crate::error::{CONTROL, MAX_TEXT};
use crate::error::{Detail, Error, ErrorData};

/// Parameters of `target.open`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetOpenRequest {
    /// Name that the host gives to the target; opening it again replaces it.
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_TARGET)))]
    pub target: String,
    /// Where the backups live.
    pub config: S3Config,
}

/// Parameters of `target.close`, and result of both.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetRequest {
    /// Name of the target.
    pub target: String,
}

/// Parameters of `target.update`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetUpdateRequest {
    /// Name of the target.
    pub target: String,
    /// What changes.
    #[serde(deserialize_with = "LimitsUpdate::of_object")]
    pub limits: LimitsUpdate,
}

/// Result of `target.update`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetUpdateResult {
    /// Name of the target.
    pub target: String,
    /// All that is in force now.
    pub limits: LimitsInForce,
}

/// Limits of a target, by their names in the settings.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LimitsInForce {
    /// `null`: no limit.
    #[cfg_attr(test, schemars(range(min = MIN_BYTES_PER_SECOND)))]
    pub bandwidth_limit: Option<u64>,
    /// Parts of one transfer that are on their way at the same time.
    #[cfg_attr(test, schemars(range(min = 1, max = MOST_PARALLEL_PARTS)))]
    pub concurrency: usize,
    /// Memory that transfers of this target are measured against.
    #[cfg_attr(test, schemars(range(min = MIN_MEMORY_BUDGET)))]
    pub memory: u64,
}

impl From<Limits> for LimitsInForce {
    fn from(limits: Limits) -> Self {
        Self {
            bandwidth_limit: limits.bandwidth_limit,
            concurrency: limits.concurrency,
            memory: limits.memory_budget,
        }
    }
}

/// What every request that works on a target may say.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Common {
    /// Time after which the request is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Shortest time between two `progress` messages, 100 to 60,000; none are sent without it.
    #[cfg_attr(test, schemars(range(min = MIN_PROGRESS_MS, max = MAX_PROGRESS_MS)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_ms: Option<u64>,
}

/// How far `target.validate` goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, schemars(rename = "ValidateLevel"))]
pub enum Level {
    /// Looks only.
    Read,
    /// Writes, reads back and deletes a small object, and opens and aborts an upload.
    #[default]
    Write,
}

/// Parameters of `target.validate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ValidateRequest {
    /// Name of the target.
    pub target: String,
    /// Default: `write`.
    #[serde(default)]
    pub level: Level,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, schemars(rename = "CheckStatus"))]
pub enum Status {
    /// It is as it should be.
    Passed,
    /// It is not.
    Failed,
    /// Not looked at: something before it failed, or there is nothing to look at.
    Skipped,
    /// It works, but look at it.
    Warning,
}

/// One check of a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// Stable name, such as `list`.
    pub name: String,
    /// Its result.
    pub status: Status,
    /// Time it took.
    pub ms: u64,
    /// What was found, in English; untrusted where the storage said it.
    #[cfg_attr(test, schemars(length(max = MAX_TEXT), extend("not" = { "pattern": CONTROL })))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The same for the host's own wording.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Detail>,
    /// Why it failed, or what to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CheckError>,
}

/// The error of a check: that of a request, with its sentence beside the details.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CheckError {
    /// English, for logs.
    pub message: String,
    /// The details.
    #[serde(flatten)]
    pub data: ErrorData,
}

/// Result of `target.validate`. A bad target is a result, not an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ValidateResult {
    /// Whether no check failed.
    pub ok: bool,
    /// The checks in the order in which they ran.
    pub checks: Vec<Check>,
    /// What is in force.
    pub details: TargetDetails,
    /// Other settings than the given ones, which work as far as the listing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<Suggestion>,
}

/// Settings to enter in place of the given ones; what is missing stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Suggestion {
    /// As in the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// As in the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// As in the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// As in the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// As in the settings.
    #[cfg_attr(test, schemars(extend("enum" = [AddressingStyle::Path, AddressingStyle::Virtual, null])))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addressing_style: Option<AddressingStyle>,
}

/// Parameters of `target.cleanup`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CleanupRequest {
    /// Name of the target.
    pub target: String,
    /// Seconds without a sign of life after which something is left over, 0 to 31,536,000.
    #[cfg_attr(test, schemars(range(max = MAX_OLDER_THAN_S)))]
    #[serde(default = "one_day")]
    pub older_than_s: u64,
    /// Whether only to look.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether halves of backups are removed as well. Default: they are only named.
    #[serde(default)]
    pub objects: bool,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

fn one_day() -> u64 {
    24 * 60 * 60
}

/// Result of `target.cleanup`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CleanupResult {
    /// What was left over, in the order of the keys, as far as it fits into a line.
    pub items: Vec<CleanupItem>,
    /// Whether there was more.
    pub more: bool,
}

/// Something that belongs to no backup and that nobody is working on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CleanupItem {
    /// What it is.
    pub kind: CleanupItemKind,
    /// Key of the object, or of the one that it should have become.
    pub key: String,
    /// Seconds since somebody worked on it.
    pub idle_s: u64,
    /// What became of it.
    pub status: CleanupItemStatus,
    /// Why it could not be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CheckError>,
}

/// Kind of a leftover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CleanupItemKind {
    /// A multipart upload that was neither completed nor aborted.
    Upload,
    /// The archive of a backup without its document.
    Archive,
    /// The document of a backup without its archive.
    Metadata,
    /// An object of `target.validate`.
    Probe,
}

/// What became of a leftover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CleanupItemStatus {
    /// It is gone.
    Removed,
    /// It is still there, because nobody asked to remove it.
    Found,
    /// It is still there, because the storage refused.
    Failed,
}

/// What is in force for a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetDetails {
    /// Address of the service.
    pub endpoint: String,
    /// Region that signatures name.
    pub region: String,
    /// `path` or `virtual`.
    #[cfg_attr(test, schemars(extend("enum" = [AddressingStyle::Path, AddressingStyle::Virtual])))]
    pub addressing_style: AddressingStyle,
    /// Name of the provider in `protocol/providers.json`, when its host is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What the storage calls itself; only in the result of `target.validate`.
    #[cfg_attr(test, schemars(length(max = MAX_TEXT), extend("not" = { "pattern": CONTROL })))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

impl From<&Error> for CheckError {
    fn from(error: &Error) -> Self {
        Self { message: error.message().to_owned(), data: error.data() }
    }
}
