//! `validate`: tests the connection, the keys and their permissions.

use std::fmt::Write as _;

use clap::Args;
use console::style;

use super::exit::Exit;
use super::output::{check_error, flags, lines_of_table, say};
use super::{AllTargets, Common, Context, TargetCommand, Work, bar};
use crate::config::{AddressingStyle, NamedTarget};
use crate::error::{Code, Result};
use crate::ops;
use crate::protocol::{Check, Level, Status, Suggestion, ValidateResult};

/// Shown below the options of this command.
const HELP: &str = "\
Examples:
  s3-backup-agent validate --endpoint https://s3.example.org --bucket backups
  s3-backup-agent validate --read-only --json";

/// Tests the connection, the keys and their permissions.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Validate {
    /// Only read: do not write a test object, and do not begin an upload.
    #[arg(long)]
    read_only: bool,

    #[command(flatten)]
    all: AllTargets,

    #[command(flatten)]
    common: Common,
}

impl TargetCommand for Validate {
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

/// Prints the result of every check.
///
/// # Errors
/// As [`ops::validate`].
async fn run(context: &Context, options: &Validate) -> Result<Exit> {
    let level = if options.read_only { Level::Read } else { Level::Write };
    let work =
        context.each(async |target| Box::pin(ops::validate(target, level, &context.cancel)).await);
    let done = bar::waiting(work).await;
    context.tell(done, exit_of, |all| {
        for (index, (target, validated)) in all.iter().enumerate() {
            if let Some(name) = target {
                let space = if index > 0 { "\n" } else { "" };
                say(format!("{space}{}", style(format!("{name}:")).bold()))?;
            }
            say(report(validated, context.table(*target)))?;
        }
        Ok(())
    })
}

/// The result of every check, for people. The settings are in `table`, if they come from the config file.
pub(super) fn report(validated: &ValidateResult, table: Option<&NamedTarget>) -> String {
    let details = &validated.details;
    let style_of_requests = match details.addressing_style {
        AddressingStyle::Virtual => "virtual-hosted-style",
        AddressingStyle::Path | AddressingStyle::Auto => "path-style",
    };
    let mut lines =
        vec![format!("{}, region {}, {style_of_requests}", details.endpoint, details.region)];
    let (skipped, tried): (Vec<_>, Vec<_>) = validated
        .checks
        .iter()
        .partition(|check| check.status == Status::Skipped && check.message.is_none());
    lines.extend(tried.into_iter().map(line));
    if !skipped.is_empty() {
        let names: Vec<_> = skipped.iter().map(|check| name(check)).collect();
        lines.push(format!("  {} skipped: {}", style("-").dim(), names.join(", ")));
    }
    lines.push(match validated.ok {
        true => style("The bucket can be used.").green().to_string(),
        false => style("The bucket cannot be used with these settings.").red().to_string(),
    });
    lines.extend(validated.suggestion.as_ref().map(|suggestion| advice(suggestion, table)));
    lines.join("\n")
}

/// The name of a check, for people.
fn name(check: &Check) -> String {
    check.name.replace('_', " ")
}

fn line(check: &Check) -> String {
    let mark = match check.status {
        Status::Passed => style("✓").green(),
        Status::Warning => style("!").yellow(),
        Status::Failed => style("✗").red(),
        Status::Skipped => style("-").dim(),
    };
    let mut line = format!("  {mark} {:<16} {:>6} ms", name(check), check.ms);
    if let Some(message) = &check.message {
        let _ = write!(line, "  {message}");
    }
    if let Some(error) = &check.error {
        line.push_str(&check_error(error));
    }
    line
}

/// What to type or to write instead.
fn advice(suggestion: &Suggestion, table: Option<&NamedTarget>) -> String {
    let addressing_style =
        suggestion.addressing_style.map(|addressing_style| addressing_style.as_str().to_owned());
    let settings = [
        ("endpoint", suggestion.endpoint.as_deref()),
        ("region", suggestion.region.as_deref()),
        ("bucket", suggestion.bucket.as_deref()),
        ("prefix", suggestion.prefix.as_deref()),
        ("addressing_style", addressing_style.as_deref()),
    ];
    let settings: Vec<_> =
        settings.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    match table {
        Some(table) => {
            format!("It works with this in {}:\n{}", table.place(), lines_of_table(&settings))
        }
        None => format!("It works with: {}", flags(&settings)),
    }
}

/// The first failure counts; those after it may be its consequence.
pub(super) fn exit_of(validated: &ValidateResult) -> Exit {
    let failed = validated.checks.iter().find(|check| check.status == Status::Failed);
    match failed.and_then(|check| check.error.as_ref()) {
        Some(error) if error.data.code == Code::LocalIo.as_str() => Exit::LocalIo,
        Some(error) => Exit::of_kind(error.data.kind),
        None if validated.ok => Exit::Done,
        None => Exit::Internal,
    }
}
