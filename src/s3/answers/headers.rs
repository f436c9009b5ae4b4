//! Removes the headers of responses that are not used: the SDK would reject a whole response for one header
//! that it cannot read, and it keeps all of them.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use chrono::{DateTime, NaiveDateTime, Utc};

use crate::platform::now;
use crate::s3::bounds::{MAX_MEMBER, MAX_SKEW};

/// The header of the upload marker, the only object metadata that is used.
const MARKER_HEADER: &str = concat!("x-amz-meta-", env!("CARGO_PKG_NAME"));

/// Headers that the SDK or the agent reads.
const USED: &[&str] = &[
    "content-length",
    "content-range",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "server",
    "www-authenticate",
    "x-amz-bucket-region",
    "x-amz-delete-marker",
    "x-amz-request-id",
    "x-amz-server-side-encryption",
    "x-amz-version-id",
    "x-minio-error-code",
    "x-minio-error-desc",
    MARKER_HEADER,
];

/// The server's time from the header `Date`.
#[derive(Clone, Copy, Debug)]
pub(in crate::s3) struct ServerDate(pub(in crate::s3) DateTime<Utc>);

/// Keeps the used headers, in the form that the SDK reads. `Date` is kept only if it is close to
/// this machine's time, because the SDK signs with it; its value is stored as [`ServerDate`].
pub(super) fn keep_used(response: &mut HttpResponse) {
    let date = response.headers().get("date").and_then(timestamp);
    if let Some(date) = date {
        response.add_extension(ServerDate(date));
    }
    let is_near = date.is_some_and(|date| {
        let difference = now().signed_duration_since(date).abs();
        difference.to_std().is_ok_and(|difference| difference <= MAX_SKEW)
    });
    let modified = response.headers().get("last-modified").and_then(timestamp);
    let names: Vec<_> =
        response.headers().iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    for name in names {
        let value = response.headers().get(&name).unwrap_or_default();
        let fits = value.len() <= MAX_MEMBER && !value.contains(|letter: char| letter.is_control());
        let used = match name.as_str() {
            "date" => is_near,
            // An empty value, or one that is not a number, is ignored.
            "content-length" => value.trim().parse::<u64>().is_ok(),
            name => USED.contains(&name),
        };
        if !(used && fits) {
            response.headers_mut().remove(name.as_str());
        }
    }
    response.headers_mut().remove("last-modified");
    if let Some(modified) = modified {
        let text = modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        response.headers_mut().insert("last-modified", text);
    }
}

/// Parses a timestamp as servers write it: RFC 1123, ISO 8601 with or without a time zone, with
/// spaces around it. `None` for anything else, and outside of the years 1970 to 9999.
pub(in crate::s3) fn timestamp(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim_matches(|letter: char| letter.is_whitespace() || letter == ':');
    let zoned = DateTime::parse_from_rfc2822(text)
        .or_else(|_| DateTime::parse_from_rfc3339(text))
        .map(|timestamp| timestamp.with_timezone(&Utc));
    let read = zoned.or_else(|_| {
        [
            "%Y-%m-%dT%H:%M:%S%.fZ",
            "%Y-%m-%dT%H:%M:%S%.f",
            "%Y-%m-%d %H:%M:%S%.f",
            "%a, %d %b %Y %H:%M:%S",
        ]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|timestamp| timestamp.and_utc())
        .ok_or(())
    });
    read.ok().filter(|timestamp| (0..=253_402_300_799).contains(&timestamp.timestamp()))
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn kept(headers: &[(&str, &str)]) -> HttpResponse {
        let mut response = http::Response::builder().status(200);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let mut response =
            HttpResponse::try_from(response.body(SdkBody::empty()).unwrap()).unwrap();
        keep_used(&mut response);
        response
    }

    #[test]
    fn date_header_is_read_in_every_server_format() {
        for text in [
            "Fri, 20 Nov 2026 04:32:00 GMT",
            "2026-11-20T04:32:00Z",
            "2026-11-20T04:32:00.000Z",
            "2026-11-20T04:32:00",
            "2026-11-20 04:32:00",
            "2026-11-20T05:32:00+01:00",
            " :Fri, 20 Nov 2026 04:32:00 GMT ",
            "Fri, 20 Nov 2026 04:32:00",
        ] {
            assert_eq!(
                timestamp(text).map(|timestamp| timestamp.timestamp()),
                Some(1_795_149_120),
                "{text}"
            );
        }
        for text in
            ["", "now", "1795149120", "Fri, 31 Dec 1900 00:00:00 GMT", "99999-01-01T00:00:00Z"]
        {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn unused_headers_are_dropped() {
        let response = kept(&[
            ("ETag", "\"e\""),
            ("X-Amz-Object-Lock-Retain-Until-Date", "never"),
            ("Content-Length", ""),
            ("Last-Modified", "2026-11-20T04:32:00Z"),
            ("x-amz-meta-other", "x"),
            (MARKER_HEADER, "mark"),
        ]);
        let mut names: Vec<_> = response.headers().iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        assert_eq!(names, ["etag", "last-modified", MARKER_HEADER]);
        assert_eq!(response.headers().get("last-modified"), Some("Fri, 20 Nov 2026 04:32:00 GMT"));
    }

    #[test]
    fn date_more_than_a_day_off_does_not_reach_the_signer() {
        let in_hours = |hours| (Utc::now() + chrono::TimeDelta::hours(hours)).to_rfc2822();
        for (hours, stays) in [(0, true), (23, true), (-23, true), (25, false), (-48, false)] {
            let response = kept(&[("date", &in_hours(hours))]);
            assert_eq!(response.headers().get("date").is_some(), stays, "{hours}");
            assert!(response.extension::<ServerDate>().is_some());
        }
    }
}
