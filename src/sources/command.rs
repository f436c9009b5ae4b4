//! A program whose standard output is a backup.
//!
//! The backup is complete only if the program exits with success. A shell pipe hides that status,
//! so a dump that fails halfway would look complete.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::buffer_pool::{BLOCK, Block, Pool};
use crate::error::secrets::redact_data;
use crate::error::{Code, Error, Result, clean, no_memory};

/// Time for a program to clean up after it was told to end.
const CLEANUP_LIMIT: Duration = Duration::from_secs(5);

/// How long the output may stay open without data after the program has ended.
const OPEN_AFTER_END: Duration = Duration::from_secs(10);

/// Secrets of the agent in variables that other programs read as well.
const SECRETS: [&str; 2] = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// A program and its arguments.
#[derive(Debug)]
pub(crate) struct CommandLine {
    program: OsString,
    arguments: Vec<OsString>,
}

impl CommandLine {
    /// None without a program.
    pub(crate) fn new(words: &[OsString]) -> Option<Self> {
        let (program, arguments) = words.split_first()?;
        Some(Self { program: program.clone(), arguments: arguments.to_vec() })
    }

    /// Starts the program, without a shell and without the secrets of the agent. It shares standard
    /// input and standard error with the agent.
    ///
    /// # Errors
    /// `source_failed`.
    pub(super) fn start(self) -> Result<Running> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdout(Stdio::piped()).kill_on_drop(true);
        for (name, value) in std::env::vars_os() {
            let is_ours = name.as_encoded_bytes().starts_with(b"S3_BACKUP_AGENT_");
            if is_ours || is_secret(&name) || holds_secret(&value) {
                command.env_remove(name);
            }
        }
        #[cfg(unix)]
        let has_group = !has_terminal();
        #[cfg(unix)]
        if has_group {
            command.process_group(0);
        }
        // Arguments may contain secrets and are not repeated.
        let name = Path::new(&self.program).file_name().unwrap_or(&self.program);
        let name = clean(&name.to_string_lossy());
        let mut child = command.spawn().map_err(|error| {
            let message = format!("cannot start {name}: {error}");
            Error::new(Code::SourceFailed, message)
                .hint("check its path and permissions")
                .source(error)
        })?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| Error::new(Code::Internal, "a program was started without an output"))?;
        #[cfg(target_os = "linux")]
        {
            // Reduces switches between the two programs. Some systems do not allow it.
            let _ = rustix::pipe::fcntl_setpipe_size(&output, 1 << 20);
        }
        Ok(Running {
            name,
            #[cfg(unix)]
            group: process_id(&child).filter(|_| has_group),
            child,
            output,
            filling: None,
            is_empty: true,
            is_read: false,
            status: None,
        })
    }
}

fn is_secret(name: &OsStr) -> bool {
    SECRETS.iter().any(|secret| name == *secret)
}

/// Whether a variable holds a secret in use, such as one that the config file names.
fn holds_secret(value: &OsStr) -> bool {
    value.to_str().is_some_and(|value| redact_data(value) != value)
}

/// A running program.
pub(super) struct Running {
    /// For messages.
    name: String,
    child: Child,
    output: ChildStdout,
    /// The process group of the program. None if the agent is in the foreground of a terminal:
    /// there the program may ask for a password, and Ctrl-C reaches all processes.
    #[cfg(unix)]
    group: Option<rustix::process::Pid>,
    filling: Option<Block>,
    is_empty: bool,
    is_read: bool,
    status: Option<ExitStatus>,
}

impl Running {
    /// The next bytes of the output; None when all were read and the program succeeded. Dropping
    /// the future loses nothing.
    ///
    /// # Errors
    /// `source_failed` when the program fails, writes nothing, or leaves its output open in another
    /// process.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.is_read {
            if let Some(full) = self.filling.take_if(|block| block.len() == BLOCK) {
                return Ok(Some(full.freeze()));
            }
            self.read().await?;
        }
        if let Some(rest) = self.filling.take().filter(|block| !block.is_empty()) {
            return Ok(Some(rest.freeze()));
        }
        self.wait().await?;
        if self.is_empty {
            let message = format!("{} wrote nothing to its standard output", self.name);
            return Err(Error::new(Code::SourceFailed, message));
        }
        Ok(None)
    }

    async fn read(&mut self) -> Result<()> {
        let block = match &mut self.filling {
            Some(block) => block,
            filling => filling.insert(Pool::of_process().take().map_err(no_memory)?),
        };
        tokio::select! {
            biased;
            read = self.output.read(block.rest()) => {
                let read = read.map_err(|error| {
                    let message = format!("cannot read the output of {}: {error}", self.name);
                    Error::new(Code::SourceFailed, message).source(error)
                })?;
                block.advance(read);
                self.is_read = read == 0;
                self.is_empty &= read == 0;
            }
            // The last output is still in the pipe.
            ended = self.child.wait(), if self.status.is_none() => {
                self.status = Some(succeeded(&self.name, ended)?);
            }
            () = sleep(OPEN_AFTER_END), if self.status.is_some() => {
                let message = format!(
                    "{} ended, but a process that it started keeps its output open: the backup \
                     may not be complete",
                    self.name
                );
                return Err(Error::new(Code::SourceFailed, message)
                    .hint("start the command in the foreground"));
            }
        }
        Ok(())
    }

    /// Waits for the end of a program that has closed its output.
    async fn wait(&mut self) -> Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        let ended = match timeout(OPEN_AFTER_END, self.child.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!("waiting for {} to end: its output is complete", self.name);
                self.child.wait().await
            }
        };
        self.status = Some(succeeded(&self.name, ended)?);
        Ok(())
    }

    /// Ends the program and the processes that it has started.
    pub(super) async fn stop(mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) && self.is_read {
            return;
        }
        self.ask_to_end();
        // An ended program may have left processes in its group.
        let _ = timeout(CLEANUP_LIMIT, self.child.wait()).await;
        self.kill();
    }

    #[cfg(unix)]
    fn ask_to_end(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    #[cfg(unix)]
    fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
    }

    /// Fails when the processes are gone.
    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(group) = self.group {
            let _ = rustix::process::kill_process_group(group, signal);
        } else if let Some(process) = process_id(&self.child) {
            let _ = rustix::process::kill_process(process, signal);
        }
    }

    /// Windows has no such request for programs without a window.
    #[cfg(not(unix))]
    fn ask_to_end(&mut self) {
        self.kill();
    }

    #[cfg(not(unix))]
    fn kill(&mut self) {
        let _ = self.child.start_kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Dropped without `stop`, such as after a second Ctrl-C.
        if !self.is_read {
            self.kill();
        }
    }
}

/// The process ID, while it cannot be reused.
#[cfg(unix)]
fn process_id(child: &Child) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

/// Whether the agent can read from a terminal.
#[cfg(unix)]
fn has_terminal() -> bool {
    let foreground =
        std::fs::File::open("/dev/tty").ok().and_then(|tty| rustix::termios::tcgetpgrp(tty).ok());
    foreground == Some(rustix::process::getpgrp())
}

fn succeeded(name: &str, ended: std::io::Result<ExitStatus>) -> Result<ExitStatus> {
    let status = ended.map_err(|error| {
        Error::new(Code::SourceFailed, format!("cannot wait for {name}: {error}")).source(error)
    })?;
    if status.success() {
        return Ok(status);
    }
    let message = format!("{name} failed ({status}): nothing was stored");
    let error = Error::new(Code::SourceFailed, message).hint("see its output above");
    Err(match status.code() {
        Some(code) => error.detail("exit_code", i64::from(code)),
        None => error,
    })
}
