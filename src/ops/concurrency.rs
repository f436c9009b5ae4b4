//! Number of parts in flight in one transfer.
//!
//! On a long-distance link each connection is slow, and more connections are faster. On a slow or
//! short link they share the same bandwidth, and an interruption costs more. So the number grows
//! while that increases the throughput, and shrinks when requests fail often or are throttled.

use std::time::Duration;

use tokio::sync::watch;

use crate::config::{Limits, LiveLimits};

/// Parts in flight at the start.
const INITIAL: usize = 8;

/// Minimum gain of throughput for which a higher number is kept.
const MIN_GAIN: f64 = 1.15;

/// Rounds without a new attempt after a decrease.
const PAUSE_ROUNDS: u32 = 16;

/// The number of parts in flight of one transfer. A round ends when that many parts are done.
#[derive(Debug)]
pub(super) struct Concurrency {
    limits: watch::Receiver<Limits>,
    /// The wanted number; the limit may be lower.
    open: usize,
    round: Round,
    /// Number and bytes per second before the last increase.
    before: Option<(usize, f64)>,
    /// Whether new connections are being made, so that this round is not measured.
    connecting: bool,
    pause: u32,
}

#[derive(Debug, Default)]
struct Round {
    retries: u32,
    /// Parts in flight when the round began.
    open: usize,
    parts: usize,
    bytes: u64,
    /// Sum of the durations of the parts. Not the time from the first to the last: parts finish in
    /// bursts.
    took: Duration,
    /// Whether the transfer was waiting for a part to finish.
    is_waiting: bool,
}

impl Concurrency {
    /// Starts with [`INITIAL`]; never exceeds the `concurrency` of `limits` at the time.
    pub(super) fn new(limits: &LiveLimits) -> Self {
        let mut concurrency = Self {
            limits: limits.watch(),
            open: INITIAL,
            round: Round::default(),
            before: None,
            connecting: false,
            pause: 0,
        };
        concurrency.begin_round(0);
        concurrency
    }

    fn max(&self) -> usize {
        self.limits.borrow().concurrency
    }

    /// Parts that may be in flight now.
    pub(super) fn open(&self) -> usize {
        self.open.min(self.max())
    }

    /// Completes when the limits have changed: there may be more parts, or more memory for them.
    pub(super) async fn changed(&mut self) {
        if self.limits.changed().await.is_err() {
            // The limits cannot change any more.
            std::future::pending::<()>().await;
        }
    }

    fn begin_round(&mut self, retries: u32) {
        self.round = Round { retries, open: self.open(), ..Round::default() };
    }

    /// Records that the transfer is waiting for the server.
    pub(super) fn set_waiting(&mut self) {
        self.round.is_waiting = true;
    }

    /// Counts a part of `bytes` that took `took`. `retries` is the number of retries of the
    /// transfer so far.
    pub(super) fn done(&mut self, bytes: u64, took: Duration, retries: u32) {
        let open = self.open();
        let round = &mut self.round;
        if round.open != open {
            // Parts before and after the change cannot be compared.
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
        let (failed, is_waiting) = (repeated * 2 > open, round.is_waiting);
        self.adjust(rate, failed, is_waiting);
        self.begin_round(retries);
    }

    fn adjust(&mut self, rate: f64, failed: bool, is_waiting: bool) {
        if failed {
            self.open = (self.open() / 2).max(1);
            (self.before, self.connecting) = (None, false);
            self.pause = PAUSE_ROUNDS;
        } else if std::mem::take(&mut self.connecting) {
            // The next round is measured.
        } else if let Some((open, rate_before)) = self.before.take_if(|_| is_waiting)
            && rate < rate_before * MIN_GAIN
        {
            self.open = open;
            self.pause = PAUSE_ROUNDS;
        } else if self.pause > 0 {
            self.pause -= 1;
        } else if is_waiting && self.open < self.max() {
            self.before = Some((self.open, rate));
            self.open = (self.open * 2).min(self.max());
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

    fn change(limits: &LiveLimits, max: u64) {
        let concurrency = Some(Some(max));
        let change = LimitsUpdate { concurrency, ..LimitsUpdate::default() };
        limits.change(change, |_| ()).unwrap();
    }

    /// A link on which each connection has `each` bytes per second, and all together `whole`.
    fn round(concurrency: &mut Concurrency, each: u64, whole: u64, retries: u32) -> usize {
        concurrency.set_waiting();
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
        for _ in 0..PAUSE_ROUNDS {
            assert_eq!(round(&mut concurrency, 20_000_000, 160_000_000, 0), 8, "it did not pay");
        }
        assert_eq!(round(&mut concurrency, 20_000_000, 160_000_000, 0), 8);
        // The link may have changed.
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
        // A few failures do not count, and neither does one failed part of a few.
        for retries in [4, 9, 12, 14, 15, 16] {
            seen.push(round(&mut concurrency, 1000, 100_000, retries));
        }
        assert_eq!(seen, [8, 4, 2, 1, 1, 1]);
        for _ in 0..PAUSE_ROUNDS {
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
        assert_eq!(concurrency.open(), INITIAL);
        assert_eq!(Concurrency::new(&limits(1)).open(), 1);
    }

    #[test]
    fn concurrency_change_takes_effect_at_once() {
        let limits = limits(8);
        let mut concurrency = Concurrency::new(&limits);
        for (max, open) in [(8, 8), (3, 3), (1, 1), (5, 5), (32, 8)] {
            change(&limits, max);
            assert_eq!(concurrency.open(), open, "at most {max}");
        }
        // A round that began before the change is not measured.
        change(&limits, 4);
        concurrency.set_waiting();
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
