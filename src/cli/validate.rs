//! `validate`: tries out the storage and says what works.

use clap::{Args, ValueEnum};
use console::style;

use super::exit::Exit;
use super::output::{check_error, say, say_json};
use super::{Common, Context, bar};
use crate::error::{Code, Result};
use crate::ops;
use crate::protocol::{Check, Level, Status, Validated};

/// Tries out the storage with the settings given.
#[derive(Args, Clone, Debug)]
pub struct Validate {
    /// How far to go.
    #[arg(long, value_enum, default_value_t = Depth::Write)]
    level: Depth,

    #[command(flatten)]
    pub(super) common: Common,
}

/// [`Level`] as a flag.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Depth {
    /// Only look.
    Read,
    /// Also write, read back and delete a small object, and begin and drop an upload.
    Write,
}

/// Prints the result of every check.
///
/// # Errors
/// As [`ops::validate`].
pub(super) async fn run(context: &Context, options: &Validate) -> Result<Exit> {
    let level = match options.level {
        Depth::Read => Level::Read,
        Depth::Write => Level::Write,
    };
    let work = Box::pin(ops::validate(&context.target, level, &context.cancel));
    let validated = bar::waiting(work).await?;
    let exit = exit_of(&validated);
    if context.json {
        say_json(&validated)?;
        return Ok(exit);
    }
    let facts = &validated.facts;
    let mut lines = vec![format!(
        "{}, region {}, {} addressing",
        facts.endpoint,
        facts.region,
        match facts.addressing {
            crate::config::Addressing::Virtual => "virtual-hosted",
            crate::config::Addressing::Auto | crate::config::Addressing::Path => "path-style",
        }
    )];
    lines.extend(validated.checks.iter().map(line));
    lines.push(match validated.ok {
        true => style("The storage can be used.").green().to_string(),
        false => style("The storage cannot be used with these settings.").red().to_string(),
    });
    say(lines.join("\n"))?;
    Ok(exit)
}

fn line(check: &Check) -> String {
    let name = &check.name;
    let ms = check.ms;
    let mut line = match check.status {
        Status::Passed => format!("  {} {name:<10} {ms:>6} ms", style("✓").green()),
        Status::Warning => format!("  {} {name:<10} {ms:>6} ms", style("!").yellow()),
        Status::Failed => format!("  {} {name:<10} {ms:>6} ms", style("✗").red()),
        Status::Skipped => format!("  {} {name:<10} not tried", style("-").dim()),
    };
    if let Some(error) = &check.error {
        line.push_str(&check_error(error));
    }
    line
}

/// The first failure counts; those after it may be its consequence.
fn exit_of(validated: &Validated) -> Exit {
    let failed = validated.checks.iter().find(|check| check.status == Status::Failed);
    match failed.and_then(|check| check.error.as_ref()) {
        Some(error) if error.data.code == Code::LocalIo.as_str() => Exit::LocalIo,
        Some(error) => Exit::of_kind(error.data.kind),
        None if validated.ok => Exit::Done,
        None => Exit::Internal,
    }
}
