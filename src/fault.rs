//! A door for the tests: faults and delays inside the agent, at the place that they ask for.
//!
//! Compiled only with the cargo feature `demo`.

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
        std::thread::sleep(std::time::Duration::from_millis(ms));
    }
}
