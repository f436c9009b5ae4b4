//! Notifications for a running request: data, credit, progress.

use serde::{Deserialize, Serialize};

use super::Backup;
use crate::progress::Snapshot;

/// `stream.data`; the bytes follow the line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamData {
    /// ID of the request that the stream belongs to.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// Number of bytes of the stream that were sent before.
    pub offset: u64,
}

/// `stream.end`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamEnd {
    /// ID of the request that the stream belongs to.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// Length of the whole stream in bytes.
    pub length: u64,
}

/// `stream.credit`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamCredit {
    /// ID of the request that the stream belongs to.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// Total number of bytes of the stream that may be sent, counted from its start.
    pub up_to: u64,
}

/// `stream.begin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamBegin {
    /// ID of the request that the stream belongs to.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// Length of the stream in bytes.
    pub length: u64,
    /// Position of its first byte in the archive.
    pub offset: u64,
    /// The backup that is being sent.
    pub backup: Backup,
}

/// `progress`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProgressNotification {
    /// ID of the request.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// The progress of the request.
    #[serde(flatten)]
    pub snapshot: Snapshot,
}
