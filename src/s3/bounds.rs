//! Bounds on what a server may send. The table names the module that enforces each bound.
//!
//! | what the server sends | bound | enforced in |
//! |---|---|---|
//! | a body that is not an object's | [`MAX_BODY`] bytes in [`BODY_TIMEOUT`] | `answers` |
//! | several of these at once | one above [`LARGE_BODY`] bytes at a time, for each target | `answers` |
//! | an error document | [`MAX_ERROR_BODY`] bytes; the rest is not read | `answers` |
//! | an object | the requested bytes, at least `MIN_BYTES` in `STALL_LIMIT` | `object`, `net/stall` |
//! | objects, uploads or parts on one page | [`MAX_ENTRIES`] | `answers/document` |
//! | a member (ETag, upload ID, token) or a key | [`MAX_MEMBER`] bytes, [`MAX_KEY`] bytes | `answers` |
//! | pages without new entries | [`MAX_EMPTY_PAGES`] in a row, and never the same marker twice | `pagination` |
//! | incomplete uploads | [`MAX_UPLOADS`] | `list` |
//! | a demand for another region, style or header | once for each kind | `quirks` |
//! | a clock that signatures adapt to | at most [`MAX_SKEW`] apart | `answers` |
//!
//! The memory setting limits the number of objects in a listing, see `archives`.

use std::time::Duration;

/// Maximum length in bytes of a body that is not an object's. A page of 1,000 keys of 1,024 bytes
/// is shorter.
pub(super) const MAX_BODY: usize = 4 << 20;

/// Time limit for such a body.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(300);

/// Bodies up to this length in bytes are read in parallel; a page of 1,000 backups is about as
/// long.
pub(super) const LARGE_BODY: usize = 512 << 10;

/// Maximum number of bytes that are read of an error response. The error documents of S3 are
/// shorter than 1 KiB.
pub(super) const MAX_ERROR_BODY: usize = 64 << 10;

/// Maximum number of entries on one page. S3 sends 1,000, and a few servers more.
pub(super) const MAX_ENTRIES: usize = 5000;

/// Maximum length in bytes of the text of a member. A percent-encoded key of 1,024 bytes is three
/// times as long, and the tokens of some servers contain one.
pub(super) const MAX_MEMBER: usize = 8 << 10;

/// Maximum length in bytes of a key in S3.
pub(super) const MAX_KEY: usize = 1024;

/// Maximum number of pages in a row without new entries. Some servers filter a listing after they
/// cut it into pages.
pub(super) const MAX_EMPTY_PAGES: usize = 16;

/// Maximum number of incomplete uploads that are listed at once.
pub(super) const MAX_UPLOADS: usize = 5000;

/// Maximum number of parts of an upload.
pub(super) const MAX_PARTS: usize = 10_000;

/// Maximum clock difference up to which a request is signed with the server's time.
pub(super) const MAX_SKEW: Duration = Duration::from_secs(24 * 60 * 60);
