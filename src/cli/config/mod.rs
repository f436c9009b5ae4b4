//! `config`: shows, checks and extends the config file.

mod add;
mod check;
mod place;
mod replace;
mod secret;
mod show;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::exit::Exit;
use super::interrupt::interruptible;
use super::targets::no_file;
use super::{bar, output, validate};
use crate::config::{ConfigFile, Origin, S3Config, Secret, SecretSource, TargetConfig};
use crate::error::{Code, Error, Result};
use crate::ops::{self, Budget, Cancel, Target};
use crate::protocol::Level;

/// Shown below the options of this command.
const HELP: &str = "\
Examples:
  s3-backup-agent config add nas http://nas.lan:9000/backups
  s3-backup-agent config check --secrets";

/// Shows, checks and extends the config file.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Say whether the file is right.
    Check(check::Check),
    /// Show the targets as they are in force, without secrets.
    Show(show::Show),
    /// Add a target: asks for its settings, and tests them first.
    Add(add::Add),
    /// Change the keys of a target: asks for new ones, and tests them first.
    Secret(secret::Change),
}

impl Config {
    /// Whether the command prints JSON, also for an error.
    pub(super) fn prints_json(&self) -> bool {
        matches!(&self.action, Action::Show(options) if options.json)
    }
}

/// Runs the command on the file that `wanted` names, or the usual one.
///
/// # Errors
/// `invalid_config`; `invalid_params`; `local_io`; every code of [`ops::validate`].
pub(super) fn run(
    runtime: &Runtime,
    options: &Config,
    wanted: Option<&Path>,
    cancel: &Cancel,
) -> Result<Exit> {
    let tester = Tester { runtime, cancel };
    match &options.action {
        Action::Check(options) => check::run(&read(wanted)?, options),
        Action::Show(options) => show::run(&read(wanted)?, options),
        Action::Add(options) => add::run(&path_to_write(wanted)?, options, &tester),
        Action::Secret(options) => secret::run(&read(wanted)?, options, &tester),
    }
}

fn read(wanted: Option<&Path>) -> Result<ConfigFile> {
    ConfigFile::read(&ConfigFile::find(wanted).ok_or_else(|| no_file(wanted))?)
}

/// The file that exists, or else the one of this user.
fn path_to_write(wanted: Option<&Path>) -> Result<PathBuf> {
    let usual = ConfigFile::usual_paths().into_iter().next();
    match ConfigFile::find(wanted) {
        Some(path) => Ok(path),
        None if wanted.is_some() => Err(no_file(wanted)),
        None => usual.ok_or_else(|| no_file(None)),
    }
}

/// Tests settings on their server before they are written.
struct Tester<'a> {
    runtime: &'a Runtime,
    cancel: &'a Cancel,
}

impl Tester<'_> {
    /// Checks the settings, on their server unless `is_offline`. Prints the checks if one fails, and returns
    /// how the command ends then.
    fn test(&self, config: TargetConfig, is_offline: bool) -> Result<Option<Exit>> {
        let target = open(config)?;
        if is_offline {
            return Ok(None);
        }
        let work = async {
            let work = Box::pin(ops::validate(&target, Level::Write, self.cancel));
            bar::waiting(work).await
        };
        let validated = self.runtime.block_on(interruptible(self.cancel, None, work))?;
        if validated.ok {
            return Ok(None);
        }
        output::say(validate::report(&validated, None))?;
        Ok(Some(validate::exit_of(&validated)))
    }
}

/// The target of these settings. Checks what needs no network.
fn open(config: TargetConfig) -> Result<Arc<Target>> {
    let budget = Budget::new(config.limits.get().memory_budget);
    Target::open(config, budget, None)
}

/// The settings as they count, without the need for their secrets.
fn without_secrets(settings: &S3Config) -> Result<TargetConfig> {
    let mut settings = settings.clone();
    settings.secret_access_key = Some(SecretSource::Inline(Secret::from("-".to_owned())));
    settings.session_token = None;
    settings.check()
}

/// The secret access key in a file that a flag names.
fn read_secret(file: &Path) -> Result<Secret> {
    let read = Origin::File(file.to_owned()).read("secret_access_key");
    read.map_err(|error| error.hint("check --secret-access-key-file"))
}

/// What a file with this secret holds.
fn with_line_end(secret: &Secret) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", secret.expose()))
}

fn invalid(field: &'static str, message: impl Into<String>) -> Error {
    Error::new(Code::InvalidParams, message).field(field).detail("member", field)
}
