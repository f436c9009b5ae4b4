//! `verify`: whether what is stored is still what was stored.

use std::sync::Arc;

use clap::Args;
use console::style;
use serde::Serialize;

use super::context::{Done, of_target};
use super::exit::Exit;
use super::output::{bytes, check_error, location, note, say, say_json, text};
use super::{AllTargets, Common, Context, TargetCommand, Work, bar, find};
use crate::error::{Result, clean};
use crate::ops::{self, Entry, Listing, Target};
use crate::progress::Progress;
use crate::protocol::{Skipped, VerifyLevel, VerifyResult, VerifyStatus};

/// Shown below the options of this command.
const HELP: &str = "\
Reads every byte and compares it with the checksums that were stored with the
backup. Backups that other tools wrote have no checksums: their bytes are
read, and their length is compared. With --json, each backup is one line.

Examples:
  s3-backup-agent verify 1a2b3c4d
  s3-backup-agent verify --all
  s3-backup-agent verify --all --quick --json | jq 'select(.error)'";

/// Compares backups with their checksums, without downloading them to a file.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Verify {
    /// IDs or names of the backups.
    #[arg(value_name = "BACKUP", required_unless_present = "all_backups")]
    ids: Vec<String>,

    /// Check all backups.
    #[arg(long = "all", conflicts_with = "ids")]
    all_backups: bool,

    /// Compare lengths only, instead of reading every byte.
    #[arg(long)]
    quick: bool,

    #[command(flatten)]
    all: AllTargets,

    #[command(flatten)]
    common: Common,
}

/// Something to be verified.
struct Wanted {
    id: String,
    /// Its name.
    title: String,
    /// Its name and ID.
    shown: String,
}

impl TargetCommand for Verify {
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

/// Verifies one after the other, on one target after the other, and says what was found of each.
///
/// # Errors
/// As [`ops::verify`].
async fn run(context: &Context, options: &Verify) -> Result<Exit> {
    if !context.are_several() {
        return verify(context, context.only()?, None, options).await;
    }
    let mut ends = Vec::new();
    for on in &context.targets.all {
        let end = match &on.target {
            Ok(target) => verify(context, target, on.name(), options).await,
            Err(error) => Err(error.clone()),
        };
        let end = end.map_err(|error| on.explained(error));
        if let Err(error) = &end {
            match context.json {
                true => say_json(&of_target::<()>(&Done { on, result: Err(error.clone()) }))?,
                false => context.report(on, error),
            }
        }
        ends.push(end);
    }
    Ok(Exit::of_all(ends.iter().map(|end| end.as_ref().copied())))
}

async fn verify(
    context: &Context,
    target: &Arc<Target>,
    name: Option<&str>,
    options: &Verify,
) -> Result<Exit> {
    let level = if options.quick { VerifyLevel::Quick } else { VerifyLevel::Full };
    let listing = bar::waiting(Box::pin(ops::list(target, false, &context.cancel))).await?;
    let mut exit = Exit::Done;
    let mut wanted = Vec::new();
    if options.all_backups {
        for entry in listing.entries.values() {
            match entry {
                Entry::Backup(backup) => wanted.push(named(&listing, &backup.id)),
                Entry::Skipped { id: Some(id), .. } => wanted.push(named(&listing, id)),
                Entry::Skipped { id: None, skipped } => {
                    exit = exit_of(exit, Exit::of_kind(skipped.code.kind()));
                    match context.json {
                        true => say_json(&Line { target: name, found: skipped })?,
                        false => tell_skipped(name, skipped)?,
                    }
                }
                Entry::Archive => {}
            }
        }
    }
    for given in &options.ids {
        wanted.push(match listing.find(given) {
            Some(_) => named(&listing, given),
            None => named(&listing, &find::backup(target, given, &context.cancel).await?.id),
        });
    }
    let count = wanted.len();
    for (number, Wanted { id, shown, title }) in wanted.into_iter().enumerate() {
        let moving = match count {
            1 => format!("Verifying {}{title}", of(name)),
            _ => format!("Verifying {} of {count}: {}{title}", number + 1, of(name)),
        };
        let progress = Progress::default();
        let request = ops::Verify { id, level };
        let verifying = ops::verify(target, request, &progress, &context.cancel);
        let verified = bar::during(&progress, &moving, Box::pin(verifying)).await?;
        if verified.status == VerifyStatus::Damaged {
            exit = Exit::Integrity;
        }
        match context.json {
            true => say_json(&Line { target: name, found: &verified })?,
            false => say(line(&verified, &format!("{}{shown}", of(name))))?,
        }
    }
    if options.all_backups && !context.json && listing.entries.is_empty() {
        note(format!("{}No backups in {}.", of(name), location(target)));
    }
    Ok(exit)
}

/// What `--json` prints of a backup.
#[derive(Serialize)]
struct Line<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(flatten)]
    found: &'a T,
}

/// The name of the target before what is said of it, if the command works on several.
fn of(target: Option<&str>) -> String {
    target.map(|name| format!("{name}: ")).unwrap_or_default()
}

/// Damage is what counts; else the first of what else there is.
fn exit_of(before: Exit, now: Exit) -> Exit {
    if before == Exit::Done || now == Exit::Integrity { now } else { before }
}

fn named(listing: &Listing, id: &str) -> Wanted {
    let title = match listing.find(id) {
        Some((name, Entry::Backup(backup))) => {
            text(&backup.metadata.values(), "name").unwrap_or_else(|| clean(name))
        }
        Some((name, _)) => clean(name),
        None => String::new(),
    };
    Wanted { id: id.to_owned(), shown: format!("{title} (ID {})", clean(id)), title }
}

fn tell_skipped(target: Option<&str>, skipped: &Skipped) -> Result<()> {
    let Skipped { key, code, message } = skipped;
    let mark = style("✗").red();
    say(format!("{mark} {}{}\n      {} ({code})", of(target), clean(key), clean(message)))
}

fn line(verified: &VerifyResult, shown: &str) -> String {
    let length = bytes(verified.length);
    match (verified.status, verified.level) {
        (VerifyStatus::Ok, _) => {
            format!("{} {shown}: ok, {length} match the checksums", style("✓").green())
        }
        (VerifyStatus::Unverified, VerifyLevel::Quick) => format!(
            "{} {shown}: unverified, its length of {length} is right and its bytes were not read",
            style("✓").green()
        ),
        (VerifyStatus::Unverified, VerifyLevel::Full) => format!(
            "{} {shown}: unverified, {length} can be read and there are no checksums to compare",
            style("✓").green()
        ),
        (VerifyStatus::Damaged, _) => {
            let why = verified.error.as_ref().map(check_error).unwrap_or_default();
            format!("{} {shown}: damaged{why}", style("✗").red())
        }
    }
}
