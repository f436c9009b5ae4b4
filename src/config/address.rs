//! Parsing of the endpoint: base path, bucket and prefix.
//!
//! Providers show addresses with the bucket in the path or in the host name. The agent splits them
//! if the meaning is clear. Otherwise it keeps alternative interpretations, and `validate` asks the
//! server which one works.

use percent_encoding::percent_decode_str;
use url::Url;

use super::check::{invalid, invalid_endpoint, parse_url};
use super::provider;
use super::suspect::{looks_secret, shown};
use crate::error::{Error, Result};

/// Location of the backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Scheme, host, port and base path of the service.
    pub endpoint: Url,
    /// Name of the bucket.
    pub bucket: String,
    /// Prefix in the bucket.
    pub prefix: String,
}

/// Result of parsing the endpoint.
#[derive(Clone, Debug)]
pub(super) struct Interpretation {
    pub(super) location: Location,
    /// Whether the bucket was taken from the endpoint.
    pub(super) split: bool,
    /// Alternative interpretations, the more likely first.
    pub(super) others: Vec<Location>,
}

/// The bucket and the prefix of the settings.
struct Given<'a> {
    bucket: &'a str,
    prefix: &'a str,
}

/// Parses the endpoint together with the bucket and the prefix. `aws` returns the endpoint of AWS,
/// for an `s3://` address.
pub(super) fn read(
    endpoint: Option<&str>,
    bucket: &str,
    prefix: &str,
    aws: impl FnOnce() -> Result<Url>,
) -> Result<Interpretation> {
    let given = Given { bucket, prefix };
    let Some(text) = endpoint else { return Ok(given.unsplit(aws()?, Vec::new())) };
    if let Some(place) = after_scheme_s3(text.trim()) {
        if place.contains(['@', '?', '#']) {
            return Err(invalid_endpoint(
                "query",
                "the endpoint contains more than a bucket and a prefix",
            )
            .hint("write s3://bucket/prefix"));
        }
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        return given.split(aws()?, &decoded(bucket)?, &decoded(prefix)?, Vec::new());
    }
    given.of_url(parse_url(text)?)
}

fn after_scheme_s3(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    scheme.eq_ignore_ascii_case("s3").then_some(rest)
}

impl Given<'_> {
    fn of_url(&self, mut url: Url) -> Result<Interpretation> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let path = url.path().trim_matches('/').to_owned();
        if let Some((bucket, rest)) = self.bucket_in_host(&host) {
            let whole = url.clone();
            url.set_host(Some(rest)).map_err(|error| {
                invalid_endpoint("bucket_in_url", "the endpoint is not a URL").source(error)
            })?;
            url.set_path("");
            // Some users enter both: `https://bucket.host/bucket`.
            let prefix =
                path.strip_prefix(bucket).filter(|rest| is_path_end(rest)).unwrap_or(&path);
            let known = provider::of_host(rest).is_some();
            let others = if known { Vec::new() } else { vec![self.at(whole)] };
            return self.split(url, bucket, &decoded(prefix)?, others);
        }
        if path.is_empty() {
            url.set_path("");
            return Ok(self.unsplit(url, Vec::new()));
        }
        let (first, rest) = path.split_once('/').unwrap_or((&path, ""));
        let (parent, last) = path.rsplit_once('/').unwrap_or(("", &path));
        let (first, below, last) = (decoded(first)?, decoded(rest)?, decoded(last)?);
        let with_path = |path: &str| {
            let mut url = url.clone();
            url.set_path(path);
            url
        };
        let (root, whole) = (with_path(""), with_path(&path));
        if provider::of_host(&host).is_some() {
            return self.split(root, &first, &below, Vec::new());
        }
        // Supabase and others have the service itself below such a path.
        let is_service = last.eq_ignore_ascii_case("s3");
        if self.bucket.is_empty() && !is_service {
            let other = Location {
                endpoint: with_path(parent),
                bucket: last,
                prefix: self.prefix.to_owned(),
            };
            let others = if rest.is_empty() { Vec::new() } else { vec![other] };
            return self.split(root, &first, &below, others);
        }
        if !self.bucket.is_empty() && first == self.bucket {
            return self.split(root, &first, &below, vec![self.at(whole)]);
        }
        let mut others = Vec::new();
        if last == self.bucket {
            others.push(self.at(with_path(parent)));
        }
        others.push(self.at(root.clone()));
        if others.len() < 2 {
            others.push(Location { endpoint: root, bucket: first, prefix: below });
        }
        Ok(self.unsplit(whole, others))
    }

    /// The bucket in the host name, and the host of the service. A bucket can be named "s3", so
    /// this matches only "<bucket>.s3..." and a bucket before a known host.
    fn bucket_in_host<'h>(&self, host: &'h str) -> Option<(&'h str, &'h str)> {
        if provider::of_host(host).is_some() || provider::wrong_host(host).is_some() {
            return None;
        }
        let splits = host
            .match_indices('.')
            .filter_map(|(dot, _)| Some((host.get(..dot)?, host.get(dot + 1..)?)));
        let mut splits = splits.filter(|(bucket, rest)| {
            let service = rest.starts_with("s3") && rest.contains('.');
            provider::of_host(rest).is_some() || (service && *bucket == self.bucket)
        });
        splits.next().filter(|(bucket, _)| !bucket.is_empty())
    }

    fn at(&self, endpoint: Url) -> Location {
        let (bucket, prefix) = (self.bucket.to_owned(), self.prefix.to_owned());
        Location { endpoint, bucket, prefix }
    }

    fn unsplit(&self, endpoint: Url, others: Vec<Location>) -> Interpretation {
        Interpretation { location: self.at(endpoint), split: false, others }
    }

    /// The location with the bucket and prefix from the endpoint, unless the settings contradict
    /// them.
    fn split(
        &self,
        endpoint: Url,
        bucket: &str,
        prefix: &str,
        others: Vec<Location>,
    ) -> Result<Interpretation> {
        if !self.bucket.is_empty() && self.bucket != bucket {
            return Err(contradiction("bucket", bucket, self.bucket));
        }
        let (found, given) = (prefix.trim_matches('/'), self.prefix.trim().trim_matches('/'));
        if !found.is_empty() && !given.is_empty() && found != given {
            return Err(contradiction("prefix", found, given));
        }
        let prefix = if found.is_empty() { self.prefix } else { found };
        if looks_secret(bucket) || looks_secret(prefix) {
            return Err(invalid_endpoint(
                "bucket_in_url",
                "the endpoint contains what looks like a secret",
            )
            .hint("enter only the address of the service"));
        }
        let location = Location { endpoint, bucket: bucket.to_owned(), prefix: prefix.to_owned() };
        Ok(Interpretation { location, split: true, others })
    }
}

fn is_path_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

fn contradiction(what: &str, in_endpoint: &str, given: &str) -> Error {
    let (in_endpoint, given) = (shown(in_endpoint), shown(given));
    invalid_endpoint(
        "bucket_in_url",
        format!("the endpoint names the {what} {in_endpoint}, but the {what} is set to {given}"),
    )
    .hint(format!("remove the {what} from the endpoint, or set the same {what}"))
}

fn decoded(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|error| {
        invalid("endpoint", "the path of the endpoint is not valid UTF-8")
            .hint("check it")
            .source(error)
    })?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(endpoint: &str, bucket: &str, prefix: &str) -> Result<Interpretation> {
        let aws = || Ok(Url::parse("https://s3.eu-west-1.amazonaws.com").unwrap());
        read(Some(endpoint), bucket, prefix, aws)
    }

    fn parts(location: &Location) -> (&str, &str, &str) {
        let endpoint = location.endpoint.as_str().trim_end_matches('/');
        (endpoint, &location.bucket, &location.prefix)
    }

    #[test]
    fn endpoint_with_bucket_is_split() {
        const R2: &str = "https://acc.r2.cloudflarestorage.com";
        const AWS: &str = "https://s3.eu-central-1.amazonaws.com";
        for (endpoint, bucket, expected) in [
            ("https://acc.r2.cloudflarestorage.com/b1", "", (R2, "b1", "")),
            ("https://acc.r2.cloudflarestorage.com/b1/", "b1", (R2, "b1", "")),
            ("https://b1.acc.r2.cloudflarestorage.com", "", (R2, "b1", "")),
            ("https://s3.eu-central-1.amazonaws.com/b1", "", (AWS, "b1", "")),
            ("https://s3.eu-central-1.amazonaws.com/b1/ha/x", "b1", (AWS, "b1", "ha/x")),
            ("https://b1.s3.eu-central-1.amazonaws.com", "", (AWS, "b1", "")),
            ("https://my.b1.s3.eu-central-1.amazonaws.com", "my.b1", (AWS, "my.b1", "")),
            ("https://b1.s3.eu-central-1.amazonaws.com/ha/", "b1", (AWS, "b1", "ha")),
            ("https://b1.s3.example.org", "b1", ("https://s3.example.org", "b1", "")),
            ("https://b1.s3.example.org/b1", "b1", ("https://s3.example.org", "b1", "")),
            (
                "https://b1.fra1.digitaloceanspaces.com",
                "b1",
                ("https://fra1.digitaloceanspaces.com", "b1", ""),
            ),
            ("http://nas:9000/b1", "b1", ("http://nas:9000", "b1", "")),
            ("http://nas:9000/b1", "", ("http://nas:9000", "b1", "")),
            ("http://nas:9000/b1/ha", "", ("http://nas:9000", "b1", "ha")),
            ("http://nas:9000/my%5Fb/h%20a", "my_b", ("http://nas:9000", "my_b", "h a")),
            ("s3://b1", "", ("https://s3.eu-west-1.amazonaws.com", "b1", "")),
            ("S3://b1/ha/x/", "b1", ("https://s3.eu-west-1.amazonaws.com", "b1", "ha/x")),
        ] {
            let reading = reading(endpoint, bucket, "").unwrap();
            assert!(reading.split, "{endpoint}");
            assert_eq!(parts(&reading.location), expected, "{endpoint}");
        }
    }

    #[test]
    fn endpoint_with_base_path_keeps_it() {
        for (endpoint, whole) in [
            ("https://x.example/storage/v1/s3", "https://x.example/storage/v1/s3"),
            ("https://x.example/storage/v1/s3///", "https://x.example/storage/v1/s3"),
            ("https://x.example:8443/a%20b", "https://x.example:8443/a%20b"),
            ("https://x.example/a%2Fb/", "https://x.example/a%2Fb"),
        ] {
            let reading = reading(endpoint, "backups", "ha").unwrap();
            assert!(!reading.split);
            assert_eq!(parts(&reading.location), (whole, "backups", "ha"));
            assert!((1..=2).contains(&reading.others.len()));
        }
        let reading = reading("https://x.example/storage/v1/s3/b1", "b1", "").unwrap();
        assert_eq!(parts(&reading.others[0]), ("https://x.example/storage/v1/s3", "b1", ""));
        // The service is below the path, so the bucket is missing.
        assert_eq!(self::reading("https://x.example/v1/s3", "", "").unwrap().location.bucket, "");
    }

    #[test]
    fn endpoint_that_contradicts_settings_names_both() {
        for (endpoint, bucket, prefix, both) in [
            ("https://acc.r2.cloudflarestorage.com/one", "two", "", ["\"one\"", "\"two\""]),
            ("https://one.s3.eu-central-1.amazonaws.com", "two", "", ["\"one\"", "\"two\""]),
            ("s3://one", "two", "", ["\"one\"", "\"two\""]),
            ("http://nas:9000/b1/one", "b1", "two", ["\"one\"", "\"two\""]),
        ] {
            let error = reading(endpoint, bucket, prefix).unwrap_err();
            assert!(both.iter().all(|name| error.message().contains(name)), "{error}");
        }
    }
}
