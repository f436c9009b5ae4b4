//! Bounded queue of log lines, for a reader that may be slow or absent.
//!
//! A separate thread writes the lines, so that no other code waits for stderr. Lines that do not
//! fit are dropped and counted.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Lines that may wait to be written.
const WAITING_LINES: usize = 256;

/// Time limit for writing the last lines when the program ends.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue, and the thread that writes its lines.
#[derive(Debug)]
pub(super) struct Queue {
    messages: SyncSender<Message>,
    dropped: AtomicU64,
}

impl Queue {
    pub(super) fn start() -> Self {
        let (messages, waiting) = sync_channel(WAITING_LINES);
        // If the thread cannot be started, every line counts as dropped.
        let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || drain(&waiting));
        Self { messages, dropped: AtomicU64::new(0) }
    }

    /// Adds a line that counts as `count` lines if it is dropped.
    pub(super) fn push(&self, line: Vec<u8>, count: u64) {
        if self.messages.try_send(Message::Line(line)).is_err() {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Lines dropped since the last call; None for zero.
    pub(super) fn take_dropped(&self) -> Option<u64> {
        Some(self.dropped.swap(0, Ordering::Relaxed)).filter(|dropped| *dropped > 0)
    }

    /// Waits until all lines are written, with a time limit.
    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.messages.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_LIMIT);
        }
    }
}

fn drain(waiting: &Receiver<Message>) {
    for message in waiting {
        // Errors cannot be reported without a reader.
        match message {
            Message::Line(line) => drop(io::stderr().write_all(&line)),
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_log_lines_are_counted() {
        let (messages, waiting) = sync_channel(2);
        let queue = Queue { messages, dropped: AtomicU64::new(0) };
        for _ in 0..5 {
            queue.push(b"line\n".to_vec(), 1);
        }
        assert_eq!(waiting.try_iter().count(), 2);
        assert_eq!(queue.take_dropped(), Some(3));
        assert_eq!(queue.take_dropped(), None);
    }
}
