//! Makes backups again of archives whose documents are lost, as far as they say of themselves what
//! they are.

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

/// Archives looked at at the same time.
const AT_ONCE: usize = 4;

/// Bytes that are fetched to find the members of an archive.
const BEGINNING: u64 = 64 << 10;

/// Members of an archive that are looked at. Home Assistant has one for each add-on and folder, and
/// puts its own first or last.
const MEMBERS: usize = 200;

/// Longest `backup.json` that is read. What is listed of it is far shorter.
const LONGEST_JSON: u64 = 512 << 10;

/// Looks at the archives without document that nobody is storing, and unless this is a dry run
/// writes a document for each that says what it is. Safe to repeat, and to give up at any time.
///
/// # Errors
/// Every code that a storage or a connection can cause. What cannot be repaired is a result.
pub async fn repair(target: &Target, dry_run: bool, cancel: &Cancel) -> Result<RepairResult> {
    cancel.cancellable(run(target, dry_run)).await
}

async fn run(target: &Target, dry_run: bool) -> Result<RepairResult> {
    if !dry_run {
        clean_up(target).await;
    }
    // Before the listing: what is completed in between is no upload any more, and an archive.
    let unfinished = unfinished(target).await?;
    let listing = target.store.listing(true).await?;
    // And this one after it: an upload is noted before it is begun.
    let noted = target.journal.archives().await;
    let layout = target.store.layout();
    let lone = listing.entries.iter().filter_map(|(name, entry)| {
        let key = layout.archive_key(name);
        let is_lone = matches!(entry, Entry::Archive)
            && !target.store.is_reserved(name)
            && !noted.contains_key(&key)
            && !unfinished.contains(&key);
        is_lone.then(|| (name.clone(), key))
    });
    let lone: Vec<_> = lone.collect();
    let looking = stream::iter(lone).map(|(name, key)| look(target, name, key));
    let mut looking = std::pin::pin!(looking.buffered(AT_ONCE));
    let mut archives = Vec::new();
    let mut taken = HashSet::new();
    while let Some(found) = looking.try_next().await? {
        let Some((mut archive, metadata)) = found else { continue };
        if let Some(metadata) = metadata
            && !decide(target, &mut archive, metadata, &listing, &mut taken, dry_run).await
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

/// Looks at the bucket once more, as only what is listed now is repaired.
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
                "the metadata was written, but the listing does not show it: list again later",
            ),
        };
        archive.status = RepairStatus::Repairable;
        archive.error = Some(CheckError::from(&error));
    }
    Ok(())
}

/// Keys of what somebody has begun to store in parts.
async fn unfinished(target: &Target) -> Result<HashSet<String>> {
    match target.store.bucket().open_uploads(target.store.layout().folder()).await {
        Ok(uploads) => Ok(uploads.into_iter().map(|upload| upload.key).collect()),
        // A right that not every policy gives, and a call that not every storage has.
        Err(error) if matches!(error.code(), Code::AccessDenied | Code::UnsupportedFeature) => {
            Ok(HashSet::new())
        }
        Err(error) => Err(error),
    }
}

/// Decides on an archive that says what it is, and writes its document. False when it has one by now.
async fn decide(
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
            format!("a backup with the id \"{id}\" exists already"),
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

type Found = Option<(RepairedArchive, Option<Metadata>)>;

/// What an archive says of itself; nothing when it is gone.
async fn look(target: &Target, name: String, key: String) -> Result<Found> {
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
        Err(error) if is_about_the_archive(&error) => {
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

/// Whether one archive is to blame, such as one that lies in a tier that cannot be read at once.
fn is_about_the_archive(error: &Error) -> bool {
    matches!(error.code().kind(), Kind::Conflict | Kind::Integrity)
        || error.code() == Code::TooLarge
}

async fn read_metadata(target: &Target, object: &ObjectInfo) -> Result<Option<Metadata>> {
    let Some(place) = find_backup_json(target, object).await? else { return Ok(None) };
    let too_large = || {
        Error::new(Code::TooLarge, "what the archive says of itself is too large for a document")
    };
    if place.end - place.start > LONGEST_JSON {
        return Err(too_large());
    }
    let json = read(target, object, place).await?;
    let Some(metadata) = backup_json::metadata(&json, object.size) else {
        return Err(Error::new(Code::CorruptMetadata, "the backup.json in the archive is damaged"));
    };
    if !metadata.get("backup_id").and_then(|id| id.as_str()).is_some_and(is_id) {
        let message = format!(
            "the id (slug) in the backup.json of the archive must have 1 to {MAX_BACKUP_ID} \
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

/// Where in the archive its `backup.json` is, if it is a tar that has one. Goes from member to member
/// and fetches what lies between them only where that is short.
async fn find_backup_json(target: &Target, object: &ObjectInfo) -> Result<Option<Range<u64>>> {
    let (mut start, mut fetched) = (0, Vec::new());
    let mut at: u64 = 0;
    for _ in 0..MEMBERS {
        let here =
            usize::try_from(at.saturating_sub(start)).ok().and_then(|here| fetched.get(here..));
        let mut member = here.and_then(Member::first_of);
        if member.is_none() && at < object.size {
            let range = at..object.size.min(at.saturating_add(BEGINNING));
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
