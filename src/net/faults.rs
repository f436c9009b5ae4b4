//! Fault types of connections, which `error` translates.

use std::error::Error as StdError;
use std::time::Duration;

use super::proxy::Proxy;

/// An error of any type.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// A host name that could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("cannot find the host {host}")]
pub(crate) struct DnsFault {
    pub(crate) host: String,
    pub(super) source: BoxError,
}

/// The server sent something other than TLS when TLS was expected.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not TLS")]
pub(crate) struct NotTls {
    /// Whether the bytes begin like an HTTP/1 response.
    pub(crate) is_http: bool,
}

/// The server sent something other than HTTP/1 when HTTP/1 was expected.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not HTTP/1")]
pub(crate) struct NotHttp {
    /// Whether the bytes begin like TLS.
    pub(crate) is_tls: bool,
}

/// No connection was ready within `limit`, which includes the proxy and TLS.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} seconds", limit.as_secs())]
pub(crate) struct ConnectTimedOut {
    pub(crate) limit: Duration,
}

/// A proxy did not connect to the server.
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

/// The reason why a proxy did not connect to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyProblem {
    /// The agent cannot connect to the proxy; the source says why.
    Unreachable,
    /// The proxy requires a user name and password, or different ones.
    Login,
    /// The proxy answered with this status, such as `403 Forbidden`.
    Refused { status: String, is_permanent: bool },
    /// The response of the proxy does not follow its protocol.
    Garbled,
    /// The headers of the response are longer than this many bytes.
    TooLong(usize),
    /// The proxy closed the connection before its response was complete.
    Closed,
    /// The proxy sent data before the server can have sent any.
    Early,
    /// The proxy did not connect within this time.
    Silent(Duration),
}

impl ProxyFault {
    pub(super) fn new(proxy: &Proxy, problem: ProxyProblem, source: Option<BoxError>) -> Self {
        Self { proxy: proxy.address(), variable: proxy.variable, problem, source }
    }

    /// Whether a retry cannot succeed until a person changes something.
    pub(super) fn is_permanent(&self) -> bool {
        match self.problem {
            ProxyProblem::Login => true,
            ProxyProblem::Refused { is_permanent, .. } => is_permanent,
            ProxyProblem::Unreachable
            | ProxyProblem::Garbled
            | ProxyProblem::TooLong(_)
            | ProxyProblem::Closed
            | ProxyProblem::Early
            | ProxyProblem::Silent(_) => false,
        }
    }
}

/// The first cause of type `T`. Also looks into wrappers that do not name the inner error as their
/// source.
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
