//! `config secret`: new keys for a target.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::super::ask;
use super::super::exit::Exit;
use super::super::output::{note, say, say_done, toml_text};
use super::replace::replace;
use super::{Tester, invalid, read_secret, with_line_end};
use crate::config::{ConfigFile, NamedTarget, Origin, Secret, SecretSource};
use crate::error::{Code, Error, Result, clean};

/// Longest secret on standard input, in bytes.
const LONGEST: u64 = 64 << 10;

/// Path that stands for standard input.
const STDIN: &str = "-";

/// Shown below the options of this command in its long help.
const LONG_HELP: &str = "\
The file that holds the secret access key is replaced when the new keys work.
A secret that comes from a program or a variable is changed there; this
command says where that is.

Examples:
  s3-backup-agent config secret nas
  s3-backup-agent config secret nas --secret-access-key-file new.key";

/// Shown below the options of this command.
const HELP: &str = "\
Examples:
  s3-backup-agent config secret nas
  s3-backup-agent config secret nas --secret-access-key-file new.key";

/// Changes the keys of a target.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP, after_long_help = LONG_HELP)]
pub(super) struct Change {
    /// Name of the target.
    name: String,

    /// New access key ID. Default: you are asked.
    ///
    /// Without a terminal it stays the same.
    #[arg(long, value_name = "ID")]
    access_key_id: Option<String>,

    /// File with the new secret access key, or - for standard input.
    ///
    /// Default: you are asked.
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
    let path = path_of(target)?;
    let mut settings = target.without_secrets()?;
    let old_id = settings.access_key_id.clone().unwrap_or_default();
    let can_ask = ask::can_ask();
    let id = match &options.access_key_id {
        Some(id) => id.clone(),
        None if can_ask => ask::line("Access key ID", Some(&old_id))?,
        None => old_id.clone(),
    };
    let secret = match &options.secret_access_key_file {
        Some(file) if file == Path::new(STDIN) && !io::stdin().is_terminal() => from_stdin()?,
        Some(file) if file != Path::new(STDIN) => read_secret(file)?,
        _ if can_ask => ask::secret("New secret access key")?,
        _ => {
            let message = "cannot ask for the new secret access key: there is no terminal";
            return Err(invalid("secret_access_key_file", message)
                .hint("name a file that holds it with --secret-access-key-file"));
        }
    };
    settings.access_key_id = Some(id.clone());
    settings.secret_access_key = Some(SecretSource::Inline(secret.clone()));
    if let Some(origin) = &target.session_token {
        let token = origin.read("session_token").map_err(|error| target.placed(error))?;
        settings.session_token = Some(SecretSource::Inline(token));
    }
    // What is wrong now is wrong with the new keys, not in the file.
    if let Some(exit) = tester.test(settings.check()?, options.no_validate)? {
        note("Nothing was changed.");
        return Ok(exit);
    }
    replace(path, with_line_end(&secret).as_bytes())?;
    say_done(format!("Replaced the secret access key of {} in {}.", target.name, path.display()))?;
    let others = others_with(file, target, path);
    if !others.is_empty() {
        say(format!("The same file is used by {}.", others.join(", ")))?;
    }
    if id == old_id {
        say_done("The access key ID is the same as before.")?;
        return Ok(Exit::Done);
    }
    // The config file belongs to its owner, and is not rewritten.
    say(format!(
        "The access key ID is another one. Change this line of the config file now:\n  {}:{}\n  \
         access_key_id = {}",
        clean(&file.path.display().to_string()),
        target.line("access_key_id"),
        toml_text(&id)
    ))?;
    Ok(Exit::Done)
}

/// The file with the secret of a target.
fn path_of(target: &NamedTarget) -> Result<&Path> {
    let origin = match &target.secret_access_key {
        Some(Origin::File(path)) => return Ok(path),
        Some(origin) => origin.shown(),
        None => return Err(target.without_secrets().err().unwrap_or_else(no_secret)),
    };
    let message = format!("the secret access key of {} comes from {origin}", target.name);
    let error = Error::new(Code::InvalidConfig, message).field("secret_access_key");
    Err(target.placed(error.hint("change it there; the next command uses it")))
}

fn no_secret() -> Error {
    Error::new(Code::InvalidConfig, "the secret access key is missing").field("secret_access_key")
}

/// Other targets whose secret is in this file.
fn others_with<'a>(file: &'a ConfigFile, target: &NamedTarget, path: &Path) -> Vec<&'a str> {
    let others = file.targets.iter().filter(|(name, other)| {
        let origin = other.as_ref().ok().and_then(|other| other.secret_access_key.as_ref());
        *name != target.name && matches!(origin, Some(Origin::File(other)) if other == path)
    });
    others.map(|(name, _)| name.as_str()).collect()
}

/// The secret on standard input, without its final line break.
fn from_stdin() -> Result<Secret> {
    let unreadable = |error: io::Error| {
        let message = format!("cannot read the secret access key from standard input: {error}");
        Error::new(Code::LocalIo, message).source(error)
    };
    // Capacity for all of it, so that growing leaves no copy in memory.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(LONGEST).unwrap_or(0) + 1));
    io::stdin().lock().take(LONGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LONGEST {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::from(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}
