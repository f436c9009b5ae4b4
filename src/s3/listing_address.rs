//! URL of a listing, which [`crate::net::Probe`] requests without a signature.

use url::Url;

use crate::config::TargetConfig;

/// URL of a listing of at most one key that begins with `prefix`, in the addressing style of
/// `config`. For example `https://s3.example.com/bucket?list-type=2&max-keys=1&prefix=backups%2F`.
#[must_use]
pub fn listing_address(config: &TargetConfig, prefix: &str) -> String {
    let bucket = match virtual_host(config) {
        Some(host) => {
            let port = config.endpoint.port().map(|port| format!(":{port}"));
            format!("{}://{host}{}/", config.endpoint.scheme(), port.unwrap_or_default())
        }
        None => path_style_url(&config.endpoint, &config.bucket),
    };
    let prefix: String = url::form_urlencoded::byte_serialize(prefix.as_bytes()).collect();
    format!("{bucket}?list-type=2&max-keys=1&prefix={prefix}")
}

/// The path-style URL of the bucket.
fn path_style_url(endpoint: &Url, bucket: &str) -> String {
    let mut url = endpoint.clone();
    // Only URLs of other schemes have no path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(bucket);
    }
    url.into()
}

/// The virtual-hosted-style host of the bucket, if `config` uses this style.
fn virtual_host(config: &TargetConfig) -> Option<String> {
    // As the SDK does: a wildcard certificate covers one label, so a bucket name with dots needs
    // path-style over TLS, and an IP address cannot contain the bucket.
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
            assert_eq!(path_style_url(&Url::parse(endpoint).unwrap(), bucket), expected);
        }
    }
}
