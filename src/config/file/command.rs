//! Programs that print a secret, such as `pass show NAME`.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::config::Secret;
use crate::config::check::invalid;
use crate::error::secrets::redact;
use crate::error::{Error, Result, shortened};

/// Time limit of a program.
const LIMIT: Duration = Duration::from_secs(30);

/// Longest secret, and most of what is read of the error output, in bytes.
const LONGEST: usize = 16 << 10;

/// Longest line of the error output in a message, in characters.
const LONGEST_LINE: usize = 200;

/// Time between two looks at a program.
const LOOK: Duration = Duration::from_millis(10);

/// How long the output may lack after the end of the program: its children may hold the pipe open.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// The standard output of a program without its final line break. The program has the environment of this
/// one, and no standard input; a terminal stays reachable for its questions. Blocks.
///
/// # Errors
/// `invalid_config` when it cannot be started, fails, prints nothing or too much, or takes too long.
pub(super) fn output(words: &[String], field: &'static str) -> Result<Secret> {
    let [program, arguments @ ..] = words else {
        return Err(invalid(field, "the command is empty"));
    };
    let failed = |what: String| invalid(field, format!("the command {program} {what}"));
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child =
        started.map_err(|error| failed(format!("cannot be started: {error}")).source(error))?;
    let (printed, said) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let status = match wait(&mut child) {
        Ok(Some(status)) => status,
        Ok(None) => {
            return Err(failed(format!("takes longer than {} seconds", LIMIT.as_secs()))
                .hint("run it by hand: does it ask for something?"));
        }
        Err(error) => return Err(failed(format!("was lost: {error}")).source(error)),
    };
    let printed = printed.recv_timeout(AFTERWARDS).unwrap_or_default();
    // From here on a message that repeats it is redacted.
    let text = std::str::from_utf8(&printed);
    let text = text.map(|text| text.strip_suffix('\n').unwrap_or(text));
    let secret = text.map(|text| Secret::from(text.strip_suffix('\r').unwrap_or(text).to_owned()));
    if !status.success() {
        let said = said.recv_timeout(AFTERWARDS).unwrap_or_default();
        return Err(unsuccessful(&failed, &status.to_string(), &said));
    }
    if printed.len() > LONGEST {
        return Err(failed("prints more than 16 KiB".to_owned()));
    }
    match secret {
        Ok(secret) if !secret.expose().is_empty() => Ok(secret),
        Ok(_) => Err(failed("prints nothing".to_owned())),
        Err(_) => Err(failed("prints text that is not UTF-8".to_owned())),
    }
}

fn unsuccessful(failed: &dyn Fn(String) -> Error, status: &str, said: &[u8]) -> Error {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.map(|line| shortened(&redact(line), LONGEST_LINE));
    match line {
        Some(line) => failed(format!("failed ({status}): {line}")),
        None => failed(format!("failed ({status})")),
    }
}

/// Reads in a thread: children of the program may hold the pipe open for ever.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Zeroizing<Vec<u8>>> {
    let (done, receiver) = channel();
    if let Some(pipe) = pipe {
        thread::spawn(move || {
            // Capacity for all of it, so that growing leaves no copy in memory.
            let mut text = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
            // What was read before a failure is used.
            let _ = pipe.take(LONGEST as u64 + 1).read_to_end(&mut text);
            let _ = done.send(text);
        });
    }
    receiver
}

/// The status of a program, or `None` when it took too long and was killed.
fn wait(child: &mut Child) -> io::Result<Option<std::process::ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > LIMIT {
            // Fails when it has just ended.
            let _ = child.kill();
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Result<String> {
        let words = ["sh", "-c", script].map(str::to_owned);
        output(&words, "secret_access_key").map(|secret| secret.expose().to_owned())
    }

    fn why(script: &str) -> String {
        run(script).unwrap_err().message()
    }

    #[test]
    fn secret_is_what_the_command_prints() {
        assert_eq!(run("echo s3cret").unwrap(), "s3cret");
        assert_eq!(run("printf 'two\\nlines\\r\\n'").unwrap(), "two\nlines");
        assert_eq!(run("printf ' blanks stay '").unwrap(), " blanks stay ");
        assert_eq!(run("cat; echo s3cret").unwrap(), "s3cret", "there is no standard input");
        // Its child goes on and holds the pipe: what is there counts only when it is whole.
        assert!(run("sleep 5 & echo s3cret").is_err());
    }

    #[test]
    fn command_that_fails_is_an_error_without_the_secret() {
        let failed = why("echo hunter2hunter2; echo 'no hunter2hunter2 here' >&2; exit 3");
        assert!(failed.contains("exit status: 3") && failed.contains("here"), "{failed}");
        assert!(!failed.contains("hunter2"), "{failed}");
        assert!(why("exit 1").contains("failed (exit status: 1)"));
        assert!(why("true").contains("prints nothing"));
        assert!(why("printf '\\377'").contains("not UTF-8"));
        assert!(why("head -c 20000 /dev/zero | tr '\\0' x").contains("more than 16 KiB"));
        let colors = why("printf '\\033[31mlocked\\033[0m\\nmore\\n' >&2; exit 2");
        assert!(colors.contains("locked") && !colors.contains(['\u{1b}', '\n']), "{colors}");
        let missing = output(&["no-such-program-here".to_owned()], "session_token").unwrap_err();
        assert!(missing.message().contains("cannot be started"));
        assert_eq!(missing.data().field.as_deref(), Some("session_token"));
    }
}
