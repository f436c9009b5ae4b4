//! What is said about a connection that is not there, or broke.

use std::error::Error as StdError;
use std::io::ErrorKind;

use hyper_util::client::legacy::Error as PoolError;
use rustls::{AlertDescription, InvalidMessage};

use super::certificate::{of_proxy, untrusted};
use super::faults::{
    BoxError, ConnectTimedOut, DnsFault, NotHttp, NotTls, ProxyFault, ProxyProblem, find,
};
use super::stall::StallFault;
use super::tls::UntrustedCertificate;
use crate::error::{Code, Error};

/// Translates a broken connection.
pub(crate) fn broken(endpoint: &str, what: &str, source: BoxError) -> Error {
    if let Some(error) = on_the_way(endpoint, source.as_ref()) {
        return error.source(source);
    }
    if let Some(fault) = find::<StallFault>(source.as_ref()) {
        let ms = u64::try_from(fault.limit.as_millis()).unwrap_or(u64::MAX);
        let message =
            format!("{endpoint} was silent for {} seconds in {what}", fault.limit.as_secs());
        return Error::new(Code::Timeout, message)
            .detail("stage", "http")
            .detail("ms", ms)
            .source(source);
    }
    // Absent while an answer is read; what breaks then is worth another try.
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
    Error::new(Code::NetworkLost, format!("the connection to {endpoint} broke in {what}"))
        .detail("stage", "http")
        .source(source)
}

/// Translates why there is no connection.
pub(crate) fn unreachable(endpoint: &str, source: BoxError) -> Error {
    if let Some(error) = on_the_way(endpoint, source.as_ref()) {
        return error.source(source);
    }
    match find::<rustls::Error>(source.as_ref()) {
        Some(fault) => tls_failed(endpoint, fault).source(source),
        None => not_connected(endpoint, source),
    }
}

/// What our own types say of a connection.
fn on_the_way(endpoint: &str, source: &(dyn StdError + 'static)) -> Option<Error> {
    // Before the faults of a name and of a certificate, which may be the proxy's.
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
        let message = format!(
            "the connection to {endpoint} was not ready after {seconds} seconds: check host and \
             port, and that the server speaks TLS there"
        );
        return Some(
            Error::new(Code::Timeout, message).detail("stage", "tls").detail("ms", seconds * 1000),
        );
    }
    let fault = find::<DnsFault>(source)?;
    let message = format!("cannot find the host \"{}\": check the endpoint", fault.host);
    Some(
        Error::new(Code::CannotConnect, message)
            .field("endpoint")
            .detail("stage", "dns")
            .detail("host", fault.host.as_str()),
    )
}

fn proxy_failed(endpoint: &str, fault: &ProxyFault) -> Error {
    let (proxy, variable) = (fault.proxy.as_str(), fault.variable);
    let message = match &fault.problem {
        ProxyProblem::Login => return wants_login(endpoint, variable).detail("host", proxy),
        ProxyProblem::Unreachable => no_way_to_proxy(endpoint, fault),
        ProxyProblem::Refused { status, .. } => format!(
            "the proxy {proxy} does not lead to {endpoint}: it answered \"{status}\": allow the \
             host on the proxy, or name it in NO_PROXY if it can be reached without {variable}"
        ),
        ProxyProblem::Garbled => format!(
            "the proxy {proxy} on the way to {endpoint} does not answer in the protocol of its \
             URL: check its scheme and port in {variable}"
        ),
        ProxyProblem::TooLong(limit) => format!(
            "the proxy {proxy} on the way to {endpoint} answered with a header of more than \
             {limit} bytes: check its port in {variable}"
        ),
        ProxyProblem::Closed => format!(
            "the proxy {proxy} on the way to {endpoint} closed the connection without an answer: \
             check its scheme and port in {variable}, and its log"
        ),
        ProxyProblem::Early => format!(
            "the proxy {proxy} on the way to {endpoint} sent data that does not come from the \
             server: check the proxy, or its port in {variable}"
        ),
        ProxyProblem::Silent(limit) => format!(
            "the proxy {proxy} did not lead to {endpoint} within {} seconds: check it, or its \
             scheme and port in {variable}",
            limit.as_secs()
        ),
    };
    let error =
        Error::new(Code::CannotConnect, message).detail("stage", "proxy").detail("host", proxy);
    if let ProxyProblem::Refused { status, .. } = &fault.problem {
        return error.detail("answer", status.as_str());
    }
    error
}

fn no_way_to_proxy(endpoint: &str, fault: &ProxyFault) -> String {
    let (proxy, variable) = (fault.proxy.as_str(), fault.variable);
    if let Some(refused) = find::<UntrustedCertificate>(fault) {
        return format!(
            "the proxy {proxy} on the way to {endpoint} cannot be used: {}: add its CA to the \
             certificates of this machine (SSL_CERT_FILE), or check {variable}",
            of_proxy(refused)
        );
    }
    if find::<rustls::Error>(fault).is_some() {
        return format!(
            "the proxy {proxy} on the way to {endpoint} does not speak TLS as its https:// URL \
             says: check its port in {variable}"
        );
    }
    format!(
        "cannot reach the proxy {proxy} on the way to {endpoint}: check {variable} and NO_PROXY"
    )
}

/// To a request that a proxy forwards.
pub(crate) fn proxy_wants_login(endpoint: &str) -> Error {
    wants_login(endpoint, "HTTPS_PROXY or HTTP_PROXY")
}

fn wants_login(endpoint: &str, variable: &str) -> Error {
    let message = format!(
        "the proxy on the way to {endpoint} wants a user name and password: write the right ones \
         into its URL in {variable}"
    );
    Error::new(Code::CannotConnect, message).detail("stage", "proxy")
}

fn not_connected(endpoint: &str, source: BoxError) -> Error {
    let io = find::<std::io::Error>(source.as_ref());
    let reason = match io.map(std::io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => {
            "nothing listens there: check host and port, and that the storage runs"
        }
        Some(ErrorKind::TimedOut) => {
            "it does not answer: check host and port, and firewalls on the way"
        }
        Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            "it closed the connection at once: check the port, and that the storage runs"
        }
        _ => "check host and port",
    };
    let mut error =
        Error::new(Code::CannotConnect, format!("cannot connect to {endpoint}: {reason}"))
            .field("endpoint")
            .detail("stage", "tcp")
            .detail("host", endpoint.split_once("://").map_or(endpoint, |(_, host)| host));
    if let Some(io) = io {
        error = error.detail("os_error", io.to_string());
    }
    error.source(source)
}

/// No remedy leads from https to http: who is on the way could send these bytes as well.
fn not_tls(endpoint: &str, fault: &NotTls) -> Error {
    if fault.is_http {
        let message = format!(
            "{endpoint} answers in plain HTTP on this port: enter the port for https, or set up \
             TLS on the server"
        );
        return Error::new(Code::InvalidEndpoint, message)
            .field("endpoint")
            .detail("reason", "tls_on_plain_http");
    }
    let message = format!("{endpoint} does not speak TLS on this port: enter the port for https");
    Error::new(Code::TlsFailed, message).field("endpoint").detail("alert", "not TLS")
}

fn not_http(endpoint: &str, fault: &NotHttp) -> Error {
    let (reason, why) = if fault.is_tls {
        ("plain_http_on_tls", "answers in TLS: write https:// instead of http://")
    } else {
        (
            "not_http",
            "does not answer in HTTP/1.1: enter the port of the S3 service; gRPC and others \
                      have ports of their own",
        )
    };
    Error::new(Code::InvalidEndpoint, format!("{endpoint} {why}"))
        .field("endpoint")
        .detail("reason", reason)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library adds variants at will")]
fn tls_failed(endpoint: &str, fault: &rustls::Error) -> Error {
    let why = match fault {
        rustls::Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
        ) => "its certificate with the chain is larger than 64 KiB: install a shorter chain there",
        rustls::Error::InvalidMessage(_) => {
            "what came breaks the rules of TLS: check the port, and what is between"
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13
            | rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "it does not speak TLS 1.2 or 1.3: update the server",
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "it does not know this host name: check the host, and the certificate on the server"
        }
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate,
        ) => "it wants a client certificate, which this agent does not have",
        rustls::Error::InvalidCertificate(_) => {
            "its signature does not match its certificate: check the key and the certificate on the \
             server"
        }
        other => &format!("the handshake failed: {other}"),
    };
    Error::new(Code::TlsFailed, format!("no TLS connection to {endpoint}: {why}"))
        .field("endpoint")
        .detail("alert", fault.to_string())
}

/// What the HTTP client says of an answer, if it is worth a sentence.
fn broken_http(endpoint: &str, what: &str, fault: &hyper::Error) -> Option<Error> {
    // The library has a method for this, but only in servers.
    if fault.is_parse() && fault.to_string().starts_with("message head is too large") {
        let message =
            format!("the headers of what {endpoint} answered to {what} are too many or too large");
        return Some(Error::new(Code::RemoteError, message).detail("member", "headers"));
    }
    let is_http = endpoint.starts_with("http://");
    if fault.is_parse() {
        let message = format!("{endpoint} does not answer {what} in HTTP/1.1");
        return Some(Error::new(Code::RemoteError, message).detail("member", "status line"));
    }
    if fault.is_incomplete_message() && is_http {
        let message = format!(
            "{endpoint} closed the connection without an answer to {what}; if it wants TLS, \
             write https://"
        );
        return Some(Error::new(Code::NetworkLost, message).detail("stage", "http"));
    }
    None
}
