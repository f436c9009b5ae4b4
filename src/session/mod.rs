//! The stdio session with a host, from `hello` to an orderly end.
//!
//! Messages with a fixed order (`initialize`, targets, `cancel`, streams) take effect in the loop
//! here; requests on a target run as tasks and respond in any order. The loop never waits, not even
//! for local files. Each request gets exactly one response. When the input ends for any reason, all
//! running requests are canceled and cleaned up before the process exits.

mod dispatch;
pub mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handle;
mod outbox;
mod running;
mod stream;
mod streams;
mod targets;
mod task;

use std::time::Duration;

use self::dispatch::Session;
use self::outbox::Outbox;
use self::streams::Streams;
use crate::journal::Journal;
use crate::ops::Cause;
use crate::platform::{ShutdownSignals, survive_file_limit};

/// Time limit for cleaning up canceled requests when the session ends.
const CLEANUP: Duration = Duration::from_secs(12);

/// Time limit for writing the last responses.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The input ended, or a signal arrived: exit code 0.
    Orderly,
    /// The standard streams failed: exit code 74.
    StreamsFailed,
    /// The host violated the protocol beyond repair: exit code 76.
    Protocol,
}

impl End {
    /// Exit code of the process.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Orderly => 0,
            Self::StreamsFailed => 74,
            Self::Protocol => 76,
        }
    }
}

/// Serves one host over standard input and output. Uploads are recorded in `journal`.
pub async fn serve(journal: Option<Journal>) -> End {
    protect_process();
    if let Err(error) = survive_file_limit() {
        tracing::warn!(%error, "a file larger than ulimit -f will end the agent");
    }
    let streams = match streams::open() {
        Ok(streams) => streams,
        Err(error) => {
            tracing::error!(%error, "standard input and output cannot be used");
            return End::StreamsFailed;
        }
    };
    run_session(streams, shutdown_signal(), journal).await
}

/// Serves one host over `streams`, until they end or `shutdown_signal` completes.
async fn run_session(
    streams: Streams,
    shutdown_signal: impl Future<Output = ()>,
    journal: Option<Journal>,
) -> End {
    let Streams { mut input, queues, mut written } = streams;
    let mut session = Session::new(Outbox(queues), journal);
    // Polled until the end: on Windows, a signal without a listener ends the process.
    tokio::pin!(shutdown_signal);
    // The handling is part of the select: a host that does not read its responses must not delay a
    // signal.
    let end = tokio::select! {
        biased;
        () = &mut shutdown_signal => End::Orderly,
        _ = &mut written => End::StreamsFailed,
        end = session.run(&mut input) => end,
    };
    session.table.cancel_all(&Cause::ShuttingDown);
    if !session.table.idle(CLEANUP).await {
        tracing::warn!("some requests could not be cleaned up in time");
    }
    drop(session);
    if end != End::StreamsFailed {
        // Writes the last responses; a host that does not read is not waited for.
        let _ = tokio::time::timeout(FLUSH_LIMIT, written).await;
    }
    end
}

/// Keeps secrets out of core dumps and away from other processes of the same user.
fn protect_process() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{
            DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit,
        };
        // If the system forbids either, nothing changes.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

async fn shutdown_signal() {
    match ShutdownSignals::listen() {
        Ok(mut requests) => requests.next().await,
        Err(_) => std::future::pending().await,
    }
}
