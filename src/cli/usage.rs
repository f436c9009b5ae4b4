//! Errors of the command line without the values that were given: a value may be a secret.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::{Code, Error};

/// Stands in the place of a value.
const HIDDEN: &str = "(not shown)";

/// Commands of other programs, and what they are called here.
const MEANT: [(&str, &str); 5] = [
    ("backup", "`upload` stores a backup: s3-backup-agent upload PATH"),
    ("restore", "`download` fetches a backup: s3-backup-agent download BACKUP"),
    ("check", "`verify` checks a backup, `validate` checks the connection"),
    ("ls", "`list` lists the backups"),
    ("rm", "`delete` deletes a backup"),
];

/// Longest word that is taken for a command with a typing error.
const LONGEST_COMMAND: usize = 16;

/// The same error. Flags and commands stay, values go.
pub(super) fn without_values(mut error: clap::Error) -> clap::Error {
    if !error.use_stderr() {
        return error;
    }
    let hidden = || ContextValue::String(HIDDEN.to_owned());
    if text(&error, ContextKind::InvalidValue).is_some_and(|value| !value.is_empty()) {
        error.insert(ContextKind::InvalidValue, hidden());
        // A value that is like a known one says much about what was given.
        error.remove(ContextKind::SuggestedValue);
    }
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(argument) = text(&error, ContextKind::InvalidArg)
    {
        let flag = argument.split('=').next().filter(|name| is_flag(name)).map(str::to_owned);
        let is_secret = flag.as_deref().is_some_and(|flag| {
            flag.starts_with("--secret") || flag.starts_with("--session") || flag == "--password"
        });
        error.insert(ContextKind::InvalidArg, flag.map_or_else(hidden, ContextValue::String));
        // A tip may repeat the argument.
        error.remove(ContextKind::Suggested);
        if is_secret {
            let tip = "secrets are no flags: set S3_BACKUP_AGENT_SECRET_ACCESS_KEY, or name a file \
                       with --secret-access-key-file";
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
    }
    if let Some(command) = text(&error, ContextKind::InvalidSubcommand)
        && let Some((_, tip)) = MEANT.iter().find(|(word, _)| *word == command)
    {
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![(*tip).into()]));
    }
    if let Some(command) = text(&error, ContextKind::InvalidSubcommand)
        && !is_command(&command)
    {
        error.insert(ContextKind::InvalidSubcommand, hidden());
        error.remove(ContextKind::Suggested);
    }
    error
}

/// The error in words of its own, if a backup was not named: the usage line shows what variables have
/// given already.
pub(super) fn no_backup(error: &clap::Error) -> Option<Error> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let missing = missing.iter().find(|argument| argument.contains("<BACKUP>"))?;
    (error.kind() == ErrorKind::MissingRequiredArgument).then(|| {
        // Only `verify` takes several, or all.
        let all = if missing.ends_with("...") { ", or check all with --all" } else { "" };
        let hint = format!("give the ID or the name that `s3-backup-agent list` shows{all}");
        Error::new(Code::InvalidParams, "no backup was named").hint(hint)
    })
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    let ContextValue::String(text) = error.get(kind)? else { return None };
    Some(text.clone())
}

/// Whether it can be the name of a flag, and not one with a value attached to it.
fn is_flag(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter == '-';
    (name.len() == 2 && name.starts_with('-'))
        || (name.starts_with("--") && name.len() <= 40 && name.chars().all(plain))
}

fn is_command(word: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter == '-';
    word.len() <= LONGEST_COMMAND && word.chars().all(plain)
}
