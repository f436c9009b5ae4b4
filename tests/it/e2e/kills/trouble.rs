//! An agent that survives a server that becomes unreachable and returns, repeatedly.

use std::cell::Cell;
use std::time::Duration;

use serde_json::Value;

use super::story::{End, Story, kills};
use crate::e2e::leftovers::{connect_to, settled};
use crate::support::TestServer;

/// The longest time for an operation that is disturbed for a moment.
const PATIENCE: Duration = Duration::from_secs(150);

/// Makes the server unreachable for a while.
pub(crate) trait Trouble {
    /// Errors that the disruption may cause although a retry alone does not fix them.
    const LASTING: &[&str] = &[];

    /// Returns when the server is reachable again.
    async fn strike(&mut self, random: &mut fastrand::Rng);
}

/// Disturbs the work of an agent with these settings this many times, and checks with another agent
/// after each time what the server stores. Most agents survive more than one disruption.
pub(crate) async fn cleanup<T: Trouble>(
    server: &TestServer,
    config: &Value,
    trouble: &mut T,
    usual: u64,
) {
    let state = tempfile::tempdir().unwrap();
    let mut story = Story::new();
    let mut living = None;
    for _ in 0..kills(usual) {
        let host = match living.take() {
            Some(host) => host,
            None => connect_to(config.clone(), state.path()).await,
        };
        let step = story.next();
        let pause = story.pause(&step);
        let mut random = story.random.fork();
        let struck = Cell::new(false);
        let running = async {
            let ended = tokio::time::timeout(PATIENCE, step.run(&host)).await;
            (ended.unwrap_or_else(|_| panic!("{step:?} has no end")), struck.get())
        };
        let ((ended, was_struck), ()) = tokio::join!(running, async {
            tokio::time::sleep(pause).await;
            struck.set(true);
            trouble.strike(&mut random).await;
        });
        let end = match ended {
            Ok(_) if was_struck => End::Well,
            Ok(_) => End::Before,
            Err(error) => {
                let is_expected =
                    error.data.retryable || T::LASTING.contains(&error.data.code.as_str());
                assert!(is_expected, "{step:?}: {error:?}\n{:#?}", host.stderr_lines());
                End::Badly
            }
        };
        story.ended(step, end);
        living = Some(host).filter(|_| story.random.u8(0..4) > 0);
        let fresh = connect_to(config.clone(), state.path()).await;
        settled(&fresh).await;
        story.check(&fresh).await;
        story.thin_out(&fresh).await;
    }
    drop(living);
    story.end(&connect_to(config.clone(), state.path()).await, server).await;
}
