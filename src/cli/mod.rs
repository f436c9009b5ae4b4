//! The command line, for people and scripts: one command, one operation.
//!
//! Owns the flags, what is printed, and the exit codes. Results go to stdout, everything else to stderr;
//! `--json` prints what the protocol would have answered.
//!
//! A command is a file with a struct of its flags that implements [`TargetCommand`], and a line in
//! [`Command`].

mod ask;
pub mod bar;
mod cleanup;
mod config;
mod context;
mod delete;
#[cfg(feature = "demo")]
mod demo;
mod download;
mod environment;
pub mod exit;
mod find;
mod given;
pub mod help;
mod interrupt;
mod keys;
mod list;
#[cfg(not(feature = "demo"))]
mod no_demo;
pub mod output;
mod part_file;
mod repair;
mod settings;
mod state;
mod targets;
mod upload;
mod usage;
mod validate;
mod verify;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{ArgAction, Args, FromArgMatches as _, Parser, Subcommand};
use futures_util::future::LocalBoxFuture;
use tokio::runtime::Runtime;

use self::context::Context;
use self::exit::Exit;
use self::given::Given;
use self::interrupt::interruptible;
pub use self::settings::TargetOptions;
pub use self::state::StateOptions;
use self::targets::{AllTargets, Choice, TargetNames};
use crate::error::{Code, Error, Result};
use crate::ops::Cancel;
use crate::protocol::{LogLevel, MAX_RETRY_FOR_MS};
use crate::{net, platform};

/// Keeps Home Assistant backups, and any other, on S3-compatible storage.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "s3-backup-agent",
    version,
    propagate_version = false,
    bin_name = "s3-backup-agent",
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Say what is done, where, and how many requests it took; twice: log each step.
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Print errors only, and what was asked for.
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Config file with named targets; `none` reads none. Default: `s3-backup-agent/config.toml` in
    /// `~/.config`, otherwise in `/etc`.
    #[arg(
        long,
        value_name = "PATH",
        // Unlike the usual one for paths, it accepts a variable without a value.
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        env = "S3_BACKUP_AGENT_CONFIG",
        hide_env_values = true,
        global = true,
        hide_short_help = true
    )]
    pub config: Option<PathBuf>,

    /// The name of the command.
    #[arg(skip)]
    name: String,

    /// The flags that were given, as opposed to variables.
    #[arg(skip)]
    given: Given,
}

/// Declares the commands that work on a target: each is a variant of [`Command`] and implements
/// [`TargetCommand`].
macro_rules! commands {
    ($( $(#[$doc:meta])* $name:ident($options:ty), )+) => {
        /// The commands.
        #[derive(Clone, Debug, Subcommand)]
        pub enum Command {
            /// Speak the protocol with a host program over stdin and stdout.
            Serve(Serve),
            $( $(#[$doc])* $name($options), )+
            /// Show an upload, a download and a deletion on a built-in server.
            #[cfg(feature = "demo")]
            Demo(demo::Demo),
            /// Say how to run the demo.
            #[cfg(not(feature = "demo"))]
            #[command(hide = true)]
            Demo(no_demo::NoDemo),
            /// Show, check and extend the config file.
            Config(config::Config),
            /// Print a completion script for a shell.
            Completions(help::Completions),
            /// Print a man page.
            Man(help::Page),
            /// Print the help of a command, or of the storage options.
            Help(help::Topic),
        }

        impl Command {
            fn on_target(&self) -> Option<&dyn TargetCommand> {
                match self {
                    $( Self::$name(options) => Some(options), )+
                    Self::Serve(_)
                    | Self::Demo(_)
                    | Self::Config(_)
                    | Self::Completions(_)
                    | Self::Man(_)
                    | Self::Help(_) => None,
                }
            }
        }
    };
}

commands! {
    /// Test the connection, the keys and their permissions.
    Validate(validate::Validate),
    /// Upload a backup.
    Upload(upload::Upload),
    /// List the backups, newest first.
    List(list::List),
    /// Show the details of a backup.
    Info(list::Info),
    /// Download a backup.
    Download(download::Download),
    /// Compare backups with their checksums.
    Verify(verify::Verify),
    /// Delete a backup.
    Delete(delete::Delete),
    /// Remove incomplete uploads.
    Cleanup(cleanup::Cleanup),
    /// Rebuild lost metadata of backups.
    Repair(repair::Repair),
}

/// A command that works on a target.
trait TargetCommand {
    /// The flags that all of them have.
    fn common(&self) -> &Common;

    /// The flag of those that work on several targets.
    fn all_targets(&self) -> Option<AllTargets> {
        None
    }

    /// Checks what needs no network, such as local files, and gives the work.
    ///
    /// # Errors
    /// Every code of a wrong flag or a local file.
    fn prepare(&self) -> Result<Work<'_>>;
}

/// What a command does once its target is open.
type Work<'a> = Box<dyn FnOnce(&'a Context) -> LocalBoxFuture<'a, Result<Exit>> + 'a>;

/// Speaks the protocol.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::SERVE)]
pub struct Serve {
    /// Print the name and version of the protocol, and end.
    #[arg(long)]
    pub protocol: bool,

    /// Print all messages as a JSON Schema, and end.
    #[arg(long, conflicts_with = "protocol")]
    pub schema: bool,

    /// Directory for what the next run has to know.
    #[command(flatten)]
    pub state: StateOptions,
}

/// The flags of every command that works on a target.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Print the result as JSON, as in the protocol.
    #[arg(long)]
    json: bool,

    /// Stop and clean up after this time, for example `2h`. Default: no limit.
    #[arg(long, value_name = "TIME", value_parser = deadline)]
    deadline: Option<Duration>,

    #[command(flatten)]
    names: TargetNames,

    #[command(flatten)]
    target: TargetOptions,

    #[command(flatten)]
    state: StateOptions,
}

/// Longest deadline: a month, which no transfer takes.
const LONGEST_DEADLINE: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// Parses a time such as `90s`, `36h` or `7d`.
fn time(text: &str) -> std::result::Result<Duration, String> {
    let parsed = humantime::parse_duration(text);
    parsed.map_err(|_| "give a number with its unit, for example 90s, 36h or 7d".to_owned())
}

/// Parses how long a transfer keeps retrying: at most an hour.
fn retry_for(text: &str) -> std::result::Result<Duration, String> {
    let time = time(text)?;
    if time > Duration::from_millis(MAX_RETRY_FOR_MS) {
        return Err("it must be at most 1h".to_owned());
    }
    Ok(time)
}

fn deadline(text: &str) -> std::result::Result<Duration, String> {
    let time = time(text)?;
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
        let read = help::command().try_get_matches().and_then(|matches| {
            let name = matches.subcommand_name().unwrap_or_default().to_owned();
            let given = Given::of(&matches);
            Self::from_arg_matches(&matches).map(|mut cli| {
                // A variable without a value counts as one that is not set.
                if !given.has("config") {
                    cli.config = cli.config.filter(|path| !path.as_os_str().is_empty());
                }
                Self { name, given, ..cli }
            })
        });
        read.map_err(|error| {
            if let Some(error) = usage::no_backup(&error) {
                output::report(&error, None, "", false, false);
                return Exit::Usage;
            }
            let error = usage::without_values(error);
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            match printed {
                _ if error.use_stderr() => Exit::Usage,
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::LocalIo,
                _ => Exit::Done,
            }
        })
    }

    /// Refuses `--config` for a command that reads no config file.
    ///
    /// # Errors
    /// `invalid_params`.
    pub fn refuse_config_file(&self) -> Result<()> {
        let reads_it =
            self.command.on_target().is_some() || matches!(self.command, Command::Config(_));
        if reads_it || !self.given.has("config") {
            return Ok(());
        }
        let message = format!("{} reads no config file", self.name);
        Err(Error::new(Code::InvalidParams, message)
            .hint("leave --config out")
            .field("config")
            .detail("member", "config"))
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

/// Runs a command other than `serve`.
pub fn run(runtime: &Runtime, cli: &Cli) -> Exit {
    let Cli { command, name, verbose, .. } = cli;
    let cancel = Cancel::default();
    run_with(runtime, cli, &cancel).unwrap_or_else(|error| {
        let json = command.on_target().is_some_and(|it| it.common().json)
            || matches!(command, Command::Config(options) if options.prints_json());
        output::report(&error, None, name, json, *verbose > 0);
        Exit::of(&error)
    })
}

/// What needs no network is done first, without listening to signals: reading the command line,
/// opening files, asking for a secret.
fn run_with(runtime: &Runtime, cli: &Cli, cancel: &Cancel) -> Result<Exit> {
    let Cli { command, .. } = cli;
    let verbose = cli.verbose > 0;
    let _inside = runtime.enter();
    platform::survive_file_limit()
        .map_err(|error| Error::new(Code::Internal, "cannot listen to signals").source(error))?;
    let done = |result: Result<()>| result.map(|()| Exit::Done);
    let Some(on_target) = command.on_target() else {
        cli.refuse_config_file()?;
        return match command {
            #[cfg(feature = "demo")]
            Command::Demo(options) => {
                done(runtime.block_on(interruptible(cancel, None, demo::run(options, cancel))))
            }
            #[cfg(not(feature = "demo"))]
            Command::Demo(_) => Err(no_demo::error()),
            Command::Config(options) => {
                config::run(runtime, options, cli.config.as_deref(), cancel)
            }
            Command::Completions(options) => done(help::completions(options)),
            Command::Man(options) => done(help::man(options)),
            Command::Help(options) => done(help::help(options)),
            _ => Ok(Exit::Usage),
        };
    };
    let started = Instant::now();
    let work = on_target.prepare()?;
    let common = on_target.common();
    let targets = Choice {
        config: cli.config.as_deref(),
        given: &cli.given,
        names: &common.names,
        all: on_target.all_targets(),
        options: &common.target,
        journal: &|| common.state.journal(),
        verbose,
    };
    let context = Context {
        targets: targets.open()?,
        cancel: cancel.clone(),
        json: common.json,
        verbose,
        command: cli.name.clone(),
    };
    let ended = runtime.block_on(interruptible(cancel, common.deadline, work(&context)));
    if verbose {
        let places = context.targets.all.iter().filter_map(|on| on.target.as_ref().ok());
        output::note(format!(
            "{}: {} requests in {:.1} s, {}",
            context.command,
            net::requests(),
            started.elapsed().as_secs_f64(),
            places.map(|target| output::location(target)).collect::<Vec<_>>().join(", ")
        ));
    }
    ended.map_err(|error| match context.targets.all.as_slice() {
        [only] if !context.are_several() => only.explained(error),
        _ => error,
    })
}
