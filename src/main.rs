//! Arguments, logging, then one of the two doors.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use s3_backup_agent::cli::exit::Exit;
use s3_backup_agent::cli::{self, Cli, Command, Serve};
use s3_backup_agent::{logging, protocol, session};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    let for_host = matches!(cli.command, Command::Serve(_)) && !std::io::stderr().is_terminal();
    let format = if for_host { logging::Format::Json } else { logging::Format::Human };
    let log = logging::start(format, cli.log_level());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return Exit::Internal.into();
        }
    };
    let exit = if let Command::Serve(options) = &cli.command {
        serve(&runtime, options)
    } else {
        cli::run(&runtime, &cli.command, cli.verbose > 0).into()
    };
    // A thread that waits for a slow disk or terminal must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    drop(log);
    exit
}

fn serve(runtime: &Runtime, options: &Serve) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    if options.protocol {
        let printed = writeln!(stdout, "{} {}", protocol::NAME, protocol::VERSION);
        return if printed.is_ok() { Exit::Done } else { Exit::LocalIo }.into();
    }
    drop(stdout);
    if std::io::stdin().is_terminal() {
        let hint = "This command talks to a host program, one JSON object per line. For people \
                    there is s3-backup-agent --help; Ctrl-D ends it.";
        let _ = writeln!(std::io::stderr(), "{hint}");
    }
    ExitCode::from(runtime.block_on(session::serve()).exit_code())
}
