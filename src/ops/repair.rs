//! Rebuilds lost metadata from the `backup.json` inside an archive.

use std::collections::HashSet;
use std::ops::Range;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::cleanup::clean_up;
use super::upload::is_id;
use super::{Cancel, Target};
use crate::archives::backup_json::{self, Member};
use crate::archives::metadata::depth;
use crate::archives::{Entry, Listing};
use crate::buffer_pool::BlockBuffer;
use crate::error::{Code, Error, Kind, Result};
use crate::protocol::{
    CheckError, MAX_BACKUP_ID, MAX_METADATA, MAX_METADATA_DEPTH, Metadata, RepairResult,
    RepairStatus, RepairedArchive,
};
use crate::s3::ObjectInfo;

/// Archives inspected at the same time.
const AT_ONCE: usize = 4;

/// Bytes of one request for tar headers.
const HEADERS: u64 = 64 << 10;

/// Most tar members inspected in an archive. Home Assistant writes one for each add-on and folder,
/// with its own first or last.
const MEMBERS: usize = 200;

/// Longest `backup.json` that is read, in bytes. The part that is listed is far shorter.
const MAX_JSON: u64 = 512 << 10;

/// Inspects archives without metadata that no process is storing, and unless this is a dry run
/// writes metadata for each archive that contains it. Safe to repeat and to interrupt.
///
/// # Errors
/// Every code that a server or a connection can cause. An archive that cannot be repaired is a
/// result.
pub async fn repair(target: &Target, dry_run: bool, cancel: &Cancel) -> Result<RepairResult> {
    cancel.cancellable(run(target, dry_run)).await
}

async fn run(target: &Target, dry_run: bool) -> Result<RepairResult> {
    if !dry_run {
        clean_up(target).await;
    }
    // Before the listing: an upload that completes in between is listed as an archive.
    let unfinished = unfinished(target).await?;
    let listing = target.store.listing(true).await?;
    // After the listing: an upload is recorded before it is created.
    let recorded = target.journal.archives().await;
    let layout = target.store.layout();
    let orphans = listing.entries.iter().filter_map(|(name, entry)| {
        let key = layout.archive_key(name);
        let is_orphan = matches!(entry, Entry::Archive)
            && !target.store.is_reserved(name)
            && !recorded.contains_key(&key)
            && !unfinished.contains(&key);
        is_orphan.then(|| (name.clone(), key))
    });
    let orphans: Vec<_> = orphans.collect();
    let inspections = stream::iter(orphans).map(|(name, key)| inspect(target, name, key));
    let mut inspections = std::pin::pin!(inspections.buffered(AT_ONCE));
    let mut archives = Vec::new();
    let mut taken = HashSet::new();
    while let Some(found) = inspections.try_next().await? {
        let Some((mut archive, metadata)) = found else { continue };
        if let Some(metadata) = metadata
            && !repair_archive(target, &mut archive, metadata, &listing, &mut taken, dry_run).await
        {
            continue;
        }
        archives.push(archive);
    }
    if archives.iter().any(|archive| archive.status == RepairStatus::Repaired) {
        check_listed(target, &mut archives).await?;
    }
    Ok(RepairResult { archives, more: false })
}

/// Lists the bucket again: an archive is repaired only if it is listed.
async fn check_listed(target: &Target, archives: &mut [RepairedArchive]) -> Result<()> {
    let listing = target.store.listing(true).await?;
    for archive in archives.iter_mut().filter(|it| it.status == RepairStatus::Repaired) {
        let error = match listing.entries.get(&archive.name) {
            Some(Entry::Backup(_)) => continue,
            Some(Entry::Skipped { skipped, .. }) => {
                Error::new(skipped.code, skipped.message.clone())
            }
            Some(Entry::Archive) | None => Error::new(
                Code::RemoteError,
                "the metadata was written, but the listing does not show it",
            )
            .hint("list again later"),
        };
        archive.status = RepairStatus::Repairable;
        archive.error = Some(CheckError::from(&error));
    }
    Ok(())
}

/// Keys of unfinished multipart uploads.
async fn unfinished(target: &Target) -> Result<HashSet<String>> {
    match target.store.bucket().open_uploads(target.store.layout().folder()).await {
        Ok(uploads) => Ok(uploads.into_iter().map(|upload| upload.key).collect()),
        // Some policies lack the permission, and some servers the call.
        Err(error) if matches!(error.code(), Code::AccessDenied | Code::UnsupportedFeature) => {
            Ok(HashSet::new())
        }
        Err(error) => Err(error),
    }
}

/// Writes metadata for an archive with readable `backup.json`. False if the archive has metadata by
/// now.
async fn repair_archive(
    target: &Target,
    archive: &mut RepairedArchive,
    metadata: Metadata,
    listing: &Listing,
    taken: &mut HashSet<String>,
    dry_run: bool,
) -> bool {
    let id = archive.backup_id.clone().unwrap_or_default();
    let is_listed = matches!(listing.find(&id), Some((_, Entry::Backup(_))));
    if is_listed || !taken.insert(id.clone()) {
        let error = Error::new(
            Code::AlreadyExists,
            format!("a backup with the ID \"{id}\" exists already"),
        );
        refuse(archive, &error.detail("backup_id", id));
        return true;
    }
    if dry_run {
        return true;
    }
    match target.store.recommit(&archive.name, &id, metadata, archive.size).await {
        Ok(true) => archive.status = RepairStatus::Repaired,
        Ok(false) => return false,
        Err(error) => archive.error = Some(CheckError::from(&error)),
    }
    true
}

fn refuse(archive: &mut RepairedArchive, error: &Error) {
    archive.status = RepairStatus::Unknown;
    archive.error = Some(CheckError::from(error));
}

type Inspected = Option<(RepairedArchive, Option<Metadata>)>;

/// Reads the metadata inside an archive. None when the archive is gone.
async fn inspect(target: &Target, name: String, key: String) -> Result<Inspected> {
    let object = match target.store.bucket().head(&key).await {
        Err(error) if error.code() == Code::NotFound => return Ok(None),
        object => object?,
    };
    let mut archive = RepairedArchive {
        name,
        key,
        size: object.size,
        status: RepairStatus::Unknown,
        backup_id: None,
        title: None,
        error: None,
    };
    let metadata = match read_metadata(target, &object).await {
        Ok(metadata) => metadata,
        Err(error) if error.code() == Code::NotFound => return Ok(None),
        Err(error) if is_about_archive(&error) => {
            refuse(&mut archive, &error);
            None
        }
        Err(error) => return Err(error),
    };
    if let Some(metadata) = &metadata {
        let text = |member: &str| Some(metadata.get(member)?.as_str()?.to_owned());
        (archive.backup_id, archive.title) = (text("backup_id"), text("name"));
        archive.status = RepairStatus::Repairable;
    }
    Ok(Some((archive, metadata)))
}

/// Whether the error concerns one archive only, such as one in cold storage.
fn is_about_archive(error: &Error) -> bool {
    matches!(error.code().kind(), Kind::Conflict | Kind::Integrity)
        || error.code() == Code::TooLarge
}

async fn read_metadata(target: &Target, object: &ObjectInfo) -> Result<Option<Metadata>> {
    let Some(position) = find_backup_json(target, object).await? else { return Ok(None) };
    let too_large = || Error::new(Code::TooLarge, "the backup.json in the archive is too large");
    if position.end - position.start > MAX_JSON {
        return Err(too_large());
    }
    let json = read(target, object, position).await?;
    let Some(metadata) = backup_json::metadata(&json, object.size) else {
        return Err(Error::new(Code::CorruptMetadata, "the backup.json in the archive is damaged"));
    };
    if !metadata.get("backup_id").and_then(|id| id.as_str()).is_some_and(is_id) {
        let message = format!(
            "the ID (slug) in the backup.json of the archive must have 1 to {MAX_BACKUP_ID} \
             characters and no control characters"
        );
        return Err(Error::new(Code::CorruptMetadata, message));
    }
    let length = serde_json::to_vec(&metadata).map_or(usize::MAX, |json| json.len());
    if length > MAX_METADATA || depth(&metadata) > MAX_METADATA_DEPTH {
        return Err(too_large());
    }
    Ok(Some(metadata))
}

/// Position of `backup.json` in the archive; None if it is not a tar with one. Goes from header to
/// header, and fetches the content between them only if it is short.
async fn find_backup_json(target: &Target, object: &ObjectInfo) -> Result<Option<Range<u64>>> {
    let (mut start, mut fetched) = (0, Vec::new());
    let mut at: u64 = 0;
    for _ in 0..MEMBERS {
        let here =
            usize::try_from(at.saturating_sub(start)).ok().and_then(|here| fetched.get(here..));
        let mut member = here.and_then(Member::first_of);
        if member.is_none() && at < object.size {
            let range = at..object.size.min(at.saturating_add(HEADERS));
            (start, fetched) = (at, read(target, object, range).await?);
            member = Member::first_of(&fetched);
        }
        let Some(member) = member else { return Ok(None) };
        if member.is_backup_json {
            let content = at.saturating_add(member.content);
            let end = content.saturating_add(member.size);
            return Ok((end <= object.size).then_some(content..end));
        }
        at = at.saturating_add(member.end());
    }
    Ok(None)
}

async fn read(target: &Target, object: &ObjectInfo, range: Range<u64>) -> Result<Vec<u8>> {
    let mut content = BlockBuffer::new(&target.pool);
    let bucket = target.store.bucket();
    bucket.get_range(object, range, &mut content).await?;
    Ok(content.slices().collect::<Vec<_>>().concat())
}
