//! The messages between a host and the agent, as types: one for each. No I/O. Sizes and offsets are
//! bytes, times are milliseconds.
//!
//! `protocol/PROTOCOL.md` is the specification. Unknown members are ignored everywhere, so no type
//! here refuses them.

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

/// All messages as a JSON Schema of the draft 2020-12. Made from the types by a test.
pub const SCHEMA: &str = include_str!("../../protocol/schema/backup-agent-1.json");

/// Name of the protocol, as `hello` announces it.
pub const NAME: &str = "backup-agent";

/// The only version spoken.
pub const VERSION: u32 = 1;

/// Longest line in bytes, its line feed included. Both sides accept this much.
pub const MAX_LINE: usize = 65_536;

/// Largest payload in bytes that the agent accepts.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Largest payload in bytes that every host accepts.
pub const SAFE_PAYLOAD: usize = 65_536;

/// Requests that may run at the same time; further ones get `busy`.
pub const MAX_REQUESTS: usize = 32;

/// Uploads and downloads that may run at the same time; further ones wait.
pub const MAX_TRANSFERS: usize = 4;

/// Largest metadata of a backup in bytes, as compact JSON.
pub const MAX_METADATA: usize = 32 << 10;

/// Largest `stale_s` of `backup.list`.
pub const MAX_STALE_S: u64 = 24 * 60 * 60;

/// Bytes of backups in one page of a listing, so that its line stays below [`MAX_LINE`].
pub const PAGE_BYTES: usize = 48 << 10;

/// Deepest nesting of a message.
pub const MAX_DEPTH: usize = 32;

/// Deepest nesting of metadata, itself included, so that it fits into every message.
pub const MAX_METADATA_DEPTH: usize = 24;

/// Longest name of a target, in bytes.
pub const MAX_TARGET: usize = 200;

/// Longest id of a backup, in characters.
pub const MAX_BACKUP_ID: usize = 200;

/// Most entries in one page of a listing.
pub const MAX_PAGE: usize = 1000;

/// Shortest time between two `progress` messages that can be asked for, in milliseconds.
pub const MIN_PROGRESS_MS: u64 = 100;

/// Longest time between two `progress` messages that can be asked for, in milliseconds.
pub const MAX_PROGRESS_MS: u64 = 60_000;

/// Longest time that a storage may be away in the middle of a transfer, in milliseconds: an hour.
pub const MAX_RETRY_FOR_MS: u64 = 60 * 60 * 1000;

/// Longest time that an interrupted upload may wait for a repetition, in seconds: a day.
pub const MAX_RESUME_S: u64 = 24 * 60 * 60;

/// Longest age of a leftover that can be asked for, in seconds: a year.
pub const MAX_OLDER_THAN_S: u64 = 365 * 24 * 60 * 60;

/// Longest reason of a `cancel` that is repeated, in bytes.
pub const MAX_REASON: usize = 1000;

/// Largest request id: the last integer that every JSON library keeps exact.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// Integers of JSON-RPC. They carry no meaning beyond the standard's.
pub mod rpc {
    /// Not a frame.
    pub const PARSE_ERROR: i32 = -32700;
    /// Not a valid request.
    pub const INVALID_REQUEST: i32 = -32600;
    /// Unknown method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// Parameters of wrong type or value.
    pub const INVALID_PARAMS: i32 = -32602;
    /// Every error of an operation.
    pub const OPERATION: i32 = -32000;
    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [i32; 5] =
        [PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, OPERATION];
}

#[cfg(test)]
mod schema;
