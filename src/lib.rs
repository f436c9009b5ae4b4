//! Keeps Home Assistant backups, and any other, on S3-compatible storage.
//!
//! Bytes enter by one of two interfaces, the stdio protocol or the command line, pass the operations, get
//! keys in the bucket from the archives, and leave through the S3 client:
//!
//! ```text
//! main ── cli ── jobs ── sources ──┐
//!      └─ session ─────────────────┴─► ops ──► archives ──► s3 ──► net
//! ```

pub mod archives;
pub mod buffer_pool;
pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod error;
#[cfg(feature = "demo")]
pub(crate) mod fault_injection;
pub mod jobs;
pub mod journal;
pub mod logging;
pub mod net;
pub mod ops;
pub(crate) mod platform;
pub mod progress;
pub mod protocol;
pub mod s3;
pub mod session;
pub mod sources;

pub use error::{Code, Error, Result};
