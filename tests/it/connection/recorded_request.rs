//! Requests as they arrived at a test proxy.

use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use sha2::{Digest as _, Sha256};

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct RecordedRequest {
    /// Number of its connection.
    pub(crate) connection: usize,
    pub(crate) method: Method,
    /// As in the request line.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// Requests in progress when it arrived, including itself.
    pub(crate) at_once: usize,
    pub(crate) length: usize,
    /// SHA-256 of its body, in hexadecimal.
    pub(crate) sha256: String,
}

impl RecordedRequest {
    pub(crate) fn new(connection: usize, at_once: usize, head: &Parts, content: &[u8]) -> Self {
        Self {
            connection,
            at_once,
            method: head.method.clone(),
            uri: head.uri.clone(),
            headers: head.headers.clone(),
            length: content.len(),
            sha256: hex(&Sha256::digest(content)),
        }
    }

    /// Empty when it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Names in the query, in order, without `x-id`, which only repeats the call.
    pub(crate) fn query_names(&self) -> Vec<&str> {
        let pairs = self.uri.query().unwrap_or_default().split('&');
        let names = pairs.filter_map(|pair| pair.split('=').next());
        let mut names: Vec<_> = names.filter(|name| !matches!(*name, "" | "x-id")).collect();
        names.sort_unstable();
        names
    }
}

/// The number of the part that a request sends.
pub(crate) fn part(uri: &Uri) -> Option<u32> {
    let mut pairs = uri.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("partNumber="))?.parse().ok()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
