//! Buffer pool for the bytes of backups: blocks of 64 KiB that are mapped from the system, reused while a
//! transfer runs, and unmapped when it ends.
//!
//! A general allocator keeps freed memory, scattered over threads: after a few large transfers an idle
//! agent would hold a hundred megabytes. In this pool, used plus spare memory never exceeds the peak of the
//! used memory, and drops to zero when no transfer runs.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use memmap2::MmapMut;

/// Size of a block in bytes. Small enough that a partly filled block wastes little, large enough to
/// keep their number low.
pub const BLOCK: usize = 64 << 10;

/// Bytes that must be free in addition to each new block. Other allocations, such as a task or a
/// thread, cannot fail gracefully: they would abort the program.
const HEADROOM: usize = 8 << 20;

/// A pool of blocks. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    used: usize,
    /// Number of running transfers, which will need blocks again.
    running: usize,
    spare: Vec<MmapMut>,
    /// Number of blocks after which allocation fails.
    #[cfg(test)]
    most: Option<usize>,
}

impl Pool {
    /// The pool of this process, which all transfers share.
    #[must_use]
    pub fn of_process() -> Self {
        static POOL: LazyLock<Pool> = LazyLock::new(Pool::default);
        POOL.clone()
    }

    /// Keeps spare blocks until the guard is dropped, even while none is in use.
    #[must_use]
    pub fn keep_spare(&self) -> SpareGuard {
        self.counts().running += 1;
        SpareGuard(self.clone())
    }

    /// Unmaps the spare blocks if no transfer needs them.
    fn rest(mut counts: MutexGuard<'_, Counts>) {
        let at_rest = counts.used == 0 && counts.running == 0;
        let spare = if at_rest { std::mem::take(&mut counts.spare) } else { Vec::new() };
        drop(counts);
        drop(spare);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pool that can allocate this number of blocks.
    #[cfg(test)]
    pub(crate) fn of(most: usize) -> Self {
        let pool = Self::default();
        pool.counts().most = Some(most);
        pool
    }

    /// Takes an empty block.
    ///
    /// # Errors
    /// `OutOfMemory` when the system has no memory left.
    pub fn take(&self) -> io::Result<Block> {
        let mut counts = self.counts();
        #[cfg(test)]
        if counts.most == Some(counts.used) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let map = match counts.spare.pop() {
            Some(map) => map,
            None => {
                new_block().map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))?
            }
        };
        counts.used += 1;
        drop(counts);
        Ok(Block { map: Some(map), filled: 0, pool: self.clone() })
    }
}

fn new_block() -> io::Result<MmapMut> {
    let map = MmapMut::map_anon(BLOCK)?;
    // Mapped and unmapped without being touched, to check that it is free.
    MmapMut::map_anon(HEADROOM)?;
    Ok(map)
}

/// A block that is being filled.
#[derive(Debug)]
pub struct Block {
    /// `None` only during drop.
    map: Option<MmapMut>,
    filled: usize,
    pool: Pool,
}

impl Block {
    /// The part that is not filled yet.
    pub fn rest(&mut self) -> &mut [u8] {
        let filled = self.filled;
        self.map.as_mut().and_then(|map| map.get_mut(filled..)).unwrap_or_default()
    }

    /// Marks bytes at the start of the rest as filled.
    pub fn advance(&mut self, bytes: usize) {
        self.filled = BLOCK.min(self.filled + bytes);
    }

    /// Copies as many bytes as fit. Returns their number.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(BLOCK - self.filled);
        if let (Some(to), Some(from)) = (self.rest().get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.filled += count;
        count
    }

    /// Bytes filled so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing is filled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The filled part as shared bytes. The block returns to the pool when the last clone is
    /// dropped.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self.map.as_ref().and_then(|map| map.get(..self.filled)).unwrap_or_default()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Some(map) = self.map.take() else { return };
        let mut counts = self.pool.counts();
        counts.used = counts.used.saturating_sub(1);
        counts.spare.push(map);
        Pool::rest(counts);
    }
}

/// Guard of a running transfer, which keeps spare blocks: mapping a new block costs more than
/// copying 64 KiB.
#[derive(Debug)]
pub struct SpareGuard(Pool);

impl Drop for SpareGuard {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.running = counts.running.saturating_sub(1);
        Pool::rest(counts);
    }
}

/// Writes all pieces with as few calls as possible.
///
/// # Errors
/// Errors of `output`.
pub fn write_all<'a>(
    output: &mut impl Write,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> io::Result<()> {
    let mut slices: Vec<_> = pieces.map(IoSlice::new).collect();
    let mut slices = slices.as_mut_slice();
    // Skips empty slices, which no call would consume.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match output.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A byte buffer made of blocks.
#[derive(Debug)]
pub struct BlockBuffer {
    pool: Pool,
    blocks: Vec<Block>,
}

impl BlockBuffer {
    /// An empty buffer.
    #[must_use]
    pub fn new(pool: &Pool) -> Self {
        Self { pool: pool.clone(), blocks: Vec::new() }
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        // All blocks but the last are full.
        let full = self.blocks.len().saturating_sub(1) * BLOCK;
        full + self.blocks.last().map_or(0, Block::len)
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all bytes.
    pub fn clear(&mut self) {
        self.blocks.clear();
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `OutOfMemory` when the system has no memory left.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.last()?.fill(bytes);
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// The last block, or a new one if that is full.
    fn last(&mut self) -> io::Result<&mut Block> {
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(self.pool.take()?);
        }
        self.blocks.last_mut().ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Reads exactly `length` bytes and appends them.
    ///
    /// # Errors
    /// `UnexpectedEof` when there are fewer, `OutOfMemory` when the system has no memory left (then
    /// exactly [`BlockBuffer::len`] bytes were read), and errors of `input`.
    pub fn read_exact(&mut self, input: &mut impl io::Read, length: usize) -> io::Result<()> {
        let read = self.read_vectored_exact(length, input);
        while self.blocks.last().is_some_and(Block::is_empty) {
            self.blocks.pop();
        }
        read
    }

    /// Reads into all missing blocks at once: every call wakes up the writer, and fewer calls let
    /// it write more each time.
    fn read_vectored_exact(
        &mut self,
        mut length: usize,
        input: &mut impl io::Read,
    ) -> io::Result<()> {
        let mut first = self.blocks.iter().take_while(|block| block.len() == BLOCK).count();
        let mut room = self.blocks.len() * BLOCK - self.len();
        while room < length {
            self.blocks.push(self.pool.take()?);
            room += BLOCK;
        }
        while length > 0 {
            let blocks = self.blocks.get_mut(first..).unwrap_or_default();
            let mut wanted = length;
            let slices = blocks.iter_mut().map(|block| {
                let rest = block.rest();
                let cut = rest.len().min(wanted);
                wanted -= cut;
                IoSliceMut::new(rest.get_mut(..cut).unwrap_or_default())
            });
            let mut read = match input.read_vectored(&mut slices.collect::<Vec<_>>()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            length -= read;
            for block in blocks {
                let filled = read.min(BLOCK - block.len());
                block.advance(filled);
                read -= filled;
                first += usize::from(block.len() == BLOCK);
                if read == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The bytes, block by block.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.blocks.iter().map(AsRef::as_ref)
    }

    /// The bytes from `skip` on, as shared bytes.
    #[must_use]
    pub fn into_bytes(self, skip: usize) -> Vec<Bytes> {
        let mut skip = skip;
        let mut shared = Vec::with_capacity(self.blocks.len());
        for block in self.blocks {
            let mut bytes = block.freeze();
            let cut = skip.min(bytes.len());
            skip -= cut;
            let bytes = bytes.split_off(cut);
            if !bytes.is_empty() {
                shared.push(bytes);
            }
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_returned_unchanged() {
        let pool = Pool::default();
        let input: Vec<u8> =
            (0..200_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
        let mut filled = BlockBuffer::new(&pool);
        filled.push(&input[..3]).unwrap();
        filled.read_exact(&mut &input[3..150_000], 149_997).unwrap();
        filled.push(&input[150_000..]).unwrap();
        assert_eq!(filled.len(), input.len());
        assert_eq!(filled.slices().collect::<Vec<_>>().concat(), input);
        assert_eq!(filled.into_bytes(70_000).concat(), input[70_000..]);
    }

    #[test]
    fn early_end_of_input_is_an_error() {
        let mut filled = BlockBuffer::new(&Pool::default());
        let error = filled.read_exact(&mut &b"abc"[..], 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    fn counts(pool: &Pool) -> (usize, usize) {
        let counts = pool.counts();
        (counts.used, counts.spare.len())
    }

    #[test]
    fn spare_buffers_are_reused_and_freed_when_idle() {
        let pool = Pool::default();
        let mut blocks: Vec<_> = (0..10).map(|_| pool.take().unwrap()).collect();
        blocks.truncate(6);
        assert_eq!(counts(&pool), (6, 4));
        blocks.push(pool.take().unwrap());
        assert_eq!(counts(&pool), (7, 3));
        let shared = pool.take().unwrap().freeze();
        blocks.clear();
        assert_eq!(counts(&pool), (1, 9));
        drop(shared);
        assert_eq!(counts(&pool), (0, 0));
    }

    #[test]
    fn spare_buffers_are_kept_during_a_transfer() {
        let pool = Pool::default();
        let [one, other] = [pool.keep_spare(), pool.keep_spare()];
        drop(pool.take().unwrap());
        drop(one);
        assert_eq!(counts(&pool), (0, 1));
        let block = pool.take().unwrap();
        drop(other);
        assert_eq!(counts(&pool), (1, 0));
        drop(block);
        assert_eq!(counts(&pool), (0, 0));
        drop(pool.take().unwrap());
        drop(pool.keep_spare());
        assert_eq!(counts(&pool), (0, 0));
    }
}
