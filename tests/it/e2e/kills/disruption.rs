//! An agent that survives a server that becomes unreachable and returns, repeatedly.

use std::cell::Cell;
use std::time::Duration;

use serde_json::Value;

use super::history::{End, History, kills};
use crate::e2e::crash_cleanup::{connect_to, wait_for_run_cleanup};
use crate::support::TestServer;

/// The longest time for an operation that is disturbed for a moment.
const TIME_LIMIT: Duration = Duration::from_secs(150);

/// Makes the server unreachable for a while.
pub(crate) trait Disruption {
    /// Errors that the disruption may cause although a retry alone does not fix them.
    const PERSISTENT: &[&str] = &[];

    /// Returns when the server is reachable again.
    async fn disrupt(&mut self, random: &mut fastrand::Rng);
}

/// Disturbs the work of an agent with these settings this many times, and checks with another agent
/// after each time what the server stores. Most agents survive more than one disruption.
pub(crate) async fn run_with_disruptions<T: Disruption>(
    server: &TestServer,
    config: &Value,
    disruption: &mut T,
    default_count: u64,
) {
    let state = tempfile::tempdir().unwrap();
    let mut history = History::new();
    let mut surviving = None;
    for _ in 0..kills(default_count) {
        let host = match surviving.take() {
            Some(host) => host,
            None => connect_to(config.clone(), state.path()).await,
        };
        let step = history.next();
        let pause = history.pause(&step);
        let mut random = history.random.fork();
        let disrupted = Cell::new(false);
        let running = async {
            let ended = tokio::time::timeout(TIME_LIMIT, step.run(&host)).await;
            (ended.unwrap_or_else(|_| panic!("{step:?} does not end")), disrupted.get())
        };
        let ((ended, was_disrupted), ()) = tokio::join!(running, async {
            tokio::time::sleep(pause).await;
            disrupted.set(true);
            disruption.disrupt(&mut random).await;
        });
        let end = match ended {
            Ok(_) if was_disrupted => End::Despite,
            Ok(_) => End::Before,
            Err(error) => {
                let is_expected =
                    error.data.retryable || T::PERSISTENT.contains(&error.data.code.as_str());
                assert!(is_expected, "{step:?}: {error:?}\n{:#?}", host.stderr_lines());
                End::Failed
            }
        };
        history.ended(step, end);
        surviving = Some(host).filter(|_| history.random.u8(0..4) > 0);
        let fresh = connect_to(config.clone(), state.path()).await;
        wait_for_run_cleanup(&fresh).await;
        history.check(&fresh).await;
        history.delete_excess(&fresh).await;
    }
    drop(surviving);
    history.end(&connect_to(config.clone(), state.path()).await, server).await;
}
