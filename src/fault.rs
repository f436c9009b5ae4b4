//! A door for the tests: faults inside the agent, at the place that they ask for.
//!
//! Compiled only with the cargo feature `demo`.

/// Panics where the environment variable `S3_BACKUP_AGENT_DEMO_FAULT` is the name of this place.
pub(crate) fn trip(place: &str) {
    let wanted = std::env::var("S3_BACKUP_AGENT_DEMO_FAULT").unwrap_or_default();
    assert_ne!(wanted, place, "a fault that was asked for");
}
