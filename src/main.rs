//! Entry.
use std::process::ExitCode;
fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::from(70) };
    let end = runtime.block_on(s3_backup_agent::session::serve());
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    ExitCode::from(end.exit_code())
}
