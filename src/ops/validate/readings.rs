//! Other readings of an endpoint that holds more than a host: a base path, or a bucket.

use crate::archives::Layout;
use crate::config::{Location, TargetConfig};
use crate::error::Error;
use crate::ops::Cancel;
use crate::s3::Bucket;

/// Readings that are tried; each costs a request.
const MOST: usize = 2;

/// The first of the other readings that the server lists, after the one in use failed with `error`.
pub(super) async fn that_works(
    config: &TargetConfig,
    error: &Error,
    cancel: &Cancel,
) -> Option<Location> {
    // Where no server answered, another path changes nothing.
    error.upstream_answer()?;
    for location in config.other_readings.iter().take(MOST) {
        let config = config.at(location);
        let layout = Layout::new(&config.prefix, &config.folder).ok()?;
        let bucket = Bucket::for_probing(&config).ok()?;
        if cancel.cancellable(bucket.probe_list(layout.folder())).await.is_ok() {
            return Some(location.clone());
        }
    }
    None
}

/// A location in words, as settings name it.
pub(super) fn described(location: &Location) -> String {
    let endpoint = location.endpoint.as_str().trim_end_matches('/');
    let mut words = format!("the endpoint {endpoint} and the bucket \"{}\"", location.bucket);
    let prefix = location.prefix.trim_matches('/');
    if !prefix.is_empty() {
        words.push_str(&format!(", prefix \"{prefix}\""));
    }
    words
}
