//! Sizes, dates, ranges and ETags that are impossible or change each time.

use http::Method;

use super::server::{Act, HonestAnswer};
use super::{Behavior, DEFAULT, all, assert_harmless, listings};
use crate::provider_emulation::Call;

fn is_head(call: Call) -> bool {
    call == Call::HeadObject
}

fn reads(call: Call) -> bool {
    matches!(call, Call::GetObject | Call::HeadObject)
}

/// Replaces the text of each of these elements in a listing.
fn put(honest: &mut HonestAnswer, element: &str, text: &str) {
    honest.edit(|document| {
        let (start, end) = (format!("<{element}>"), format!("</{element}>"));
        let pieces: Vec<_> = document.split(&start).collect();
        let changed = pieces.iter().enumerate().map(|(number, piece)| match number {
            0 => (*piece).to_owned(),
            _ => format!("{start}{text}{end}{}", piece.split_once(&end).unwrap().1),
        });
        changed.collect()
    });
}

const SIZES: &[Behavior] = &[
    Behavior::new("sizes of u64", listings, |_| {
        Act::Alter(|honest, _| put(honest, "Size", "18446744073709551615"))
    }),
    Behavior::new("sizes of i64", listings, |_| {
        Act::Alter(|honest, _| put(honest, "Size", "9223372036854775807"))
    }),
    Behavior::new("negative sizes", listings, |_| {
        Act::Alter(|honest, _| put(honest, "Size", "-1"))
    }),
    Behavior::new("sizes that are not numbers", listings, |_| {
        Act::Alter(|honest, _| put(honest, "Size", "1e3"))
    }),
    Behavior::new("no sizes", listings, |_| {
        Act::Alter(|honest, _| honest.edit(|it| it.replace("Size>", "Seize>")))
    }),
    Behavior::new("HEAD: a length of 0", is_head, |_| {
        Act::Alter(|honest, _| honest.set("content-length", "0"))
    }),
    Behavior::new("HEAD: a huge length", is_head, |_| {
        Act::Alter(|honest, _| honest.set("content-length", "18446744073709551614"))
    }),
    Behavior::new("HEAD: a length that changes", is_head, |_| {
        Act::Alter(|honest, number| honest.set("content-length", &number.to_string()))
    }),
    Behavior::new("HEAD: no length", is_head, |_| {
        Act::Alter(|honest, _| drop(honest.headers.remove("content-length")))
    }),
];

const DATES: &[Behavior] = &[
    Behavior::new("dates in the year 9999", all, |_| {
        Act::Alter(|honest, _| {
            honest.set("date", "Fri, 31 Dec 9999 23:59:59 GMT");
            honest.set("last-modified", "Fri, 31 Dec 9999 23:59:59 GMT");
        })
    }),
    Behavior::new("dates in the year 0", all, |_| {
        Act::Alter(|honest, _| {
            honest.set("date", "Sat, 01 Jan 0000 00:00:00 GMT");
            honest.set("last-modified", "Sat, 01 Jan 0000 00:00:00 GMT");
        })
    }),
    Behavior::new("invalid dates", all, |_| {
        Act::Alter(|honest, _| {
            honest.set("date", "now");
            honest.set("last-modified", "then");
        })
    }),
    Behavior::new("listed dates beyond all calendars", listings, |_| {
        Act::Alter(|honest, _| put(honest, "LastModified", "999999-12-31T23:59:59.999Z"))
    }),
    Behavior::new("invalid listed dates", listings, |_| {
        Act::Alter(|honest, _| put(honest, "LastModified", ":yesterday"))
    }),
    Behavior::new(
        "uploads from the future",
        |call| call == Call::ListMultipartUploads,
        |_| Act::Alter(|honest, _| put(honest, "Initiated", "9999-12-31T23:59:59.999Z")),
    ),
];

const RANGES: &[Behavior] = &[
    Behavior::new("another range than asked for", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Alter(|honest, _| honest.set("content-range", "bytes 7-1048576/1048577")),
    }),
    Behavior::new("a range of another total size", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Alter(|honest, _| {
            let Some(range) = honest.headers.get("content-range") else { return };
            let range = format!("{}/9", range.to_str().unwrap().split_once('/').unwrap().0);
            honest.set("content-range", &range);
        }),
    }),
    Behavior::new("an invalid range", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Alter(|honest, _| honest.set("content-range", "bytes 9-1/-5")),
    }),
    Behavior::new("more than the range", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Alter(|honest, _| honest.body.extend([7; 4096])),
    }),
    Behavior::new("less than the range", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Alter(|honest, _| honest.body.truncate(100_000)),
    }),
    Behavior::new("nothing of the range", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Alter(|honest, _| honest.body.clear()),
    }),
    Behavior::new("the whole object instead of the range", reads, |asked| {
        match asked.header("range") {
            "" => Act::Pass,
            _ => Act::Alter(|honest, _| {
                honest.status = http::StatusCode::OK;
                honest.headers.remove("content-range");
                let rest = honest.body.len();
                honest.body.extend(vec![1; rest]);
            }),
        }
    }),
    Behavior::new("other bytes in each answer", reads, |asked| match asked.head.method {
        Method::HEAD => Act::Pass,
        _ => Act::Alter(|honest, number| {
            if let Some(last) = honest.body.last_mut() {
                *last ^= 1 + u8::try_from(number % 200).unwrap();
            }
        }),
    }),
];

const ETAGS: &[Behavior] = &[
    Behavior::new("another ETag in each answer", all, |_| {
        Act::Alter(|honest, number| {
            if honest.headers.contains_key("etag") {
                honest.set("etag", &format!("\"{number:032x}\""));
            }
        })
    }),
    Behavior::new("another ETag in each listing", listings, |_| {
        Act::Alter(|honest, number| put(honest, "ETag", &format!("\"{number:032x}\"")))
    }),
    Behavior::new("no ETags", all, |_| Act::Alter(|honest, _| drop(honest.headers.remove("etag")))),
    Behavior::new("empty ETags", all, |_| {
        Act::Alter(|honest, _| {
            if honest.headers.contains_key("etag") {
                honest.set("etag", "");
            }
        })
    }),
    Behavior::new("weak ETags everywhere", all, |_| {
        Act::Alter(|honest, _| {
            if let Some(tag) = honest.headers.get("etag") {
                let tag = format!("W/{}", tag.to_str().unwrap());
                honest.set("etag", &tag);
            }
        })
    }),
];

#[tokio::test]
async fn impossible_sizes_end_in_errors() {
    assert_harmless(SIZES, DEFAULT).await;
}

#[tokio::test]
async fn impossible_dates_cause_no_harm() {
    assert_harmless(DATES, DEFAULT).await;
}

#[tokio::test]
async fn wrong_ranges_never_deliver_wrong_bytes() {
    assert_harmless(RANGES, DEFAULT).await;
}

#[tokio::test]
async fn changing_etags_cause_no_harm() {
    assert_harmless(ETAGS, DEFAULT).await;
}
