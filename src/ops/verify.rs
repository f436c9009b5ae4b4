//! Verification of a stored backup without writing it anywhere.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::download::plan::Plan;
use super::download::{Sink, Source, transfer};
use super::replaced::look_again;
use super::retry::Retry;
use super::{Cancel, Target};
use crate::archives::metadata::{Checksums, MetadataObject};
use crate::error::{Code, Error, Kind, Result};
use crate::progress::{Phase, Progress, Waiting};
use crate::protocol::{Backup, CheckError, VerifyLevel, VerifyResult, VerifyStatus};
use crate::s3::ObjectInfo;

/// Parameters of a verification.
#[derive(Clone, Debug)]
pub struct Verify {
    /// ID of the backup.
    pub id: String,
    /// How thorough the verification is.
    pub level: VerifyLevel,
}

/// Compares a backup with its metadata, like a download, several parts at a time within the memory
/// budget. Read-only; may be dropped at any time.
///
/// # Errors
/// `not_found` when there is no such backup, and every error that prevents the comparison. A
/// damaged backup is a result.
pub async fn verify(
    target: &Target,
    request: Verify,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<VerifyResult> {
    cancel.cancellable(run(target, request, progress, cancel)).await
}

async fn run(
    target: &Target,
    request: Verify,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<VerifyResult> {
    progress.enter(Phase::Starting);
    look_again(
        || target.store.name_of(&request.id),
        |name| verify_named(target, name, &request, progress, cancel),
    )
    .await
}

async fn verify_named(
    target: &Target,
    name: String,
    request: &Verify,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<VerifyResult> {
    let name = name.as_str();
    let &Verify { ref id, level } = request;
    let verified = |length, result: Result<VerifyStatus>| {
        let (status, error) = match result {
            Ok(status) => (status, None),
            Err(error) => (VerifyStatus::Damaged, Some(CheckError::from(&error))),
        };
        Ok(VerifyResult { backup_id: id.clone(), level, status, length, error })
    };
    let metadata = match target.store.metadata_object(name, id).await {
        Err(error) if is_about_metadata(&error) => return verified(0, Err(error)),
        metadata => metadata?,
    };
    let archive = match target.store.archive(name, id).await {
        Err(error) if error.code() == Code::NotFound => {
            still_there(target, name, id).await?;
            return verified(0, Err(missing(id)));
        }
        archive => archive?,
    };
    let length = archive.size;
    match compare(target, metadata, archive, level, progress, cancel).await {
        Err(error) if error.code() == Code::NotFound => {
            still_there(target, name, id).await?;
            verified(0, Err(missing(id)))
        }
        Err(error) if is_about_archive(&error) => {
            still_there(target, name, id).await?;
            verified(length, Err(error))
        }
        result => verified(length, Ok(result?)),
    }
}

/// `not_found` if the backup is being deleted: its metadata goes first, and it is not damaged.
async fn still_there(target: &Target, name: &str, id: &str) -> Result<()> {
    target.store.metadata_object(name, id).await.map(|_| ())
}

fn missing(id: &str) -> Error {
    Error::new(Code::NotFound, "the archive of the backup is missing").detail("backup_id", id)
}

fn is_about_metadata(error: &Error) -> bool {
    error.code().kind() == Kind::Integrity || error.code() == Code::TooLarge
}

fn is_about_archive(error: &Error) -> bool {
    error.code().kind() == Kind::Integrity || error.code() == Code::Modified
}

async fn compare(
    target: &Target,
    metadata: MetadataObject,
    archive: ObjectInfo,
    level: VerifyLevel,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<VerifyStatus> {
    if metadata.checksums.is_none() {
        check_announced(&metadata, &archive)?;
    }
    let plan = Arc::new(Plan::new(archive, metadata.checksums.map(Checksums::sha256_only), 0)?);
    if level == VerifyLevel::Quick {
        return Ok(VerifyStatus::Unverified);
    }
    progress.enter(Phase::Queued);
    let reservation = target.budget.reserve(plan.largest_piece()).await?;
    progress.enter(Phase::Verifying);
    progress.expect(Some(plan.length()));
    let bucket = target.store.bucket().reporting_to(progress);
    let retry = Retry::new(Duration::ZERO, progress, cancel)?;
    let source = Source { bucket, plan: Arc::clone(&plan), retry };
    transfer(target, &source, reservation, &mut Discard, progress).await?;
    progress.wait_for(None);
    Ok(if plan.is_verified() { VerifyStatus::Ok } else { VerifyStatus::Unverified })
}

/// Compares the length of the archive with the metadata, the only check without checksums.
fn check_announced(metadata: &MetadataObject, archive: &ObjectInfo) -> Result<()> {
    match metadata.lengths() {
        Some(lengths) if !lengths.contains(&archive.size) => Err(Error::new(
            Code::LengthMismatch,
            format!(
                "the archive has {} bytes instead of {}: it was damaged or replaced",
                archive.size,
                lengths.end()
            ),
        )
        .detail("expected", *lengths.end())
        .detail("actual", archive.size)),
        Some(_) | None => Ok(()),
    }
}

/// A sink that discards the bytes.
struct Discard;

impl Sink for Discard {
    const WAITS_FOR: Option<Waiting> = None;

    async fn begin(&mut self, _: &Backup, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, _: Vec<Bytes>) -> Result<()> {
        Ok(())
    }
}
