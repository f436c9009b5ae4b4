//! Messages that accompany a running request: its bytes, its credit, its progress.

use serde::{Deserialize, Serialize};

use super::Backup;
use crate::progress::Snapshot;

/// `stream.data`; the bytes follow the line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamData {
    /// The request the stream belongs to.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// Bytes of the stream sent before.
    pub offset: u64,
}

/// `stream.end`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamEnd {
    /// The request the stream belongs to.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// Bytes of the whole stream.
    pub length: u64,
}

/// `stream.credit`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamCredit {
    /// The request the stream belongs to.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// Bytes of the stream that may have been sent, counted from its start.
    pub up_to: u64,
}

/// `stream.begin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamBegin {
    /// The request the stream belongs to.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// Bytes that the stream will have.
    pub length: u64,
    /// Position in the archive of its first byte.
    pub offset: u64,
    /// What is being sent.
    pub backup: Backup,
}

/// `progress`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProgressNotification {
    /// The request.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// What is known of it.
    #[serde(flatten)]
    pub snapshot: Snapshot,
}
