//! Kills at random moments of an agent's work: acknowledged backups exist, listed backups are
//! intact, and in the end nothing remains.
//!
//! `KILLS` sets how often; the counts are printed. `KILLS_SEED` repeats the choices of a run, but
//! not its timing. These tests kill agents and connections; `restarts` kills servers.

mod network;
pub(crate) mod story;
pub(crate) mod trouble;

use self::story::{End, Story, kills};
use super::leftovers::{connect, kill, settled};
use crate::support::TestServer;

#[tokio::test]
async fn whatever_is_killed_nothing_is_lost_and_nothing_is_left() {
    let server = TestServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let mut story = Story::new();
    for _ in 0..kills(20) {
        let step = story.next();
        let host = connect(&server, state.path()).await;
        // Half of them have ended by then: acknowledged backups have to survive too.
        let pause = story.pause(&step) * 3;
        let ended = tokio::select! {
            ended = step.run(&host) => Some(ended),
            () = tokio::time::sleep(pause) => None,
        };
        kill(host).await;
        let end = match ended {
            Some(Ok(_)) => End::Before,
            Some(Err(error)) => panic!("{step:?} failed: {error:?}"),
            None => End::Never,
        };
        story.ended(step, end);
        let host = connect(&server, state.path()).await;
        settled(&host).await;
        story.check(&host).await;
        story.thin_out(&host).await;
    }
    story.end(&connect(&server, state.path()).await, &server).await;
}
