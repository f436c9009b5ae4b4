//! `config secret`: new keys for a storage.

use std::path::PathBuf;

use clap::Args;

use super::super::ask;
use super::super::exit::Exit;
use super::super::output::{note, say_done};
use super::replace::replace;
use super::{Tester, invalid};
use crate::config::{ConfigFile, Origin, Secret, SecretSource};
use crate::error::{Code, Error, Result};

/// Shown below the options of this command.
const HELP: &str = "\
The file that holds the secret access key is replaced when the new keys work.
A secret that comes from a program or a variable is changed there; this
command says where that is.

Examples:
  s3-backup-agent config secret nas
  s3-backup-agent config secret nas --secret-access-key-file new.key";

/// Changes the keys of a target.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub(super) struct Change {
    /// Name of the target.
    name: String,

    /// New access key ID. Default: you are asked; without a terminal it stays the same.
    #[arg(long, value_name = "ID")]
    access_key_id: Option<String>,

    /// File that holds the new secret access key. Default: you are asked.
    #[arg(long, value_name = "PATH")]
    secret_access_key_file: Option<PathBuf>,

    /// Do not test the new keys first.
    #[arg(long)]
    no_validate: bool,
}

/// Asks, tests, and replaces the file with the secret.
///
/// # Errors
/// `invalid_config` when the secret is not in a file of its own; every code of the test.
pub(super) fn run(file: &ConfigFile, options: &Change, tester: &Tester<'_>) -> Result<Exit> {
    let target = file.target(&options.name)?;
    let path = match &target.secret_access_key {
        Some(Origin::File(path)) => path,
        Some(origin) => {
            let origin = origin.shown();
            let message = format!("the secret access key of {} comes from {origin}", target.name);
            return Err(Error::new(Code::InvalidConfig, message)
                .field("secret_access_key")
                .detail("file", file.path.display().to_string())
                .detail("line", target.line("secret_access_key"))
                .hint("change it there; the next command uses it"));
        }
        None => return Err(target.load().err().unwrap_or_else(|| invalid("name", "no secret"))),
    };
    let mut settings = target.without_secrets()?;
    let old_id = settings.access_key_id.clone().unwrap_or_default();
    let can_ask = ask::can_ask();
    let id = match &options.access_key_id {
        Some(id) => id.clone(),
        None if can_ask => ask::line("Access key ID", Some(&old_id))?,
        None => old_id.clone(),
    };
    let secret = match &options.secret_access_key_file {
        Some(file) => Origin::File(file.clone()).read("secret_access_key")?,
        None if can_ask => ask::secret("New secret access key")?,
        None => {
            return Err(invalid(
                "secret_access_key_file",
                "cannot ask for the new secret access key: there is no terminal",
            )
            .hint("name a file that holds it with --secret-access-key-file"));
        }
    };
    settings.access_key_id = Some(id.clone());
    settings.secret_access_key = Some(SecretSource::Inline(secret.clone()));
    settings.session_token = target
        .session_token
        .as_ref()
        .map(|_| target.load())
        .transpose()?
        .and_then(|it| it.session_token);
    let config = settings.check().map_err(|error| target.placed(error))?;
    if !options.no_validate
        && let Some(exit) = tester.test(config)?
    {
        note("Nothing was changed.");
        return Ok(exit);
    }
    replace(path, with_line_end(&secret).as_bytes())?;
    say_done(format!("Replaced the secret access key of {} in {}.", target.name, path.display()))?;
    if id != old_id {
        // The config file belongs to its owner, and is not rewritten.
        note(format!(
            "Change line {} of {} now: access_key_id = \"{id}\"",
            target.line("access_key_id"),
            file.path.display()
        ));
    }
    Ok(Exit::Done)
}

/// What a file with this secret holds.
pub(super) fn with_line_end(secret: &Secret) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(format!("{}\n", secret.expose()))
}
