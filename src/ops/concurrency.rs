//! How many parts of a transfer are on their way at the same time.
//!
//! Over a long distance each connection is slow by itself, and more of them are faster; on a slow or
//! short line they only share what there is, and lose more when it breaks. So more are tried for as
//! long as that pays, and fewer when the storage fails often or asks to slow down.

use std::time::Duration;

use tokio::sync::watch;

use crate::config::{Limits, LiveLimits};

/// Concurrency to begin with.
const FIRST: usize = 8;

/// How much faster more concurrency have to be.
const WORTHWHILE: f64 = 1.15;

/// Rounds for which nothing new is tried after something did not work.
const REST: u32 = 16;

/// The concurrency of one transfer. A round is over when as many parts as there are concurrency were done.
#[derive(Debug)]
pub(super) struct Concurrency {
    limits: watch::Receiver<Limits>,
    /// As many as pay, if there may be so many.
    open: usize,
    round: Round,
    /// Concurrency and bytes per second before more were opened.
    before: Option<(usize, f64)>,
    /// Whether new concurrency are still being connected, so that the round says nothing about them.
    connecting: bool,
    rest: u32,
}

#[derive(Debug, Default)]
struct Round {
    retries: u32,
    /// Concurrency that were open when it began.
    open: usize,
    parts: usize,
    bytes: u64,
    /// What the parts took, all in all. Not from the first to the last: they come in bursts.
    took: Duration,
    /// Whether the transfer had to wait for a lane.
    full: bool,
}

impl Concurrency {
    /// At most as many as `concurrency` says, whatever that is at the time.
    pub(super) fn new(limits: &LiveLimits) -> Self {
        let mut concurrency = Self {
            limits: limits.watch(),
            open: FIRST,
            round: Round::default(),
            before: None,
            connecting: false,
            rest: 0,
        };
        concurrency.begin_round(0);
        concurrency
    }

    fn most(&self) -> usize {
        self.limits.borrow().concurrency
    }

    /// How many there are now.
    pub(super) fn open(&self) -> usize {
        self.open.min(self.most())
    }

    /// Ends when the limits have changed, so that there may be more concurrency, or more memory for them.
    pub(super) async fn changed(&mut self) {
        if self.limits.changed().await.is_err() {
            // Nobody is there any more who could change them.
            std::future::pending::<()>().await;
        }
    }

    fn begin_round(&mut self, retries: u32) {
        self.round = Round { retries, open: self.open(), ..Round::default() };
    }

    /// Says that the storage is what the transfer waits for.
    pub(super) fn full(&mut self) {
        self.round.full = true;
    }

    /// Counts a part of so many bytes, which was on its way for so long. `retries` are those of the
    /// transfer so far.
    pub(super) fn done(&mut self, bytes: u64, took: Duration, retries: u32) {
        let open = self.open();
        let round = &mut self.round;
        if round.open != open {
            // The parts of before and of now cannot be compared.
            (self.before, self.connecting) = (None, true);
            let retries = round.retries;
            self.begin_round(retries);
            return;
        }
        round.parts += 1;
        round.bytes += bytes;
        round.took += took;
        if round.parts < open {
            return;
        }
        let each = round.took.max(Duration::from_millis(1)).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate of bytes need not be exact")]
        let rate = round.bytes as f64 / each * open as f64;
        let repeated = retries.saturating_sub(round.retries) as usize;
        let (failed, full) = (repeated * 2 > open, round.full);
        self.adjust(rate, failed, full);
        self.begin_round(retries);
    }

    fn adjust(&mut self, rate: f64, failed: bool, full: bool) {
        if failed {
            self.open = (self.open() / 2).max(1);
            (self.before, self.connecting) = (None, false);
            self.rest = REST;
        } else if std::mem::take(&mut self.connecting) {
            // The next one will tell.
        } else if let Some((open, slower)) = self.before.take_if(|_| full)
            && rate < slower * WORTHWHILE
        {
            self.open = open;
            self.rest = REST;
        } else if self.rest > 0 {
            self.rest -= 1;
        } else if full && self.open < self.most() {
            self.before = Some((self.open, rate));
            self.open = (self.open * 2).min(self.most());
            self.connecting = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LimitsUpdate;

    fn limits(concurrency: usize) -> LiveLimits {
        let (memory_budget, bandwidth_limit) = (0, None);
        LiveLimits::new(Limits { memory_budget, concurrency, bandwidth_limit })
    }

    fn change(limits: &LiveLimits, most: u64) {
        let concurrency = Some(Some(most));
        let change = LimitsUpdate { concurrency, ..LimitsUpdate::default() };
        limits.change(change, |_| ()).unwrap();
    }

    /// A line whose concurrency have `each` bytes per second, and all together `whole`.
    fn round(concurrency: &mut Concurrency, each: u64, whole: u64, retries: u32) -> usize {
        concurrency.full();
        let open = concurrency.open() as u64;
        let bytes = 1 << 20;
        let rate = (each * open).min(whole);
        let took = Duration::from_millis(1000 * bytes * open / rate);
        for _ in 0..open {
            concurrency.done(bytes, took, retries);
        }
        concurrency.open()
    }

    #[test]
    fn more_concurrency_are_opened_while_that_pays() {
        let mut concurrency = Concurrency::new(&limits(32));
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(round(&mut concurrency, 20_000_000, 1_000_000_000, 0));
        }
        assert_eq!(seen, [16, 16, 32, 32, 32]);

        let mut concurrency = Concurrency::new(&limits(32));
        assert_eq!(round(&mut concurrency, 20_000_000, 160_000_000, 0), 16);
        assert_eq!(round(&mut concurrency, 20_000_000, 160_000_000, 0), 16);
        for _ in 0..REST {
            assert_eq!(round(&mut concurrency, 20_000_000, 160_000_000, 0), 8, "it did not pay");
        }
        assert_eq!(round(&mut concurrency, 20_000_000, 160_000_000, 0), 8);
        // The line may be another one by now.
        assert_eq!(round(&mut concurrency, 20_000_000, 900_000_000, 0), 16);
        assert_eq!(round(&mut concurrency, 20_000_000, 900_000_000, 0), 16);
        assert_eq!(round(&mut concurrency, 20_000_000, 900_000_000, 0), 32);
    }

    #[test]
    fn fewer_concurrency_are_used_when_the_storage_fails() {
        let mut concurrency = Concurrency::new(&limits(8));
        round(&mut concurrency, 1000, 100_000, 0);
        assert_eq!(concurrency.open(), 8);
        let mut seen = Vec::new();
        // Some failures are no reason, nor is one part of a few.
        for retries in [4, 9, 12, 14, 15, 16] {
            seen.push(round(&mut concurrency, 1000, 100_000, retries));
        }
        assert_eq!(seen, [8, 4, 2, 1, 1, 1]);
        for _ in 0..REST {
            assert_eq!(round(&mut concurrency, 1000, 100_000, 16), 1);
        }
        assert_eq!(round(&mut concurrency, 1000, 100_000, 16), 2);
    }

    #[test]
    fn concurrency_does_not_grow_for_a_slow_host() {
        let mut concurrency = Concurrency::new(&limits(32));
        for _ in 0..100 {
            concurrency.done(1, Duration::from_secs(1), 0);
        }
        assert_eq!(concurrency.open(), FIRST);
        assert_eq!(Concurrency::new(&limits(1)).open(), 1);
    }

    #[test]
    fn concurrency_change_takes_effect_at_once() {
        let limits = limits(8);
        let mut concurrency = Concurrency::new(&limits);
        for (most, open) in [(8, 8), (3, 3), (1, 1), (5, 5), (32, 8)] {
            change(&limits, most);
            assert_eq!(concurrency.open(), open, "at most {most}");
        }
        // A round that has begun before says nothing of the concurrency of now.
        change(&limits, 4);
        concurrency.full();
        (0..3).for_each(|_| concurrency.done(1, Duration::from_secs(1), 0));
        change(&limits, 16);
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(round(&mut concurrency, 20_000_000, 1_000_000_000, 0));
        }
        assert_eq!(seen.last(), Some(&16), "{seen:?}");
        change(&limits, 2);
        assert_eq!(round(&mut concurrency, 20_000_000, 1_000_000_000, 0), 2);
        round(&mut concurrency, 20_000_000, 1_000_000_000, 100);
        assert_eq!(concurrency.open(), 1, "half of what there was");
    }

    #[tokio::test]
    async fn concurrency_change_wakes_waiting_parts() {
        let limits = limits(8);
        let mut concurrency = Concurrency::new(&limits);
        let hears = tokio::spawn(async move {
            concurrency.changed().await;
            concurrency.open()
        });
        change(&limits, 2);
        assert_eq!(hears.await.unwrap(), 2);
    }
}
