//! Sizes, dates, ranges and ETags that are impossible or change each time.

use http::Method;

use super::server::{Act, Honest};
use super::{DEFAULT, Hostility, all, assert_harmless, listings};
use crate::personality::Call;

fn looks(call: Call) -> bool {
    call == Call::HeadObject
}

fn reads(call: Call) -> bool {
    matches!(call, Call::GetObject | Call::HeadObject)
}

/// Replaces the text of each of these elements in a listing.
fn put(honest: &mut Honest, element: &str, text: &str) {
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

const SIZES: &[Hostility] = &[
    Hostility::new("sizes of u64", listings, |_| {
        Act::Spoil(|honest, _| put(honest, "Size", "18446744073709551615"))
    }),
    Hostility::new("sizes of i64", listings, |_| {
        Act::Spoil(|honest, _| put(honest, "Size", "9223372036854775807"))
    }),
    Hostility::new("negative sizes", listings, |_| {
        Act::Spoil(|honest, _| put(honest, "Size", "-1"))
    }),
    Hostility::new("sizes that are no numbers", listings, |_| {
        Act::Spoil(|honest, _| put(honest, "Size", "1e3"))
    }),
    Hostility::new("no sizes", listings, |_| {
        Act::Spoil(|honest, _| honest.edit(|it| it.replace("Size>", "Seize>")))
    }),
    Hostility::new("HEAD: a length of 0", looks, |_| {
        Act::Spoil(|honest, _| honest.set("content-length", "0"))
    }),
    Hostility::new("HEAD: a huge length", looks, |_| {
        Act::Spoil(|honest, _| honest.set("content-length", "18446744073709551614"))
    }),
    Hostility::new("HEAD: a length that changes", looks, |_| {
        Act::Spoil(|honest, number| honest.set("content-length", &number.to_string()))
    }),
    Hostility::new("HEAD: no length", looks, |_| {
        Act::Spoil(|honest, _| drop(honest.headers.remove("content-length")))
    }),
];

const DATES: &[Hostility] = &[
    Hostility::new("dates in the year 9999", all, |_| {
        Act::Spoil(|honest, _| {
            honest.set("date", "Fri, 31 Dec 9999 23:59:59 GMT");
            honest.set("last-modified", "Fri, 31 Dec 9999 23:59:59 GMT");
        })
    }),
    Hostility::new("dates in the year 0", all, |_| {
        Act::Spoil(|honest, _| {
            honest.set("date", "Sat, 01 Jan 0000 00:00:00 GMT");
            honest.set("last-modified", "Sat, 01 Jan 0000 00:00:00 GMT");
        })
    }),
    Hostility::new("dates that are none", all, |_| {
        Act::Spoil(|honest, _| {
            honest.set("date", "now");
            honest.set("last-modified", "then");
        })
    }),
    Hostility::new("listed dates beyond all years", listings, |_| {
        Act::Spoil(|honest, _| put(honest, "LastModified", "999999-12-31T23:59:59.999Z"))
    }),
    Hostility::new("listed dates that are none", listings, |_| {
        Act::Spoil(|honest, _| put(honest, "LastModified", ":yesterday"))
    }),
    Hostility::new(
        "uploads from the future",
        |call| call == Call::ListMultipartUploads,
        |_| Act::Spoil(|honest, _| put(honest, "Initiated", "9999-12-31T23:59:59.999Z")),
    ),
];

const RANGES: &[Hostility] = &[
    Hostility::new("another range than asked for", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Spoil(|honest, _| honest.set("content-range", "bytes 7-1048576/1048577")),
    }),
    Hostility::new("a range of another whole", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Spoil(|honest, _| {
            let Some(range) = honest.headers.get("content-range") else { return };
            let range = format!("{}/9", range.to_str().unwrap().split_once('/').unwrap().0);
            honest.set("content-range", &range);
        }),
    }),
    Hostility::new("a range that is none", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Spoil(|honest, _| honest.set("content-range", "bytes 9-1/-5")),
    }),
    Hostility::new("more than the range", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Spoil(|honest, _| honest.body.extend([7; 4096])),
    }),
    Hostility::new("less than the range", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Spoil(|honest, _| honest.body.truncate(100_000)),
    }),
    Hostility::new("nothing of the range", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Spoil(|honest, _| honest.body.clear()),
    }),
    Hostility::new("the whole in place of the range", reads, |asked| match asked.header("range") {
        "" => Act::Pass,
        _ => Act::Spoil(|honest, _| {
            honest.status = http::StatusCode::OK;
            honest.headers.remove("content-range");
            let rest = honest.body.len();
            honest.body.extend(vec![1; rest]);
        }),
    }),
    Hostility::new("other bytes in each answer", reads, |asked| match asked.head.method {
        Method::HEAD => Act::Pass,
        _ => Act::Spoil(|honest, number| {
            if let Some(last) = honest.body.last_mut() {
                *last ^= 1 + u8::try_from(number % 200).unwrap();
            }
        }),
    }),
];

const ETAGS: &[Hostility] = &[
    Hostility::new("another ETag in each answer", all, |_| {
        Act::Spoil(|honest, number| {
            if honest.headers.contains_key("etag") {
                honest.set("etag", &format!("\"{number:032x}\""));
            }
        })
    }),
    Hostility::new("another ETag in each listing", listings, |_| {
        Act::Spoil(|honest, number| put(honest, "ETag", &format!("\"{number:032x}\"")))
    }),
    Hostility::new("no ETags", all, |_| {
        Act::Spoil(|honest, _| drop(honest.headers.remove("etag")))
    }),
    Hostility::new("empty ETags", all, |_| {
        Act::Spoil(|honest, _| {
            if honest.headers.contains_key("etag") {
                honest.set("etag", "");
            }
        })
    }),
    Hostility::new("weak ETags everywhere", all, |_| {
        Act::Spoil(|honest, _| {
            if let Some(tag) = honest.headers.get("etag") {
                let tag = format!("W/{}", tag.to_str().unwrap());
                honest.set("etag", &tag);
            }
        })
    }),
];

#[tokio::test]
async fn absurd_sizes_end_in_errors() {
    assert_harmless(SIZES, DEFAULT).await;
}

#[tokio::test]
async fn absurd_dates_harm_nothing() {
    assert_harmless(DATES, DEFAULT).await;
}

#[tokio::test]
async fn wrong_ranges_never_give_wrong_bytes() {
    assert_harmless(RANGES, DEFAULT).await;
}

#[tokio::test]
async fn changing_etags_harm_nothing() {
    assert_harmless(ETAGS, DEFAULT).await;
}
