//! The bytes that a hostile server writes to a connection, as a script, so that they are never in
//! memory all at once.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Block size of repeated bytes.
const BLOCK: usize = 64 << 10;

/// As often as the agent reads it.
pub(super) const ENDLESS: u64 = u64::MAX;

/// One byte of a trickle per interval. The limits of the agent are shortened by the same factor.
const TRICKLE_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub(super) enum Piece {
    Once(Vec<u8>),
    Repeat(Vec<u8>, u64),
    /// The text that the function makes of each number from 0 on.
    Numbered(fn(u64) -> String, u64),
    /// One byte at a time.
    Trickle(Vec<u8>),
}

/// What happens to the connection afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It takes the next request.
    Next,
    Close,
    Reset,
    /// It stays open without more data.
    Hold,
}

#[derive(Clone, Debug)]
pub(super) struct Script {
    head: Vec<Piece>,
    body: Vec<Piece>,
    chunked: bool,
    then: Then,
}

impl Script {
    /// These bytes, whatever they are.
    pub(super) fn raw(pieces: Vec<Piece>, then: Then) -> Self {
        Self { head: pieces, body: Vec::new(), chunked: false, then }
    }

    /// An answer whose headers, each with a line end, give its length.
    pub(super) fn with(status: u16, headers: &str, body: Vec<Piece>, then: Then) -> Self {
        let head = vec![Piece::Once(head(status, headers).into_bytes())];
        Self { head, body, chunked: false, then }
    }

    /// A body in chunks.
    pub(super) fn chunked(status: u16, headers: &str, body: Vec<Piece>) -> Self {
        let headers = format!("{headers}transfer-encoding: chunked\r\n");
        Self { chunked: true, ..Self::with(status, &headers, body, Then::Next) }
    }

    /// A body that ends with the connection.
    pub(super) fn until_close(status: u16, headers: &str, body: Vec<Piece>) -> Self {
        Self::with(status, &format!("{headers}connection: close\r\n"), body, Then::Close)
    }

    /// An ordinary answer.
    pub(super) fn whole(status: u16, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let headers = format!("{headers}content-length: {}\r\n", body.len());
        Self::with(status, &headers, vec![Piece::Once(body)], Then::Next)
    }

    /// An ordinary document.
    pub(super) fn document(status: u16, document: &str) -> Self {
        Self::whole(status, "content-type: application/xml\r\n", document)
    }

    /// An error document.
    pub(super) fn refusal(status: u16, code: &str, headers: &str, members: &str) -> Self {
        Self::whole(
            status,
            &format!("content-type: application/xml\r\n{headers}"),
            format!("<Error><Code>{code}</Code>{members}</Error>"),
        )
    }

    /// Writes everything; a body only if the request was not HEAD. Returns what happens afterwards.
    pub(super) async fn write(
        &self,
        out: &mut (impl AsyncWrite + Unpin),
        has_body: bool,
    ) -> io::Result<Then> {
        for piece in &self.head {
            write_piece(out, piece, false).await?;
        }
        if has_body {
            for piece in &self.body {
                write_piece(out, piece, self.chunked).await?;
            }
            if self.chunked {
                out.write_all(b"0\r\n\r\n").await?;
            }
        }
        out.flush().await?;
        Ok(self.then)
    }
}

fn head(status: u16, headers: &str) -> String {
    format!("HTTP/1.1 {status} Hostile\r\n{headers}\r\n")
}

async fn write_piece(
    out: &mut (impl AsyncWrite + Unpin),
    piece: &Piece,
    chunked: bool,
) -> io::Result<()> {
    match piece {
        Piece::Once(bytes) => block(out, bytes, chunked).await,
        Piece::Repeat(bytes, times) => {
            let at_once = (BLOCK / bytes.len().max(1)).clamp(1, BLOCK) as u64;
            let many = bytes.repeat(usize::try_from(at_once.min(*times)).unwrap());
            for _ in 0..times / at_once {
                block(out, &many, chunked).await?;
            }
            let rest = usize::try_from(times % at_once).unwrap() * bytes.len();
            block(out, &many[..rest.min(many.len())], chunked).await
        }
        Piece::Numbered(make, times) => {
            let mut text = String::new();
            for number in 0..*times {
                let _ = write!(text, "{}", make(number));
                if text.len() >= BLOCK || number + 1 == *times {
                    block(out, text.as_bytes(), chunked).await?;
                    text.clear();
                }
            }
            Ok(())
        }
        Piece::Trickle(bytes) => {
            for byte in bytes.iter().cycle().take(10_000) {
                block(out, &[*byte], chunked).await?;
                out.flush().await?;
                tokio::time::sleep(TRICKLE_INTERVAL).await;
            }
            Ok(())
        }
    }
}

async fn block(out: &mut (impl AsyncWrite + Unpin), bytes: &[u8], chunked: bool) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    if !chunked {
        return out.write_all(bytes).await;
    }
    out.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    out.write_all(bytes).await?;
    out.write_all(b"\r\n").await
}

#[tokio::test]
async fn scripted_response_is_written_as_described() {
    let body = vec![
        Piece::Repeat(b"ab".to_vec(), 3),
        Piece::Numbered(|number| number.to_string(), 3),
        Piece::Once(b"!".to_vec()),
    ];
    for (say, expected) in [
        (Script::until_close(200, "", body.clone()), "connection: close\r\n\r\nababab012!"),
        (
            Script::chunked(200, "", body),
            "transfer-encoding: chunked\r\n\r\n6\r\nababab\r\n3\r\n012\r\n1\r\n!\r\n0\r\n\r\n",
        ),
    ] {
        let mut out = Vec::new();
        say.write(&mut out, true).await.unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("HTTP/1.1 200 Hostile\r\n{expected}"));
    }
}
