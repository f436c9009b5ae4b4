//! S3 server and host program for the demo and the tests.
//!
//! Compiled only with the cargo feature `demo`, and in no release binary.

mod folder;
pub mod host;
mod link;
mod object_path;
pub mod run;
mod sample;
pub mod server;
mod uploads;
