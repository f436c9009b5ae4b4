//! `cleanup`: incomplete uploads and orphaned objects.

use std::time::Duration;

use clap::Args;

use super::exit::Exit;
use super::output::{note, say};
use super::{AllTargets, Common, Context, TargetCommand, Work, bar, time};
use crate::error::{Result, clean};
use crate::ops;
use crate::protocol::{CleanupItem, CleanupItemKind, CleanupItemStatus, CleanupResult};

/// Shown below the options of this command.
const HELP: &str = "\
If the process is killed in an upload, the next upload of this machine cleans
up. This command finds incomplete uploads of other machines by their age.
Uploads that run on this machine are not touched.

Examples:
  s3-backup-agent cleanup --dry-run
  s3-backup-agent cleanup --older-than 7d";

/// Removes incomplete uploads. They are not listed as backups, and providers charge for them.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Cleanup {
    /// Keep what is newer than this, for example `90m` or `7d`.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time)]
    older_than: Duration,

    /// Only show what would be removed.
    #[arg(long)]
    dry_run: bool,

    /// Also remove archives without metadata, and metadata without archives. Such an archive may be a
    /// complete backup: see `repair`.
    #[arg(long)]
    objects: bool,

    #[command(flatten)]
    all: AllTargets,

    #[command(flatten)]
    common: Common,
}

impl TargetCommand for Cleanup {
    fn common(&self) -> &Common {
        &self.common
    }

    fn all_targets(&self) -> Option<AllTargets> {
        Some(self.all)
    }

    fn prepare(&self) -> Result<Work<'_>> {
        Ok(Box::new(move |context| Box::pin(run(context, self))))
    }
}

/// Removes incomplete uploads, and prints each.
///
/// # Errors
/// As [`ops::cleanup`].
async fn run(context: &Context, options: &Cleanup) -> Result<Exit> {
    let Cleanup { older_than, dry_run, objects, .. } = *options;
    let work = context.each(async |target| {
        let request = ops::Cleanup { older_than, dry_run, objects };
        Box::pin(ops::cleanup(target, request, &context.cancel)).await
    });
    let done = bar::waiting(work).await;
    context.tell(done, exit_of, |all| {
        for (target, cleaned) in all {
            let of = target.map(|name| format!("{name}: ")).unwrap_or_default();
            for item in &cleaned.items {
                say(format!("{of}{}", line(item, dry_run)))?;
            }
            if cleaned.items.is_empty() {
                note(format!("{of}There are no incomplete uploads."));
            }
        }
        Ok(())
    })
}

fn exit_of(cleaned: &CleanupResult) -> Exit {
    let failure = cleaned.items.iter().find_map(|found| found.error.as_ref());
    failure.map_or(Exit::Done, |error| Exit::of_kind(error.data.kind))
}

fn line(item: &CleanupItem, dry_run: bool) -> String {
    let CleanupItem { kind, key, idle_s, status, error } = item;
    let what = match kind {
        CleanupItemKind::Upload => "the incomplete upload of",
        CleanupItemKind::Archive => "an archive without metadata,",
        CleanupItemKind::Metadata => "metadata without an archive,",
        CleanupItemKind::Probe => "the test object",
    };
    let what = format!("{what} {}", clean(key));
    // Days, hours or minutes are enough.
    let unit = [86_400, 3600, 60].into_iter().find(|unit| idle_s >= unit).unwrap_or(1);
    let since = humantime::format_duration(Duration::from_secs(idle_s / unit * unit));
    match status {
        CleanupItemStatus::Removed => format!("Removed {what}, idle for {since}."),
        CleanupItemStatus::Found if dry_run => format!("Would remove {what}, idle for {since}."),
        CleanupItemStatus::Found => {
            format!("Found {what}, idle for {since}; --objects removes it.")
        }
        CleanupItemStatus::Failed => {
            let why = error.as_ref().map_or("", |error| error.message.as_str());
            format!("Cannot remove {what}: {}", clean(why))
        }
    }
}
