//! Bodies that are endless, huge, slow, or not what the status says.

use super::script::{ENDLESS, Piece, Script, Then};
use super::server::Act;
use super::{Behavior, DEFAULT, SMALL, all, assert_harmless, listings};
use crate::provider_emulation::Call;

const GIB: u64 = 1 << 30;

const XML: &str = "content-type: application/xml\r\n";

fn zeros(count: u64) -> Vec<Piece> {
    vec![Piece::Repeat(vec![b'0'; 1 << 10], count >> 10)]
}

/// An error document with this many letters in its message.
fn error(letters: u64) -> Vec<Piece> {
    let start = b"<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>".to_vec();
    let message = Piece::Repeat(vec![b'm'; 1 << 10], letters.div_ceil(1 << 10));
    vec![Piece::Once(start), message, Piece::Once(b"</Message></Error>".to_vec())]
}

fn of_length(status: u16, length: u64, body: Vec<Piece>) -> Act {
    let headers = format!("{XML}content-length: {length}\r\n");
    Act::Send(Script::with(status, &headers, body, Then::Close))
}

/// Completions and listings, whose answers may start with spaces while a server works.
fn slow_to_begin(call: Call) -> bool {
    listings(call) || call == Call::CompleteMultipartUpload
}

fn reads(call: Call) -> bool {
    call == Call::GetObject
}

const ENDLESS_ONES: &[Behavior] = &[
    Behavior::new("an endless body until the connection ends", all, |_| {
        Act::Send(Script::until_close(200, XML, zeros(ENDLESS)))
    }),
    Behavior::new("an endless body in chunks", all, |_| {
        Act::Send(Script::chunked(200, XML, zeros(ENDLESS)))
    }),
    Behavior::new("a body of 8 EiB", all, |_| of_length(200, i64::MAX as u64, zeros(ENDLESS))),
    Behavior::new("an endless body of an object", reads, |_| {
        Act::Send(Script::chunked(200, "etag: \"0\"\r\n", zeros(ENDLESS)))
    }),
    Behavior::new("endless spaces before a document", slow_to_begin, |_| {
        let spaces = Piece::Repeat(vec![b' '; 1 << 10], ENDLESS);
        Act::Send(Script::chunked(200, XML, vec![spaces]))
    }),
    Behavior::new("an endless comment before a document", slow_to_begin, |_| {
        let comment = Piece::Repeat(vec![b'-'; 1 << 10], ENDLESS);
        Act::Send(Script::chunked(200, XML, vec![Piece::Once(b"<!--".to_vec()), comment]))
    }),
    Behavior::new("an endless error document", all, |_| {
        Act::Send(Script::chunked(503, XML, error(ENDLESS)))
    }),
    Behavior::new("an endless refusal", all, |_| {
        Act::Send(Script::until_close(403, XML, error(ENDLESS)))
    }),
];

const HUGE: &[Behavior] = &[
    Behavior::new("an error document of a GiB", all, |_| {
        let length: u64 = error(GIB)
            .iter()
            .map(|piece| match piece {
                Piece::Once(bytes) => bytes.len() as u64,
                Piece::Repeat(bytes, times) => bytes.len() as u64 * times,
                Piece::Numbered(..) | Piece::Trickle(_) => 0,
            })
            .sum();
        of_length(500, length, error(GIB))
    }),
    Behavior::new("a listing of a GiB", listings, |_| {
        let body = vec![
            Piece::Once(b"<ListBucketResult>".to_vec()),
            Piece::Repeat(b"<Contents><Key>t1/backups/x</Key></Contents>".to_vec(), 24 << 20),
            Piece::Once(b"</ListBucketResult>".to_vec()),
        ];
        Act::Send(Script::chunked(200, XML, body))
    }),
    Behavior::new("an error document of 3 MiB with status 200", all, |_| {
        Act::Send(Script::chunked(200, XML, error(3 << 20)))
    }),
    Behavior::new("5 million empty elements", listings, |_| {
        let body = vec![
            Piece::Once(b"<ListBucketResult><IsTruncated>false</IsTruncated>".to_vec()),
            Piece::Repeat(b"<Contents/>".to_vec(), 5_000_000),
            Piece::Once(b"</ListBucketResult>".to_vec()),
        ];
        Act::Send(Script::chunked(200, XML, body))
    }),
];

const SLOW: &[Behavior] = &[
    Behavior::new("a body byte by byte", all, |_| {
        Act::Send(Script::chunked(200, XML, vec![Piece::Trickle(b" ".to_vec())]))
    }),
    Behavior::new("an error document byte by byte", all, |_| {
        Act::Send(Script::chunked(500, XML, vec![Piece::Trickle(b"<Error>".to_vec())]))
    }),
    Behavior::new("silence after the headers", all, |_| {
        let headers = format!("{XML}content-length: 100\r\n");
        Act::Send(Script::with(200, &headers, Vec::new(), Then::Hold))
    }),
    Behavior::new("silence", all, |_| Act::Send(Script::raw(Vec::new(), Then::Hold))),
];

const WRONG: &[Behavior] = &[
    Behavior::new("200 with an error", all, |_| {
        Act::Send(Script::refusal(200, "InternalError", "", "<Message>no</Message>"))
    }),
    Behavior::new("200 with a refusal", all, |_| {
        Act::Send(Script::refusal(200, "AccessDenied", "", ""))
    }),
    Behavior::new("200 with a web page", all, |_| {
        let page = "<!DOCTYPE html><html><body>Log in<br></body></html>";
        Act::Send(Script::whole(200, "content-type: text/html\r\n", page))
    }),
    Behavior::new("200 without a body", all, |_| Act::Send(Script::whole(200, "", ""))),
    Behavior::new("204 to everything", all, |_| {
        Act::Send(Script::with(204, "", Vec::new(), Then::Next))
    }),
    Behavior::new("304 to everything", all, |_| {
        Act::Send(Script::with(304, "etag: \"0\"\r\n", Vec::new(), Then::Next))
    }),
    Behavior::new("less than the length says", all, |_| {
        of_length(200, 1000, vec![Piece::Once(b"<ListBucketResult>".to_vec())])
    }),
    Behavior::new("bytes that are not text", all, |_| {
        Act::Send(Script::whole(200, XML, (0..=255).cycle().take(5000).collect::<Vec<u8>>()))
    }),
    Behavior::new("every second object is cut", reads, |asked| match asked.number % 2 {
        0 => Act::Send(Script::raw(Vec::new(), Then::Reset)),
        _ => Act::Pass,
    })
    .every_second_succeeds(),
];

#[tokio::test]
async fn endless_bodies_end_in_errors() {
    assert_harmless(ENDLESS_ONES, DEFAULT).await;
}

#[tokio::test]
async fn endless_bodies_fit_small_memory() {
    assert_harmless(ENDLESS_ONES, SMALL).await;
}

#[tokio::test]
async fn huge_bodies_end_in_errors() {
    assert_harmless(HUGE, DEFAULT).await;
}

#[tokio::test]
async fn huge_bodies_fit_small_memory() {
    assert_harmless(HUGE, SMALL).await;
}

#[tokio::test]
async fn slow_bodies_end_in_errors() {
    assert_harmless(SLOW, DEFAULT).await;
}

#[tokio::test]
async fn wrong_bodies_end_in_errors() {
    assert_harmless(WRONG, DEFAULT).await;
}
