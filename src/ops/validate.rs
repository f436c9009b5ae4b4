//! Tries out a target step by step, so that the first step that fails says what is wrong.
//!
//! Uses the calls that backups need and no others; what goes beyond is asked for politely, and a
//! refusal says nothing. Only a failure that may pass by itself is looked at again. What was written
//! is deleted again, also when the request is cancelled, and by the next agent when this one is
//! killed.

/// Makes a check, and makes it again while its failure may pass by itself. A backup repeats its
/// requests as well, so a busy server must not look like a wrong setting. For the files beside this
/// one, and a macro because a closure would have to make futures that are `Send` for any lifetime.
macro_rules! patiently {
    ($check:expr) => {
        async {
            let mut tries = 1;
            loop {
                let found = $check.await;
                if tries == super::TRIES || !found.as_ref().is_err_and(super::may_pass) {
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
mod objects;
mod readings;
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

/// How often settings are corrected; the scheme, the region and the addressing style may all be wrong.
const CORRECTIONS: usize = 3;

/// How often a check is made whose failure may pass by itself.
const TRIES: u32 = 3;

/// Between two of them. Some servers take one write a second for each name.
const PAUSE: Duration = Duration::from_millis(1200);

/// Tries out a target; with [`Level::Write`] it also writes.
///
/// # Errors
/// Only those of `cancel`; a bad target is a result.
pub async fn validate(
    target: &Arc<Target>,
    level: Level,
    cancel: &Cancel,
) -> Result<ValidateResult> {
    let target = Arc::clone(target);
    // A task of its own: once begun, a probe is cleaned up whatever happens to the request.
    let switch = cancel.clone();
    cancel.finish(tokio::spawn(async move { probe(&target, level, &switch).await })).await
}

async fn probe(target: &Target, level: Level, cancel: &Cancel) -> Result<ValidateResult> {
    let given = &target.config;
    let mut access = Access::gain(given.clone(), target.store.layout(), cancel).await?;
    let mut corrected = Vec::new();
    while corrected.len() < CORRECTIONS
        && let Some((name, error)) = access.failure()
        && let Some(correction) = suggestions::after(name, error, &access.config)
    {
        let next = Access::gain(correction.config.clone(), target.store.layout(), cancel).await?;
        if !next.leads_further_than(&access) {
            break;
        }
        corrected.push(correction);
        access = next;
    }
    let mut suggestion = suggestion(given, &access);
    if let Some((name, error)) = access.failure()
        && let Some(location) = readings::that_works(given, error, cancel).await
    {
        let message = format!("it works with {}", readings::described(&location));
        let found = Outcome::failure(error.clone(), message);
        access.checks.replace(name, found);
        suggestion = Some(of_location(&location));
    }
    let Access { config, bucket, server_info, mut checks, .. } = access;
    for correction in corrected {
        checks.replace(correction.name, correction.found(given));
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

/// Of a server that is there. An address that leads nowhere, or a minute of silence, is told at once.
fn may_pass(error: &Error) -> bool {
    matches!(error.code(), Code::RemoteError | Code::Throttled | Code::NetworkLost)
}

/// What to enter in place of the given settings, if that is known to work.
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
