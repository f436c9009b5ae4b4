//! Corrections to try after a failed check: region, addressing style or endpoint.

use url::Url;

use super::checks::{CheckName, Outcome};
use crate::config::{AddressingStyle, TargetConfig};
use crate::error::{Code, Detail, Error};

/// Port of MinIO's console, and port of its S3 service.
const CONSOLE_PORTS: (u16, u16) = (9001, 9000);

/// A change of the settings, and the check that it belongs to.
pub(super) struct Correction {
    pub(super) config: TargetConfig,
    pub(super) name: CheckName,
    error: Error,
    works_with: String,
}

impl Correction {
    fn new(config: TargetConfig, name: CheckName, error: Error, works_with: String) -> Self {
        Self { config, name, error, works_with }
    }

    /// The outcome of the check: passed if the agent makes this correction by itself (a setting
    /// that was not given), otherwise failed.
    pub(super) fn outcome(self, given: &TargetConfig) -> Outcome {
        #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is learned from answers")]
        let by_itself = match self.error.code() {
            Code::WrongRegion => !given.region_given && self.config.endpoint == given.endpoint,
            Code::WrongAddressingStyle => {
                !given.addressing_given && self.error.upstream_answer().is_some()
            }
            _ => false,
        };
        let message = format!("it works with {}", self.works_with);
        if by_itself {
            Outcome::passed_with(message)
        } else {
            Outcome::failure(self.error, message)
        }
    }
}

/// The correction to try after this failure, if there is one.
pub(super) fn correction(
    name: CheckName,
    error: &Error,
    config: &TargetConfig,
) -> Option<Correction> {
    let detail = |name| match error.details().get(name) {
        Some(Detail::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "there is nothing to try after the others")]
    match error.code() {
        Code::WrongRegion => in_region(detail("expected")?, name, error, config),
        Code::WrongAddressingStyle => {
            let path_style = detail("use")? == AddressingStyle::Path.as_str();
            (path_style != config.path_style).then(|| with_style(path_style, error.clone(), config))
        }
        Code::InvalidEndpoint => match (detail("expected"), detail("reason")) {
            (Some(host), _) => at_host(host, name, error, config),
            (None, Some("plain_http_on_tls")) => with_tls(name, error, config),
            (None, Some("console_port")) => at_service_port(name, error, config),
            // A web page on the host name of the bucket.
            _ => None,
        },
        // The server may ignore the bucket in the host name.
        Code::BucketNotFound => Some(with_other_style(config)),
        Code::CannotConnect if name == CheckName::Dns && !config.path_style => {
            Some(with_other_style(config))
        }
        Code::TlsUntrusted if detail("reason") == Some("name_mismatch") && !config.path_style => {
            Some(with_other_style(config))
        }
        _ => None,
    }
}

fn in_region(
    expected: &str,
    name: CheckName,
    error: &Error,
    config: &TargetConfig,
) -> Option<Correction> {
    let TargetConfig { endpoint, region, .. } = config;
    // If the host name contains the region, the host changes as well.
    let moved = endpoint.as_str().replace(&format!(".{region}."), &format!(".{expected}."));
    let moved = Url::parse(&moved).ok()?;
    let works_with = match moved == *endpoint {
        true => format!("the region {expected}"),
        false => format!("the region {expected} at {}", moved.as_str().trim_end_matches('/')),
    };
    let config = TargetConfig { endpoint: moved, region: expected.to_owned(), ..config.clone() };
    Some(Correction::new(config, name, error.clone(), works_with))
}

fn at_host(
    host: &str,
    name: CheckName,
    error: &Error,
    config: &TargetConfig,
) -> Option<Correction> {
    let endpoint = Url::parse(&format!("{}://{host}", config.endpoint.scheme())).ok()?;
    let works_with = format!("the endpoint {}", endpoint.as_str().trim_end_matches('/'));
    let config = config.moved_to(endpoint);
    Some(Correction::new(config, name, error.clone(), works_with))
}

/// Only from HTTP to HTTPS: an attacker between the agent and a server can make TLS fail.
fn with_tls(name: CheckName, error: &Error, config: &TargetConfig) -> Option<Correction> {
    let mut endpoint = config.endpoint.clone();
    endpoint.set_scheme("https").ok()?;
    let works_with = format!("the endpoint {}", endpoint.as_str().trim_end_matches('/'));
    let config = TargetConfig { endpoint, ..config.clone() };
    Some(Correction::new(config, name, error.clone(), works_with))
}

fn at_service_port(name: CheckName, error: &Error, config: &TargetConfig) -> Option<Correction> {
    let (console, service) = CONSOLE_PORTS;
    let mut endpoint = config.endpoint.clone();
    if endpoint.port() != Some(console) {
        return None;
    }
    endpoint.set_port(Some(service)).ok()?;
    let works_with = format!("the endpoint {}", endpoint.as_str().trim_end_matches('/'));
    let config = TargetConfig { endpoint, ..config.clone() };
    Some(Correction::new(config, name, error.clone(), works_with))
}

fn with_style(path_style: bool, error: Error, config: &TargetConfig) -> Correction {
    let addressing_style = AddressingStyle::of(path_style).as_str();
    let works_with = format!("the addressing style {addressing_style}");
    let config = TargetConfig { path_style, ..config.clone() };
    Correction::new(config, CheckName::AddressingStyle, error, works_with)
}

/// After a failure that does not name the addressing style as its cause.
fn with_other_style(config: &TargetConfig) -> Correction {
    let path_style = !config.path_style;
    let place = if path_style { "path" } else { "host name" };
    let addressing_style = AddressingStyle::of(path_style).as_str();
    let message = format!("the server finds the bucket only in the {place}");
    let error = Error::new(Code::WrongAddressingStyle, message)
        .hint(format!("set addressing style to {addressing_style}"))
        .field("addressing_style")
        .detail("use", addressing_style);
    with_style(path_style, error, config)
}
