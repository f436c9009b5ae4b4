//! Validation of a target, one check at a time, so that the first failed check names the problem.
//!
//! Uses only the calls that backups need; optional features are probed, and a refusal is not a
//! failure. Only temporary failures are retried. Test objects are deleted, also after cancellation,
//! and by the next process if this one is killed.

/// Runs a check, with retries while it fails temporarily. A backup retries its requests as well, so
/// a busy server must not look like a wrong setting. A macro, because a closure would require
/// futures that are `Send` for any lifetime.
macro_rules! patiently {
    ($check:expr) => {
        async {
            let mut tries = 1;
            loop {
                let found = $check.await;
                if tries == super::TRIES || !found.as_ref().is_err_and(super::is_temporary) {
                    break found;
                }
                tries += 1;
                tokio::time::sleep(super::PAUSE).await;
            }
        }
    };
}

mod access;
mod checks;
mod interpretations;
mod objects;
mod suggestions;
mod warnings;

use std::sync::Arc;
use std::time::Duration;

use self::access::Access;
use self::checks::{CheckName, Outcome};
use super::{Cancel, Target};
use crate::config::{AddressingStyle, Location, TargetConfig};
use crate::error::{Code, Error, Result};
use crate::protocol::{Level, Suggestion, TargetDetails, ValidateResult};

/// Most corrections of the settings: scheme, region and addressing style may all be wrong.
const CORRECTIONS: usize = 3;

/// Most attempts of a check that fails temporarily.
const TRIES: u32 = 3;

/// Pause between two attempts. Some servers allow one write per second and key.
const PAUSE: Duration = Duration::from_millis(1200);

/// Validates a target; with [`Level::Write`] it also writes test objects.
///
/// # Errors
/// Only those of `cancel`; a failed check is a result.
pub async fn validate(
    target: &Arc<Target>,
    level: Level,
    cancel: &Cancel,
) -> Result<ValidateResult> {
    let target = Arc::clone(target);
    // In a task, so that a probe that has begun is cleaned up even if the request is dropped.
    let switch = cancel.clone();
    cancel.finish(tokio::spawn(async move { probe(&target, level, &switch).await })).await
}

async fn probe(target: &Target, level: Level, cancel: &Cancel) -> Result<ValidateResult> {
    let given = &target.config;
    let mut access = Access::check(given.clone(), target.store.layout(), cancel).await?;
    let mut corrected = Vec::new();
    while corrected.len() < CORRECTIONS
        && let Some((name, error)) = access.failure()
        && let Some(correction) = suggestions::correction(name, error, &access.config)
    {
        let next = Access::check(correction.config.clone(), target.store.layout(), cancel).await?;
        if !next.got_further_than(&access) {
            break;
        }
        corrected.push(correction);
        access = next;
    }
    let mut suggestion = suggestion(given, &access);
    if let Some((name, error)) = access.failure()
        && let Some(location) = interpretations::find_working(given, error, cancel).await
    {
        let message = format!("it works with {}", interpretations::describe(&location));
        let found = Outcome::failure(error.clone(), message);
        access.checks.replace(name, found);
        suggestion = Some(of_location(&location));
    }
    let Access { config, bucket, server_info, mut checks, .. } = access;
    for correction in corrected {
        checks.replace(correction.name, correction.outcome(given));
    }
    if level == Level::Write {
        if checks.passed(CheckName::List) && !cancel.is_cancelled() {
            objects::run(target, &bucket, &mut checks, cancel).await;
        } else {
            checks.skip_rest();
        }
    }
    if cancel.is_cancelled() {
        return Err(cancel.error());
    }
    let details = TargetDetails {
        endpoint: address(&config),
        region: bucket.region(),
        addressing_style: AddressingStyle::of(bucket.path_style()),
        provider: config.provider.map(|provider| provider.key.clone()),
        server: server_info.and_then(|server_info| server_info.server),
    };
    Ok(ValidateResult { ok: checks.ok(), checks: checks.checks(), details, suggestion })
}

/// Whether a server answered with a temporary failure. A wrong address or a minute of silence is
/// reported at once.
fn is_temporary(error: &Error) -> bool {
    matches!(error.code(), Code::RemoteError | Code::Throttled | Code::NetworkLost)
}

/// Settings that are known to work, if they differ from the given ones.
fn suggestion(given: &TargetConfig, access: &Access) -> Option<Suggestion> {
    if access.failure().is_some() {
        return None;
    }
    let config = &access.config;
    let split = if given.split { of_location(&config.location()) } else { Suggestion::default() };
    let suggestion = Suggestion {
        endpoint: (given.split || config.endpoint != given.endpoint).then(|| address(config)),
        region: (config.region != given.region).then(|| config.region.clone()),
        addressing_style: (config.path_style != given.path_style)
            .then(|| AddressingStyle::of(config.path_style)),
        ..split
    };
    (suggestion != Suggestion::default()).then_some(suggestion)
}

fn of_location(location: &Location) -> Suggestion {
    let prefix = location.prefix.trim_matches('/');
    Suggestion {
        endpoint: Some(location.endpoint.as_str().trim_end_matches('/').to_owned()),
        bucket: Some(location.bucket.clone()),
        prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
        ..Suggestion::default()
    }
}

fn address(config: &TargetConfig) -> String {
    config.endpoint.as_str().trim_end_matches('/').to_owned()
}
