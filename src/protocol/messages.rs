//! One type per message. Sizes and offsets are bytes, times are milliseconds.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::TargetSettings;
use crate::error::{Code, Error, ErrorData};
use crate::protocol::rpc;

/// Metadata of a backup, carried verbatim.
pub type Metadata = Map<String, Value>;

/// A program and its version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    /// Name of the program.
    pub name: String,
    /// Version of the program.
    pub version: String,
}

/// Limits of the agent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AgentLimits {
    /// Longest line it accepts, line feed included.
    pub max_line: usize,
    /// Largest payload it accepts.
    pub max_payload: usize,
    /// Requests that may run at the same time.
    pub max_requests: usize,
    /// Transfers that may run at the same time; further ones wait.
    pub max_transfers: usize,
}

/// `hello`: the agent's first message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Always `backup-agent`.
    pub protocol: String,
    /// Protocol versions that the agent speaks.
    pub versions: Vec<u32>,
    /// The agent.
    pub agent: Program,
    /// Optional features by name; what is missing is not there.
    pub capabilities: Map<String, Value>,
    /// Limits of the agent.
    pub limits: AgentLimits,
}

/// Limits of the host.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct HostLimits {
    /// Longest line it accepts; at least and by default 65,536.
    pub max_line: Option<usize>,
    /// Largest payload it accepts; at least 65,536, by default 1,048,576.
    pub max_payload: Option<usize>,
}

/// Least important log lines to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct Initialize {
    /// Protocol version that the host chose.
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
pub struct Initialized {
    /// Protocol version in force.
    pub protocol: u32,
}

/// Parameters of `target.open`.
#[derive(Clone, Debug, Deserialize)]
pub struct TargetOpen {
    /// Name that the host gives to the target; opening it again replaces it.
    pub target: String,
    /// Where the backups live.
    pub config: TargetSettings,
}

/// Parameters of `target.close`, and result of both.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetRef {
    /// Name of the target.
    pub target: String,
}

/// What every request that works on a target may say.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Common {
    /// Time after which the request is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Shortest time between two `progress` messages, 100 to 60,000; none are sent without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_ms: Option<u64>,
}

/// How far `target.validate` goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Looks only.
    Read,
    /// Writes, reads back and deletes a small object, and opens and aborts an upload.
    #[default]
    Write,
}

/// Parameters of `target.validate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Validate {
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
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is as it should be.
    Passed,
    /// It is not.
    Failed,
    /// Not looked at, because something before it failed.
    Skipped,
    /// It works, but look at it.
    Warning,
}

/// One check of a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// Stable name, such as `list`.
    pub name: String,
    /// Its result.
    pub status: Status,
    /// Time it took.
    pub ms: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CheckError>,
}

/// The error of a check: that of a request, with its sentence beside the facts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckError {
    /// English, for logs.
    pub message: String,
    /// The facts.
    #[serde(flatten)]
    pub data: ErrorData,
}

/// Result of `target.validate`. A bad target is a result, not an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Validated {
    /// Whether no check failed.
    pub ok: bool,
    /// The checks in the order in which they ran.
    pub checks: Vec<Check>,
    /// What is in force.
    pub facts: TargetFacts,
}

/// What is in force for a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetFacts {
    /// Address of the service.
    pub endpoint: String,
    /// Region that signatures name.
    pub region: String,
    /// `path` or `virtual`.
    pub addressing: crate::config::Addressing,
}

/// A backup to be stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewBackup {
    /// Identity, 1 to 200 characters.
    pub id: String,
    /// Wish for the name of the objects; made safe and unique by the agent.
    pub name: String,
    /// Stored verbatim. `backup_id`, where present, must equal `id`.
    #[serde(default)]
    pub metadata: Metadata,
}

/// What to do when a backup of this id exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfExists {
    /// Answer `already_exists`.
    #[default]
    Fail,
    /// Store the new one, then delete the old one.
    Replace,
}

/// Parameters of `backup.upload`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upload {
    /// Name of the target.
    pub target: String,
    /// What to store.
    pub backup: NewBackup,
    /// Announced length; fewer bytes are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Whether more bytes than `size` are refused as well.
    #[serde(default)]
    pub exact: bool,
    /// Default: `fail`.
    #[serde(default)]
    pub if_exists: IfExists,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// Result of `backup.upload`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Uploaded {
    /// The backup as `backup.list` shows it from now on.
    pub backup: Backup,
    /// Entity tag of the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Version of the archive, in a versioned bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
}

/// A stored backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// Identity.
    pub id: String,
    /// Name of its objects in the bucket, without folder and ending.
    pub name: String,
    /// Length that its metadata announces.
    pub size: u64,
    /// Length of the stored archive.
    pub stored_size: u64,
    /// Whether a download is checked against digests kept since the upload.
    pub verifiable: bool,
    /// Metadata as it was given.
    pub metadata: Metadata,
}

/// Parameters of `backup.download`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Download {
    /// Name of the target.
    pub target: String,
    /// Identity of the backup.
    pub backup_id: String,
    /// First credit: bytes of the stream that the agent may send.
    pub up_to: u64,
    /// First byte of the archive to send. Default: 0.
    #[serde(default)]
    pub offset: u64,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// Result of `backup.download`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Downloaded {
    /// Bytes sent.
    pub length: u64,
    /// Whether every byte was checked against digests kept since the upload.
    pub verified: bool,
}

/// Parameters of `backup.list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List {
    /// Name of the target.
    pub target: String,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Most entries in a page, 1 to 1,000. Default: as many as fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<usize>,
    /// Whether to ask the storage even when a recent listing is at hand.
    #[serde(default)]
    pub refresh: bool,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// An object that looks like a part of a backup and is not offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its key.
    pub key: String,
    /// Why, as an error code.
    pub code: Code,
    /// Why, as a sentence.
    pub message: String,
}

/// Result of `backup.list`: one page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Backups in the order of their names.
    pub backups: Vec<Backup>,
    /// What to give as `cursor` for the next page, if there is one.
    pub next: Option<String>,
    /// Objects that are not offered.
    pub skipped: Vec<Skipped>,
}

/// Parameters of `backup.get` and `backup.delete`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupRef {
    /// Name of the target.
    pub target: String,
    /// Identity of the backup.
    pub backup_id: String,
    /// Deadline and progress.
    #[serde(flatten)]
    pub common: Common,
}

/// Result of `backup.get`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Got {
    /// The backup.
    pub backup: Backup,
}

/// Result of `backup.delete`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Deleted {
    /// Always true.
    pub deleted: bool,
}

/// How to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct Shutdown {
    /// Default: `drain`.
    #[serde(default)]
    pub mode: ShutdownMode,
    /// How long `drain` waits before it cancels. Default: 60,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Result of `shutdown`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShutDown {
    /// Requests that were cancelled.
    pub aborted: Vec<u64>,
}

/// `cancel`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cancel {
    /// The request to cancel.
    pub id: u64,
    /// Repeated in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `stream.data`; the bytes follow the line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StreamData {
    /// The request the stream belongs to.
    pub id: u64,
    /// Bytes of the stream sent before.
    pub offset: u64,
}

/// `stream.end`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StreamEnd {
    /// The request the stream belongs to.
    pub id: u64,
    /// Bytes of the whole stream.
    pub length: u64,
}

/// `stream.credit`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StreamCredit {
    /// The request the stream belongs to.
    pub id: u64,
    /// Bytes of the stream that may have been sent, counted from its start.
    pub up_to: u64,
}

/// `stream.begin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamBegin {
    /// The request the stream belongs to.
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
pub struct ProgressReport {
    /// The request.
    pub id: u64,
    /// What is known of it.
    #[serde(flatten)]
    pub snapshot: crate::progress::Snapshot,
}

/// The `error` member of a response.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorObject {
    /// Integer of JSON-RPC.
    pub code: i32,
    /// English, for logs.
    pub message: String,
    /// The contract.
    pub data: ErrorData,
}

impl From<&Error> for ErrorObject {
    fn from(error: &Error) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only the standard's own faults differ")]
        let code = match error.code() {
            Code::ParseError => rpc::PARSE_ERROR,
            Code::InvalidRequest | Code::DuplicateId => rpc::INVALID_REQUEST,
            Code::MethodNotFound => rpc::METHOD_NOT_FOUND,
            Code::InvalidParams => rpc::INVALID_PARAMS,
            _ => rpc::OPERATION,
        };
        Self { code, message: error.message().to_owned(), data: error.data() }
    }
}

impl From<&Error> for CheckError {
    fn from(error: &Error) -> Self {
        Self { message: error.message().to_owned(), data: error.data() }
    }
}
