//! The address of a listing, as [`crate::net::Probe`] asks for it without a signature.

use url::Url;

use crate::config::TargetConfig;

/// URL of a listing of at most one key under `prefix`, in the addressing style of `config`.
#[must_use]
pub fn listing_address(config: &TargetConfig, prefix: &str) -> String {
    let bucket = match host_of_bucket(config) {
        Some(host) => {
            let port = config.endpoint.port().map(|port| format!(":{port}"));
            format!("{}://{host}{}/", config.endpoint.scheme(), port.unwrap_or_default())
        }
        None => below(&config.endpoint, &config.bucket),
    };
    let prefix: String = url::form_urlencoded::byte_serialize(prefix.as_bytes()).collect();
    format!("{bucket}?list-type=2&max-keys=1&prefix={prefix}")
}

/// The bucket below the endpoint and its base path.
fn below(endpoint: &Url, bucket: &str) -> String {
    let mut url = endpoint.clone();
    // Only URLs of other schemes have no path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(bucket);
    }
    url.into()
}

/// The host that requests go to when it holds the bucket.
fn host_of_bucket(config: &TargetConfig) -> Option<String> {
    // Where the SDK does the same: a certificate covers one label, and an address has none.
    let dots = config.bucket.contains('.') && config.endpoint.scheme() == "https";
    let host = config.endpoint.domain().filter(|_| !config.path_style && !dots)?;
    Some(format!("{}.{host}", config.bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_url_keeps_base_path_and_encodes_bucket() {
        for (endpoint, bucket, expected) in [
            ("https://h", "b1", "https://h/b1"),
            ("https://h:9000/", "my_b", "https://h:9000/my_b"),
            ("https://h/storage/v1/s3", "b1", "https://h/storage/v1/s3/b1"),
            ("https://h/a%20b", "b\u{fc}ck", "https://h/a%20b/b%C3%BCck"),
            ("https://h", "tenant:b", "https://h/tenant:b"),
        ] {
            assert_eq!(below(&Url::parse(endpoint).unwrap(), bucket), expected);
        }
    }
}
