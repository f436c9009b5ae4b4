//! The door for hosts: the stdio protocol, from `hello` to the orderly end.
//!
//! Messages that must keep their order (`initialize`, targets, `cancel`, streams) take effect in
//! the loop here; requests that work on a target run as tasks of their own and answer in any order.
//! The loop waits for nothing, local files included.
//! Each request is answered exactly once. When the input ends, whatever it was, everything that
//! runs is cancelled and cleaned up before the process exits.

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

/// Time for what was cancelled to clean up when the session ends.
const CLEANUP: Duration = Duration::from_secs(12);

/// Time for the last answers to be read.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a session ended; each has an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The input ended, or a signal asked for the end: 0.
    Orderly,
    /// The standard streams failed: 74.
    StreamsFailed,
    /// The host broke the protocol beyond repair: 76.
    Protocol,
}

impl End {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Orderly => 0,
            Self::StreamsFailed => 74,
            Self::Protocol => 76,
        }
    }
}

/// Serves one host over standard input and output. Uploads are noted in `journal`.
pub async fn serve(journal: Option<Journal>) -> End {
    protect_process();
    if let Err(error) = survive_file_limit() {
        tracing::warn!(%error, "a file that grows beyond ulimit -f will end the agent");
    }
    let streams = match streams::open() {
        Ok(streams) => streams,
        Err(error) => {
            tracing::error!(%error, "standard input and output cannot be used");
            return End::StreamsFailed;
        }
    };
    converse(streams, asked_to_end(), journal).await
}

/// Serves one host over `streams`, until they end or `asked_to_end` does.
async fn converse(
    streams: Streams,
    asked_to_end: impl Future<Output = ()>,
    journal: Option<Journal>,
) -> End {
    let Streams { mut input, queues, mut written } = streams;
    let mut session = Session::new(Outbox(queues), journal);
    // Listens until the end: on Windows, the first one that nobody listens to ends the process.
    tokio::pin!(asked_to_end);
    // Handling is raced as well: a host that does not read its answers must not hold up a signal.
    let end = tokio::select! {
        biased;
        () = &mut asked_to_end => End::Orderly,
        _ = &mut written => End::StreamsFailed,
        end = session.run(&mut input) => end,
    };
    session.table.cancel_all(&Cause::Ending);
    if !session.table.idle(CLEANUP).await {
        tracing::warn!("some requests could not be cleaned up in time");
    }
    drop(session);
    if end != End::StreamsFailed {
        // Lets the last answers out; a host that does not read them is not waited for.
        let _ = tokio::time::timeout(FAREWELL, written).await;
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
        // A system that forbids either leaves things as they were.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

async fn asked_to_end() {
    match ShutdownSignals::listen() {
        Ok(mut requests) => requests.next().await,
        Err(_) => std::future::pending().await,
    }
}
