//! A byte queue that keeps large chunks and merges small ones into blocks, so that a source of
//! single bytes takes no more memory than any other.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::buffer_pool::{BLOCK, Block, Pool};
use crate::error::{Result, no_memory};

/// Shorter chunks are merged.
const TINY: usize = BLOCK / 2;

/// A queue of bytes.
#[derive(Debug)]
pub struct Chunks {
    pool: Pool,
    full: VecDeque<Bytes>,
    tail: Option<Block>,
    length: u64,
}

impl Chunks {
    /// An empty queue that takes its blocks from `pool`.
    #[must_use]
    pub fn new(pool: &Pool) -> Self {
        Self { pool: pool.clone(), full: VecDeque::new(), tail: None, length: 0 }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `busy` when the machine is out of memory.
    pub fn push(&mut self, chunk: Bytes) -> Result<()> {
        self.length += chunk.len() as u64;
        if chunk.len() >= TINY {
            self.close_tail();
            self.full.push_back(chunk);
            return Ok(());
        }
        let mut rest = chunk.as_ref();
        while !rest.is_empty() {
            let tail = match &mut self.tail {
                Some(tail) => tail,
                None => self.tail.insert(self.pool.take().map_err(no_memory)?),
            };
            let written = tail.fill(rest);
            rest = rest.get(written..).unwrap_or_default();
            if tail.len() == BLOCK {
                self.close_tail();
            }
        }
        Ok(())
    }

    fn close_tail(&mut self) {
        if let Some(tail) = self.tail.take() {
            self.full.push_back(tail.freeze());
        }
    }

    /// Bytes in the queue.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Removes the first chunk.
    pub fn pop(&mut self) -> Option<Bytes> {
        if self.full.is_empty() {
            self.close_tail();
        }
        let chunk = self.full.pop_front()?;
        self.length -= chunk.len() as u64;
        Some(chunk)
    }

    /// Removes the first `wanted` bytes, or all if there are fewer. Splits chunks without copying.
    pub fn take(&mut self, wanted: u64) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut missing = usize::try_from(wanted).unwrap_or(usize::MAX);
        while missing > 0
            && let Some(mut chunk) = self.pop()
        {
            if chunk.len() > missing {
                let rest = chunk.split_off(missing);
                self.length += rest.len() as u64;
                self.full.push_front(rest);
            }
            missing -= chunk.len();
            taken.push(chunk);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_are_returned_unchanged(
            sizes in prop::collection::vec(0_usize..40_000, 0..40), cut in 1_u64..100_000,
        ) {
            let mut chunks = Chunks::new(&Pool::default());
            let mut expected = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                let chunk = vec![u8::try_from(index).unwrap(); *size];
                expected.extend_from_slice(&chunk);
                chunks.push(Bytes::from(chunk)).unwrap();
            }
            prop_assert_eq!(chunks.length(), expected.len() as u64);
            let mut got = Vec::new();
            while chunks.length() > 0 {
                let want = cut.min(chunks.length());
                let taken = chunks.take(cut).concat();
                prop_assert_eq!(taken.len() as u64, want);
                got.extend_from_slice(&taken);
            }
            prop_assert!(got == expected && chunks.pop().is_none());
        }
    }

    #[test]
    fn single_bytes_are_combined() {
        let mut chunks = Chunks::new(&Pool::default());
        for _ in 0..200_000 {
            chunks.push(Bytes::from_static(b"x")).unwrap();
        }
        assert!(chunks.full.len() <= 4);
        assert_eq!(chunks.take(200_000).len(), 4);
    }
}
