//! Types of the messages between host and agent, without I/O. Sizes and offsets are in bytes, times in
//! milliseconds.
//!
//! `protocol/PROTOCOL.md` is the specification. Unknown members are ignored in all messages, so no type
//! here rejects them.

mod backup;
mod failure;
mod repair;
mod session;
mod stream;
mod target;
mod verify;

pub use self::backup::*;
pub use self::failure::*;
pub use self::repair::*;
pub use self::session::*;
pub use self::stream::*;
pub use self::target::*;
pub use self::verify::*;

/// JSON Schema (draft 2020-12) of all messages. A test generates it from the types.
pub const SCHEMA: &str = include_str!("../../protocol/schema/backup-agent-1.json");

/// Name of the protocol in `hello`.
pub const NAME: &str = "backup-agent";

/// The only supported version.
pub const VERSION: u32 = 1;

/// Maximum length of a line in bytes, line feed included. Both sides accept this much.
pub const MAX_LINE: usize = 65_536;

/// Maximum payload in bytes that the agent accepts.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Maximum payload in bytes that every host accepts.
pub const SAFE_PAYLOAD: usize = 65_536;

/// Maximum number of concurrent requests; further ones fail with `busy`.
pub const MAX_REQUESTS: usize = 32;

/// Maximum number of concurrent uploads and downloads; further ones wait.
pub const MAX_TRANSFERS: usize = 4;

/// Maximum size of the metadata of a backup in bytes, as compact JSON.
pub const MAX_METADATA: usize = 32 << 10;

/// Maximum `stale_s` of `backup.list`, in seconds.
pub const MAX_STALE_S: u64 = 24 * 60 * 60;

/// Maximum number of bytes of backups on one page of a listing, so that its line stays below
/// [`MAX_LINE`].
pub const PAGE_BYTES: usize = 48 << 10;

/// Maximum nesting of a message.
pub const MAX_DEPTH: usize = 32;

/// Maximum nesting of metadata, itself included, so that it fits into every message.
pub const MAX_METADATA_DEPTH: usize = 24;

/// Maximum length of the name of a target, in bytes.
pub const MAX_TARGET: usize = 200;

/// Maximum length of a backup ID, in characters.
pub const MAX_BACKUP_ID: usize = 200;

/// Maximum number of entries on one page of a listing.
pub const MAX_PAGE: usize = 1000;

/// Minimum `progress_ms`, in milliseconds.
pub const MIN_PROGRESS_MS: u64 = 100;

/// Maximum `progress_ms`, in milliseconds.
pub const MAX_PROGRESS_MS: u64 = 60_000;

/// Maximum `retry_for_ms`, in milliseconds: one hour.
pub const MAX_RETRY_FOR_MS: u64 = 60 * 60 * 1000;

/// Maximum `resume_s`, in seconds: one day.
pub const MAX_RESUME_S: u64 = 24 * 60 * 60;

/// Maximum `older_than_s`, in seconds: one year.
pub const MAX_OLDER_THAN_S: u64 = 365 * 24 * 60 * 60;

/// Maximum length of the quoted reason of a `cancel`, in bytes.
pub const MAX_REASON: usize = 1000;

/// Maximum request ID: the largest integer that every JSON library represents exactly.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// JSON-RPC error codes, with the meanings of that standard.
pub mod rpc {
    /// The input is not a frame.
    pub const PARSE_ERROR: i32 = -32700;
    /// The frame is not a valid request.
    pub const INVALID_REQUEST: i32 = -32600;
    /// The method is unknown.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// A parameter has a wrong type or value.
    pub const INVALID_PARAMS: i32 = -32602;
    /// Any error of an operation.
    pub const OPERATION: i32 = -32000;
    /// All codes.
    #[cfg(test)]
    pub(super) const ALL: [i32; 5] =
        [PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, OPERATION];
}

#[cfg(test)]
mod schema;
