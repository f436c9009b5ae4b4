//! `config`: shows, checks and extends the config file.

mod add;
mod check;
mod replace;
mod secret;
mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;

use super::exit::Exit;
use super::interrupt::interruptible;
use super::targets::no_file;
use super::{bar, output, validate};
use crate::config::{ConfigFile, S3Config, TargetConfig};
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
    /// Prints the checks if one fails. Returns how the command ends then.
    fn test(&self, config: TargetConfig) -> Result<Option<Exit>> {
        let budget = Budget::new(config.limits.get().memory_budget);
        let target = Target::open(config, budget, None)?;
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

/// The settings as they count, without the need for their secrets.
fn without_secrets(settings: &S3Config) -> Result<TargetConfig> {
    use crate::config::{Secret, SecretSource};
    let mut settings = settings.clone();
    settings.secret_access_key = Some(SecretSource::Inline(Secret::from("-".to_owned())));
    settings.session_token = None;
    settings.check()
}

fn invalid(field: &'static str, message: impl Into<String>) -> Error {
    Error::new(Code::InvalidParams, message).field(field).detail("member", field)
}
