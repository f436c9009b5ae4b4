//! `list` and `info`: what is stored.

use std::cmp::Reverse;

use clap::Args;
use console::{Alignment, measure_text_width, pad_str, style, truncate_str};
use serde_json::Value;

use super::exit::Exit;
use super::output::{bytes, date, hint, location, note, say, say_json, shell_word, text};
use super::{Common, Context, TargetCommand, Work, bar, find};
use crate::error::{Result, clean};
use crate::ops::{self, Entry, Listing};
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

    fn prepare(&self) -> Result<Work<'_>> {
        Ok(Box::new(move |context| Box::pin(list(context, self))))
    }
}

/// Prints all backups.
///
/// # Errors
/// As [`ops::list`].
async fn list(context: &Context, options: &List) -> Result<Exit> {
    let work = Box::pin(ops::list(context.only(), false, &context.cancel));
    let listing = bar::waiting(work).await?;
    let (mut backups, skipped) = take_apart(&listing);
    if backups.is_empty() {
        note(elsewhere(context).await);
    } else if !context.json {
        note(format!("Backups in {}:", location(context.only())));
    }
    if context.json && options.limit.is_none() {
        // In the order of the protocol.
        say_json(&ListResult { backups, next: None, skipped })?;
        return Ok(Exit::Done);
    }
    backups.sort_by_cached_key(|backup| {
        let moment = text(&backup.metadata.values(), "date").as_deref().and_then(moment);
        Reverse(moment.map(|moment| moment.timestamp_micros()))
    });
    if context.json {
        backups.truncate(options.limit.unwrap_or(usize::MAX));
        say_json(&ListResult { backups, next: None, skipped })?;
        return Ok(Exit::Done);
    }
    let mut out = table(&backups, options.limit.unwrap_or(usize::MAX));
    if !skipped.is_empty() {
        out.push_str(&format!("\n\nIncomplete ({}):", skipped.len()));
    }
    for Skipped { key, code, message } in &skipped {
        out.push_str(&format!("\n  {}\n    {} ({code})", clean(key), clean(message)));
    }
    say(out)?;
    Ok(Exit::Done)
}

/// The location that has no backups, and another prefix nearby that has some.
async fn elsewhere(context: &Context) -> String {
    let target = context.only();
    let mut lines = format!("No backups in {}.", location(target));
    if let Some(other) = ops::elsewhere(target, &context.cancel).await {
        let backups = match other.backups {
            1 => "1 backup is".to_owned(),
            count => format!("{count} backups are"),
        };
        let place = match other.place.as_str() {
            "" => "at the top of the bucket".to_owned(),
            place => format!("in \"{}\"", clean(place)),
        };
        let mut flags = vec![format!("--prefix {}", shell_word(&other.prefix))];
        if other.folder != target.config().folder {
            flags.push(format!("--folder {}", shell_word(&other.folder)));
        }
        lines.push_str(&format!("\n{}: {backups} {place}: use {}", hint(), flags.join(" ")));
    }
    lines
}

fn take_apart(listing: &Listing) -> (Vec<Backup>, Vec<Skipped>) {
    let backups = listing.backups().map(|backup| backup.as_ref().clone()).collect();
    let skipped = listing.entries.values().filter_map(|entry| match entry {
        Entry::Skipped { skipped, .. } => Some(skipped.clone()),
        Entry::Backup(_) | Entry::Archive => None,
    });
    (backups, skipped.collect())
}

const HEAD: [&str; 6] = ["DATE", "NAME", "SIZE", "ID", "ENCRYPTED", "CHECKSUMS"];

/// Columns that a narrow terminal shows: the last ones are left out first.
const LEAST_COLUMNS: usize = 4;

/// Narrowest that the column of the names becomes.
const LEAST_NAME: usize = 12;

/// The newest `limit` of these backups, and how many there are.
fn table(backups: &[Backup], limit: usize) -> String {
    if backups.is_empty() {
        return "There are no backups.".to_owned();
    }
    let head = HEAD.map(str::to_owned);
    let rows: Vec<[String; 6]> = backups.iter().take(limit).map(row).collect();
    let mut widths = head.each_ref().map(|cell| measure_text_width(cell));
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(measure_text_width(cell));
        }
    }
    let terminal = console::Term::stdout();
    let columns = match (terminal.is_term(), terminal.size_checked()) {
        (true, Some((_, columns))) => fit(&mut widths, usize::from(columns)),
        _ => widths.len(),
    };
    let mut lines = vec![style(line(&head, &widths, columns)).bold().to_string()];
    lines.extend(rows.iter().map(|row| line(row, &widths, columns)));
    // The sizes are what the server says.
    let total = backups.iter().fold(0_u64, |sum, backup| sum.saturating_add(backup.stored_size));
    let count = match (backups.len(), rows.len()) {
        (1, _) => "1 backup".to_owned(),
        (all, shown) if shown < all => format!("{shown} of {all} backups"),
        (all, _) => format!("{all} backups"),
    };
    lines.push(style(format!("{count}, {}", bytes(total))).dim().to_string());
    lines.join("\n")
}

/// Makes the columns fit a terminal of this width: shortens the names, then leaves out the last columns.
/// Returns how many are shown.
fn fit(widths: &mut [usize; 6], terminal: usize) -> usize {
    let mut columns = widths.len();
    let total = |widths: &[usize; 6], columns: usize| {
        widths.iter().take(columns).map(|width| width + 2).sum::<usize>().saturating_sub(2)
    };
    let least = |widths: &[usize; 6]| LEAST_NAME.min(widths[1]);
    while columns > LEAST_COLUMNS && total(widths, columns) - widths[1] + least(widths) > terminal {
        columns -= 1;
    }
    let too_wide = total(widths, columns).saturating_sub(terminal);
    widths[1] = widths[1].saturating_sub(too_wide).max(least(widths));
    columns
}

fn row(backup: &Backup) -> [String; 6] {
    [
        date(&backup.metadata.values()),
        text(&backup.metadata.values(), "name").unwrap_or_else(|| clean(&backup.name)),
        bytes(backup.stored_size),
        clean(&backup.id),
        yes_no(backup.metadata.values().get("protected").and_then(Value::as_bool)).to_owned(),
        yes_no(Some(backup.has_checksums)).to_owned(),
    ]
}

fn line(cells: &[String; 6], widths: &[usize; 6], columns: usize) -> String {
    let cells =
        cells.iter().zip(widths).take(columns).enumerate().map(|(column, (cell, width))| {
            let alignment = if column == 2 { Alignment::Right } else { Alignment::Left };
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
    let backup = bar::waiting(find::backup(context, &options.id)).await?;
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
