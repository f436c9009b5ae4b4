//! `list` and `info`: what is stored.

use std::cmp::Reverse;

use clap::Args;
use console::{Alignment, measure_text_width, pad_str, style, truncate_str};
use futures_util::future::join;
use serde::Serialize;
use serde_json::Value;

use super::context::Done;
use super::exit::Exit;
use super::output::{
    bytes, date, flags, hint, lines_of_table, location, note, say, say_json, text,
};
use super::{AllTargets, Common, Context, TargetCommand, Work, bar, find};
use crate::config::NamedTarget;
use crate::error::{Result, clean};
use crate::ops::{self, Elsewhere, Entry, Listing, Target};
use crate::protocol::{Backup, GetResult, ListResult, Skipped};
use crate::sources::moment;

/// Shown below the options of this command.
const LIST_HELP: &str = "\
Examples:
  s3-backup-agent list --limit 10
  s3-backup-agent list --json | jq -r '.backups[].id'";

/// Lists the backups, newest first.
#[derive(Args, Clone, Debug)]
#[command(after_help = LIST_HELP)]
pub struct List {
    /// Show at most this many backups, the newest.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,

    #[command(flatten)]
    all: AllTargets,

    #[command(flatten)]
    common: Common,
}

/// Shown below the options of this command.
const INFO_HELP: &str = "\
Examples:
  s3-backup-agent info 1a2b3c4d
  s3-backup-agent info \"Photos 2026\" --json";

/// Shows everything that is known of a backup.
#[derive(Args, Clone, Debug)]
#[command(after_help = INFO_HELP)]
pub struct Info {
    /// ID or name of the backup.
    #[arg(value_name = "BACKUP")]
    id: String,

    #[command(flatten)]
    common: Common,
}

impl TargetCommand for List {
    fn common(&self) -> &Common {
        &self.common
    }

    fn all_targets(&self) -> Option<AllTargets> {
        Some(self.all)
    }

    fn prepare(&self) -> Result<Work<'_>> {
        Ok(Box::new(move |context| Box::pin(list(context, self))))
    }
}

/// What `--json` prints of a target, and what else is to be said.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    result: ListResult,
    /// Number of backups, more than are shown with `--limit`.
    #[serde(skip)]
    count: usize,
    /// Where the backups are, or are not.
    #[serde(skip)]
    place: String,
    /// Where backups are, if there are none.
    #[serde(skip)]
    elsewhere: Option<Elsewhere>,
}

/// Prints all backups.
///
/// # Errors
/// As [`ops::list`].
async fn list(context: &Context, options: &List) -> Result<Exit> {
    let work = context.each(async |target| {
        // Whoever looks at the list after a crash finds the bucket tidy as well.
        let (listing, ()) = join(
            Box::pin(ops::list(target, false, &context.cancel)),
            Box::pin(ops::clean_up_interrupted(target)),
        )
        .await;
        let listing = listing?;
        let (mut backups, skipped) = take_apart(&listing);
        let (place, elsewhere) = match backups.is_empty() {
            true => {
                let elsewhere = ops::elsewhere(target, &context.cancel).await;
                (format!("No backups in {}.", location(target)), elsewhere)
            }
            false => (format!("Backups in {}:", location(target)), None),
        };
        // The order of the protocol counts only for all of them as JSON.
        if !context.json || options.limit.is_some() {
            backups.sort_by_cached_key(newest_first);
        }
        let count = backups.len();
        if context.json {
            backups.truncate(options.limit.unwrap_or(usize::MAX));
        }
        let result = ListResult { backups, next: None, skipped };
        Ok(Listed { result, count, place, elsewhere })
    });
    let done = bar::waiting(work).await;
    for Done { on, result } in &done {
        if let Ok(listed) = result
            && (!context.json || listed.count == 0)
        {
            let of = on.name().filter(|_| context.are_several());
            let of = of.map(|name| format!("{name}: ")).unwrap_or_default();
            note(format!("{of}{}", listed.place));
            if let (Some(other), Ok(target)) = (&listed.elsewhere, &on.target) {
                note(advice(other, target, on.table()));
            }
        }
    }
    context.tell(done, |_| Exit::Done, |all| show(all, options.limit.unwrap_or(usize::MAX)))
}

/// One table of the backups of all targets.
fn show(all: &[(Option<&str>, &Listed)], limit: usize) -> Result<()> {
    let mut backups: Vec<_> = all
        .iter()
        .flat_map(|(target, listed)| listed.result.backups.iter().map(|backup| (*target, backup)))
        .collect();
    backups.sort_by_cached_key(|(_, backup)| newest_first(backup));
    let mut blocks = Vec::new();
    if !backups.is_empty() {
        blocks.push(table(&backups, limit));
    }
    for (target, Listed { result, .. }) in all {
        if result.skipped.is_empty() {
            continue;
        }
        let of = target.map(|name| format!(" in {name}")).unwrap_or_default();
        let mut block = format!("Incomplete{of} ({}):", result.skipped.len());
        for Skipped { key, code, message } in &result.skipped {
            block.push_str(&format!("\n  {}\n    {} ({code})", clean(key), clean(message)));
        }
        blocks.push(block);
    }
    if blocks.is_empty() { Ok(()) } else { say(blocks.join("\n\n")) }
}

fn newest_first(backup: &Backup) -> Reverse<Option<i64>> {
    let moment = text(&backup.metadata.values(), "date").as_deref().and_then(moment);
    Reverse(moment.map(|moment| moment.timestamp_micros()))
}

/// Another prefix nearby that has backups, and how to use it.
fn advice(other: &Elsewhere, target: &Target, table: Option<&NamedTarget>) -> String {
    let backups = match other.backups {
        1 => "1 backup is".to_owned(),
        count => format!("{count} backups are"),
    };
    let place = match other.place.as_str() {
        "" => "at the top of the bucket".to_owned(),
        place => format!("in \"{}\"", clean(place)),
    };
    let mut settings = vec![("prefix", other.prefix.as_str())];
    if other.folder != target.config().folder {
        settings.push(("folder", &other.folder));
    }
    let (hint, found) = (hint(), format!("{backups} {place}"));
    match table {
        Some(table) => format!(
            "{hint}: {found}: write this in {}\n{}",
            table.place(),
            lines_of_table(&settings)
        ),
        None => format!("{hint}: {found}: use {}", flags(&settings)),
    }
}

fn take_apart(listing: &Listing) -> (Vec<Backup>, Vec<Skipped>) {
    let backups = listing.backups().map(|backup| backup.as_ref().clone()).collect();
    let skipped = listing.entries.values().filter_map(|entry| match entry {
        Entry::Skipped { skipped, .. } => Some(skipped.clone()),
        Entry::Backup(_) | Entry::Archive => None,
    });
    (backups, skipped.collect())
}

const HEAD: [&str; 7] = ["DATE", "TARGET", "NAME", "SIZE", "ID", "ENCRYPTED", "CHECKSUMS"];

/// Columns with a meaning for the layout.
const TARGET: usize = 1;
const NAME: usize = 2;
const SIZE: usize = 3;

/// Columns that a narrow terminal shows: the last ones are left out first.
const LEAST_COLUMNS: usize = 5;

/// Narrowest that the column of the names becomes.
const LEAST_NAME: usize = 12;

/// The newest `limit` of these backups with their targets, and how many there are.
fn table(backups: &[(Option<&str>, &Backup)], limit: usize) -> String {
    let head = HEAD.map(str::to_owned);
    let rows: Vec<_> =
        backups.iter().take(limit).map(|(target, backup)| row(*target, backup)).collect();
    let mut widths = head.each_ref().map(|cell| measure_text_width(cell));
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(measure_text_width(cell));
        }
    }
    if backups.iter().all(|(target, _)| target.is_none()) {
        widths[TARGET] = 0;
    }
    let terminal = console::Term::stdout();
    let columns = match (terminal.is_term(), terminal.size_checked()) {
        (true, Some((_, columns))) => fit(&mut widths, usize::from(columns)),
        _ => widths.len(),
    };
    let mut lines = vec![style(line(&head, &widths, columns)).bold().to_string()];
    lines.extend(rows.iter().map(|row| line(row, &widths, columns)));
    // The sizes are what the server says.
    let total =
        backups.iter().fold(0_u64, |sum, (_, backup)| sum.saturating_add(backup.stored_size));
    let count = match (backups.len(), rows.len()) {
        (1, _) => "1 backup".to_owned(),
        (all, shown) if shown < all => format!("{shown} of {all} backups"),
        (all, _) => format!("{all} backups"),
    };
    lines.push(style(format!("{count}, {}", bytes(total))).dim().to_string());
    lines.join("\n")
}

/// Makes the columns fit a terminal of this width: shortens the names, then leaves out the last columns.
/// Returns how many are shown. A column without width is not there.
fn fit(widths: &mut [usize; 7], terminal: usize) -> usize {
    let mut columns = widths.len();
    let total = |widths: &[usize; 7], columns: usize| {
        let shown = widths.iter().take(columns).filter(|width| **width > 0);
        shown.map(|width| width + 2).sum::<usize>().saturating_sub(2)
    };
    let least = |widths: &[usize; 7]| LEAST_NAME.min(widths[NAME]);
    while columns > LEAST_COLUMNS
        && total(widths, columns) - widths[NAME] + least(widths) > terminal
    {
        columns -= 1;
    }
    let too_wide = total(widths, columns).saturating_sub(terminal);
    widths[NAME] = widths[NAME].saturating_sub(too_wide).max(least(widths));
    columns
}

fn row(target: Option<&str>, backup: &Backup) -> [String; 7] {
    [
        date(&backup.metadata.values()),
        target.unwrap_or_default().to_owned(),
        text(&backup.metadata.values(), "name").unwrap_or_else(|| clean(&backup.name)),
        bytes(backup.stored_size),
        clean(&backup.id),
        yes_no(backup.metadata.values().get("protected").and_then(Value::as_bool)).to_owned(),
        yes_no(Some(backup.has_checksums)).to_owned(),
    ]
}

fn line(cells: &[String; 7], widths: &[usize; 7], columns: usize) -> String {
    let cells = cells.iter().zip(widths).take(columns).enumerate();
    let cells = cells.filter(|(_, (_, width))| **width > 0).map(|(column, (cell, width))| {
        let alignment = if column == SIZE { Alignment::Right } else { Alignment::Left };
        pad_str(&truncate_str(cell, *width, "…"), *width, alignment, None).into_owned()
    });
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

fn yes_no(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    }
}

impl TargetCommand for Info {
    fn common(&self) -> &Common {
        &self.common
    }

    fn prepare(&self) -> Result<Work<'_>> {
        Ok(Box::new(move |context| Box::pin(info(context, self))))
    }
}

/// Prints one backup.
///
/// # Errors
/// As [`find`].
async fn info(context: &Context, options: &Info) -> Result<Exit> {
    let backup = bar::waiting(find::backup(context.only()?, &options.id, &context.cancel)).await?;
    if context.json {
        say_json(&GetResult { backup })?;
        return Ok(Exit::Done);
    }
    let metadata = &backup.metadata.values();
    let flag = |member: &str| yes_no(metadata.get(member).and_then(Value::as_bool)).to_owned();
    let homeassistant = match text(metadata, "homeassistant_version") {
        Some(version) => version,
        None => flag("homeassistant_included"),
    };
    let size = match backup.size == backup.stored_size {
        true => format!("{} ({} bytes)", bytes(backup.stored_size), backup.stored_size),
        false => format!(
            "{} ({} bytes; its metadata says {})",
            bytes(backup.stored_size),
            backup.stored_size,
            backup.size
        ),
    };
    let mut lines = vec![
        ("name", text(metadata, "name").unwrap_or_else(|| clean(&backup.name))),
        ("ID", clean(&backup.id)),
        ("date", date(metadata)),
        ("size", size),
        ("object", format!("{}.tar", clean(&backup.name))),
        ("encrypted", flag("protected")),
        ("checksums", yes_no(Some(backup.has_checksums)).to_owned()),
        ("home assistant", homeassistant),
        ("database", flag("database_included")),
        ("folders", names(metadata.get("folders"))),
        ("add-ons", names(metadata.get("addons"))),
    ];
    if let Some(Value::Object(extra)) = metadata.get("extra_metadata") {
        lines.extend(extra.iter().map(|(name, value)| (name.as_str(), plain(value))));
    }
    let width =
        lines.iter().map(|(name, _)| measure_text_width(&clean(name))).max().unwrap_or_default();
    let lines = lines.iter().map(|(name, value)| {
        let name = pad_str(&clean(name), width, Alignment::Left, None).into_owned();
        format!("{}  {value}", style(name).bold())
    });
    say(lines.collect::<Vec<_>>().join("\n"))?;
    Ok(Exit::Done)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| clean(&value.to_string()), clean)
}

/// What a list holds: texts, or add-ons with their versions.
fn names(list: Option<&Value>) -> String {
    let entries = list.and_then(Value::as_array).into_iter().flatten().map(|entry| {
        let member = |name: &str| entry.get(name).and_then(Value::as_str).map(clean);
        match (member("name").or_else(|| member("slug")), member("version")) {
            (Some(name), Some(version)) => format!("{name} {version}"),
            (Some(name), None) => name,
            (None, _) => plain(entry),
        }
    });
    Some(entries.collect::<Vec<_>>().join(", "))
        .filter(|names| !names.is_empty())
        .unwrap_or_else(|| "none".to_owned())
}
