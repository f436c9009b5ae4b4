//! Faults on the way to a server, as types that the translation of errors looks for.

use std::time::Duration;

use hyper_util::client::legacy::connect::proxy::SocksV5;
use tower_service::Service;

use super::BoxError;
use super::proxy::Proxy;
use super::route::{Resolver, TcpConnector};

/// A host name that could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("cannot find the host {host}")]
pub(in crate::s3) struct DnsFault {
    pub(in crate::s3) host: String,
    pub(super) source: BoxError,
}

/// A server sent something else than TLS where TLS was begun.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not TLS")]
pub(in crate::s3) struct NotTls {
    /// Whether the bytes begin as those of an HTTP/1 answer do.
    pub(in crate::s3) is_http: bool,
}

/// A server sent something else than HTTP/1 where that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not HTTP/1")]
pub(in crate::s3) struct NotHttp {
    /// Whether the bytes begin as those of TLS do.
    pub(in crate::s3) is_tls: bool,
}

/// No connection was ready within `limit`, the proxy's part and TLS included.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} seconds", limit.as_secs())]
pub(in crate::s3) struct OpeningFault {
    pub(in crate::s3) limit: Duration,
}

/// A proxy that did not lead to the server.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} failed: {problem:?}")]
pub(in crate::s3) struct ProxyFault {
    /// Host and port.
    pub(in crate::s3) proxy: String,
    /// The environment variable that names it.
    pub(in crate::s3) variable: &'static str,
    pub(in crate::s3) problem: ProxyProblem,
    source: Option<BoxError>,
}

/// What a proxy did instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::s3) enum ProxyProblem {
    /// There is no connection to the proxy; the source says why.
    Unreachable,
    /// It wants a user name and password, or others than it got.
    Login,
    /// It answered with this status, in standard words.
    Refused { status: String, for_good: bool },
    /// It answered something that is not of its protocol.
    Garbled,
    /// The header of its answer has more than this many bytes.
    TooLong(usize),
    /// It closed the connection without a whole answer.
    Closed,
    /// It sent data before the server can have said anything.
    Early,
    /// It did not lead anywhere within this time.
    Silent(Duration),
}

impl ProxyFault {
    pub(super) fn new(proxy: &Proxy, problem: ProxyProblem, source: Option<BoxError>) -> Self {
        Self { proxy: proxy.address(), variable: proxy.variable, problem, source }
    }

    /// Whether another try is of no use until a person changes something.
    pub(super) fn stays(&self) -> bool {
        match self.problem {
            ProxyProblem::Login => true,
            ProxyProblem::Refused { for_good, .. } => for_good,
            ProxyProblem::Unreachable
            | ProxyProblem::Garbled
            | ProxyProblem::TooLong(_)
            | ProxyProblem::Closed
            | ProxyProblem::Early
            | ProxyProblem::Silent(_) => false,
        }
    }
}

/// Its name is not exported.
pub(super) type SocksFault = <SocksV5<TcpConnector<Resolver>> as Service<http::Uri>>::Error;

/// The problem that a failed SOCKS5 dialogue stands for, and its cause.
pub(super) fn of_socks(fault: SocksFault) -> (ProxyProblem, Option<BoxError>) {
    match fault {
        SocksFault::Inner(error) => (ProxyProblem::Unreachable, Some(Box::new(error))),
        SocksFault::Io(error) => (ProxyProblem::Closed, Some(Box::new(error))),
        SocksFault::V5(answer) => {
            // Its variants are not exported either.
            if format!("{answer:?}").starts_with("Auth") {
                return (ProxyProblem::Login, None);
            }
            let status = answer.to_string();
            let for_good = status == "connection not allowed";
            (ProxyProblem::Refused { status, for_good }, None)
        }
        SocksFault::DnsFailure
        | SocksFault::MissingHost
        | SocksFault::MissingPort
        | SocksFault::V4(_)
        | SocksFault::Parsing(_)
        | SocksFault::Serialize(_) => (ProxyProblem::Garbled, None),
    }
}
