//! A door for the tests: faults, delays and shorter waits inside the agent.
//!
//! Compiled only with the cargo feature `demo`.

use std::time::Duration;

/// Panics where the environment variable `S3_BACKUP_AGENT_DEMO_FAULT` is the name of this place.
pub(crate) fn trip(place: &str) {
    let wanted = std::env::var("S3_BACKUP_AGENT_DEMO_FAULT").unwrap_or_default();
    assert_ne!(wanted, place, "a fault that was asked for");
}

/// Waits where the environment variable `S3_BACKUP_AGENT_DEMO_SLOW` is the name of this place, an
/// equals sign and a number of milliseconds.
pub(crate) fn delay(place: &str) {
    let wanted = std::env::var("S3_BACKUP_AGENT_DEMO_SLOW").unwrap_or_default();
    let ms = wanted.split_once('=').filter(|(name, _)| *name == place);
    if let Some(ms) = ms.and_then(|(_, ms)| ms.parse().ok()) {
        std::thread::sleep(Duration::from_millis(ms));
    }
}

/// A time limit or pause divided by the number in `S3_BACKUP_AGENT_DEMO_HURRY`, so that tests see in
/// seconds what takes minutes.
pub(crate) fn hurried(time: Duration) -> Duration {
    let divisor = std::env::var("S3_BACKUP_AGENT_DEMO_HURRY").ok();
    time / divisor.and_then(|divisor| divisor.parse().ok()).unwrap_or(1).max(1)
}
