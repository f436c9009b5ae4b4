//! Multipart transfer of an archive: bytes are collected into equal parts, hashed and sent while
//! the next part fills.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::Source;
use super::guard::UploadGuard;
use super::resume::Ledger;
use super::sent::Sent;
use crate::archives::metadata::Checksums;
use crate::config::{LiveLimits, MAX_PART_SIZE, MIB};
use crate::error::{Code, Error, Result};
use crate::ops::concurrency::Concurrency;
use crate::ops::memory_budget::{Reservation, WINDOW};
use crate::ops::retry::Retry;
use crate::ops::{Chunks, Target};
use crate::progress::{Phase, Progress, Waiting};
use crate::s3::{Bucket, Part, PartChecksums, Payload, Upload};

/// Archives of this size or larger are sent in parts.
pub(super) const THRESHOLD: u64 = 20 * MIB;

/// Part size and mode, decided before the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) part_size: u64,
    /// Most parts that the provider allows.
    max_parts: u64,
    multipart_at_once: bool,
}

impl Plan {
    /// Parts must be equal (Cloudflare R2 and others require it), so their size follows from the
    /// announced length. A source may be slightly longer than announced, hence the 5 %.
    pub(super) fn new(preferred: u64, max_parts: u64, announced: Option<u64>) -> Result<Self> {
        let likely = announced.unwrap_or_default();
        let likely = likely.saturating_add(likely / 20);
        let needed = likely.div_ceil(max_parts).div_ceil(MIB) * MIB;
        if needed > MAX_PART_SIZE {
            return Err(Error::new(
                Code::TooLarge,
                "the backup is larger than the provider allows",
            )
            .detail("limit", MAX_PART_SIZE.saturating_mul(max_parts)));
        }
        Ok(Self {
            part_size: preferred.max(needed),
            max_parts,
            multipart_at_once: announced.unwrap_or_default() >= THRESHOLD,
        })
    }

    /// Minimum memory of the upload: the collected bytes and the window of the source.
    pub(super) fn reservation(self) -> u64 {
        let collected =
            if self.multipart_at_once { self.part_size } else { self.part_size.max(THRESHOLD) };
        collected + WINDOW
    }
}

/// An archive that is being sent.
pub(super) struct Archive<'a> {
    pub(super) target: &'a Target,
    pub(super) bucket: Bucket,
    pub(super) key: String,
    pub(super) plan: Plan,
    pub(super) progress: &'a Progress,
    pub(super) retry: Retry,
}

impl Archive<'_> {
    /// Sends all bytes of `source`.
    pub(super) async fn send(
        &self,
        source: &mut impl Source,
        reservation: Reservation,
        guard: &mut UploadGuard,
    ) -> Result<Sent> {
        let mut upload = guard.upload();
        if upload.is_none() && self.plan.multipart_at_once {
            upload = Some(self.open(guard).await?);
        }
        self.progress.enter(Phase::Transferring);
        let mut collected = Chunks::new(&self.target.pool);
        let mut received = 0;
        let mut sending = Sending::new(&self.target.config.limits);
        loop {
            self.progress.wait_for(Some(Waiting::Host));
            let next = tokio::select! {
                biased;
                Some(sent) = sending.tasks.join_next() => {
                    sending.done(sent, self.progress)?;
                    continue;
                }
                next = source.next() => next?,
            };
            let Some(chunk) = next else { break };
            received += chunk.len() as u64;
            collected.push(chunk)?;
            if upload.is_none() && received >= THRESHOLD {
                upload = Some(self.open(guard).await?);
            }
            let Some(upload) = &upload else { continue };
            while collected.length() >= self.plan.part_size {
                let part = collected.take(self.plan.part_size);
                self.send_part(upload, part, guard.ledger(), &mut sending).await?;
            }
        }
        #[cfg(feature = "demo")]
        crate::fault_injection::trip("end of the stream");
        self.progress.expect(Some(received));
        self.progress.wait_for(Some(Waiting::Remote));
        let sent = match upload {
            None => self.send_whole(collected, guard).await,
            Some(upload) => {
                if collected.length() > 0 {
                    let part = collected.take(self.plan.part_size);
                    self.send_part(&upload, part, guard.ledger(), &mut sending).await?;
                }
                while let Some(sent) = sending.tasks.join_next().await {
                    sending.done(sent, self.progress)?;
                }
                Ok(sending.finish(received, self.plan.part_size))
            }
        };
        drop(reservation);
        sent
    }

    fn storage_class(&self) -> Option<&str> {
        self.target.config.storage_class.as_deref()
    }

    async fn open(&self, guard: &mut UploadGuard) -> Result<Upload> {
        guard.open(&self.bucket, &self.key, self.storage_class()).await
    }

    async fn send_whole(&self, mut collected: Chunks, guard: &mut UploadGuard) -> Result<Sent> {
        let size = collected.length();
        let payload = Payload::hash_in_background(collected.take(size)).await;
        let checksums = Checksums { size, part_size: size, parts: vec![payload.checksums()] };
        let stored =
            guard.put(self.target, &self.bucket, &self.key, self.storage_class(), payload).await?;
        self.progress.add(size);
        Ok(Sent { stored: Some(stored), parts: Vec::new(), checksums })
    }

    /// Starts to send a part. Waits until there is memory to collect the next one.
    async fn send_part(
        &self,
        upload: &Upload,
        part: Vec<Bytes>,
        ledger: &Ledger,
        sending: &mut Sending,
    ) -> Result<()> {
        sending.count += 1;
        let Plan { part_size, max_parts, .. } = self.plan;
        let number = u16::try_from(sending.count)
            .ok()
            .filter(|number| u64::from(*number) <= max_parts)
            .ok_or_else(|| {
                Error::new(
                    Code::TooLarge,
                    format!(
                        "the backup needs more than the {max_parts} parts that the provider allows, at \
                         {part_size} bytes each"
                    ),
                )
                .hint("announce its size, or raise the part size")
                .field("part_size")
                .detail("limit", part_size.saturating_mul(max_parts))
            })?;
        let permit = loop {
            if sending.tasks.len() < sending.concurrency.open()
                && let Some(permit) = self.target.budget.try_reserve(part_size)
            {
                break Some(permit);
            }
            self.progress.wait_for(Some(Waiting::Remote));
            sending.concurrency.set_waiting();
            let sent = tokio::select! {
                biased;
                sent = sending.tasks.join_next() => sent,
                () = sending.concurrency.changed() => continue,
            };
            match sent {
                Some(sent) => sending.done(sent, self.progress)?,
                // No part is in flight that could free memory.
                None => break None,
            }
        };
        let uses_own_memory = permit.is_none();
        let (upload, retry, ledger) = (upload.clone(), self.retry.clone(), ledger.clone());
        sending.tasks.spawn(async move {
            #[cfg(feature = "demo")]
            crate::fault_injection::trip("part");
            let payload = Payload::hash_in_background(part).await;
            let begun = Instant::now();
            let stored = ledger.send(&upload, number, &payload, &retry).await;
            drop(permit);
            let part = (stored?, payload.checksums());
            Ok(SentPart { part, length: payload.length(), took: begun.elapsed() })
        });
        if uses_own_memory && let Some(sent) = sending.tasks.join_next().await {
            sending.done(sent, self.progress)?;
        }
        Ok(())
    }
}

struct SentPart {
    part: (Part, PartChecksums),
    length: u64,
    took: Duration,
}

/// Parts in flight. Dropping this aborts them.
struct Sending {
    tasks: JoinSet<Result<SentPart>>,
    concurrency: Concurrency,
    count: u64,
    parts: Vec<(Part, PartChecksums)>,
}

impl Sending {
    fn new(limits: &LiveLimits) -> Self {
        Self {
            tasks: JoinSet::new(),
            concurrency: Concurrency::new(limits),
            count: 0,
            parts: Vec::new(),
        }
    }

    fn done(
        &mut self,
        sent: Result<Result<SentPart>, tokio::task::JoinError>,
        progress: &Progress,
    ) -> Result<()> {
        let SentPart { part, length, took } = sent.map_err(|error| {
            Error::new(Code::Internal, "sending a part failed inside the agent").source(error)
        })??;
        progress.add(length);
        self.concurrency.done(length, took, progress.snapshot().retries);
        self.parts.push(part);
        Ok(())
    }

    fn finish(mut self, size: u64, part_size: u64) -> Sent {
        self.parts.sort_by_key(|(part, _)| part.number);
        let (parts, checksums) = std::mem::take(&mut self.parts).into_iter().unzip();
        Sent { stored: None, parts, checksums: Checksums { size, part_size, parts: checksums } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_size_grows_with_announced_size_only() {
        let plan = |announced| Plan::new(8 * MIB, 10_000, announced);
        let sizes = |announced| plan(announced).unwrap().part_size / MIB;
        assert_eq!(sizes(None), 8);
        assert_eq!(sizes(Some(70 << 30)), 8);
        assert_eq!(sizes(Some(1 << 40)), 111);
        let reserved = |announced| plan(announced).unwrap().reservation() / MIB;
        // Only an archive that may still become a single request is collected as a whole.
        assert_eq!([reserved(None), reserved(Some(1)), reserved(Some(THRESHOLD))], [24, 24, 12]);
        assert_eq!(plan(Some(u64::MAX)).unwrap_err().code(), Code::TooLarge);
        // Scaleway allows a tenth of the parts.
        assert_eq!(Plan::new(8 * MIB, 1000, Some(40 << 30)).unwrap().part_size, 44 * MIB);
    }
}
