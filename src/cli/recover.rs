//! `recover`: archives whose metadata is lost.

use clap::Args;

use super::exit::Exit;
use super::output::{bytes, note, say, say_json};
use super::{Common, Context, bar};
use crate::error::{Result, clean};
use crate::ops;
use crate::protocol::{ArchiveStatus, LoneArchive};

/// Brings back Home Assistant backups whose metadata is lost, from what their archives say.
#[derive(Args, Clone, Debug)]
pub struct Recover {
    /// Only show what could be recovered.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    pub(super) common: Common,
}

/// Recovers what can be, and says what there was.
///
/// # Errors
/// As [`ops::recover`].
pub(super) async fn run(context: &Context, options: &Recover) -> Result<Exit> {
    let work = Box::pin(ops::recover(&context.target, options.dry_run, &context.cancel));
    let recovered = bar::waiting(work).await?;
    let mut found = recovered.archives.iter();
    let failure = found.find_map(|it| match it.status {
        ArchiveStatus::Recoverable => it.error.as_ref(),
        ArchiveStatus::Recovered | ArchiveStatus::Unknown => None,
    });
    let exit = failure.map_or(Exit::Done, |error| Exit::of_kind(error.data.kind));
    if context.json {
        say_json(&recovered)?;
        return Ok(exit);
    }
    for archive in &recovered.archives {
        say(line(archive))?;
    }
    if recovered.archives.is_empty() {
        note("Every archive has its metadata.");
    }
    Ok(exit)
}

fn line(archive: &LoneArchive) -> String {
    let LoneArchive { key, size, status, backup_id, title, error, .. } = archive;
    let said = |text: &Option<String>| text.as_deref().map(clean).unwrap_or_default();
    let what = format!("{} ({}, id {})", said(title), bytes(*size), said(backup_id));
    let key = clean(key);
    let why = error.as_ref().map(|error| clean(&error.message));
    match (status, why) {
        (ArchiveStatus::Recovered, _) => format!("Recovered {what} from {key}."),
        (ArchiveStatus::Recoverable, None) => format!("Would recover {what} from {key}."),
        (ArchiveStatus::Recoverable, Some(why)) => {
            format!("Cannot recover {what} from {key}: {why}")
        }
        (ArchiveStatus::Unknown, Some(why)) => format!("Left {key} alone: {why}"),
        (ArchiveStatus::Unknown, None) => {
            format!("Left {key} alone: it does not say which backup it is")
        }
    }
}
