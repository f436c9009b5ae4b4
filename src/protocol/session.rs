//! Messages for the session: hello, initialize, shutdown, cancel.

#[cfg(test)]
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[cfg(test)]
use super::{MAX_LINE, NAME, SAFE_PAYLOAD};

/// A program and its version.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "ProgramInfo"))]
pub struct Program {
    /// Name of the program.
    pub name: String,
    /// Version of the program.
    pub version: String,
}

/// Limits of the agent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AgentLimits {
    /// Maximum length of a line that the agent accepts, in bytes, line feed included.
    #[cfg_attr(test, schemars(range(min = MAX_LINE)))]
    pub max_line: usize,
    /// Maximum payload that the agent accepts, in bytes.
    #[cfg_attr(test, schemars(range(min = SAFE_PAYLOAD)))]
    pub max_payload: usize,
    /// Maximum number of concurrent requests.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub max_requests: usize,
    /// Maximum number of concurrent transfers; further ones wait.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub max_transfers: usize,
}

/// `hello`: the agent's first message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Hello {
    /// Always `backup-agent`.
    #[cfg_attr(test, schemars(extend("const" = NAME)))]
    pub protocol: String,
    /// Protocol versions that the agent supports.
    #[cfg_attr(test, schemars(length(min = 1), inner(range(min = 1))))]
    pub versions: Vec<u32>,
    /// Name and version of the agent.
    pub agent: Program,
    /// Supported optional features by name.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, Map<String, Value>>"))]
    pub capabilities: Map<String, Value>,
    /// Limits of the agent.
    pub limits: AgentLimits,
}

/// Limits of the host.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HostLimits {
    /// Maximum length of a line that the host accepts, in bytes; at least and by default 65,536.
    #[cfg_attr(test, schemars(range(min = MAX_LINE)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_line: Option<usize>,
    /// Maximum payload that the host accepts, in bytes; at least 65,536, by default 1,048,576.
    #[cfg_attr(test, schemars(range(min = SAFE_PAYLOAD)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_payload: Option<usize>,
}

/// Lowest level of log lines to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// Also warnings.
    Warning,
    /// Also events.
    Info,
    /// Also details for debugging.
    Debug,
}

/// Parameters of `initialize`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InitializeRequest {
    /// Protocol version that the host chose.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub protocol: u32,
    /// Name and version of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Program>,
    /// Limits of the host.
    #[serde(default)]
    pub limits: HostLimits,
    /// Log level. Default: `info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
}

/// Result of `initialize`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InitializeResult {
    /// Protocol version of the session.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub protocol: u32,
}

/// How to shut down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShutdownMode {
    /// Wait for running requests.
    #[default]
    Drain,
    /// Cancel running requests.
    Abort,
}

/// Parameters of `shutdown`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShutdownRequest {
    /// How to shut down. Default: `drain`.
    #[serde(default)]
    pub mode: ShutdownMode,
    /// How long `drain` waits before it cancels, in milliseconds. Default: 60,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Result of `shutdown`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShutdownResult {
    /// IDs of the canceled requests.
    #[cfg_attr(test, schemars(inner(range(min = 1))))]
    pub aborted: Vec<u64>,
}

/// `cancel`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cancel {
    /// ID of the request to cancel.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// The reason, quoted in the response to the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
