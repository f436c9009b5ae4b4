//! Error codes and messages for broken connections.

use std::error::Error as StdError;
use std::io::ErrorKind;

use hyper_util::client::legacy::Error as PoolError;
use rustls::{AlertDescription, InvalidMessage};

use super::certificate::{proxy_reason, untrusted};
use super::faults::{
    BoxError, ConnectTimedOut, DnsFault, NotHttp, NotTls, ProxyFault, ProxyProblem, find,
};
use super::stall::StallFault;
use super::tls::UntrustedCertificate;
use crate::error::{Code, Error};

/// The error for a request `what` whose connection broke.
pub(crate) fn broken(endpoint: &str, what: &str, source: BoxError) -> Error {
    if let Some(error) = known_fault(endpoint, source.as_ref()) {
        return error.source(source);
    }
    if let Some(fault) = find::<StallFault>(source.as_ref()) {
        let ms = u64::try_from(fault.limit.as_millis()).unwrap_or(u64::MAX);
        let message =
            format!("{what}: no data from {endpoint} for {} seconds", fault.limit.as_secs());
        return Error::new(Code::Timeout, message)
            .detail("stage", "http")
            .detail("ms", ms)
            .source(source);
    }
    // Absent while a response body is read: a fault then is retryable.
    let request = find::<PoolError>(source.as_ref());
    if let Some(fault) = find::<rustls::Error>(source.as_ref()).filter(|_| request.is_some()) {
        return tls_failed(endpoint, fault).source(source);
    }
    if request.is_some_and(PoolError::is_connect) {
        return not_connected(endpoint, source);
    }
    if let Some(error) = find::<hyper::Error>(source.as_ref())
        .filter(|_| request.is_some())
        .and_then(|fault| broken_http(endpoint, what, fault))
    {
        return error.source(source);
    }
    Error::new(Code::NetworkLost, format!("{what}: the connection to {endpoint} broke"))
        .detail("stage", "http")
        .source(source)
}

/// The error for a connection that could not be opened.
pub(crate) fn unreachable(endpoint: &str, source: BoxError) -> Error {
    if let Some(error) = known_fault(endpoint, source.as_ref()) {
        return error.source(source);
    }
    match find::<rustls::Error>(source.as_ref()) {
        Some(fault) => tls_failed(endpoint, fault).source(source),
        None => not_connected(endpoint, source),
    }
}

/// The error for the fault types of this module.
fn known_fault(endpoint: &str, source: &(dyn StdError + 'static)) -> Option<Error> {
    // Checked before DNS and certificate faults, which may be the proxy's.
    if let Some(fault) = find::<ProxyFault>(source) {
        return Some(proxy_failed(endpoint, fault));
    }
    if let Some(fault) = find::<UntrustedCertificate>(source) {
        return Some(untrusted(endpoint, fault));
    }
    if let Some(fault) = find::<NotHttp>(source) {
        return Some(not_http(endpoint, fault));
    }
    if let Some(fault) = find::<NotTls>(source) {
        return Some(not_tls(endpoint, fault));
    }
    if let Some(fault) = find::<ConnectTimedOut>(source) {
        let seconds = fault.limit.as_secs();
        let message = format!("the connection to {endpoint} was not ready after {seconds} seconds");
        return Some(
            Error::new(Code::Timeout, message)
                .hint("check the host and port, and that the server uses TLS on this port")
                .detail("stage", "tls")
                .detail("ms", seconds * 1000),
        );
    }
    let fault = find::<DnsFault>(source)?;
    let message = format!("cannot find the host \"{}\"", fault.host);
    Some(
        Error::new(Code::CannotConnect, message)
            .hint("check the endpoint")
            .field("endpoint")
            .detail("stage", "dns")
            .detail("host", fault.host.as_str()),
    )
}

fn proxy_failed(endpoint: &str, fault: &ProxyFault) -> Error {
    let (proxy, variable) = (fault.proxy.as_str(), fault.variable);
    let (message, hint) = match &fault.problem {
        ProxyProblem::Login => return login_required(endpoint, variable).detail("host", proxy),
        ProxyProblem::Unreachable => proxy_unreachable(endpoint, fault),
        ProxyProblem::Refused { status, .. } => (
            format!("the proxy {proxy} does not connect to {endpoint}: it answered \"{status}\""),
            format!(
                "allow the host on the proxy, or add it to NO_PROXY if it can be reached without \
                 {variable}"
            ),
        ),
        ProxyProblem::Garbled => (
            format!("the proxy {proxy} for {endpoint} does not speak the protocol of its URL"),
            format!("check its scheme and port in {variable}"),
        ),
        ProxyProblem::TooLong(limit) => (
            format!(
                "the proxy {proxy} for {endpoint} answered with headers of more than {limit} bytes"
            ),
            format!("check its port in {variable}"),
        ),
        ProxyProblem::Closed => (
            format!("the proxy {proxy} for {endpoint} closed the connection without an answer"),
            format!("check its scheme and port in {variable}, and its log"),
        ),
        ProxyProblem::Early => (
            format!(
                "the proxy {proxy} for {endpoint} sent data that does not come from the server"
            ),
            format!("check the proxy, or its port in {variable}"),
        ),
        ProxyProblem::Silent(limit) => (
            format!(
                "the proxy {proxy} did not connect to {endpoint} within {} seconds",
                limit.as_secs()
            ),
            format!("check the proxy, or its scheme and port in {variable}"),
        ),
    };
    let error = Error::new(Code::CannotConnect, message)
        .hint(hint)
        .detail("stage", "proxy")
        .detail("host", proxy);
    if let ProxyProblem::Refused { status, .. } = &fault.problem {
        return error.detail("answer", status.as_str());
    }
    error
}

/// What failed and why, and the remedy.
fn proxy_unreachable(endpoint: &str, fault: &ProxyFault) -> (String, String) {
    let (proxy, variable) = (fault.proxy.as_str(), fault.variable);
    if let Some(refused) = find::<UntrustedCertificate>(fault) {
        let why = proxy_reason(refused);
        return (
            format!("the proxy {proxy} for {endpoint} cannot be used: {why}"),
            format!(
                "add its CA to the trusted certificates of this machine (SSL_CERT_FILE), or check \
                 {variable}"
            ),
        );
    }
    if find::<rustls::Error>(fault).is_some() {
        return (
            format!("the proxy {proxy} for {endpoint} does not speak TLS, but its URL is https://"),
            format!("check its port in {variable}"),
        );
    }
    (
        format!("cannot reach the proxy {proxy} for {endpoint}"),
        format!("check {variable} and NO_PROXY"),
    )
}

/// The error for a forwarded request that the proxy answered with 407.
pub(crate) fn proxy_login_required(endpoint: &str) -> Error {
    login_required(endpoint, "HTTPS_PROXY or HTTP_PROXY")
}

fn login_required(endpoint: &str, variable: &str) -> Error {
    let message = format!("the proxy for {endpoint} requires a user name and password");
    Error::new(Code::CannotConnect, message)
        .hint(format!("put the correct ones into its URL in {variable}"))
        .detail("stage", "proxy")
}

fn not_connected(endpoint: &str, source: BoxError) -> Error {
    let io = find::<std::io::Error>(source.as_ref());
    let (why, hint) = match io.map(std::io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => (
            ": the connection was refused",
            "check the host and port, and that the server is running",
        ),
        Some(ErrorKind::TimedOut) => {
            (": the server does not answer", "check the host and port, and firewalls")
        }
        Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => (
            ": the server closed the connection at once",
            "check the port, and that the server is running",
        ),
        _ => ("", "check the host and port"),
    };
    let mut error = Error::new(Code::CannotConnect, format!("cannot connect to {endpoint}{why}"))
        .hint(hint)
        .field("endpoint")
        .detail("stage", "tcp")
        .detail("host", endpoint.split_once("://").map_or(endpoint, |(_, host)| host));
    if let Some(io) = io {
        error = error.detail("os_error", io.to_string());
    }
    error.source(source)
}

/// The remedy is never http instead of https: an attacker on the network could send these bytes.
fn not_tls(endpoint: &str, fault: &NotTls) -> Error {
    if fault.is_http {
        let message = format!("{endpoint} answers in plain HTTP on this port");
        return Error::new(Code::InvalidEndpoint, message)
            .hint("use the port for https, or set up TLS on the server")
            .field("endpoint")
            .detail("reason", "tls_on_plain_http");
    }
    let message = format!("{endpoint} does not speak TLS on this port");
    Error::new(Code::TlsFailed, message)
        .hint("use the port for https")
        .field("endpoint")
        .detail("alert", "not TLS")
}

fn not_http(endpoint: &str, fault: &NotHttp) -> Error {
    let (reason, why, hint) = if fault.is_tls {
        ("plain_http_on_tls", "uses TLS", "write https:// instead of http://")
    } else {
        (
            "not_http",
            "does not answer in HTTP/1.1",
            "use the port of the S3 service, and not that of gRPC or another service",
        )
    };
    Error::new(Code::InvalidEndpoint, format!("{endpoint} {why}"))
        .hint(hint)
        .field("endpoint")
        .detail("reason", reason)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library adds variants at will")]
fn tls_failed(endpoint: &str, fault: &rustls::Error) -> Error {
    let (why, hint) = match fault {
        rustls::Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
        ) => (
            "the certificate chain is larger than 64 KiB",
            Some("install a shorter chain on the server"),
        ),
        rustls::Error::InvalidMessage(_) => (
            "the data received is not valid TLS",
            Some("check the port, and proxies and firewalls"),
        ),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13
            | rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => ("the server does not speak TLS 1.2 or 1.3", Some("update it")),
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => (
            "the server does not know this host name",
            Some("check the host, and the certificate on the server"),
        ),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate,
        ) => ("the server requires a client certificate, which is not supported", None),
        rustls::Error::InvalidCertificate(_) => (
            "the signature does not match the certificate",
            Some("check the key and the certificate on the server"),
        ),
        other => (&*format!("the handshake failed: {other}"), None),
    };
    let error = Error::new(Code::TlsFailed, format!("no TLS connection to {endpoint}: {why}"))
        .field("endpoint")
        .detail("alert", fault.to_string());
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The error for a fault of the HTTP client, if there is a specific one.
fn broken_http(endpoint: &str, what: &str, fault: &hyper::Error) -> Option<Error> {
    // The library has a method for this, but only for servers.
    if fault.is_parse() && fault.to_string().starts_with("message head is too large") {
        let message = format!("{what}: {endpoint} answered with too many or too large headers");
        return Some(Error::new(Code::RemoteError, message).detail("member", "headers"));
    }
    let is_http = endpoint.starts_with("http://");
    if fault.is_parse() {
        let message = format!("{what}: {endpoint} does not answer in HTTP/1.1");
        return Some(Error::new(Code::RemoteError, message).detail("member", "status line"));
    }
    if fault.is_incomplete_message() && is_http {
        let message = format!("{what}: {endpoint} closed the connection without an answer");
        return Some(
            Error::new(Code::NetworkLost, message)
                .hint("if the server uses TLS, write https://")
                .detail("stage", "http"),
        );
    }
    None
}
