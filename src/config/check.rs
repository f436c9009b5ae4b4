//! What can be said of a setting without the network: each refusal names the field and the remedy.

use url::{Host, Url};

use super::provider;
use super::{
    DEFAULT_MEMORY_BUDGET, DEFAULT_PARALLEL_PARTS, DEFAULT_PART_SIZE, MAX_PART_SIZE,
    MIN_BYTES_PER_SECOND, MIN_MEMORY_BUDGET, MIN_PART_SIZE, MOST_PARALLEL_PARTS,
};
use crate::error::{Code, Error, Result};

pub(super) fn invalid(field: &'static str, message: impl Into<String>) -> Error {
    Error::new(Code::InvalidConfig, message).field(field).fact("field", field)
}

fn invalid_endpoint(reason: &'static str, message: impl Into<String>) -> Error {
    Error::new(Code::InvalidEndpoint, message).field("endpoint").fact("reason", reason)
}

pub(super) fn parse_endpoint(text: &str, bucket: &str) -> Result<Url> {
    let text = text.trim();
    if text.is_empty() {
        return Err(invalid_endpoint(
            "scheme",
            "the endpoint is empty: enter https:// and the host",
        ));
    }
    if !text.contains("://") {
        return Err(invalid_endpoint(
            "scheme",
            format!("the endpoint \"{text}\" has no scheme: write https://{text}"),
        ));
    }
    let url = Url::parse(text).map_err(|error| {
        invalid_endpoint("scheme", format!("the endpoint \"{text}\" is not a URL: {error}"))
    })?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(invalid_endpoint(
            "scheme",
            format!("the endpoint starts with {}://: use https:// (or http://)", url.scheme()),
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid_endpoint(
            "credentials_in_url",
            "the endpoint holds a user name or password: remove it and use the keys instead",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid_endpoint(
            "query",
            "the endpoint has something behind a ? or #: enter the scheme and the host only",
        ));
    }
    let path = url.path().trim_matches('/');
    if !path.is_empty() {
        return Err(invalid_endpoint(
            "bucket_in_url",
            format!(
                "the endpoint has a path (/{path}): enter the scheme and the host only; the bucket \
                 and the prefix have fields of their own"
            ),
        ));
    }
    let host = url.host_str().unwrap_or_default();
    // A bucket may itself be called "s3", so only "<bucket>.s3…" is taken for a mistake, and a bucket
    // before a host that is known.
    if let Some(rest) = host.strip_prefix(bucket).and_then(|rest| rest.strip_prefix('.'))
        && ((rest.starts_with("s3") && rest.contains('.')) || provider::of_host(rest).is_some())
        && provider::of_host(host).is_none()
    {
        return Err(invalid_endpoint(
            "bucket_in_url",
            format!("the endpoint already holds the bucket: write {}://{rest}", url.scheme()),
        ));
    }
    Ok(url)
}

pub(super) fn aws_endpoint(region: &str) -> Result<Url> {
    let region = check_region(region.to_owned())?;
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    Url::parse(&format!("https://s3.{region}.{suffix}"))
        .map_err(|error| invalid("region", format!("\"{region}\" is not a region")).source(error))
}

pub(super) fn check_region(region: String) -> Result<String> {
    let region = region.trim();
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if region.is_empty() || region.len() > 64 || !region.chars().all(plain) {
        return Err(invalid(
            "region",
            "the region must be letters, digits and hyphens, such as eu-central-1, auto or garage; \
             leave it out if your storage has none",
        ));
    }
    Ok(region.to_owned())
}

pub(super) fn check_bucket(bucket: &str) -> Result<()> {
    let wrong = |message: String| {
        Err(Error::new(Code::InvalidBucketName, message).field("bucket").fact("bucket", bucket))
    };
    if bucket.is_empty() {
        return wrong("the bucket name is missing".to_owned());
    }
    if !(3..=63).contains(&bucket.len()) {
        return wrong(format!("the bucket name \"{bucket}\" must have 3 to 63 characters"));
    }
    let plain = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || "-.".contains(character)
    };
    if let Some(character) = bucket.chars().find(|character| !plain(*character)) {
        return wrong(format!(
            "the bucket name \"{bucket}\" holds {character:?}: only lower-case letters, digits, \
             hyphens and dots are allowed, and folders go into the prefix"
        ));
    }
    let edge = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric());
    if !edge(bucket.chars().next()) || !edge(bucket.chars().next_back()) || bucket.contains("..") {
        return wrong(format!(
            "the bucket name \"{bucket}\" must begin and end with a letter or digit and have no \
             two dots in a row"
        ));
    }
    if matches!(Host::parse(bucket), Ok(Host::Ipv4(_))) {
        return wrong(format!("the bucket name \"{bucket}\" looks like an IP address"));
    }
    Ok(())
}

pub(super) fn check_key(field: &'static str, what: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(invalid(field, format!("the {what} is missing")));
    }
    if value.trim().is_empty() {
        return Err(invalid(field, format!("the {what} is blank: enter it")));
    }
    if value.trim() != value {
        return Err(invalid(
            field,
            format!("the {what} has a blank or line break before or after it: remove that"),
        ));
    }
    if value.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err(invalid(
            field,
            format!("the {what} holds a blank or control character: copy it again"),
        ));
    }
    Ok(())
}

pub(super) fn check_part_size(wanted: Option<u64>) -> Result<u64> {
    let size = wanted.unwrap_or(DEFAULT_PART_SIZE);
    if !(MIN_PART_SIZE..=MAX_PART_SIZE).contains(&size) {
        return Err(invalid(
            "part_size_bytes",
            "the part size must be between 5 MiB (5242880) and 5 GiB (5368709120)",
        ));
    }
    Ok(size)
}

pub(super) fn check_memory_budget(wanted: Option<u64>) -> Result<u64> {
    let budget = wanted.unwrap_or(DEFAULT_MEMORY_BUDGET);
    if budget < MIN_MEMORY_BUDGET {
        return Err(invalid(
            "memory_budget_bytes",
            format!("the memory budget must be at least {MIN_MEMORY_BUDGET} bytes (32 MiB)"),
        ));
    }
    Ok(budget)
}

pub(super) fn check_parallel_parts(wanted: Option<u64>) -> Result<usize> {
    let Some(count) = wanted else { return Ok(DEFAULT_PARALLEL_PARTS) };
    let count = usize::try_from(count).ok();
    count.filter(|count| (1..=MOST_PARALLEL_PARTS).contains(count)).ok_or_else(|| {
        invalid(
            "max_parallel_parts",
            format!("the number of parts at the same time must be 1 to {MOST_PARALLEL_PARTS}"),
        )
    })
}

pub(super) fn check_rate(wanted: Option<u64>) -> Result<Option<u64>> {
    if wanted.is_some_and(|rate| rate < MIN_BYTES_PER_SECOND) {
        return Err(invalid(
            "max_bytes_per_second",
            format!(
                "the limit must be at least {MIN_BYTES_PER_SECOND} bytes per second (64 KiB); \
                 leave it out for none"
            ),
        ));
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
    fn the_number_of_parts_has_bounds() {
        assert_eq!(check_parallel_parts(None).unwrap(), DEFAULT_PARALLEL_PARTS);
        for fits in [1, 64] {
            assert_eq!(check_parallel_parts(Some(fits)).unwrap() as u64, fits);
        }
        for wrong in [0, 65, u64::MAX] {
            assert_eq!(field_of(check_parallel_parts(Some(wrong))), "max_parallel_parts");
        }
    }

    #[test]
    fn a_rate_is_not_too_low() {
        for fits in [None, Some(65_536), Some(u64::MAX)] {
            assert_eq!(check_rate(fits).unwrap(), fits);
        }
        for wrong in [0, 65_535] {
            assert_eq!(field_of(check_rate(Some(wrong))), "max_bytes_per_second");
        }
    }
}
