//! The result of sending an archive, before it is committed.

use crate::archives::metadata::Digests;
use crate::s3::{Part, Stored};

/// What was sent: one object, or parts to be completed.
pub(super) struct Sent {
    pub(super) stored: Option<Stored>,
    pub(super) parts: Vec<Part>,
    pub(super) digests: Digests,
}
