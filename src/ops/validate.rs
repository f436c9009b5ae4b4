//! Tries out a target with the calls that backups need, and no others.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{Cancel, Target};
use crate::error::{Code, Error, Result};
use crate::protocol::{Check, CheckError, Level, Status, Validated};
use crate::s3::{Bucket, Payload, Write};

/// Content of the object that is written and read back.
const PROBE: &[u8] = b"This object was written to test the storage and can be deleted.\n";

/// Tries `list`, and with [`Level::Write`] also `write`, `read`, `multipart` and `delete`. After the
/// first failure the rest is skipped. What was written is deleted again, even when cancelled.
///
/// # Errors
/// Only those of `cancel`; a bad target is a result.
pub async fn validate(target: &Arc<Target>, level: Level, cancel: &Cancel) -> Result<Validated> {
    let target = Arc::clone(target);
    // A task of its own: once begun, a probe is cleaned up whatever happens to the request.
    let switch = cancel.clone();
    cancel.finish(tokio::spawn(async move { probe(&target, level, &switch).await })).await
}

async fn probe(target: &Target, level: Level, cancel: &Cancel) -> Result<Validated> {
    let bucket = Bucket::for_probing(&target.config)?;
    let layout = target.store.layout();
    let mut ladder = Ladder { checks: Vec::new(), failed: false, cancel };
    ladder.step("list", bucket.probe_list(layout.folder())).await;
    if level == Level::Write {
        let key = format!("{}.probe-{:016x}", layout.folder(), fastrand::u64(..));
        let reached = ladder.step("write", write(&bucket, &key)).await;
        ladder.step("read", read_back(&bucket, &key)).await;
        ladder.step("multipart", multipart(&bucket, &key)).await;
        if reached {
            ladder.insist("delete", bucket.delete(&key)).await;
        } else {
            ladder.skip("delete");
        }
    }
    if cancel.is_cancelled() {
        return Err(cancel.error());
    }
    Ok(Validated { ok: !ladder.failed, checks: ladder.checks, facts: target.facts() })
}

/// Checks in order, none after a failed one.
struct Ladder<'a> {
    checks: Vec<Check>,
    failed: bool,
    cancel: &'a Cancel,
}

impl Ladder<'_> {
    /// Runs a check unless one before it failed; says whether it ran.
    async fn step(&mut self, name: &str, check: impl Future<Output = Result<()>>) -> bool {
        if self.failed || self.cancel.is_cancelled() {
            self.skip(name);
            return false;
        }
        self.insist(name, check).await;
        true
    }

    /// Runs a check in any case.
    async fn insist(&mut self, name: &str, check: impl Future<Output = Result<()>>) {
        let start = Instant::now();
        let error = check.await.err();
        self.failed |= error.is_some();
        self.checks.push(Check {
            name: name.to_owned(),
            status: if error.is_some() { Status::Failed } else { Status::Passed },
            ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            error: error.as_ref().map(CheckError::from),
        });
    }

    fn skip(&mut self, name: &str) {
        self.checks.push(Check {
            name: name.to_owned(),
            status: Status::Skipped,
            ms: 0,
            error: None,
        });
    }
}

fn probe_object(key: &str) -> Write<'_> {
    Write { key, content_type: "text/plain", storage_class: None, mark: None }
}

async fn write(bucket: &Bucket, key: &str) -> Result<()> {
    bucket.put(probe_object(key), &Payload::new(vec![Bytes::from_static(PROBE)])).await?;
    Ok(())
}

async fn read_back(bucket: &Bucket, key: &str) -> Result<()> {
    let content = bucket.get(key, 1 << 20).await?;
    if content == PROBE {
        return Ok(());
    }
    Err(Error::new(Code::IntegrityMismatch, "the storage gave back other bytes than were written")
        .fact("where", "object"))
}

async fn multipart(bucket: &Bucket, key: &str) -> Result<()> {
    let upload = bucket.create_upload(probe_object(key)).await?;
    let sent = upload.send_part(1, &Payload::new(vec![Bytes::from_static(PROBE)])).await;
    upload.abort().await?;
    sent?;
    Ok(())
}
