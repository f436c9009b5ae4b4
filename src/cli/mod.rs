//! The door for people and scripts: one sub-command, one operation.
//!
//! Owns the command line, what is printed, and the exit codes. Results go to stdout, everything
//! else to stderr; `--json` prints what the protocol would have answered.

pub mod bar;
mod cleanup;
mod delete;
#[cfg(feature = "demo")]
mod demo;
mod download;
mod environment;
pub mod exit;
mod find;
pub mod help;
mod interrupt;
mod list;
pub mod output;
mod part_file;
mod repair;
mod settings;
mod state;
mod upload;
mod usage;
mod validate;
mod verify;

use std::cell::OnceCell;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args, FromArgMatches as _, Parser, Subcommand};
use tokio::runtime::Runtime;

use self::exit::Exit;
use self::interrupt::interruptible;
pub use self::settings::TargetOptions;
pub use self::state::StateOptions;
use crate::error::{Code, Error, Kind, Result};
use crate::ops::{Cancel, Target};
use crate::platform;
use crate::protocol::LogLevel;

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
    Cleanup(cleanup::Cleanup),
    /// Bring back backups whose metadata is lost.
    Repair(repair::Repair),
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

    /// Stop and clean up after this time, for example `2h`. Default: no limit.
    #[arg(long, value_name = "TIME", value_parser = deadline)]
    deadline: Option<Duration>,

    #[command(flatten)]
    target: TargetOptions,

    #[command(flatten)]
    state: StateOptions,
}

/// Longest deadline: a month, which no transfer takes.
const LONGEST_DEADLINE: Duration = Duration::from_secs(31 * 24 * 60 * 60);

fn deadline(text: &str) -> std::result::Result<Duration, String> {
    let time =
        humantime::parse_duration(text).map_err(|_| "write it like 90s, 15m or 2h".to_owned())?;
    if time < Duration::from_millis(1) || time > LONGEST_DEADLINE {
        return Err("it must be more than 0s and at most 31days".to_owned());
    }
    Ok(time)
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
            let error = usage::without_values(error);
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

/// The open targets of a command, and how to speak about them.
struct Context {
    targets: [Arc<Target>; 1],
    cancel: Cancel,
    json: bool,
}

impl Context {
    fn open(common: &Common, cancel: &Cancel) -> Result<Self> {
        let (target, notice) = common.target.clone().open(common.state.journal())?;
        if let Some(line) = notice {
            output::note(line);
        }
        Ok(Self { targets: [target], cancel: cancel.clone(), json: common.json })
    }

    /// The target of a command that works on one.
    fn only(&self) -> &Arc<Target> {
        let [target, ..] = &self.targets;
        target
    }
}

/// Runs a command other than `serve`.
pub fn run(runtime: &Runtime, command: &Command, verbose: bool) -> Exit {
    let cancel = Cancel::default();
    let aws = OnceCell::new();
    run_with(runtime, command, &cancel, &aws).unwrap_or_else(|error| {
        let error = match aws.get() {
            Some(endpoint) if is_about_the_server(&error) => error.and(&format!(
                " (AWS itself was asked, {endpoint}, because no endpoint is set: give that of another \
                 storage with --endpoint)"
            )),
            _ => error,
        };
        output::report(&error, command.json(), verbose);
        Exit::of(&error)
    })
}

/// What needs no network is done first, without listening to signals: reading the command line,
/// looking at files, asking for a secret.
fn run_with(
    runtime: &Runtime,
    command: &Command,
    cancel: &Cancel,
    aws: &OnceCell<String>,
) -> Result<Exit> {
    let _inside = runtime.enter();
    platform::survive_file_limit()
        .map_err(|error| Error::new(Code::Internal, "cannot listen to signals").source(error))?;
    let deadline = command.common().and_then(|common| common.deadline);
    let open = |common: &Common| {
        let context = Context::open(common, cancel)?;
        let config = context.only().config();
        if !config.endpoint_given {
            aws.get_or_init(|| config.endpoint.as_str().trim_end_matches('/').to_owned());
        }
        Ok::<_, Error>(context)
    };
    match command {
        Command::Serve(_) => Ok(Exit::Usage),
        Command::Validate(options) => {
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, deadline, validate::run(&context, options)))
        }
        Command::Upload(options) => {
            let ready = options.prepare()?;
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, deadline, upload::run(&context, ready)))
        }
        Command::List(options) => {
            let context = open(&options.common)?;
            done(runtime.block_on(interruptible(cancel, deadline, list::list(&context))))
        }
        Command::Info(options) => {
            let context = open(&options.common)?;
            done(runtime.block_on(interruptible(cancel, deadline, list::info(&context, options))))
        }
        Command::Download(options) => {
            let destination = options.prepare()?;
            let context = open(&options.common)?;
            let work = download::run(&context, options, destination);
            done(runtime.block_on(interruptible(cancel, deadline, work)))
        }
        Command::Verify(options) => {
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, deadline, verify::run(&context, options)))
        }
        Command::Delete(options) => {
            options.prepare()?;
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, deadline, delete::run(&context, options)))
        }
        Command::Cleanup(options) => {
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, deadline, cleanup::run(&context, options)))
        }
        Command::Repair(options) => {
            let context = open(&options.common)?;
            runtime.block_on(interruptible(cancel, deadline, repair::run(&context, options)))
        }
        #[cfg(feature = "demo")]
        Command::Demo(options) => {
            done(runtime.block_on(interruptible(cancel, None, demo::run(options, cancel))))
        }
        Command::Completions(options) => done(help::completions(options)),
        Command::Man(options) => done(help::man(options)),
    }
}

fn done(result: Result<()>) -> Result<Exit> {
    result.map(|()| Exit::Done)
}

impl Command {
    fn common(&self) -> Option<&Common> {
        match self {
            Self::Validate(options) => Some(&options.common),
            Self::Upload(options) => Some(&options.common),
            Self::List(options) => Some(&options.common),
            Self::Info(options) => Some(&options.common),
            Self::Download(options) => Some(&options.common),
            Self::Verify(options) => Some(&options.common),
            Self::Delete(options) => Some(&options.common),
            Self::Cleanup(options) => Some(&options.common),
            Self::Repair(options) => Some(&options.common),
            #[cfg(feature = "demo")]
            Self::Demo(_) => None,
            Self::Serve(_) | Self::Completions(_) | Self::Man(_) => None,
        }
    }

    fn json(&self) -> bool {
        self.common().is_some_and(|common| common.json)
    }
}

/// Whether a server, or its absence, caused the error.
fn is_about_the_server(error: &Error) -> bool {
    error.upstream_answer().is_some() || matches!(error.code().kind(), Kind::Connect | Kind::Auth)
}
