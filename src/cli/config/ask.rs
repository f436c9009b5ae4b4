//! Questions on the terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::config::Secret;
use crate::error::{Code, Error, Result};

/// Longest answer, in bytes.
const LONGEST: usize = 4096;

/// Whether there is a terminal to ask on.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The answer to a question, or the default for an empty one.
///
/// # Errors
/// `local_io` when there is no answer.
pub(super) fn line(question: &str, default: Option<&str>) -> Result<String> {
    let default = default.filter(|default| !default.is_empty());
    let shown = default.map(|default| format!(" [{default}]")).unwrap_or_default();
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question}{shown}: ").and_then(|()| stderr.flush()).map_err(unheard)?;
    let mut answer = String::new();
    let mut stdin = io::Read::take(io::stdin().lock(), LONGEST as u64);
    if stdin.read_line(&mut answer).map_err(unheard)? == 0 {
        return Err(unheard(io::ErrorKind::UnexpectedEof.into()));
    }
    let answer = answer.trim();
    Ok(if answer.is_empty() { default.unwrap_or_default() } else { answer }.to_owned())
}

/// The answer to a question that needs one.
///
/// # Errors
/// As [`line`].
pub(super) fn needed(question: &str) -> Result<String> {
    loop {
        let answer = line(question, None)?;
        if !answer.is_empty() {
            return Ok(answer);
        }
    }
}

/// A secret, which the terminal does not show.
///
/// # Errors
/// As [`line`].
pub(super) fn secret(question: &str) -> Result<Secret> {
    rpassword::prompt_password(format!("{question}: ")).map(Secret::from).map_err(unheard)
}

fn unheard(error: io::Error) -> Error {
    Error::new(Code::LocalIo, format!("cannot read the answer: {error}")).source(error)
}
