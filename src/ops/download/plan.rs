//! Pieces of a download, and their verification.

use std::ops::Range;

use bytes::Bytes;

use crate::archives::metadata::Checksums;
use crate::buffer_pool::BlockBuffer;
use crate::config::DEFAULT_PART_SIZE;
use crate::error::{Code, Error, Result};
use crate::ops::retry::Retry;
use crate::s3::{Bucket, ObjectInfo, PartChecksums};

/// The pieces of one download.
pub(in crate::ops) struct Plan {
    archive: ObjectInfo,
    checksums: Option<Checksums>,
    offset: u64,
    piece: u64,
}

impl Plan {
    pub(in crate::ops) fn new(
        archive: ObjectInfo,
        checksums: Option<Checksums>,
        offset: u64,
    ) -> Result<Self> {
        if offset > archive.size {
            return Err(Error::new(
                Code::InvalidParams,
                format!("the offset {offset} is beyond the end of the archive ({})", archive.size),
            )
            .field("offset")
            .detail("member", "offset"));
        }
        if let Some(checksums) = &checksums
            && checksums.size != archive.size
        {
            return Err(Error::new(
                Code::LengthMismatch,
                format!(
                    "the archive has {} bytes instead of {}: it was damaged or replaced",
                    archive.size, checksums.size
                ),
            )
            .detail("expected", checksums.size)
            .detail("actual", archive.size));
        }
        let piece = checksums.as_ref().map_or(DEFAULT_PART_SIZE, |checksums| checksums.part_size);
        Ok(Self { archive, checksums, offset, piece })
    }

    /// Whether the metadata has checksums.
    pub(in crate::ops) fn is_verified(&self) -> bool {
        self.checksums.is_some()
    }

    /// Bytes to deliver.
    pub(in crate::ops) fn length(&self) -> u64 {
        self.archive.size - self.offset
    }

    /// Size of the largest piece in bytes.
    pub(in crate::ops) fn largest_piece(&self) -> u64 {
        self.piece.min(self.archive.size)
    }

    /// Number of pieces; the first one contains the byte at the offset.
    pub(in crate::ops) fn pieces(&self) -> u64 {
        self.archive.size.div_ceil(self.piece) - self.first()
    }

    fn first(&self) -> u64 {
        self.offset / self.piece
    }

    fn range(&self, number: u64) -> Range<u64> {
        let start = number.saturating_mul(self.piece);
        start..self.archive.size.min(start.saturating_add(self.piece))
    }

    /// Fetches and verifies the piece `index`, and cuts off the bytes before the offset.
    pub(in crate::ops) async fn fetch(
        &self,
        bucket: &Bucket,
        retry: &Retry,
        index: u64,
        mut content: BlockBuffer,
    ) -> Result<Vec<Bytes>> {
        #[cfg(feature = "demo")]
        crate::fault_injection::trip("piece");
        let number = self.first() + index;
        let range = self.range(number);
        let Some(checksums) = &self.checksums else {
            let start = range.start.max(self.offset);
            self.read(bucket, retry, start..range.end, &mut content).await?;
            return Ok(content.into_bytes(0));
        };
        let expected =
            usize::try_from(number).ok().and_then(|number| checksums.parts.get(number)).copied();
        let skip = usize::try_from(self.offset.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut attempts = 0;
        loop {
            self.read(bucket, retry, range.clone(), &mut content).await?;
            let is_right;
            (content, is_right) = check_aside(content, expected).await?;
            if is_right {
                return Ok(content.into_bytes(skip));
            }
            attempts += 1;
            tracing::warn!(
                key = self.archive.key,
                part = number + 1,
                "a part differs from its checksum: fetching it again"
            );
            if attempts == 2 {
                return Err(Error::new(
                    Code::IntegrityMismatch,
                    format!("part {} of the backup is damaged on the server", number + 1),
                )
                .detail("where", "part")
                .detail("part", number + 1)
                .detail("offset", range.start)
                .detail("algorithm", "sha256"));
            }
        }
    }

    /// Reads a range, with retries; each retry starts over.
    async fn read(
        &self,
        bucket: &Bucket,
        retry: &Retry,
        range: Range<u64>,
        content: &mut BlockBuffer,
    ) -> Result<()> {
        let mut attempts = retry.attempts();
        loop {
            let read = bucket.get_range(&self.archive, range.clone(), content).await;
            if attempts.after(read).await?.is_some() {
                return Ok(());
            }
        }
    }
}

async fn check_aside(
    content: BlockBuffer,
    expected: Option<PartChecksums>,
) -> Result<(BlockBuffer, bool)> {
    let work = tokio::task::spawn_blocking(move || {
        let is_right = expected.is_some_and(|digest| digest.matches(content.slices()));
        (content, is_right)
    });
    work.await.map_err(|error| {
        Error::new(Code::Internal, "hashing failed inside the agent").source(error)
    })
}
