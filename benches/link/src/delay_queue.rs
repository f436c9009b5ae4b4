//! One direction of a connection: bytes in flight.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Least number of bytes that may be in flight in one direction: as much as a sender may send
/// without an answer on a link without a rate.
const LEAST_WINDOW: f64 = 8_388_608.0;

/// A queue that delivers bytes when they are due. Other bytes enter it meanwhile, so a delay costs
/// time once and not for each piece.
pub(crate) struct DelayQueue {
    delay: Duration,
    rate: Option<f64>,
    window: f64,
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: f64,
    /// When the last piece left the sender.
    free: Instant,
    ended: bool,
}

impl DelayQueue {
    /// `begin`: when the first byte may leave.
    pub(crate) fn new(delay: Duration, rate: Option<f64>, begin: Instant) -> Self {
        // Twice the bytes in flight, so that the rate is the limit.
        let window = rate.map_or(0.0, |rate| 4.0 * rate * delay.as_secs_f64()).max(LEAST_WINDOW);
        let pieces = VecDeque::new();
        let queue = Queue { pieces, bytes: 0.0, free: begin, ended: false };
        Self { delay, rate, window, queue: Mutex::new(queue), changed: Condvar::new() }
    }

    /// The time at which this many bytes, sent from now on, will arrive. They count as sent.
    pub(crate) fn pass(&self, bytes: usize) -> Instant {
        self.leave(&mut self.lock(), bytes, Instant::now()) + self.delay
    }

    /// Sends bytes, not before a given time. Waits while too many are in flight. Returns whether
    /// they can arrive.
    pub(crate) fn send(&self, piece: Vec<u8>, begin: Instant) -> bool {
        let mut queue = self.lock();
        while queue.bytes > self.window && !queue.ended {
            queue = self.wait(queue);
        }
        if queue.ended {
            return false;
        }
        let due = self.leave(&mut queue, piece.len(), begin) + self.delay;
        queue.bytes += length(piece.len());
        queue.pieces.push_back((due, piece));
        self.changed.notify_all();
        true
    }

    /// Ends the sending. Bytes in flight still arrive.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// The next bytes, once they arrive; `None` at the end.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut queue = self.lock();
        let (due, piece) = loop {
            if let Some(next) = queue.pieces.pop_front() {
                break next;
            }
            if queue.ended {
                return None;
            }
            queue = self.wait(queue);
        };
        drop(queue);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        self.lock().bytes -= length(piece.len());
        self.changed.notify_all();
        Some(piece)
    }

    fn leave(&self, queue: &mut Queue, bytes: usize, begin: Instant) -> Instant {
        let takes = self.rate.map_or(0.0, |rate| length(bytes) / rate);
        queue.free = queue.free.max(begin) + Duration::from_secs_f64(takes);
        queue.free
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }
}

fn length(bytes: usize) -> f64 {
    u32::try_from(bytes).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::DelayQueue;
    use std::time::{Duration, Instant};

    #[test]
    fn delay_applies_once_and_rate_to_every_byte() {
        let begin = Instant::now();
        let line = DelayQueue::new(Duration::from_millis(50), Some(1_000_000.0), begin);
        for _ in 0..10 {
            assert!(line.send(vec![0; 10_000], begin));
        }
        line.end();
        let mut received = 0;
        while let Some(piece) = line.receive() {
            received += piece.len();
        }
        assert_eq!(received, 100_000);
        assert!(begin.elapsed() >= Duration::from_millis(150));
        assert!(!line.send(vec![0], begin));
    }

    #[test]
    fn traffic_delays_the_traffic_behind_it() {
        let begin = Instant::now();
        let line = DelayQueue::new(Duration::ZERO, Some(1_000_000.0), begin);
        assert!(line.pass(100_000) >= begin + Duration::from_millis(100));
        assert!(line.pass(0) >= begin + Duration::from_millis(100));
    }
}
