//! Text members of a response.

use super::answers::decoded;
use super::error::{Operation, invalid_response};
use crate::error::Result;

/// The decoded text of a member.
///
/// # Errors
/// `remote_error` when it is not UTF-8.
pub(super) fn text(
    operation: Operation,
    member: &'static str,
    encoded: Option<String>,
) -> Result<Option<String>> {
    let Some(encoded) = encoded else { return Ok(None) };
    let text = String::from_utf8(decoded(&encoded).into_owned());
    text.map(Some).map_err(|_| invalid_response(operation, member, "not UTF-8"))
}

/// The decoded text of a member that is only shown or compared; U+FFFD stands for bytes that are
/// not UTF-8.
pub(super) fn lossy(encoded: &str) -> String {
    String::from_utf8_lossy(&decoded(encoded)).into_owned()
}
