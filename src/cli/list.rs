//! `list` and `info`: what is stored.

use std::cmp::Reverse;

use clap::Args;
use console::{Alignment, measure_text_width, pad_str, style, truncate_str};
use serde_json::Value;

use super::output::{bytes, date, note, say, say_json, shell_word, text};
use super::{Common, Context, bar, find};
use crate::error::{Result, clean};
use crate::ops::{self, Entry, Listing};
use crate::protocol::{Backup, GetResult, ListResult, Skipped};
use crate::sources::moment;

/// Lists the backups, newest first.
#[derive(Args, Clone, Debug)]
pub struct List {
    #[command(flatten)]
    pub(super) common: Common,
}

/// Shows everything that is known of a backup.
#[derive(Args, Clone, Debug)]
pub struct Info {
    /// Id or name of the backup.
    id: String,

    #[command(flatten)]
    pub(super) common: Common,
}

/// Prints all backups.
///
/// # Errors
/// As [`ops::list`].
pub(super) async fn list(context: &Context) -> Result<()> {
    let work = Box::pin(ops::list(context.only(), false, &context.cancel));
    let listing = bar::waiting(work).await?;
    let (mut backups, skipped) = take_apart(&listing);
    if backups.is_empty() {
        note(where_looked(context).await);
    }
    if context.json {
        return say_json(&ListResult { backups, next: None, skipped });
    }
    backups.sort_by_cached_key(|backup| {
        let moment = text(&backup.metadata.values(), "date").as_deref().and_then(moment);
        Reverse(moment.map(|moment| moment.timestamp_micros()))
    });
    let mut out = table(&backups);
    if !skipped.is_empty() {
        out.push_str(&format!("\n\nNot offered ({}):", skipped.len()));
    }
    for Skipped { key, code, message } in &skipped {
        out.push_str(&format!("\n  {}\n    {} ({code})", clean(key), clean(message)));
    }
    say(out)
}

/// Where there are no backups, and another folder that has some.
async fn where_looked(context: &Context) -> String {
    let (target, config) = (context.only(), context.only().config());
    let mut line = format!(
        "Looked in {} of the bucket \"{}\" at {}.",
        place(target.folder()),
        clean(&config.bucket),
        config.endpoint.as_str().trim_end_matches('/')
    );
    if let Some(other) = ops::elsewhere(target, &context.cancel).await {
        let backups = match other.backups {
            1 => "is 1 backup".to_owned(),
            count => format!("are {count} backups"),
        };
        line.push_str(&format!(
            " There {backups} in {}: to use that, give --prefix {} --folder {}",
            place(&other.place),
            shell_word(&other.prefix),
            shell_word(&other.folder)
        ));
    }
    line
}

fn place(folder: &str) -> String {
    match folder {
        "" => "the top".to_owned(),
        folder => format!("\"{}\"", clean(folder)),
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

fn table(backups: &[Backup]) -> String {
    if backups.is_empty() {
        return "There are no backups.".to_owned();
    }
    let head = ["DATE", "NAME", "SIZE", "ID", "ENCRYPTED", "VERIFIABLE"].map(str::to_owned);
    let rows: Vec<[String; 6]> = backups.iter().map(row).collect();
    let mut widths = head.each_ref().map(|cell| measure_text_width(cell));
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(measure_text_width(cell));
        }
    }
    let terminal = console::Term::stdout();
    if let (true, Some((_, columns))) = (terminal.is_term(), terminal.size_checked()) {
        // Only names may be long, so they give way.
        let spare = widths.iter().map(|width| width + 2).sum::<usize>() - 2;
        let too_wide = spare.saturating_sub(usize::from(columns));
        let [_, name, ..] = &mut widths;
        *name = name.saturating_sub(too_wide).max(12.min(*name));
    }
    let mut lines = vec![style(line(&head, &widths)).bold().to_string()];
    lines.extend(rows.iter().map(|row| line(row, &widths)));
    // The sizes are what the server says.
    let total = backups.iter().fold(0_u64, |sum, backup| sum.saturating_add(backup.stored_size));
    let count = match backups.len() {
        1 => "1 backup".to_owned(),
        count => format!("{count} backups"),
    };
    lines.push(style(format!("{count}, {}", bytes(total))).dim().to_string());
    lines.join("\n")
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

fn line(cells: &[String; 6], widths: &[usize; 6]) -> String {
    let cells = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
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

/// Prints one backup.
///
/// # Errors
/// As [`find`].
pub(super) async fn info(context: &Context, options: &Info) -> Result<()> {
    let backup = bar::waiting(find::backup(context, &options.id)).await?;
    if context.json {
        return say_json(&GetResult { backup });
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
        ("id", clean(&backup.id)),
        ("date", date(metadata)),
        ("size", size),
        ("file", format!("{}.tar", clean(&backup.name))),
        ("encrypted", flag("protected")),
        ("has_checksums", yes_no(Some(backup.has_checksums)).to_owned()),
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
    say(lines.collect::<Vec<_>>().join("\n"))
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
