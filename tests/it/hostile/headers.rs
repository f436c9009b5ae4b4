//! Headers of answers: endless, huge, slow, contradictory, or not HTTP.

use super::script::{ENDLESS, Piece, Script, Then};
use super::server::Act;
use super::{Behavior, DEFAULT, SMALL, all, assert_harmless};

fn raw(text: &str, then: Then) -> Act {
    Act::Send(Script::raw(vec![Piece::Once(text.as_bytes().to_vec())], then))
}

/// A header block that starts like this and continues with pieces.
fn goes_on(start: &str, pieces: Vec<Piece>) -> Act {
    let start = Piece::Once(start.as_bytes().to_vec());
    Act::Send(Script::raw([start].into_iter().chain(pieces).collect(), Then::Hold))
}

/// An answer with one header that is a MiB long.
fn huge(name: &str) -> Act {
    let value = "v".repeat(1 << 20);
    Act::Send(Script::whole(500, &format!("{name}: {value}\r\n"), ""))
}

const LARGE: &[Behavior] = &[
    Behavior::new("endless headers", all, |_| {
        let headers = Piece::Numbered(|number| format!("x-h-{number}: v\r\n"), ENDLESS);
        goes_on("HTTP/1.1 200 OK\r\n", vec![headers])
    })
    .with_few_operations(),
    Behavior::new("10,000 headers", all, |_| {
        let headers: String = (0..10_000).map(|number| format!("x-h-{number}: v\r\n")).collect();
        Act::Send(Script::whole(200, &headers, ""))
    })
    .with_few_operations(),
    Behavior::new("90 headers of 4 KiB", all, |_| {
        let value = "v".repeat(4 << 10);
        let headers: String = (0..90).map(|number| format!("x-h-{number}: {value}\r\n")).collect();
        Act::Send(Script::whole(200, &headers, ""))
    })
    .with_few_operations(),
    Behavior::new("an endless header", all, |_| {
        goes_on("HTTP/1.1 200 OK\r\nx: ", vec![Piece::Repeat(b"v".to_vec(), ENDLESS)])
    })
    .with_few_operations(),
    Behavior::new("an endless status line", all, |_| {
        goes_on("HTTP/1.1 200 ", vec![Piece::Repeat(b"O".to_vec(), ENDLESS)])
    })
    .with_few_operations(),
    Behavior::new("an ETag of a MiB", all, |_| huge("etag")).with_few_operations(),
    Behavior::new("a request ID of a MiB", all, |_| huge("x-amz-request-id")).with_few_operations(),
    Behavior::new("an ETag of 300 kB", all, |asked| {
        let value = "e".repeat(300_000);
        let length = if asked.head.method == http::Method::HEAD { 1 << 20 } else { 0 };
        let headers = format!("etag: \"{value}\"\r\ncontent-length: {length}\r\n");
        Act::Send(Script::with(200, &headers, Vec::new(), Then::Next))
    })
    .with_few_operations(),
    Behavior::new("endless 100 Continue", all, |_| {
        goes_on("", vec![Piece::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), ENDLESS)])
    })
    .with_few_operations(),
    Behavior::new("endless early hints", all, |_| {
        let hint = b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n".to_vec();
        goes_on("", vec![Piece::Repeat(hint, ENDLESS)])
    })
    .with_few_operations(),
];

const ODD: &[Behavior] = &[
    Behavior::new("headers byte by byte", all, |_| {
        goes_on("HTTP/1.1 200 OK\r\nx: ", vec![Piece::Trickle(b"v".to_vec())])
    }),
    Behavior::new("100 Continue byte by byte", all, |_| {
        goes_on("", vec![Piece::Trickle(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())])
    }),
    Behavior::new("the status 999", all, |_| Act::Send(Script::whole(999, "", ""))),
    Behavior::new("the status 600 with an endless body", all, |_| {
        Act::Send(Script::until_close(600, "", vec![Piece::Repeat(b"x".to_vec(), ENDLESS)]))
    }),
    Behavior::new("an answer that is not HTTP", all, |_| raw("220 mail.example.org ESMTP\r\n", Then::Hold)),
    Behavior::new("HTTP/2", all, |_| {
        raw("\0\0\u{12}\u{4}\0\0\0\0\0\0\u{3}\0\0\0\u{64}\0\u{4}\0\0", Then::Close)
    }),
    Behavior::new("two lengths", all, |_| {
        Act::Send(Script::whole(200, "content-length: 7\r\n", "<x></x>x"))
    }),
    Behavior::new("a length and chunks", all, |_| {
        let headers = "transfer-encoding: chunked\r\ncontent-length: 9\r\n";
        let body = vec![Piece::Once(b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".to_vec())];
        Act::Send(Script::with(200, headers, body, Then::Next))
    }),
    Behavior::new("a negative length", all, |_| {
        Act::Send(Script::with(200, "content-length: -1\r\n", Vec::new(), Then::Close))
    }),
    Behavior::new("a length beyond u64", all, |_| {
        let headers = "content-length: 99999999999999999999\r\n";
        Act::Send(Script::with(200, headers, Vec::new(), Then::Close))
    }),
    Behavior::new("chunks of an absurd size", all, |_| {
        let body = vec![Piece::Once(b"ffffffffffffffff\r\nx".to_vec())];
        Act::Send(Script::with(200, "transfer-encoding: chunked\r\n", body, Then::Close))
    }),
    Behavior::new("chunks with endless extensions", all, |_| {
        let body = vec![Piece::Once(b"1;".to_vec()), Piece::Repeat(b"x".to_vec(), ENDLESS)];
        Act::Send(Script::with(200, "transfer-encoding: chunked\r\n", body, Then::Close))
    }),
    Behavior::new("endless trailers", all, |_| {
        let trailers = Piece::Repeat(b"x: y\r\n".to_vec(), ENDLESS);
        let body = vec![Piece::Once(b"0\r\n".to_vec()), trailers];
        Act::Send(Script::with(200, "transfer-encoding: chunked\r\n", body, Then::Close))
    }),
    Behavior::new("a second answer after each", all, |asked| match asked.number % 2 {
        0 => raw(
            "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            Then::Next,
        ),
        _ => Act::Pass,
    })
    .every_second_succeeds(),
    Behavior::new("an upgrade", all, |_| {
        raw(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            Then::Hold,
        )
    }),
    Behavior::new("headers that are not text", all, |_| {
        let head = b"HTTP/1.1 400 \xff\r\netag: \"\xfe\xff\"\r\ncontent-length: 0\r\n\r\n".to_vec();
        Act::Send(Script::raw(vec![Piece::Once(head)], Then::Next))
    }),
    Behavior::new("a reset of every second request", all, |asked| match asked.number % 2 {
        0 => raw("", Then::Reset),
        _ => Act::Pass,
    })
    .every_second_succeeds(),
    Behavior::new("a reset of every request", all, |_| raw("HTTP/1.1 200", Then::Reset)),
    Behavior::new("a closed connection for every request", all, |_| raw("", Then::Close)),
];

#[tokio::test]
async fn large_headers_end_in_errors() {
    assert_harmless(LARGE, DEFAULT).await;
}

#[tokio::test]
async fn large_headers_fit_small_memory() {
    assert_harmless(LARGE, SMALL).await;
}

#[tokio::test]
async fn malformed_headers_end_in_errors() {
    assert_harmless(ODD, DEFAULT).await;
}
