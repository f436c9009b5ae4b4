//! Proxy settings from the environment.
//!
//! `HTTPS_PROXY` applies to `https://` endpoints, `HTTP_PROXY` to `http://`, `ALL_PROXY` to both;
//! `NO_PROXY` lists hosts that are reached directly. Upper case takes precedence over lower case, and an
//! empty variable is ignored. A value that is not valid is an error, so that no proxy is bypassed silently.
//! The value is never repeated, because it may contain a password.

use std::ffi::OsString;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::{Code, Error, Result};

/// Maximum length of a SOCKS5 user name and of a password, and of both together with the host name,
/// as the library sends them. In bytes.
const SOCKS_LOGIN: usize = 255;
const SOCKS_MESSAGES: usize = 249;

/// The protocol of a proxy.
#[derive(Clone)]
pub(super) enum Protocol {
    /// For `http` endpoints: the whole URI in the request line.
    Forward { authorization: Option<HeaderValue> },
    /// For `https` endpoints: CONNECT.
    Tunnel { authorization: Option<HeaderValue> },
    /// SOCKS5. With `local_dns` the agent resolves the host, else the proxy does.
    Socks { local_dns: bool, login: Option<(String, String)> },
}

/// The proxy for one endpoint.
#[derive(Clone)]
pub(super) struct Proxy {
    /// The environment variable that the proxy comes from.
    pub(super) variable: &'static str,
    /// URL with host and port, without login. The scheme is `https` when the connection to the
    /// proxy uses TLS.
    pub(super) uri: Uri,
    pub(super) protocol: Protocol,
}

impl Proxy {
    /// The proxy for `endpoint`; `None` when it is reached directly.
    ///
    /// # Errors
    /// `invalid_config` when the variable that applies to `endpoint` is not valid.
    pub(super) fn for_endpoint(
        endpoint: &Url,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>> {
        let is_https = endpoint.scheme() == "https";
        let names = match is_https {
            true => ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
            false => ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
        };
        // A web server passes the header `Proxy` of a request to a CGI program as HTTP_PROXY.
        let is_cgi = variable("REQUEST_METHOD").is_some();
        let is_of_request =
            |name: &str| is_cgi && (name == "HTTP_PROXY" || cfg!(windows) && name == "http_proxy");
        if !is_https && is_cgi && variable("HTTP_PROXY").is_some() {
            tracing::warn!("HTTP_PROXY is ignored, because REQUEST_METHOD is set as for CGI");
        }
        let names = names.into_iter().filter(|name| !is_of_request(name));
        let Some((name, value)) = first(names, &variable)? else { return Ok(None) };
        if let Some((_, list)) = first(["NO_PROXY", "no_proxy"], &variable)?
            && is_excluded(endpoint, &list)
        {
            return Ok(None);
        }
        Self::parse(name, &value, endpoint).map(Some)
    }

    fn parse(variable: &'static str, value: &str, endpoint: &Url) -> Result<Self> {
        let text = match value.contains("://") {
            true => value.to_owned(),
            false => format!("http://{value}"),
        };
        let odd = value.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\');
        let url = Url::parse(&text).ok().filter(|_| !odd).ok_or_else(|| not_a_url(variable))?;
        // The rest of a password with an unescaped slash would become the path.
        let bare =
            matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let host = url.host_str().filter(|host| !host.is_empty() && bare);
        let host = host.ok_or_else(|| not_a_url(variable))?;
        let (user, password) = (decoded(url.username()), url.password().map(decoded));
        let login =
            (!user.is_empty() || password.is_some()).then(|| (user, password.unwrap_or_default()));
        let (protocol, default_port) = match url.scheme() {
            scheme @ ("http" | "https") => {
                let authorization =
                    login.map(basic).transpose().map_err(|()| not_a_url(variable))?;
                let protocol = match endpoint.scheme() {
                    "https" => Protocol::Tunnel { authorization },
                    _ => Protocol::Forward { authorization },
                };
                (protocol, if scheme == "https" { 443 } else { 80 })
            }
            scheme @ ("socks5" | "socks5h") => {
                let login =
                    login.map(|login| socks_login(variable, login, endpoint)).transpose()?;
                (Protocol::Socks { local_dns: scheme == "socks5", login }, 1080)
            }
            _ => {
                let message = format!("{variable}: this kind of proxy is not supported");
                return Err(refused(message).hint(
                    "use a URL that begins with http://, https://, socks5:// or socks5h://",
                ));
            }
        };
        let port = url.port().unwrap_or(default_port);
        let uri = format!("{}://{host}:{port}/", url.scheme()).parse();
        Ok(Self { variable, uri: uri.map_err(|_| not_a_url(variable))?, protocol })
    }

    /// Host and port.
    pub(super) fn address(&self) -> String {
        self.uri.authority().map(ToString::to_string).unwrap_or_default()
    }

    /// Whether the connection to the proxy uses TLS.
    pub(super) fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&http::uri::Scheme::HTTPS)
    }
}

fn refused(message: String) -> Error {
    Error::new(Code::InvalidConfig, message)
}

fn not_a_url(variable: &str) -> Error {
    refused(format!("{variable} is not a valid proxy URL")).hint(
        "write it as http://USER:PASSWORD@HOST:PORT, with special characters in the password \
         percent-encoded (%2F for a slash)",
    )
}

/// The first of these variables that is not empty, with its value.
fn first(
    names: impl IntoIterator<Item = &'static str>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<(&'static str, String)>> {
    for name in names {
        let Some(value) = variable(name) else { continue };
        let value = value.into_string().map_err(|_| {
            refused(format!("{name} is not valid UTF-8")).hint("correct it, or unset it")
        })?;
        let value = value.trim();
        if !value.is_empty() {
            return Ok(Some((name, value.to_owned())));
        }
    }
    Ok(None)
}

fn decoded(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

fn basic((user, password): (Vec<u8>, Vec<u8>)) -> std::result::Result<HeaderValue, ()> {
    let login = BASE64_STANDARD.encode([user, password].join(&b':'));
    let mut value = HeaderValue::try_from(format!("Basic {login}")).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}

/// User name and password as text, if they fit into the SOCKS5 messages.
fn socks_login(
    variable: &str,
    (user, password): (Vec<u8>, Vec<u8>),
    endpoint: &Url,
) -> Result<(String, String)> {
    let host = endpoint.host_str().map_or(0, str::len);
    let fits = user.len().max(password.len()) <= SOCKS_LOGIN
        && user.len() + password.len() + host <= SOCKS_MESSAGES;
    let login = String::from_utf8(user).ok().zip(String::from_utf8(password).ok());
    login.filter(|_| fits).ok_or_else(|| {
        refused(format!(
            "the user name and password in {variable} cannot be sent to a SOCKS proxy: together \
             with the host of the endpoint they may have at most {SOCKS_MESSAGES} bytes of UTF-8"
        ))
    })
}

/// Whether `list`, the value of `NO_PROXY`, contains the host of `endpoint`. Entries are hosts
/// (which include their subdomains), addresses, networks, each with or without a port, or `*`.
fn is_excluded(endpoint: &Url, list: &str) -> bool {
    let Some(host) = endpoint.host_str() else { return false };
    let port = endpoint.port_or_known_default();
    let entries = list.split(|c: char| c == ',' || c.is_whitespace());
    let hosts: Vec<_> = entries.filter_map(|entry| host_of(entry, port)).collect();
    if hosts.contains(&"*") {
        return true;
    }
    let destination = format!("{}://{}/", endpoint.scheme(), host.trim_end_matches('.'));
    let Ok(destination) = destination.parse::<Uri>() else { return false };
    let matcher = Matcher::builder().all("http://proxy").no(hosts.join(",")).build();
    matcher.intercept(&destination).is_none()
}

/// The host of an entry of `NO_PROXY`, unless the entry is for a different port.
fn host_of(entry: &str, port: Option<u16>) -> Option<&str> {
    // `*.example.com` is a common spelling of `.example.com`.
    let entry = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
    let (host, given) = match entry.strip_prefix('[') {
        Some(rest) => {
            let (host, given) = rest.split_once(']')?;
            (host, given.strip_prefix(':'))
        }
        None => match entry.split_once(':') {
            // More than one colon means an IPv6 address.
            Some((host, given)) if !given.contains(':') => (host, Some(given)),
            _ => (entry, None),
        },
    };
    let port_matches = given.is_none_or(|given| given.parse().ok() == port);
    port_matches.then(|| host.trim_end_matches('.'))
}

#[cfg(test)]
mod tests;
