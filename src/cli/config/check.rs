//! `config check`: whether the file is right.

use std::collections::HashMap;

use clap::Args;
use console::style;

use super::super::exit::Exit;
use super::super::output::{note, report, say};
use super::open;
use crate::config::{ConfigFile, NamedTarget, S3Config, Secret, SecretSource, Shown};
use crate::error::{Error, Result, clean};
use crate::ops::Target;

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
    say(clean(&file.path.display().to_string()))?;
    if file.targets.is_empty() {
        note("There are no targets: add one with `s3-backup-agent config add NAME`.");
    }
    let mut exit = Exit::Done;
    let mut places = HashMap::new();
    let longest = file.targets.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, target) in &file.targets {
        let checked = match target {
            Ok(target) => check(target, options.secrets),
            Err(error) => Checked { errors: vec![error.clone()], ..Checked::default() },
        };
        let (mark, place) = match (checked.errors.as_slice(), &checked.place) {
            ([], Some(place)) => (style("✓").green(), format!("  {}", place.shown)),
            _ => (style("✗").red(), String::new()),
        };
        say(format!("  {mark} {name:<longest$}{place}").trim_end())?;
        for (member, origin) in &checked.secrets {
            say(format!("      {member} comes from {}", clean(&origin.to_string())))?;
        }
        for error in &checked.errors {
            report(error, Some(name), "config", false, false);
            exit = Exit::Settings;
        }
        if let Some(place) = checked.place
            && let Some(other) = places.insert(place.identity, name)
        {
            note(format!("{other} and {name} are the same place."));
        }
    }
    if file.targets.len() > 1 && file.default_target.is_none() {
        note("There is no default_target: commands need -t or --all-targets.");
    }
    Ok(exit)
}

/// What is known of a target.
#[derive(Default)]
struct Checked {
    place: Option<Place>,
    /// The secrets that were read.
    secrets: Vec<(&'static str, Shown)>,
    errors: Vec<Error>,
}

struct Place {
    /// Two targets with the same one overwrite each other.
    identity: (String, String, String),
    shown: String,
}

/// Checks what needs no network, with the real secrets or with none.
fn check(target: &NamedTarget, with_secrets: bool) -> Checked {
    let mut checked = Checked::default();
    let mut settings = match target.without_secrets() {
        Ok(settings) => settings,
        Err(error) => {
            checked.errors.push(error);
            S3Config { secret_access_key: None, session_token: None, ..target.settings.clone() }
        }
    };
    for (member, origin) in target.secrets().filter(|_| with_secrets) {
        match origin.read(member) {
            Ok(secret) => {
                checked.secrets.push((member, origin.shown()));
                let place = match member {
                    "session_token" => &mut settings.session_token,
                    _ => &mut settings.secret_access_key,
                };
                *place = Some(SecretSource::Inline(secret));
            }
            Err(error) => checked.errors.push(target.placed(error)),
        }
    }
    let placeholder = || SecretSource::Inline(Secret::from("-".to_owned()));
    settings.secret_access_key.get_or_insert_with(placeholder);
    match settings.check().and_then(open) {
        Ok(target) => checked.place = Some(place_of(&target)),
        Err(error) => checked.errors.push(target.placed(error)),
    }
    checked
}

fn place_of(target: &Target) -> Place {
    let config = target.config();
    let endpoint = config.endpoint.as_str().trim_end_matches('/');
    let prefix = match config.prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!(" under \"{}\"", clean(prefix)),
    };
    Place {
        identity: (endpoint.to_owned(), config.bucket.clone(), target.folder().to_owned()),
        shown: format!("bucket \"{}\"{prefix} ({})", clean(&config.bucket), clean(endpoint)),
    }
}
