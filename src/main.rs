//! Entry point: parses arguments, starts logging, then runs the stdio session or a command.

use std::io::{IsTerminal as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use s3_backup_agent::cli::exit::Exit;
use s3_backup_agent::cli::{self, Cli, Command, Serve};
use s3_backup_agent::{logging, protocol, session};
use tokio::runtime::{Builder, Runtime};

/// File descriptors needed at the start, besides the standard streams: for the runtime, signals,
/// and copies of standard input and output.
#[cfg(unix)]
const DESCRIPTORS: usize = 9;

/// The runtime waits most of the time; hashing has threads of its own.
const WORKERS: usize = 2;

/// Threads needed besides the main thread: those of the runtime, of the log, of standard input and
/// output, and two for files.
const THREADS: usize = WORKERS + 5;

/// A panic on this thread is logged and has its own exit code.
fn main() -> ExitCode {
    catch_unwind(begin).unwrap_or(Exit::Internal.into())
}

fn begin() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    let for_host = matches!(cli.command, Command::Serve(_)) && !std::io::stderr().is_terminal();
    let threads = threads_to_start()
        .context("cannot start: the limit of processes (ulimit -u) is too low: raise it");
    // The JSON log needs a thread as well.
    let in_json = for_host && threads.is_ok();
    let format = if in_json { logging::Format::Json } else { logging::Format::Human };
    let log = logging::start(format, cli.log_level());
    let exit = threads.and_then(|()| run(&cli)).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        Exit::Internal.into()
    });
    drop(log);
    exit
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    descriptors_to_start()
        .context("cannot start: the limit of open files (ulimit -n) is too low: raise it")?;
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.context("cannot start the threads of the agent")?;
    let work = || {
        if let Command::Serve(options) = &cli.command {
            if let Err(error) = cli.refuse_config_file() {
                tracing::error!("{error}");
                return Ok(Exit::of(&error).into());
            }
            return serve(&runtime, options);
        }
        if cli.quiet {
            cli::output::be_quiet();
        }
        Ok(cli::run(&runtime, cli).into())
    };
    let exit = catch_unwind(AssertUnwindSafe(work));
    // A thread that waits for a slow disk or terminal must not delay the exit, even after a panic.
    runtime.shutdown_timeout(Duration::from_millis(100));
    exit.unwrap_or(Ok(Exit::Internal.into()))
}

/// Checks that enough file descriptors are available. Otherwise the runtime panics instead of
/// failing.
fn descriptors_to_start() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let stderr = std::io::stderr();
        let duplicates = (0..DESCRIPTORS).map(|_| rustix::io::dup(&stderr));
        duplicates.collect::<Result<Vec<_>, _>>()?;
    }
    Ok(())
}

/// Checks that enough threads can be started. Otherwise the runtime panics or hangs.
fn threads_to_start() -> std::io::Result<()> {
    let (go, wait) = channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let threads = (0..THREADS).map(|_| {
        let wait = Arc::clone(&wait);
        // All threads wait until the last one is started.
        std::thread::Builder::new().spawn(move || drop(wait.lock().map(|wait| wait.recv())))
    });
    let threads = threads.collect::<Result<Vec<_>, _>>();
    drop(go);
    for thread in threads? {
        // These threads cannot panic.
        let _ = thread.join();
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
        let hint = "This command is for host programs, and reads one JSON object per line. For \
                    other commands see s3-backup-agent --help. Press Ctrl-D to exit.";
        // Only a hint: a closed stderr is not an error.
        let _ = writeln!(std::io::stderr(), "{hint}");
    }
    Ok(ExitCode::from(runtime.block_on(session::serve(options.state.journal())).exit_code()))
}
