//! Stub.
use crate::protocol::LogLevel;
/// Sets.
pub fn set_level(_level: LogLevel) {}
