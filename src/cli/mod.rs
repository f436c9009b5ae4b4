//! The door for people and scripts: one sub-command, one operation.
//!
//! Owns the command line, what is printed, and the exit codes. Results go to stdout, everything
//! else to stderr; `--json` prints what the protocol would have answered.

mod archive;
pub mod bar;
mod command;
mod delete;
#[cfg(feature = "demo")]
mod demo;
mod download;
pub mod exit;
mod find;
mod folder;
pub mod help;
mod interrupt;
mod list;
pub mod output;
mod part_file;
mod recover;
mod settings;
mod source;
mod state;
mod sweep;
mod upload;
mod validate;
mod verify;

use std::io::Write as _;
use std::sync::Arc;

use clap::{ArgAction, Args, FromArgMatches as _, Parser, Subcommand};
use tokio::runtime::Runtime;

use self::exit::Exit;
use self::interrupt::interruptible;
pub use self::settings::TargetOptions;
pub use self::state::StateOptions;
use crate::error::{Code, Error, Result};
use crate::ops::{Cancel, Target};
use crate::protocol::LogLevel;
use crate::system;

/// Keeps Home Assistant backups, and any other, on S3-compatible storage.
#[derive(Clone, Debug, Parser)]
#[command(name = "s3-backup-agent", version, propagate_version = false)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Say more about what happens; twice says why.
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// The sub-commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Talk to a host program over stdin and stdout.
    Serve(Serve),
    /// Try out the storage with the settings given.
    Validate(validate::Validate),
    /// Store a backup.
    Upload(upload::Upload),
    /// List the backups, newest first.
    List(list::List),
    /// Show everything that is known of a backup.
    Info(list::Info),
    /// Bring a backup back.
    Download(download::Download),
    /// Check whether backups are still what was stored.
    Verify(verify::Verify),
    /// Delete a backup.
    Delete(delete::Delete),
    /// Remove what interrupted uploads have left.
    Sweep(sweep::Sweep),
    /// Bring back backups whose metadata is lost.
    Recover(recover::Recover),
    /// Show the agent at work, with a storage of its own.
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
    /// Print a script that completes the command line.
    Completions(help::Completions),
    /// Print a man page.
    Man(help::Page),
}

/// Speaks the protocol.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Print the name and version of the protocol, and end.
    #[arg(long)]
    pub protocol: bool,

    /// Print all messages as a JSON Schema, and end.
    #[arg(long, conflicts_with = "protocol")]
    pub schema: bool,

    /// Where to note what is being stored.
    #[command(flatten)]
    pub state: StateOptions,
}

/// What every command that works on a target takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Print the result as JSON, with the members that the protocol gives it.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: TargetOptions,

    #[command(flatten)]
    state: StateOptions,
}

impl Cli {
    /// Reads the command line. What is wrong with it, or asked for with `--help`, is printed.
    ///
    /// # Errors
    /// The exit code to end with.
    pub fn read() -> Result<Self, Exit> {
        let read =
            help::command().try_get_matches().and_then(|matches| Self::from_arg_matches(&matches));
        read.map_err(|error| {
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            match printed {
                _ if error.use_stderr() => Exit::Usage,
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::LocalIo,
                _ => Exit::Done,
            }
        })
    }

    /// Least important log lines to write.
    #[must_use]
    pub fn log_level(&self) -> LogLevel {
        match (&self.command, self.verbose) {
            (Command::Serve(_), 0) | (_, 1) => LogLevel::Info,
            (_, 0) => LogLevel::Warning,
            _ => LogLevel::Debug,
        }
    }
}

/// An open target, and how to speak about it.
struct Context {
    target: Arc<Target>,
    cancel: Cancel,
    json: bool,
}

impl Context {
    fn open(common: &Common, cancel: &Cancel) -> Result<Self> {
        let target = common.target.clone().open(common.state.journal())?;
        Ok(Self { target, cancel: cancel.clone(), json: common.json })
    }
}

/// Runs a command other than `serve`.
pub fn run(runtime: &Runtime, command: &Command, verbose: bool) -> Exit {
    let cancel = Cancel::default();
    run_with(runtime, command, &cancel).unwrap_or_else(|error| {
        output::report(&error, command.json(), verbose);
        Exit::of(&error)
    })
}

/// What needs no network is done first, without listening to signals: reading the command line,
/// looking at files, asking for a secret.
fn run_with(runtime: &Runtime, command: &Command, cancel: &Cancel) -> Result<Exit> {
    let _inside = runtime.enter();
    system::survive_file_limit()
        .map_err(|error| Error::new(Code::Internal, "cannot listen to signals").source(error))?;
    let open = |common: &Common| Context::open(common, cancel);
    match command {
        Command::Serve(_) => Ok(Exit::Usage),
        Command::Validate(options) => {
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, validate::run(&context, options)))
        }
        Command::Upload(options) => {
            let ready = options.prepare()?;
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, upload::run(&context, ready)))
        }
        Command::List(options) => {
            let context = open(&options.common)?;
            done(runtime.block_on(interruptible(cancel, list::list(&context))))
        }
        Command::Info(options) => {
            let context = open(&options.common)?;
            done(runtime.block_on(interruptible(cancel, list::info(&context, options))))
        }
        Command::Download(options) => {
            let destination = options.prepare()?;
            let context = open(&options.common)?;
            let work = download::run(&context, options, destination);
            done(runtime.block_on(interruptible(cancel, work)))
        }
        Command::Verify(options) => {
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, verify::run(&context, options)))
        }
        Command::Delete(options) => {
            options.prepare()?;
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, delete::run(&context, options)))
        }
        Command::Sweep(options) => {
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, sweep::run(&context, options)))
        }
        Command::Recover(options) => {
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, recover::run(&context, options)))
        }
        #[cfg(feature = "demo")]
        Command::Demo(options) => {
            done(runtime.block_on(interruptible(cancel, demo::run(options, cancel))))
        }
        Command::Completions(options) => done(help::completions(options)),
        Command::Man(options) => done(help::man(options)),
    }
}

fn done(result: Result<()>) -> Result<Exit> {
    result.map(|()| Exit::Done)
}

impl Command {
    fn json(&self) -> bool {
        match self {
            Self::Validate(options) => options.common.json,
            Self::Upload(options) => options.common.json,
            Self::List(options) => options.common.json,
            Self::Info(options) => options.common.json,
            Self::Download(options) => options.common.json,
            Self::Verify(options) => options.common.json,
            Self::Delete(options) => options.common.json,
            Self::Sweep(options) => options.common.json,
            Self::Recover(options) => options.common.json,
            #[cfg(feature = "demo")]
            Self::Demo(_) => false,
            Self::Serve(_) | Self::Completions(_) | Self::Man(_) => false,
        }
    }
}
