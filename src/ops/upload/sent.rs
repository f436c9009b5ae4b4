//! Result of sending an archive.

use crate::archives::metadata::Checksums;
use crate::s3::{Part, Stored};

/// What was sent: one object, or parts to complete.
pub(super) struct Sent {
    pub(super) stored: Option<Stored>,
    pub(super) parts: Vec<Part>,
    pub(super) checksums: Checksums,
}
