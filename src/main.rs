//! Arguments, logging, then one of the two doors.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use s3_backup_agent::cli::exit::Exit;
use s3_backup_agent::cli::{self, Cli, Command, Serve};
use s3_backup_agent::{logging, protocol, session};
use tokio::runtime::{Builder, Runtime};

/// Descriptors that are opened before anything is done, standard streams not counted: those of the
/// runtime, of signals, and copies of standard input and output.
#[cfg(unix)]
const DESCRIPTORS: usize = 9;

/// The work is waiting and hashing; hashing has threads of its own.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    let for_host = matches!(cli.command, Command::Serve(_)) && !std::io::stderr().is_terminal();
    let format = if for_host { logging::Format::Json } else { logging::Format::Human };
    let log = logging::start(format, cli.log_level());
    let exit = run(&cli).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        Exit::Internal.into()
    });
    drop(log);
    exit
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    descriptors_to_start()
        .context("cannot start: the limit of open files (ulimit -n) is too low; raise it")?;
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.context("cannot start the threads of the agent")?;
    let exit = if let Command::Serve(options) = &cli.command {
        serve(&runtime, options)?
    } else {
        cli::run(&runtime, &cli.command, cli.verbose > 0).into()
    };
    // A thread that waits for a slow disk or terminal must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(exit)
}

/// Whether there are as many descriptors as the program needs before it has done anything. Without
/// some of them the runtime does not fail, but panics.
fn descriptors_to_start() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let stderr = std::io::stderr();
        let duplicates = (0..DESCRIPTORS).map(|_| rustix::io::dup(&stderr));
        duplicates.collect::<Result<Vec<_>, _>>()?;
    }
    Ok(())
}

fn serve(runtime: &Runtime, options: &Serve) -> anyhow::Result<ExitCode> {
    let asked_for = match (options.protocol, options.schema) {
        (true, _) => Some(format!("{} {}", protocol::NAME, protocol::VERSION)),
        (_, true) => Some(protocol::SCHEMA.trim_end().to_owned()),
        _ => None,
    };
    if let Some(text) = asked_for {
        let said = cli::output::say(text);
        return Ok(said
            .map_or_else(
                |error| {
                    tracing::error!("{error}");
                    Exit::of(&error)
                },
                |()| Exit::Done,
            )
            .into());
    }
    if std::io::stdin().is_terminal() {
        let hint = "This command talks to a host program, one JSON object per line. For people \
                    there is s3-backup-agent --help; Ctrl-D ends it.";
        // Only a hint: a closed standard error is no reason to fail.
        let _ = writeln!(std::io::stderr(), "{hint}");
    }
    Ok(ExitCode::from(runtime.block_on(session::serve(options.state.journal())).exit_code()))
}
