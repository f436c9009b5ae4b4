//! The integration tests: one binary, one file for each behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test that fails panics, and may print figures"
)]

mod circles;
mod cli;
mod connection;
mod diagnosis;
mod e2e;
mod embedded_server;
mod fan_out;
mod faults;
#[cfg(target_os = "linux")]
mod hostile;
mod interleavings;
mod layering;
mod link_faults;
mod permissions;
mod protocol;
mod provider_emulation;
mod random_data;
mod relay;
mod restarts;
mod s3_answers;
#[cfg(target_os = "linux")]
mod soak;
mod support;
