//! What people and scripts see: results on stdout, errors on stderr, or both as JSON on stdout.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::CommandFactory as _;
use console::style;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Cli;
use super::environment::SECRET;
use crate::error::secrets::{redact, redact_data};
use crate::error::text::{is_hidden, quoted};
use crate::error::{CleanupOutcome, Code, Error, ErrorData, Kind, Result, Upstream, clean};
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

/// Tells on stderr what is going on, for people, without secrets.
pub fn note(text: impl AsRef<str>) {
    // Nobody to tell when stderr is gone.
    let _ = writeln!(io::stderr().lock(), "{}", redact(text.as_ref()));
}

/// A value as an argument of a shell.
pub(super) fn shell_word(value: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:".contains(letter);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", clean(value).replace('\'', r"'\''"))
}

/// Reports why a command failed.
pub(super) fn report(error: &Error, json: bool, verbose: bool) {
    if json {
        // The exit code says that it failed, even if this cannot be said.
        let _ = say_json(&json!({ "error": ErrorObject::from(error) }));
        return;
    }
    let data = error.data();
    // "Cancelled by the host" is for hosts.
    let what = if data.kind == Kind::Cancelled { "stopped" } else { error.message() };
    let mut text = format!("{}: {what}", label());
    text.push_str(&details(&data, 2));
    if verbose {
        let mut cause = error.source();
        while let Some(inner) = cause {
            let _ = write!(text, "\n  because: {}", quoted(&inner.to_string()));
            cause = inner.source();
        }
    }
    note(text);
}

fn label() -> impl std::fmt::Display {
    style("error").red().bold().for_stderr()
}

/// The error of one check, below the line of that check.
pub(super) fn check_error(error: &CheckError) -> String {
    format!("\n      {}{}", error.message, details(&error.data, 6))
}

/// The lines below an error: what to change, what the storage said, what may be left.
fn details(data: &ErrorData, indent: usize) -> String {
    let mut lines = Vec::new();
    if let Some(field) = &data.field {
        lines.push(match option_of(field) {
            Some(option) => format!("field: {field} ({option})"),
            None => format!("field: {field}"),
        });
    }
    if let Some(upstream) = &data.upstream {
        lines.push(format!("the storage said: {}", quote(upstream)));
    }
    match data.cleanup {
        Some(CleanupOutcome::Complete) => lines.push("nothing is left in the bucket".to_owned()),
        Some(CleanupOutcome::Kept) => lines.push(
            "what is stored is kept for a day: the same command with the same id (--id) sends the rest"
                .to_owned(),
        ),
        Some(CleanupOutcome::Pending | CleanupOutcome::Failed) => lines.push(
            "cleaning up did not end well: the bucket may hold the rest of this upload".to_owned(),
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
        let _ = write!(text, ", request id {}", clean(id));
    }
    text.push(')');
    text
}

/// How a setting of the protocol is given on the command line.
fn option_of(field: &str) -> Option<String> {
    match field {
        "secret_access_key" => return Some(format!("{SECRET} or --secret-access-key-file")),
        "session_token" => {
            return Some("S3_BACKUP_AGENT_SESSION_TOKEN or --session-token-file".to_owned());
        }
        "ca_certificate" => return Some("--ca-file".to_owned()),
        "verify_tls" => return Some("--insecure-skip-tls-verify".to_owned()),
        _ => {}
    }
    let flag = field.rsplit('.').next()?.replace('_', "-");
    let command = Cli::command();
    let mut arguments = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let argument = arguments.find(|argument| argument.get_long() == Some(&flag))?;
    Some(match argument.get_env().and_then(|name| name.to_str()) {
        Some(environment) => format!("--{flag} or {environment}"),
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
