//! Messages about the session itself.

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
    /// Longest line it accepts, line feed included.
    #[cfg_attr(test, schemars(range(min = MAX_LINE)))]
    pub max_line: usize,
    /// Largest payload it accepts.
    #[cfg_attr(test, schemars(range(min = SAFE_PAYLOAD)))]
    pub max_payload: usize,
    /// Requests that may run at the same time.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub max_requests: usize,
    /// Transfers that may run at the same time; further ones wait.
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
    /// Protocol versions that the agent speaks.
    #[cfg_attr(test, schemars(length(min = 1), inner(range(min = 1))))]
    pub versions: Vec<u32>,
    /// The agent.
    pub agent: Program,
    /// Optional features by name; what is missing is not there.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, Map<String, Value>>"))]
    pub capabilities: Map<String, Value>,
    /// Limits of the agent.
    pub limits: AgentLimits,
}

/// Limits of the host.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HostLimits {
    /// Longest line it accepts; at least and by default 65,536.
    #[cfg_attr(test, schemars(range(min = MAX_LINE)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_line: Option<usize>,
    /// Largest payload it accepts; at least 65,536, by default 1,048,576.
    #[cfg_attr(test, schemars(range(min = SAFE_PAYLOAD)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_payload: Option<usize>,
}

/// Least important log lines to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Failures.
    Error,
    /// And what may become one.
    Warning,
    /// And what happens.
    Info,
    /// And why.
    Debug,
}

/// Parameters of `initialize`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InitializeRequest {
    /// Protocol version that the host chose.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub protocol: u32,
    /// The host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Program>,
    /// Limits of the host.
    #[serde(default)]
    pub limits: HostLimits,
    /// Default: `info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
}

/// Result of `initialize`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InitializeResult {
    /// Protocol version in force.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub protocol: u32,
}

/// How to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShutdownMode {
    /// Let running requests end.
    #[default]
    Drain,
    /// Cancel them.
    Abort,
}

/// Parameters of `shutdown`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShutdownRequest {
    /// Default: `drain`.
    #[serde(default)]
    pub mode: ShutdownMode,
    /// How long `drain` waits before it cancels. Default: 60,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Result of `shutdown`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShutdownResult {
    /// Requests that were cancelled.
    #[cfg_attr(test, schemars(inner(range(min = 1))))]
    pub aborted: Vec<u64>,
}

/// `cancel`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cancel {
    /// The request to cancel.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub id: u64,
    /// Repeated in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
