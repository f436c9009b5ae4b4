//! What people and scripts see: results on stdout, errors on stderr, or both as JSON on stdout.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::CommandFactory as _;
use console::style;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Cli;
use super::environment::{SECRET, TOKEN};
use crate::error::secrets::{redact, redact_data};
use crate::error::text::{is_hidden, quoted};
use crate::error::{CleanupOutcome, Code, Detail, Error, ErrorData, Kind, Result, Upstream, clean};
use crate::ops::Target;
use crate::protocol::{CheckError, ErrorObject};
use crate::sources::moment;

/// Prints a line or more on stdout, without secrets. A reader that went away is no failure: what was
/// asked for is done.
///
/// # Errors
/// `local_io`.
pub fn say(text: impl AsRef<str>) -> Result<()> {
    print(&redact(text.as_ref()))
}

fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(Code::LocalIo, format!("cannot write to stdout: {error}")).source(error))
        }
        _ => Ok(()),
    }
}

/// Prints a result as JSON, with the members that the protocol gives it.
///
/// # Errors
/// `local_io`.
pub(super) fn say_json(result: &impl Serialize) -> Result<()> {
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, Escaped);
    result.serialize(&mut serializer).map_err(|error| {
        Error::new(Code::Internal, "the result cannot be written as JSON").source(error)
    })?;
    // Names stay as they are, whatever they hold: scripts look for them.
    print(&redact_data(&String::from_utf8_lossy(&json)))
}

/// JSON in which hidden characters are escaped, so that it can be looked at.
struct Escaped;

impl serde_json::ser::Formatter for Escaped {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.write_raw_fragment(writer, fragment)
    }

    /// Metadata is passed on as it was read. Hidden characters stand in strings only there.
    fn write_raw_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for part in fragment.split_inclusive(is_hidden) {
            let hidden = part.chars().next_back().filter(|last| is_hidden(*last));
            let plain = hidden.map_or(part, |hidden| part.strip_suffix(hidden).unwrap_or(part));
            writer.write_all(plain.as_bytes())?;
            for unit in hidden.iter().flat_map(|hidden| hidden.encode_utf16(&mut [0; 2]).to_vec()) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// Whether notes are printed: not with `--quiet`.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on only errors and results are printed.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether only errors and results are printed.
pub(super) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Tells on stderr what is going on, for people, without secrets.
pub fn note(text: impl AsRef<str>) {
    if !is_quiet() {
        print_error(text);
    }
}

/// Says on stdout what a command has done, for people.
///
/// # Errors
/// `local_io`.
pub(super) fn say_done(text: impl AsRef<str>) -> Result<()> {
    if is_quiet() { Ok(()) } else { say(text) }
}

fn print_error(text: impl AsRef<str>) {
    // Stderr may be closed; the exit code says that it failed.
    let _ = writeln!(io::stderr().lock(), "{}", redact(text.as_ref()));
}

/// Where a target's backups are, for people: `bucket "b" under "ha/backups/" (https://s3.example.org)`.
pub(super) fn location(target: &Target) -> String {
    let config = target.config();
    let prefix = match target.folder() {
        "" => String::new(),
        folder => format!(" under \"{}\"", clean(folder)),
    };
    let endpoint = config.endpoint.as_str().trim_end_matches('/');
    format!("bucket \"{}\"{prefix} ({})", clean(&config.bucket), clean(endpoint))
}

/// A value as an argument of a shell.
pub(super) fn shell_word(value: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:".contains(letter);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", clean(value).replace('\'', r"'\''"))
}

/// Settings as flags of the command line.
pub(super) fn flags(settings: &[(&str, &str)]) -> String {
    let flags = settings
        .iter()
        .map(|(name, value)| format!("--{} {}", name.replace('_', "-"), shell_word(value)));
    flags.collect::<Vec<_>>().join(" ")
}

/// Settings as lines of a table of the config file.
pub(super) fn lines_of_table(settings: &[(&str, &str)]) -> String {
    let lines = settings.iter().map(|(name, value)| format!("  {name} = {}", toml_text(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A text of TOML, in which nothing is a variable.
pub(super) fn toml_text(text: &str) -> String {
    let mut out = "\"".to_owned();
    for letter in text.replace("${", "$${").chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            letter if letter.is_control() || is_hidden(letter) => {
                let _ = write!(out, "\\U{:08X}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// Reports why a command failed, and what to do about it in the flags that the command has. `target` is
/// named when the command works on several.
pub(super) fn report(
    error: &Error,
    target: Option<&str>,
    command: &str,
    json: bool,
    verbose: bool,
) {
    if json {
        // The exit code says that it failed, even if this cannot be said.
        let _ = say_json(&json!({ "error": ErrorObject::from(error) }));
        return;
    }
    let data = error.data();
    // "Canceled by the host" is for hosts.
    let what = if data.kind == Kind::Cancelled { "stopped" } else { error.fact() };
    let label = style("error").red().bold().for_stderr();
    let target = target.map(|name| format!("{name}: ")).unwrap_or_default();
    let mut text = format!("{label}: {target}{what}{}", details(&data, 2));
    if verbose {
        let mut cause = error.source();
        while let Some(inner) = cause {
            let _ = write!(text, "\n  because: {}", quoted(&inner.to_string()));
            cause = inner.source();
        }
    }
    let option = data.field.as_deref().and_then(|field| match data.details.get("file") {
        // The message names the line, if it is wrong there.
        Some(_) if data.details.contains_key("line") => None,
        Some(Detail::Text(file)) => in_file(field, file),
        _ => option_of(field, command),
    });
    let remedy = match (error.remedy(), option) {
        (Some(remedy), Some(option)) if !remedy.contains(" -") => {
            Some(format!("{remedy} ({option})"))
        }
        (Some(remedy), _) => Some(remedy.to_owned()),
        (None, Some(option)) => Some(format!("check {option}")),
        (None, None) => None,
    };
    if let Some(remedy) = remedy {
        let _ = write!(text, "\n{}: {remedy}", hint());
    }
    print_error(text);
}

/// The word before a remedy.
pub(super) fn hint() -> impl std::fmt::Display {
    style("hint").cyan().bold().for_stderr()
}

/// The error of one check, below the line of that check.
pub(super) fn check_error(error: &CheckError) -> String {
    format!("\n      {}{}", error.message, details(&error.data, 6))
}

/// The lines below an error: the answer of the server, and what is left in the bucket.
fn details(data: &ErrorData, indent: usize) -> String {
    let mut lines = Vec::new();
    if let Some(upstream) = &data.upstream {
        lines.push(format!("the server said: {}", quote(upstream)));
    }
    match data.cleanup {
        Some(CleanupOutcome::Complete) => {
            lines.push("everything was cleaned up: the bucket is as before".to_owned());
        }
        Some(CleanupOutcome::Kept) => lines.push(
            "the parts are kept for a day: the same command with the same --id sends the rest"
                .to_owned(),
        ),
        Some(CleanupOutcome::Pending | CleanupOutcome::Failed) => lines.push(
            "the cleanup failed: parts of this upload may be left in the bucket, and `s3-backup-agent \
             cleanup` removes them later"
                .to_owned(),
        ),
        None => {}
    }
    let indent = " ".repeat(indent);
    lines.iter().map(|line| format!("\n{indent}{line}")).collect()
}

fn quote(upstream: &Upstream) -> String {
    let mut text = upstream.status.to_string();
    if let Some(code) = &upstream.code {
        let _ = write!(text, " {}", clean(code));
    }
    if let Some(message) = &upstream.message {
        let _ = write!(text, ": {}", clean(message));
    }
    let _ = write!(text, " ({}", upstream.operation);
    if let Some(id) = &upstream.request_id {
        let _ = write!(text, ", request ID {}", clean(id));
    }
    text.push(')');
    text
}

/// The setting of a named target in the config file, such as `bucket in [targets.nas] of config.toml`.
fn in_file(field: &str, file: &str) -> Option<String> {
    let (table, member) = field.rsplit_once('.')?;
    Some(format!("{member} in [{table}] of {file}"))
}

/// The flag and the variable of a command for a setting of the protocol, if it has them.
fn option_of(field: &str, command: &str) -> Option<String> {
    let flag = match field {
        "secret_access_key" => "secret-access-key-file".to_owned(),
        "session_token" => "session-token-file".to_owned(),
        "ca_certificate" => "ca-file".to_owned(),
        "verify_tls" => "insecure-skip-tls-verify".to_owned(),
        _ => field.rsplit('.').next()?.replace('_', "-"),
    };
    let all = Cli::command();
    let mut arguments = all.find_subcommand(command)?.get_arguments();
    let argument = arguments.find(|argument| argument.get_long() == Some(&flag))?;
    let own = argument.get_env().and_then(|name| name.to_str());
    // A secret comes from one of several variables.
    let first_set = |others: [&'static str; 2]| {
        let mut names = own.into_iter().chain(others);
        names.find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
    };
    let variable = match field {
        "secret_access_key" => first_set([SECRET, "AWS_SECRET_ACCESS_KEY"]),
        "session_token" => first_set([TOKEN, "AWS_SESSION_TOKEN"]),
        _ => own,
    };
    Some(match variable {
        Some(variable) => format!("--{flag} or {variable}"),
        None => format!("--{flag}"),
    })
}

/// Bytes for people: `20.00 KiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// A text member of metadata, safe for a terminal.
pub(super) fn text(metadata: &Map<String, Value>, member: &str) -> Option<String> {
    metadata.get(member).and_then(Value::as_str).map(clean).filter(|text| !text.is_empty())
}

/// The moment a backup was made, in local time: `2026-11-20 04:32`.
pub(super) fn date(metadata: &Map<String, Value>) -> String {
    let given = text(metadata, "date");
    let local =
        given.as_deref().and_then(moment).map(|moment| moment.with_timezone(&chrono::Local));
    match (local, given) {
        (Some(local), _) => local.format("%Y-%m-%d %H:%M").to_string(),
        (None, Some(given)) => given,
        (None, None) => "unknown".to_owned(),
    }
}
