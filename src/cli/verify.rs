//! `verify`: whether what is stored is still what was stored.

use clap::Args;
use console::style;

use super::exit::Exit;
use super::output::{bytes, check_error, location, note, say, say_json, text};
use super::{Common, Context, TargetCommand, Work, bar, find};
use crate::error::{Result, clean};
use crate::ops::{self, Entry, Listing};
use crate::progress::Progress;
use crate::protocol::{Skipped, VerifyLevel, VerifyResult, VerifyStatus};

/// Shown below the options of this command.
const HELP: &str = "\
Reads every byte and compares it with the checksums that were stored with the backup. Backups that other
tools wrote have no checksums: their bytes are read, and their length is compared. With --json, each
backup is one line.

Examples:
  s3-backup-agent verify 1a2b3c4d
  s3-backup-agent verify --all
  s3-backup-agent verify --all --quick --json | jq 'select(.error)'";

/// Compares backups with their checksums, without downloading them to a file.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Verify {
    /// IDs or names of the backups.
    #[arg(value_name = "BACKUP", required_unless_present = "all")]
    ids: Vec<String>,

    /// Check all backups.
    #[arg(long, conflicts_with = "ids")]
    all: bool,

    /// Compare lengths only, instead of reading every byte.
    #[arg(long)]
    quick: bool,

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

    fn prepare(&self) -> Result<Work<'_>> {
        Ok(Box::new(move |context| Box::pin(run(context, self))))
    }
}

/// Verifies one after the other, and says what was found of each.
///
/// # Errors
/// As [`ops::verify`].
async fn run(context: &Context, options: &Verify) -> Result<Exit> {
    let level = if options.quick { VerifyLevel::Quick } else { VerifyLevel::Full };
    let listing = bar::waiting(Box::pin(ops::list(context.only(), false, &context.cancel))).await?;
    let mut exit = Exit::Done;
    let mut wanted = Vec::new();
    if options.all {
        for entry in listing.entries.values() {
            match entry {
                Entry::Backup(backup) => wanted.push(named(&listing, &backup.id)),
                Entry::Skipped { id: Some(id), .. } => wanted.push(named(&listing, id)),
                Entry::Skipped { id: None, skipped } => {
                    exit = exit_of(exit, Exit::of_kind(skipped.code.kind()));
                    tell_skipped(context, skipped)?;
                }
                Entry::Archive => {}
            }
        }
    }
    for given in &options.ids {
        wanted.push(match listing.find(given) {
            Some(_) => named(&listing, given),
            None => named(&listing, &find::backup(context, given).await?.id),
        });
    }
    let count = wanted.len();
    for (number, Wanted { id, shown, title }) in wanted.into_iter().enumerate() {
        let moving = match count {
            1 => format!("Verifying {title}"),
            _ => format!("Verifying {} of {count}: {title}", number + 1),
        };
        let progress = Progress::default();
        let request = ops::Verify { id, level };
        let verifying = ops::verify(context.only(), request, &progress, &context.cancel);
        let verified = bar::during(&progress, &moving, Box::pin(verifying)).await?;
        if verified.status == VerifyStatus::Damaged {
            exit = Exit::Integrity;
        }
        if context.json {
            say_json(&verified)?;
        } else {
            say(line(&verified, &shown))?;
        }
    }
    if options.all && !context.json && listing.entries.is_empty() {
        note(format!("No backups in {}.", location(context.only())));
    }
    Ok(exit)
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

fn tell_skipped(context: &Context, skipped: &Skipped) -> Result<()> {
    if context.json {
        return say_json(skipped);
    }
    let Skipped { key, code, message } = skipped;
    say(format!("{} {}\n      {} ({code})", style("✗").red(), clean(key), clean(message)))
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
