//! Questions on the terminal. Ctrl-C ends them, and leaves the terminal as it was.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::config::Secret;
use crate::error::{Code, Error, Result};
use crate::platform::{ShutdownSignals, TerminalMode};

/// Longest answer, in bytes.
const LONGEST: u64 = 4096;

/// Time for a question to end by itself after a signal.
const END: Duration = Duration::from_millis(200);

/// Whether there is a terminal to ask on.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The answer to a question, or the default for an empty one.
///
/// # Errors
/// `local_io` when there is no answer; `cancelled` after a signal.
pub(super) fn line(question: &str, default: Option<&str>) -> Result<String> {
    let default = default.unwrap_or_default().to_owned();
    let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    let question = format!("{question}{shown}: ");
    let answer = answered(move || {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question}").and_then(|()| stderr.flush())?;
        drop(stderr);
        let mut answer = String::new();
        match io::stdin().lock().take(LONGEST).read_line(&mut answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer),
        }
    })?;
    let answer = answer.trim();
    Ok(if answer.is_empty() { default } else { answer.to_owned() })
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
    let question = format!("{question}: ");
    answered(move || rpassword::prompt_password(question).map(Secret::from))
}

/// Asks, until there is an answer or a signal. A signal would end the process otherwise while the terminal
/// does not show what is typed.
fn answered<T: Send + 'static>(ask: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let runtime = Handle::current();
    let _inside = runtime.enter();
    let mut signals = ShutdownSignals::listen_unless_ignored()
        .map_err(|error| Error::new(Code::Internal, "cannot listen to signals").source(error))?;
    let mode = TerminalMode::now();
    let mut asking = tokio::task::spawn_blocking(ask);
    let answer = runtime.block_on(async {
        tokio::select! {
            biased;
            answer = &mut asking => answer.map_err(io::Error::other)?,
            () = signals.next() => {
                if timeout(END, asking).await.is_err() {
                    mode.restore();
                    end_line();
                }
                Err(io::ErrorKind::Interrupted.into())
            }
        }
    });
    answer.map_err(unanswered)
}

fn unanswered(error: io::Error) -> Error {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others say themselves what they are")]
    match error.kind() {
        // "Stopped" is what the command line says.
        io::ErrorKind::Interrupted => Error::new(Code::Cancelled, "interrupted at a question"),
        io::ErrorKind::UnexpectedEof => {
            end_line();
            Error::new(Code::LocalIo, "there is no answer: the input has ended").source(error)
        }
        _ => Error::new(Code::LocalIo, format!("cannot read the answer: {error}")).source(error),
    }
}

/// Ends the line of the question.
fn end_line() {
    // The terminal may be gone.
    let _ = writeln!(io::stderr());
}
