//! HTTP over TCP, TLS and proxies: the client, its limits and its faults.
//!
//! Independent of S3. Faults of a connection are types ([`DnsFault`], [`ProxyFault`] and others) in the
//! source chain of an error; [`broken`] and [`unreachable`] translate them to a [`crate::Error`].

mod certificate;
mod client;
mod connect_timeout;
mod connection;
mod connector;
mod error;
mod faults;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod probe;
mod proxy;
mod rate_limit;
mod stall;
mod tls;
mod tunnel;

pub(crate) use self::client::Pool;
pub use self::client::requests;
pub(crate) use self::error::{broken, proxy_login_required};
pub(crate) use self::faults::find;
pub use self::probe::{Probe, ServerInfo};
pub(crate) use self::rate_limit::FRAME;
pub(crate) use self::tls::hex;
