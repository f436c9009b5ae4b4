//! Random faults of the connection to the server: single ones, and ones that last for a while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use http::Method;
use http::request::Parts;

use crate::connection::wire::Act;

/// Requests that stay undamaged after a damaged one: damage to a request and to its retry is
/// another fault than the one that is tested here.
const BETWEEN_DAMAGES: u32 = 60;

/// Faults that can be switched on and off.
#[derive(Debug, Default)]
pub(super) struct RandomFaults {
    active: Arc<AtomicBool>,
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl RandomFaults {
    /// Switches the faults on or off.
    pub(super) fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Relaxed);
    }

    /// How often each fault happened.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap().clone()
    }

    /// The fault for each request.
    pub(super) fn rule(&self, seed: u64) -> impl FnMut(&Parts) -> Act + Send + use<> {
        let (active, counts) = (Arc::clone(&self.active), Arc::clone(&self.counts));
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut current_fault, mut since_damage) = ((0, Act::Pass), 0);
        move |head| {
            if !active.load(Ordering::Relaxed) {
                return Act::Pass;
            }
            since_damage += 1;
            let act = if current_fault.0 > 0 {
                current_fault.0 -= 1;
                current_fault.1.clone()
            } else {
                match random.u32(0..1000) {
                    0..3 => {
                        // As many as the retries of a request, or more.
                        current_fault = (random.u32(4..40), common(&mut random));
                        current_fault.1.clone()
                    }
                    3..40 => common(&mut random),
                    40..55 => rare(&mut random, head),
                    55..75 if since_damage > BETWEEN_DAMAGES && is_archive(head) => {
                        since_damage = 0;
                        if head.method == Method::GET {
                            Act::DamageAnswer
                        } else {
                            Act::DamageRequest
                        }
                    }
                    _ => Act::Pass,
                }
            };
            *counts.lock().unwrap().entry(name(&act)).or_default() += 1;
            act
        }
    }
}

fn is_archive(head: &Parts) -> bool {
    head.uri.path().ends_with(".tar") && matches!(head.method, Method::GET | Method::PUT)
}

/// Faults that pass by themselves or with a retry.
fn common(random: &mut fastrand::Rng) -> Act {
    match random.u8(0..6) {
        0 => Act::Answer(500, "InternalError"),
        1 => Act::Answer(503, "SlowDown"),
        2 => Act::Refuse(503, "SlowDown"),
        3 => Act::CutRequest(0),
        4 => Act::CutRequest(random.usize(1..1 << 20)),
        _ => Act::LoseAnswer,
    }
}

/// Faults that take time, or that concern reads.
fn rare(random: &mut fastrand::Rng, head: &Parts) -> Act {
    match random.u8(0..6) {
        0 => Act::Throttle(1),
        1 => Act::StallRequest,
        2 => Act::StallAnswer(random.usize(0..100_000)),
        3 => Act::Trickle,
        4 if head.method == Method::GET => Act::ShortenAnswer(random.usize(0..100_000)),
        _ => Act::CutAnswer(random.usize(0..100_000)),
    }
}

fn name(act: &Act) -> &'static str {
    match act {
        Act::Pass | Act::AtBarrier(_) => "none",
        Act::Answer(500, _) => "500",
        Act::Answer(..) => "503",
        Act::Refuse(..) => "503 without reading",
        Act::CutRequest(_) => "reset in the request",
        Act::CutAnswer(_) => "reset in the answer",
        Act::LoseAnswer => "answer lost",
        Act::Throttle(_) => "503 with Retry-After",
        Act::StallRequest => "stall of the request",
        Act::StallAnswer(_) => "stall of the answer",
        Act::DamageRequest => "damaged request",
        Act::DamageAnswer => "damaged answer",
        Act::ShortenAnswer(_) => "short answer",
        Act::Trickle => "trickle",
    }
}
