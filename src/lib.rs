//! Keeps Home Assistant backups on any S3-compatible storage.
//!
//! Bytes come in at one of two doors, the stdio session or the command line, pass the operations,
//! get a place in the bucket from the store, and leave through the S3 client:
//!
//! ```text
//! main ── cli ──────┐
//!      └─ session ──┴─► ops ──► store ──► s3
//! ```

pub mod blocks;
pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod error;
#[cfg(feature = "demo")]
pub(crate) mod fault;
pub mod journal;
pub mod logging;
pub mod ops;
pub mod progress;
pub mod protocol;
pub mod s3;
pub mod session;
pub mod store;
pub(crate) mod system;

pub use error::{Code, Error, Result};
