//! Warnings about settings that are unusual for their provider.
//!
//! A warning does not stop the validation, because the table of providers may be outdated. If the
//! server then refuses, the warning becomes the explanation.

use super::checks::Outcome;
use super::interpretations::describe;
use crate::config::{TargetConfig, wrong_host};
use crate::error::{Code, Error};

/// The warnings, the most important first.
pub(super) struct Warnings(Vec<Error>);

impl Warnings {
    /// As the outcome of a check.
    pub(super) fn outcome(&self, config: &TargetConfig) -> Outcome {
        match (self.0.first(), config.provider) {
            (Some(warning), _) => Outcome::warning_from(warning.clone()),
            (None, _) if config.split => Outcome::warning(format!(
                "the endpoint contains the bucket: the agent uses {}",
                describe(&config.location())
            )),
            (None, Some(provider)) if !config.endpoint_given => Outcome::passed_with(format!(
                "{}, because no endpoint is set: set the endpoint to use another provider",
                provider.name
            )),
            (None, Some(provider)) => Outcome::passed_with(&provider.name),
            (None, None) => Outcome::passed(),
        }
    }

    /// Replaces an error with the warning that predicted it.
    pub(super) fn explain(&self, error: Error) -> Error {
        let field = error.data().field;
        let mut warnings = self.0.iter();
        let foreseen = warnings
            .find(|warning| warning.code() == error.code() && warning.data().field == field);
        match (foreseen.cloned(), error.upstream_answer().cloned()) {
            (Some(warning), Some(upstream)) => warning.upstream(upstream).source(error),
            (Some(warning), None) => warning.source(error),
            (None, _) => error,
        }
    }
}

pub(super) fn warnings(config: &TargetConfig) -> Warnings {
    let warnings =
        [wrong_service(config), plain_http(config), key_id(config), secret(config), token(config)];
    Warnings(warnings.into_iter().flatten().collect())
}

fn wrong_service(config: &TargetConfig) -> Option<Error> {
    let host = config.endpoint.host_str()?;
    let (provider, is) = wrong_host(host)?;
    let message = format!("{host} is {is}, not the S3 service of {}", provider.name);
    Some(invalid_endpoint("wrong_host", message).hint(format!("enter {}", provider.endpoint)))
}

fn plain_http(config: &TargetConfig) -> Option<Error> {
    let provider = config.provider.filter(|provider| provider.https_only)?;
    (config.endpoint.scheme() == "http").then(|| {
        let message = format!("{} requires TLS", provider.name);
        invalid_endpoint("plain_http_on_tls", message).hint("write https:// instead of http://")
    })
}

fn invalid_endpoint(reason: &'static str, message: String) -> Error {
    Error::new(Code::InvalidEndpoint, message).field("endpoint").detail("reason", reason)
}

fn key_id(config: &TargetConfig) -> Option<Error> {
    if config.keys_look_swapped() {
        // The later refusal says more.
        return None;
    }
    let warning = config.provider?.key_id_problem(&config.access_key_id)?;
    let message = format!("the access key ID looks wrong: {warning}");
    Some(refused("access_key", "access_key_id", &message))
}

fn secret(config: &TargetConfig) -> Option<Error> {
    (config.secret_access_key.expose() == config.access_key_id).then(|| {
        let message = "the secret access key is the same as the access key ID";
        refused("signature", "secret_access_key", message)
            .hint("enter the secret, which is shown only once when a key is created")
    })
}

/// Temporary keys of AWS start with these letters.
fn token(config: &TargetConfig) -> Option<Error> {
    let temporary = config.access_key_id.starts_with("ASIA") && config.access_key_id.len() == 20;
    (temporary && config.session_token.is_none()).then(|| {
        let message = "this access key is temporary and needs its session token";
        refused("access_key", "access_key_id", message)
            .hint("enter the token, or create a permanent key")
    })
}

fn refused(which: &'static str, field: &'static str, message: &str) -> Error {
    Error::new(Code::InvalidCredentials, message).field(field).detail("which", which)
}
