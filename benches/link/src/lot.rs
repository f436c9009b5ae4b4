//! Which requests fail.

use std::sync::{Mutex, PoisonError};

/// A draw in which one request of each so many loses, at a place that the seed decides, so that no
/// two runs differ by luck.
pub(crate) struct Lots {
    /// How many requests share one failure; 0: there are none.
    block: u64,
    state: Mutex<State>,
}

struct State {
    random: u64,
    /// Requests of this block so far.
    seen: u64,
    loser: u64,
}

impl Lots {
    pub(crate) fn new(per_mille: u64, seed: u64) -> Self {
        let block = 1000_u64.checked_div(per_mille).unwrap_or(0);
        let state = State { random: seed.wrapping_mul(2).wrapping_add(1), seen: block, loser: 0 };
        Self { block, state: Mutex::new(state) }
    }

    pub(crate) fn loses(&self) -> bool {
        if self.block == 0 {
            return false;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.seen == self.block {
            state.seen = 0;
            state.loser = state.next() % self.block;
        }
        let loses = state.seen == state.loser;
        state.seen += 1;
        loses
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
    use super::Lots;

    #[test]
    fn one_of_each_hundred_fails() {
        let lots = Lots::new(10, 7);
        for _ in 0..50 {
            assert_eq!((0..100).filter(|_| lots.loses()).count(), 1);
        }
        let never = Lots::new(0, 7);
        assert!((0..1000).all(|_| !never.loses()));
    }
}
