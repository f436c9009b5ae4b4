//! Faults on the way to a server, as types that the translation of errors looks for.

use std::error::Error as StdError;
use std::time::Duration;

use super::proxy::Proxy;

/// The cause of a fault.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// A host name that could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("cannot find the host {host}")]
pub(crate) struct DnsFault {
    pub(crate) host: String,
    pub(super) source: BoxError,
}

/// A server sent something else than TLS where TLS was begun.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not TLS")]
pub(crate) struct NotTls {
    /// Whether the bytes begin as those of an HTTP/1 answer do.
    pub(crate) is_http: bool,
}

/// A server sent something else than HTTP/1 where that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not HTTP/1")]
pub(crate) struct NotHttp {
    /// Whether the bytes begin as those of TLS do.
    pub(crate) is_tls: bool,
}

/// No connection was ready within `limit`, the proxy's part and TLS included.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} seconds", limit.as_secs())]
pub(crate) struct ConnectTimedOut {
    pub(crate) limit: Duration,
}

/// A proxy that did not lead to the server.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} failed: {problem:?}")]
pub(crate) struct ProxyFault {
    /// Host and port.
    pub(crate) proxy: String,
    /// The environment variable that names it.
    pub(crate) variable: &'static str,
    pub(crate) problem: ProxyProblem,
    source: Option<BoxError>,
}

/// What a proxy did instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyProblem {
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

/// The first cause of type `T`, looking into the layers that wrap errors without naming them as
/// their source.
pub(crate) fn find<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && let Some(inner) = io.get_ref()
            && let Some(found) = find::<T>(inner)
        {
            return Some(found);
        }
        if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(inner))) =
            error.downcast_ref::<rustls::Error>()
            && let Some(found) = inner.0.downcast_ref::<T>()
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}
