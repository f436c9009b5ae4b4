//! `sweep`: what interrupted uploads have left.

use std::time::Duration;

use clap::Args;

use super::exit::Exit;
use super::output::{note, say, say_json};
use super::{Common, Context, bar};
use crate::error::{Result, clean};
use crate::ops;
use crate::protocol::{Leftover, LeftoverKind, LeftoverStatus};

/// Removes what interrupted uploads have left: it is invisible, and costs money all the same.
#[derive(Args, Clone, Debug)]
pub struct Sweep {
    /// Leave alone what somebody worked on since, such as `90m`, `24h` or `7d`.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    older_than: Duration,

    /// Only show what would be removed.
    #[arg(long)]
    dry_run: bool,

    /// Also remove archives without metadata, and metadata without archives. Such an archive may be
    /// a whole backup whose metadata was lost.
    #[arg(long)]
    objects: bool,

    #[command(flatten)]
    pub(super) common: Common,
}

/// Removes what is left over, and says what it was.
///
/// # Errors
/// As [`ops::sweep`].
pub(super) async fn run(context: &Context, options: &Sweep) -> Result<Exit> {
    let Sweep { older_than, dry_run, objects, .. } = *options;
    let request = ops::Sweep { older_than, dry_run, objects };
    let sweeping = Box::pin(ops::sweep(&context.target, request, &context.cancel));
    let swept = bar::waiting(sweeping).await?;
    let failure = swept.leftovers.iter().find_map(|found| found.error.as_ref());
    let exit = failure.map_or(Exit::Done, |error| Exit::of_kind(error.data.kind));
    if context.json {
        say_json(&swept)?;
    } else {
        for leftover in &swept.leftovers {
            say(line(leftover, dry_run))?;
        }
        if swept.leftovers.is_empty() {
            note("Nothing is left over.");
        }
    }
    Ok(exit)
}

fn line(leftover: &Leftover, dry_run: bool) -> String {
    let Leftover { kind, key, idle_s, status, error } = leftover;
    let what = match kind {
        LeftoverKind::Upload => "the unfinished upload of",
        LeftoverKind::Archive => "an archive without metadata,",
        LeftoverKind::Metadata => "metadata without an archive,",
        LeftoverKind::Probe => "the test object",
    };
    let what = format!("{what} {}", clean(key));
    // Days, hours or minutes are enough.
    let unit = [86_400, 3600, 60].into_iter().find(|unit| idle_s >= unit).unwrap_or(1);
    let since = humantime::format_duration(Duration::from_secs(idle_s / unit * unit));
    match status {
        LeftoverStatus::Removed => format!("Removed {what}, idle for {since}."),
        LeftoverStatus::Found if dry_run => format!("Would remove {what}, idle for {since}."),
        LeftoverStatus::Found => format!("Found {what}, idle for {since}; --objects removes it."),
        LeftoverStatus::Failed => {
            let why = error.as_ref().map_or("", |error| error.message.as_str());
            format!("Cannot remove {what}: {}", clean(why))
        }
    }
}
