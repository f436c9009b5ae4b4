//! What the demo and the tests need and no release binary has: an S3 server and a host.
//!
//! Compiled only with the cargo feature `demo`.

mod folder;
pub mod host;
mod link;
mod place;
pub mod run;
mod sample;
pub mod server;
mod uploads;
