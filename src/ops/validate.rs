//! Tries out a target step by step, so that the first step that fails says what is wrong.
//!
//! Uses the calls that backups need and no others; what goes beyond is asked for politely, and a
//! refusal says nothing. Nothing is tried twice. What was written is deleted again, also when the
//! request is cancelled, and by the next agent when this one is killed.

mod access;
mod doubts;
mod ladder;
mod objects;
mod other_settings;

use std::sync::Arc;

use self::access::Access;
use self::ladder::Rung;
use super::{Cancel, Target};
use crate::config::{Addressing, TargetConfig};
use crate::error::Result;
use crate::protocol::{Level, Suggestion, TargetFacts, Validated};

/// How often settings are corrected; the scheme, the region and the addressing may all be wrong.
const CORRECTIONS: usize = 3;

/// Tries out a target; with [`Level::Write`] it also writes.
///
/// # Errors
/// Only those of `cancel`; a bad target is a result.
pub async fn validate(target: &Arc<Target>, level: Level, cancel: &Cancel) -> Result<Validated> {
    let target = Arc::clone(target);
    // A task of its own: once begun, a probe is cleaned up whatever happens to the request.
    let switch = cancel.clone();
    cancel.finish(tokio::spawn(async move { probe(&target, level, &switch).await })).await
}

async fn probe(target: &Target, level: Level, cancel: &Cancel) -> Result<Validated> {
    let given = &target.config;
    let mut access = Access::gain(given.clone(), target.store.layout(), cancel).await?;
    let mut corrected = Vec::new();
    while corrected.len() < CORRECTIONS
        && let Some((rung, error)) = access.failure()
        && let Some(correction) = other_settings::after(rung, error, &access.config)
    {
        let next = Access::gain(correction.config.clone(), target.store.layout(), cancel).await?;
        if !next.leads_further_than(&access) {
            break;
        }
        corrected.push(correction);
        access = next;
    }
    let suggestion = suggestion(given, &access, &corrected);
    let Access { config, bucket, greeting, mut ladder, .. } = access;
    for correction in corrected {
        ladder.replace(correction.rung, correction.found(given));
    }
    if level == Level::Write {
        if ladder.passed(Rung::List) && !cancel.is_cancelled() {
            objects::climb(target, &bucket, &mut ladder, cancel).await;
        } else {
            ladder.skip_rest();
        }
    }
    if cancel.is_cancelled() {
        return Err(cancel.error());
    }
    let facts = TargetFacts {
        endpoint: address(&config),
        region: bucket.region(),
        addressing: Addressing::of(bucket.path_style()),
        provider: config.provider.map(|provider| provider.key.clone()),
        server: greeting.and_then(|greeting| greeting.server),
    };
    Ok(Validated { ok: ladder.ok(), checks: ladder.checks(), facts, suggestion })
}

/// What to enter in place of the given settings, if that is known to work.
fn suggestion(
    given: &TargetConfig,
    access: &Access,
    corrected: &[other_settings::Correction],
) -> Option<Suggestion> {
    if corrected.is_empty() || access.failure().is_some() {
        return None;
    }
    let config = &access.config;
    Some(Suggestion {
        endpoint: (config.endpoint != given.endpoint).then(|| address(config)),
        region: (config.region != given.region).then(|| config.region.clone()),
        addressing: (config.path_style != given.path_style)
            .then(|| Addressing::of(config.path_style)),
    })
}

fn address(config: &TargetConfig) -> String {
    config.endpoint.as_str().trim_end_matches('/').to_owned()
}
