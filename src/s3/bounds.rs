//! All that a server can do to the agent with its answers. Each bound stands here and nowhere else; the
//! table says where it is kept.
//!
//! | a server can | at most | kept in |
//! |---|---|---|
//! | send a body that is not an object's | [`ANSWER`] bytes in [`ANSWER_TIME`] | `answers` |
//! | send a long one of these beside others | one above [`LARGE`] bytes at a time, for each target | `answers` |
//! | explain a refusal | [`REFUSAL`] bytes; the rest is not read | `answers` |
//! | send an object | the bytes that were asked for, none slower than `LEAST_BYTES` in the time limit of a silence | `object`, `net/stall` |
//! | name objects, uploads or parts on one page | [`ENTRIES`] | `answers/document` |
//! | name something (key, ETag, upload ID, token) | [`MEMBER`] bytes; a key [`KEY`] bytes | `answers` |
//! | send pages that lead no further | [`BARREN_PAGES`] in a row, and never the same marker twice | `onward` |
//! | name unfinished uploads | [`UPLOADS`] | `list` |
//! | have a request made in another way | once for each way that there is | `quirks` |
//! | have its clock believed in signatures | [`SKEW`] | `answers` |
//!
//! Objects in a listing are limited by the memory setting, see `store`.

use std::time::Duration;

/// Longest body that is not an object's. A page of 1,000 keys of 1,024 bytes takes less.
pub(super) const ANSWER: usize = 4 << 20;

/// Longest time in which such a body arrives.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(300);

/// Bodies up to this length are read beside each other; a page of 1,000 backups takes about as much.
pub(super) const LARGE: usize = 512 << 10;

/// Bytes that are read of a refusal. The error documents of S3 take less than one KiB.
pub(super) const REFUSAL: usize = 64 << 10;

/// Entries of one page. S3 gives 1,000, and a few servers more.
pub(super) const ENTRIES: usize = 5000;

/// Longest text of a member. A key of 1,024 bytes takes three times as much when it is encoded, and the
/// tokens of some servers hold one.
pub(super) const MEMBER: usize = 8 << 10;

/// Longest key in S3.
pub(super) const KEY: usize = 1024;

/// Pages in a row that hold nothing new. Some servers filter what they list after they cut it into
/// pages.
pub(super) const BARREN_PAGES: usize = 16;

/// Unfinished uploads that are looked at in one go.
pub(super) const UPLOADS: usize = 5000;

/// Parts that an upload can have.
pub(super) const PARTS: usize = 10_000;

/// Longest difference between the clocks up to which a request is signed with the server's time.
pub(super) const SKEW: Duration = Duration::from_secs(24 * 60 * 60);
