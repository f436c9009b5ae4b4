//! Messages for targets, which are places that store backups.

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
    /// Name that the host chooses for the target; opening a target with the same name replaces it.
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_TARGET)))]
    pub target: String,
    /// Settings of the target.
    pub config: S3Config,
}

/// Parameters of `target.close`, and result of `target.open` and `target.close`.
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
    /// The limits to change.
    #[serde(deserialize_with = "LimitsUpdate::of_object")]
    pub limits: LimitsUpdate,
}

/// Result of `target.update`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetUpdateResult {
    /// Name of the target.
    pub target: String,
    /// All current limits.
    pub limits: LimitsInForce,
}

/// Current limits of a target, named as in the settings.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LimitsInForce {
    /// Maximum transfer rate in each direction, in bytes per second. `null`: no limit.
    #[cfg_attr(test, schemars(range(min = MIN_BYTES_PER_SECOND)))]
    pub bandwidth_limit: Option<u64>,
    /// Maximum number of parallel parts of one transfer.
    #[cfg_attr(test, schemars(range(min = 1, max = MOST_PARALLEL_PARTS)))]
    pub concurrency: usize,
    /// Memory budget of the transfers of this target, in bytes.
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

/// Parameters that all requests on a target have.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Common {
    /// Time after which the request fails, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Minimum time between two `progress` messages, in milliseconds, 100 to 60,000. Without it,
    /// none are sent.
    #[cfg_attr(test, schemars(range(min = MIN_PROGRESS_MS, max = MAX_PROGRESS_MS)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_ms: Option<u64>,
}

/// The parameters of a request on a target.
pub trait OnTarget {
    /// Name of the target.
    fn target(&self) -> &str;

    /// Deadline and progress.
    fn common(&self) -> Common;
}

macro_rules! on_target {
    ($( $request:ty ),+ $(,)?) => {
        $(
            impl OnTarget for $request {
                fn target(&self) -> &str {
                    &self.target
                }

                fn common(&self) -> Common {
                    self.common
                }
            }
        )+
    };
}

on_target!(
    ValidateRequest,
    CleanupRequest,
    super::RepairRequest,
    super::UploadRequest,
    super::DownloadRequest,
    super::VerifyRequest,
    super::ListRequest,
    super::BackupRequest,
);

/// What `target.validate` may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, schemars(rename = "ValidateLevel"))]
pub enum Level {
    /// Only read.
    Read,
    /// Write, read and delete a small object, and create and abort a multipart upload.
    #[default]
    Write,
}

/// Parameters of `target.validate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ValidateRequest {
    /// Name of the target.
    pub target: String,
    /// What the checks may do. Default: `write`.
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
    /// The check passed.
    Passed,
    /// The check failed.
    Failed,
    /// The check did not run: an earlier one failed, or there is nothing to check.
    Skipped,
    /// The check passed with a warning.
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
    /// Duration in milliseconds.
    pub ms: u64,
    /// The finding, in English; untrusted where it quotes the server.
    #[cfg_attr(test, schemars(length(max = MAX_TEXT), extend("not" = { "pattern": CONTROL })))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The finding as details, for the host's own messages.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Detail>,
    /// The error or warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CheckError>,
}

/// The error of a check: the error data of a request, with its message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CheckError {
    /// Message in English, for logs.
    pub message: String,
    /// The machine-readable error.
    #[serde(flatten)]
    pub data: ErrorData,
}

/// Result of `target.validate`. A target that fails checks is a result, not an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ValidateResult {
    /// Whether no check failed.
    pub ok: bool,
    /// The checks in the order in which they ran.
    pub checks: Vec<Check>,
    /// Current settings of the target.
    pub details: TargetDetails,
    /// Different settings, with which the listing works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<Suggestion>,
}

/// Settings to change. Missing members stay as they are.
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
    /// Seconds without activity after which an item is cleaned up, 0 to 31,536,000.
    #[cfg_attr(test, schemars(range(max = MAX_OLDER_THAN_S)))]
    #[serde(default = "one_day")]
    pub older_than_s: u64,
    /// Whether to report without deleting anything.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether to also delete orphaned objects (archives without metadata, metadata without
    /// archives). Default: they are only reported.
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
    /// Incomplete uploads and orphaned objects, in the order of their keys, as many as fit into a
    /// line.
    pub items: Vec<CleanupItem>,
    /// Whether there were more.
    pub more: bool,
}

/// An incomplete upload or orphaned object that no request is working on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CleanupItem {
    /// Kind of the item.
    pub kind: CleanupItemKind,
    /// Key of the object, or of the object that the upload would have created.
    pub key: String,
    /// Seconds since the last activity.
    pub idle_s: u64,
    /// The result.
    pub status: CleanupItemStatus,
    /// Why it could not be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CheckError>,
}

/// Kind of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CleanupItemKind {
    /// A multipart upload that was neither completed nor aborted.
    Upload,
    /// An archive without its metadata object.
    Archive,
    /// A metadata object without its archive.
    Metadata,
    /// A test object of `target.validate`.
    Probe,
}

/// Result for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CleanupItemStatus {
    /// It was deleted.
    Removed,
    /// It was not deleted, because the request did not ask for it.
    Found,
    /// It was not deleted, because the server refused.
    Failed,
}

/// Current settings of a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetDetails {
    /// Endpoint URL.
    pub endpoint: String,
    /// Region that requests are signed for.
    pub region: String,
    /// Addressing style: `path` or `virtual`.
    #[cfg_attr(test, schemars(extend("enum" = [AddressingStyle::Path, AddressingStyle::Virtual])))]
    pub addressing_style: AddressingStyle,
    /// Name of the provider in `protocol/providers.json`, if the endpoint's host is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The header `Server` of the server; only in the result of `target.validate`.
    #[cfg_attr(test, schemars(length(max = MAX_TEXT), extend("not" = { "pattern": CONTROL })))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

impl From<&Error> for CheckError {
    fn from(error: &Error) -> Self {
        Self { message: error.message().to_owned(), data: error.data() }
    }
}
