//! Alternative interpretations of an endpoint with a path: base path or bucket.

use crate::archives::Layout;
use crate::config::{Location, TargetConfig};
use crate::error::Error;
use crate::ops::Cancel;
use crate::s3::Bucket;

/// Interpretations that are tried; each costs a request.
const MAX_TRIED: usize = 2;

/// The first alternative interpretation that the server lists, after the one in use failed with
/// `error`.
pub(super) async fn find_working(
    config: &TargetConfig,
    error: &Error,
    cancel: &Cancel,
) -> Option<Location> {
    // If no server answered, another path does not help.
    error.upstream_answer()?;
    for location in config.other_interpretations.iter().take(MAX_TRIED) {
        let config = config.at(location);
        let layout = Layout::new(&config.prefix, &config.folder).ok()?;
        let bucket = Bucket::for_probing(&config).ok()?;
        if cancel.cancellable(bucket.probe_list(layout.folder())).await.is_ok() {
            return Some(location.clone());
        }
    }
    None
}

/// A location in words, with the names of the settings.
pub(super) fn describe(location: &Location) -> String {
    let endpoint = location.endpoint.as_str().trim_end_matches('/');
    let mut words = format!("the endpoint {endpoint} and the bucket \"{}\"", location.bucket);
    let prefix = location.prefix.trim_matches('/');
    if !prefix.is_empty() {
        words.push_str(&format!(", prefix \"{prefix}\""));
    }
    words
}
