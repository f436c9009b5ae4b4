//! The headers of an answer that anything reads. Others are left out: the SDK would refuse the whole
//! answer for one that it cannot read, and keeps them all.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use chrono::{DateTime, NaiveDateTime, Utc};

use crate::platform::now;
use crate::s3::bounds::{MEMBER, SKEW};

/// The only member of the metadata of objects that is read.
const MARK_HEADER: &str = concat!("x-amz-meta-", env!("CARGO_PKG_NAME"));

/// Headers that are read, by the SDK or by us.
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
    MARK_HEADER,
];

/// The clock of the server, as the header `Date` has it.
#[derive(Clone, Copy, Debug)]
pub(in crate::s3) struct ServerDate(pub(in crate::s3) DateTime<Utc>);

/// Leaves what is used, in the form that the SDK reads. `Date` stays only where it is near our own
/// time, because the SDK signs with it; what it was is kept as [`ServerDate`].
pub(super) fn keep_used(response: &mut HttpResponse) {
    let date = response.headers().get("date").and_then(moment);
    if let Some(date) = date {
        response.add_extension(ServerDate(date));
    }
    let is_near = date.is_some_and(|date| {
        let apart = now().signed_duration_since(date).abs();
        apart.to_std().is_ok_and(|apart| apart <= SKEW)
    });
    let modified = response.headers().get("last-modified").and_then(moment);
    let names: Vec<_> =
        response.headers().iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    for name in names {
        let value = response.headers().get(&name).unwrap_or_default();
        let fits = value.len() <= MEMBER && !value.contains(|letter: char| letter.is_control());
        let used = match name.as_str() {
            "date" => is_near,
            // An empty one, or one that is no number, says nothing.
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

/// A moment as servers write it: RFC 1123, ISO 8601 with or without zone, blanks around it. None for
/// anything else, and outside of the years 1970 to 9999.
pub(in crate::s3) fn moment(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim_matches(|letter: char| letter.is_whitespace() || letter == ':');
    let zoned = DateTime::parse_from_rfc2822(text)
        .or_else(|_| DateTime::parse_from_rfc3339(text))
        .map(|moment| moment.with_timezone(&Utc));
    let read = zoned.or_else(|_| {
        [
            "%Y-%m-%dT%H:%M:%S%.fZ",
            "%Y-%m-%dT%H:%M:%S%.f",
            "%Y-%m-%d %H:%M:%S%.f",
            "%a, %d %b %Y %H:%M:%S",
        ]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|moment| moment.and_utc())
        .ok_or(())
    });
    read.ok().filter(|moment| (0..=253_402_300_799).contains(&moment.timestamp()))
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
                moment(text).map(|moment| moment.timestamp()),
                Some(1_795_149_120),
                "{text}"
            );
        }
        for text in
            ["", "now", "1795149120", "Fri, 31 Dec 1900 00:00:00 GMT", "99999-01-01T00:00:00Z"]
        {
            assert_eq!(moment(text), None, "{text}");
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
            (MARK_HEADER, "mark"),
        ]);
        let mut names: Vec<_> = response.headers().iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        assert_eq!(names, ["etag", "last-modified", MARK_HEADER]);
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
