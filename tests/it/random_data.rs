//! Random data for the tests: any amount, without storing it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that look random, any range of which can be produced without the rest.
#[derive(Clone, Debug)]
pub(crate) struct RandomData {
    seed: u64,
    position: u64,
    end: u64,
}

impl RandomData {
    pub(crate) fn new(seed: u64, length: u64) -> Self {
        Self { seed, position: 0, end: length }
    }

    /// The same from `position` on.
    pub(crate) fn from(mut self, position: u64) -> Self {
        self.position = position.min(self.end);
        self
    }

    /// The next `length` bytes, or what is left.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let filled = self.fill(&mut bytes);
        bytes.truncate(filled);
        bytes
    }

    fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let wanted = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        let mut filled = 0;
        while filled < wanted {
            let word = self.word(self.position / 8).to_le_bytes();
            let start = usize::try_from(self.position % 8).unwrap();
            let part = (8 - start).min(wanted - filled);
            buffer[filled..filled + part].copy_from_slice(&word[start..start + part]);
            filled += part;
            self.position += part as u64;
        }
        wanted
    }

    /// SplitMix64 of the seed and the position.
    fn word(&self, index: u64) -> u64 {
        let mut word = self.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

impl AsyncRead for RandomData {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = self.fill(buffer.initialize_unfilled());
        buffer.advance(filled);
        Poll::Ready(Ok(()))
    }
}
