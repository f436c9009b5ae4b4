//! Cleanup of objects that are not part of a complete backup.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{AT_ONCE, Cleanup};
use crate::archives::deletion::{DeleteIf, Verdict, idle_since};
use crate::archives::layout::PairKey;
use crate::error::{Code, Result};
use crate::ops::Target;
use crate::protocol::{CheckError, CleanupItem, CleanupItemKind, CleanupItemStatus};
use crate::s3::ObjectInfo;

/// The objects of one name that exist.
#[derive(Default)]
struct Pair {
    archive: Option<ObjectInfo>,
    metadata: Option<ObjectInfo>,
}

/// Reports archives and metadata objects without a counterpart, and deletes them if requested;
/// deletes test objects.
pub(super) async fn cleanup(target: &Target, request: Cleanup) -> Result<Vec<CleanupItem>> {
    let found = stale(target, request.older_than).await?;
    let checks = stream::iter(found).map(|(kind, object, idle)| {
        let is_requested = kind == CleanupItemKind::Probe || request.objects;
        let delete = is_requested && !request.dry_run;
        let condition = DeleteIf::IsOlder(request.older_than, object.modified);
        check_object(target, (kind, object.key), idle, condition, delete)
    });
    checks.buffered(AT_ONCE).try_filter_map(async |found| Ok(found)).try_collect().await
}

/// Orphaned objects and test objects that are at least `older_than` old.
async fn stale(
    target: &Target,
    older_than: Duration,
) -> Result<Vec<(CleanupItemKind, ObjectInfo, Duration)>> {
    let (bucket, layout) = (target.store.bucket(), target.store.layout());
    let mut pairs = BTreeMap::<String, Pair>::new();
    let mut found = Vec::new();
    let mut pages = std::pin::pin!(target.store.pages());
    while let Some(page) = pages.try_next().await? {
        for object in page.objects {
            let key = object.key.clone();
            match layout.pair_key(&key) {
                Some(PairKey::Archive(name)) => {
                    pairs.entry(name.to_owned()).or_default().archive = Some(object);
                }
                Some(PairKey::Metadata(name)) => {
                    pairs.entry(name.to_owned()).or_default().metadata = Some(object);
                }
                None if layout.is_probe(&key) => found.push((CleanupItemKind::Probe, object)),
                None => {}
            }
        }
    }
    let known = target.journal.archives().await;
    for (name, pair) in pairs {
        // Uploads in the journal have their own cleanup.
        let running =
            target.store.is_reserved(&name) || known.contains_key(&layout.archive_key(&name));
        match pair {
            Pair { archive: Some(archive), metadata: None } if !running => {
                found.push((CleanupItemKind::Archive, archive));
            }
            Pair { archive: None, metadata: Some(metadata) } if !running => {
                found.push((CleanupItemKind::Metadata, metadata));
            }
            _ => {}
        }
    }
    let now = bucket.now();
    let stale = found.into_iter().filter_map(|(kind, object)| {
        let idle = idle_since(object.modified, now).filter(|idle| *idle >= older_than)?;
        // A validation is still running.
        let running = kind == CleanupItemKind::Probe && known.contains_key(&object.key);
        (!running).then_some((kind, object, idle))
    });
    Ok(stale.collect())
}

/// Reports or deletes an object of a listing. None when it is part of a backup, gone or younger.
async fn check_object(
    target: &Target,
    (kind, key): (CleanupItemKind, String),
    idle: Duration,
    condition: DeleteIf<'_>,
    delete: bool,
) -> Result<Option<CleanupItem>> {
    let found = match delete {
        true => target.store.delete_if(&key, condition).await,
        false => target.store.classify(&key, condition).await,
    };
    let (status, error) = match found {
        Ok(Verdict::Keep | Verdict::IsBackup) => return Ok(None),
        Ok(Verdict::Delete) if delete => (CleanupItemStatus::Removed, None),
        Ok(Verdict::Delete) => (CleanupItemStatus::Found, None),
        Err(error) if delete => (CleanupItemStatus::Failed, Some(CheckError::from(&error))),
        Err(error) if error.code() == Code::AccessDenied => (CleanupItemStatus::Found, None),
        Err(error) => return Err(error),
    };
    Ok(Some(CleanupItem { kind, key, idle_s: idle.as_secs(), status, error }))
}
