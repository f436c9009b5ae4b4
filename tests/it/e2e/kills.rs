//! Kills at random moments of an agent's work: acknowledged backups exist, listed backups are
//! intact, and in the end nothing remains.
//!
//! `KILLS` sets how often; the counts are printed. `KILLS_SEED` repeats the choices of a run, but
//! not its timing. These tests kill agents and connections; `restarts` kills servers.

pub(crate) mod disruption;
pub(crate) mod history;
mod network;

use self::history::{End, History, kills};
use super::crash_cleanup::{connect, kill, wait_for_run_cleanup};
use crate::support::TestServer;

#[tokio::test]
async fn random_kills_lose_and_leave_nothing() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let mut history = History::new();
    for _ in 0..kills(20) {
        let step = history.next();
        let host = connect(&server, state.path()).await;
        // Half of them have ended by then: acknowledged backups have to survive too.
        let pause = history.pause(&step) * 3;
        let ended = tokio::select! {
            ended = step.run(&host) => Some(ended),
            () = tokio::time::sleep(pause) => None,
        };
        kill(host).await;
        let end = match ended {
            Some(Ok(_)) => End::Before,
            Some(Err(error)) => panic!("{step:?} failed: {error:?}"),
            None => End::Killed,
        };
        history.ended(step, end);
        let host = connect(&server, state.path()).await;
        wait_for_run_cleanup(&host).await;
        history.check(&host).await;
        history.delete_excess(&host).await;
    }
    history.end(&connect(&server, state.path()).await, &server).await;
}
