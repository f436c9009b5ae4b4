//! Fault injection for tests: faults, delays and shorter waits inside the agent.
//!
//! Compiled only with the cargo feature `demo`.

use std::time::Duration;

/// Panics if the environment variable `S3_BACKUP_AGENT_DEMO_FAULT` is `place`.
pub(crate) fn trip(place: &str) {
    let wanted = std::env::var("S3_BACKUP_AGENT_DEMO_FAULT").unwrap_or_default();
    assert_ne!(wanted, place, "a fault that was asked for");
}

/// Sleeps if the environment variable `S3_BACKUP_AGENT_DEMO_SLOW` is `place=MS`, with MS in
/// milliseconds.
pub(crate) fn delay(place: &str) {
    let wanted = std::env::var("S3_BACKUP_AGENT_DEMO_SLOW").unwrap_or_default();
    let ms = wanted.split_once('=').filter(|(name, _)| *name == place);
    if let Some(ms) = ms.and_then(|(_, ms)| ms.parse().ok()) {
        std::thread::sleep(Duration::from_millis(ms));
    }
}

/// Divides a time limit or pause by the number in `S3_BACKUP_AGENT_DEMO_HURRY`, so that tests take
/// seconds instead of minutes.
pub(crate) fn hurried(time: Duration) -> Duration {
    let divisor = std::env::var("S3_BACKUP_AGENT_DEMO_HURRY").ok();
    time / divisor.and_then(|divisor| divisor.parse().ok()).unwrap_or(1).max(1)
}
