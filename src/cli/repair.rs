//! `repair`: archives whose metadata is lost.

use clap::Args;

use super::exit::Exit;
use super::output::{bytes, note, say, say_json};
use super::{Common, Context, TargetCommand, Work, bar};
use crate::error::{Result, clean};
use crate::ops;
use crate::protocol::{RepairStatus, RepairedArchive};

/// Shown below the options of this command.
const HELP: &str = "\
A backup is an archive and a metadata object. If the metadata object is lost,
this command writes a new one from the backup.json in an archive of Home
Assistant. It has no checksums. Archives that are being uploaded are not
touched.

Examples:
  s3-backup-agent repair --dry-run
  s3-backup-agent repair";

/// Rebuilds lost metadata of Home Assistant backups from their archives.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Repair {
    /// Only show what could be repaired.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    common: Common,
}

impl TargetCommand for Repair {
    fn common(&self) -> &Common {
        &self.common
    }

    fn prepare(&self) -> Result<Work<'_>> {
        Ok(Box::new(move |context| Box::pin(run(context, self))))
    }
}

/// Repairs what it can, and prints each archive.
///
/// # Errors
/// As [`ops::repair`].
async fn run(context: &Context, options: &Repair) -> Result<Exit> {
    let work = Box::pin(ops::repair(context.only()?, options.dry_run, &context.cancel));
    let repaired = bar::waiting(work).await?;
    let mut found = repaired.archives.iter();
    let failure = found.find_map(|it| match it.status {
        RepairStatus::Repairable => it.error.as_ref(),
        RepairStatus::Repaired | RepairStatus::Unknown => None,
    });
    let exit = failure.map_or(Exit::Done, |error| Exit::of_kind(error.data.kind));
    if context.json {
        say_json(&repaired)?;
        return Ok(exit);
    }
    for archive in &repaired.archives {
        say(line(archive))?;
    }
    if repaired.archives.is_empty() {
        note("Every archive has its metadata.");
    }
    Ok(exit)
}

fn line(archive: &RepairedArchive) -> String {
    let RepairedArchive { key, size, status, backup_id, title, error, .. } = archive;
    let said = |text: &Option<String>| text.as_deref().map(clean).unwrap_or_default();
    let what = format!("{} ({}, ID {})", said(title), bytes(*size), said(backup_id));
    let key = clean(key);
    let why = error.as_ref().map(|error| clean(&error.message));
    match (status, why) {
        (RepairStatus::Repaired, _) => format!("Repaired {what} from {key}."),
        (RepairStatus::Repairable, None) => format!("Would repair {what} from {key}."),
        (RepairStatus::Repairable, Some(why)) => {
            format!("Cannot repair {what} from {key}: {why}")
        }
        (RepairStatus::Unknown, Some(why)) => format!("Left {key} alone: {why}"),
        (RepairStatus::Unknown, None) => {
            format!("Left {key} alone: it does not say which backup it is")
        }
    }
}
