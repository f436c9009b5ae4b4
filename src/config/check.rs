//! Checks of settings without the network. Each error names the field and the remedy.

use url::{Host, Url};

use super::suspect::looks_secret;
use super::{
    Algorithm, DEFAULT_MEMORY_BUDGET, DEFAULT_PARALLEL_PARTS, DEFAULT_PART_SIZE, Encryption,
    MAX_PART_SIZE, MIN_BYTES_PER_SECOND, MIN_MEMORY_BUDGET, MIN_PART_SIZE, MOST_PARALLEL_PARTS,
    Secret,
};
use crate::error::{Code, Error, Result};

/// Longest bucket name of all providers: AWS once allowed 255 bytes.
pub(super) const LONGEST_BUCKET: usize = 255;

/// Longest ID of a KMS key, including an ARN.
const LONGEST_KEY_ID: usize = 2048;

pub(super) fn invalid(field: &'static str, message: impl Into<String>) -> Error {
    Error::new(Code::InvalidConfig, message).field(field).detail("field", field)
}

pub(super) fn invalid_endpoint(reason: &'static str, message: impl Into<String>) -> Error {
    Error::new(Code::InvalidEndpoint, message).field("endpoint").detail("reason", reason)
}

/// An `http` or `https` URL without a user, a query or a fragment. Messages contain the host only.
pub(super) fn parse_url(text: &str) -> Result<Url> {
    let text = text.trim();
    if text.is_empty() {
        return Err(
            invalid_endpoint("scheme", "the endpoint is empty").hint("enter https:// and the host")
        );
    }
    if !text.contains("://") {
        if text.contains('@') {
            return Err(credentials_in_url());
        }
        let address = match looks_secret(text) || !text.contains(['.', ':']) {
            true => "https:// and the host".to_owned(),
            false => format!("https://{text}"),
        };
        return Err(invalid_endpoint("scheme", "the endpoint has no scheme")
            .hint(format!("write {address}")));
    }
    let url = Url::parse(text).map_err(|error| {
        invalid_endpoint("scheme", format!("the endpoint is not a URL: {error}"))
    })?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(invalid_endpoint("scheme", "the scheme of the endpoint is not supported")
            .hint("use https:// (or http://)"));
    }
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err(credentials_in_url());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid_endpoint("query", "the endpoint contains ? or #")
            .hint("enter only the scheme, the host and a base path"));
    }
    Ok(url)
}

fn credentials_in_url() -> Error {
    invalid_endpoint("credentials_in_url", "the endpoint contains a user name or password")
        .hint("remove it and use the access keys")
}

pub(super) fn aws_endpoint(region: &str) -> Result<Url> {
    let region = check_region(region.to_owned())?;
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    Url::parse(&format!("https://s3.{region}.{suffix}")).map_err(|error| {
        invalid("region", "the region cannot be used in a host name").source(error)
    })
}

pub(super) fn check_region(region: String) -> Result<String> {
    let region = region.trim();
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if region.is_empty() || region.len() > 64 || !region.chars().all(plain) {
        return Err(invalid(
            "region",
            "the region must be letters, digits, hyphens, underscores and dots, such as eu-central-1, \
             auto or garage; leave it out if your server has none",
        ));
    }
    Ok(region.to_owned())
}

/// Refuses a setting whose value is one of the secrets, or looks like one, before another message
/// can repeat it.
pub(super) fn check_not_secret(
    field: &'static str,
    value: Option<&str>,
    secrets: &[&Secret],
) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    let holds = |secret: &Secret| secret.expose().len() >= 8 && value.contains(secret.expose());
    if looks_secret(value) || secrets.iter().any(|secret| holds(secret)) {
        let name = field.replace('_', " ");
        let message = format!("the {name} contains what looks like a secret key");
        let error = match field {
            "endpoint" => invalid_endpoint("credentials_in_url", message),
            "bucket" => wrong_bucket(message),
            _ => invalid(field, message),
        };
        return Err(error.hint("remove it"));
    }
    Ok(())
}

fn wrong_bucket(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidBucketName, message).field("bucket")
}

/// Refuses names that no server accepts, and on AWS those that violate its rules.
pub(super) fn check_bucket(bucket: &str, host: &str) -> Result<()> {
    let wrong = |fact: &str, hint: &str| Err(wrong_bucket(fact).hint(hint));
    if bucket.is_empty() {
        return Err(wrong_bucket("the bucket name is missing"));
    }
    if bucket.starts_with("arn:") {
        return wrong(
            "the bucket is an ARN",
            "enter the alias of the access point, or the name of the bucket",
        );
    }
    if bucket.contains("://") {
        return wrong("the bucket is an address", "enter only its name, and folders as prefix");
    }
    if bucket.contains(['/', '\\']) {
        return wrong(
            "the bucket name contains a slash",
            "enter only the name, and folders as prefix",
        );
    }
    if bucket.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return wrong("the bucket name contains a blank or control character", "remove it");
    }
    if bucket.contains(['?', '#']) || bucket.contains("..") || bucket == "." {
        return wrong("the bucket name contains ?, # or two dots in a row", "check it");
    }
    if bucket.len() > LONGEST_BUCKET {
        return wrong(&format!("the bucket name has more than {LONGEST_BUCKET} bytes"), "check it");
    }
    let host = host.trim_end_matches(".cn");
    if host == "amazonaws.com" || host.ends_with(".amazonaws.com") {
        return check_bucket_of_aws(bucket);
    }
    Ok(())
}

fn check_bucket_of_aws(bucket: &str) -> Result<()> {
    let wrong = |message: String| Err(wrong_bucket(message));
    if !(3..=63).contains(&bucket.len()) {
        return wrong("the bucket name must have 3 to 63 characters on AWS".to_owned());
    }
    if let Some(character) = bucket.chars().find(|character| !is_plain(*character)) {
        return wrong(format!(
            "the bucket name contains {character:?}: only lowercase letters, digits, hyphens and dots \
             are allowed on AWS, and folders go into the prefix"
        ));
    }
    let edge = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric());
    if !edge(bucket.chars().next()) || !edge(bucket.chars().next_back()) {
        return wrong(
            "the bucket name must start and end with a letter or digit on AWS".to_owned(),
        );
    }
    if matches!(Host::parse(bucket), Ok(Host::Ipv4(_))) {
        return wrong("the bucket name looks like an IP address".to_owned());
    }
    Ok(())
}

fn is_plain(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || "-.".contains(character)
}

/// Whether the bucket name is valid in a host name.
pub(super) fn fits_host(bucket: &str) -> bool {
    (3..=63).contains(&bucket.len()) && bucket.chars().all(is_plain)
}

/// The server-side encryption to request.
pub(super) fn check_encryption(
    algorithm: Option<Algorithm>,
    key_id: Option<String>,
) -> Result<Option<Encryption>> {
    const FIELD: &str = "server_side_encryption_key_id";
    let key_id = key_id.filter(|id| !id.is_empty());
    if let Some(id) = &key_id {
        if algorithm != Some(Algorithm::Kms) {
            return Err(invalid(FIELD, "a KMS key requires the server-side encryption aws:kms")
                .hint("set it, or remove the key"));
        }
        if id.len() > LONGEST_KEY_ID || !id.chars().all(|letter| letter.is_ascii_graphic()) {
            return Err(invalid(FIELD, "the KMS key must be an ID, ARN or alias without blanks")
                .hint("copy it again"));
        }
    }
    Ok(algorithm.map(|algorithm| Encryption { algorithm, key_id }))
}

pub(super) fn check_key(field: &'static str, what: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(invalid(field, format!("the {what} is missing")));
    }
    if value.trim().is_empty() {
        return Err(invalid(field, format!("the {what} is blank")).hint("enter it"));
    }
    if value.trim() != value {
        return Err(invalid(
            field,
            format!("the {what} starts or ends with a blank or line break"),
        )
        .hint("remove it"));
    }
    if value.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err(invalid(field, format!("the {what} contains a blank or control character"))
            .hint("copy it again"));
    }
    Ok(())
}

pub(super) fn check_part_size(wanted: Option<u64>) -> Result<u64> {
    let size = wanted.unwrap_or(DEFAULT_PART_SIZE);
    if !(MIN_PART_SIZE..=MAX_PART_SIZE).contains(&size) {
        return Err(invalid(
            "part_size",
            "the part size must be between 5 MiB (5242880) and 5 GiB (5368709120)",
        ));
    }
    Ok(size)
}

pub(super) fn check_memory_budget(wanted: Option<u64>) -> Result<u64> {
    let budget = wanted.unwrap_or(DEFAULT_MEMORY_BUDGET);
    if budget < MIN_MEMORY_BUDGET {
        return Err(invalid(
            "memory",
            format!("the memory budget must be at least {MIN_MEMORY_BUDGET} bytes (32 MiB)"),
        ));
    }
    Ok(budget)
}

pub(super) fn check_parallel_parts(wanted: Option<u64>) -> Result<usize> {
    let Some(count) = wanted else { return Ok(DEFAULT_PARALLEL_PARTS) };
    let count = usize::try_from(count).ok();
    count.filter(|count| (1..=MOST_PARALLEL_PARTS).contains(count)).ok_or_else(|| {
        invalid("concurrency", format!("the concurrency must be 1 to {MOST_PARALLEL_PARTS}"))
    })
}

pub(super) fn check_rate(wanted: Option<u64>) -> Result<Option<u64>> {
    if wanted.is_some_and(|rate| rate < MIN_BYTES_PER_SECOND) {
        return Err(invalid(
            "bandwidth_limit",
            format!(
                "the bandwidth limit must be at least {MIN_BYTES_PER_SECOND} bytes per second (64 KiB)"
            ),
        )
        .hint("leave it out for no limit"));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of<T: std::fmt::Debug>(refused: Result<T>) -> String {
        let error = refused.unwrap_err();
        assert_eq!(error.code(), Code::InvalidConfig);
        error.data().field.unwrap_or_default()
    }

    #[test]
    fn concurrency_outside_its_range_is_refused() {
        assert_eq!(check_parallel_parts(None).unwrap(), DEFAULT_PARALLEL_PARTS);
        for fits in [1, 64] {
            assert_eq!(check_parallel_parts(Some(fits)).unwrap() as u64, fits);
        }
        for wrong in [0, 65, u64::MAX] {
            assert_eq!(field_of(check_parallel_parts(Some(wrong))), "concurrency");
        }
    }

    #[test]
    fn bandwidth_limit_below_minimum_is_refused() {
        for fits in [None, Some(65_536), Some(u64::MAX)] {
            assert_eq!(check_rate(fits).unwrap(), fits);
        }
        for wrong in [0, 65_535] {
            assert_eq!(field_of(check_rate(Some(wrong))), "bandwidth_limit");
        }
    }
}
