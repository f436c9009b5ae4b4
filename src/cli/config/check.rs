//! `config check`: whether the file is right.

use std::collections::HashMap;

use clap::Args;
use console::style;

use super::super::exit::Exit;
use super::super::output::{note, report, say};
use super::without_secrets;
use crate::config::{ConfigFile, NamedTarget, TargetConfig};
use crate::error::{Result, clean};

/// Shown below the options of this command.
const HELP: &str = "\
Uses no network: `validate --all-targets` tests the targets.

Examples:
  s3-backup-agent config check
  s3-backup-agent config check --secrets";

/// Says whether the file is right.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub(super) struct Check {
    /// Also read every secret, which may start programs.
    #[arg(long)]
    secrets: bool,
}

/// Checks every target, and says what is wrong with each.
///
/// # Errors
/// `local_io`.
pub(super) fn run(file: &ConfigFile, options: &Check) -> Result<Exit> {
    say(file.path.display().to_string())?;
    if file.targets.is_empty() {
        note("There are no targets: add one with `s3-backup-agent config add NAME`.");
    }
    let mut exit = Exit::Done;
    let mut places = HashMap::new();
    let longest = file.targets.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, target) in &file.targets {
        let checked = target.as_ref().map_err(Clone::clone).and_then(|target| {
            let config = check(target)?;
            if options.secrets {
                target.load()?;
            }
            Ok((target, config))
        });
        match checked {
            Ok((target, config)) => {
                let mark = style("✓").green();
                say(format!("  {mark} {name:<longest$}  {}", place_of(&config)))?;
                if options.secrets {
                    for (member, origin) in target.secrets() {
                        say(format!("      {member} comes from {origin}"))?;
                    }
                }
                let place =
                    (config.endpoint.to_string(), config.bucket, config.prefix, config.folder);
                if let Some(other) = places.insert(place, name) {
                    note(format!("{other} and {name} are the same place."));
                }
            }
            Err(error) => {
                say(format!("  {} {name}", style("✗").red()))?;
                report(&error, Some(name), "config", false, false);
                exit = Exit::Settings;
            }
        }
    }
    Ok(exit)
}

/// Checks what needs neither the network nor a secret.
fn check(target: &NamedTarget) -> Result<TargetConfig> {
    let settings = target.without_secrets()?;
    without_secrets(&settings).map_err(|error| target.placed(error))
}

fn place_of(config: &TargetConfig) -> String {
    let endpoint = config.endpoint.as_str().trim_end_matches('/');
    let prefix = match config.prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!(" under \"{}\"", clean(prefix)),
    };
    format!("bucket \"{}\"{prefix} ({})", clean(&config.bucket), clean(endpoint))
}
