//! The choice of failing requests.

use std::sync::{Mutex, PoisonError};

/// Lets one request of each block fail, at a position that the seed determines, so that two runs do
/// not differ by chance.
pub(crate) struct Failures {
    /// Number of requests with one failure; 0: none fail.
    block: u64,
    state: Mutex<State>,
}

struct State {
    random: u64,
    /// Requests of this block so far.
    seen: u64,
    failing: u64,
}

impl Failures {
    pub(crate) fn new(per_mille: u64, seed: u64) -> Self {
        let block = 1000_u64.checked_div(per_mille).unwrap_or(0);
        let state = State { random: seed.wrapping_mul(2).wrapping_add(1), seen: block, failing: 0 };
        Self { block, state: Mutex::new(state) }
    }

    pub(crate) fn fails(&self) -> bool {
        if self.block == 0 {
            return false;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.seen == self.block {
            state.seen = 0;
            state.failing = state.next() % self.block;
        }
        let fails = state.seen == state.failing;
        state.seen += 1;
        fails
    }
}

impl State {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::Failures;

    #[test]
    fn one_in_a_hundred_requests_fails() {
        let failures = Failures::new(10, 7);
        for _ in 0..50 {
            assert_eq!((0..100).filter(|_| failures.fails()).count(), 1);
        }
        let never = Failures::new(0, 7);
        assert!((0..1000).all(|_| !never.fails()));
    }
}
