//! HTTP CONNECT: opens a tunnel through a proxy. Length and headers of the response are bounded.
//!
//! `Tunnel` of hyper-util does the same, but drops the status of a refusal.

use std::pin::Pin;
use std::task::Poll;

use http::{HeaderValue, StatusCode};
use hyper::rt::{Read, ReadBuf, Write};

use super::faults::{BoxError, ProxyProblem};

/// Maximum number of bytes of a proxy's responses before the tunnel is open.
const ANSWER_LIMIT: usize = 64 << 10;

/// Maximum number of headers of a response.
const HEADERS_LIMIT: usize = 100;

type Failure = (ProxyProblem, Option<BoxError>);

/// Asks the proxy at `io` for a tunnel to `destination`, such as `s3.example.com:443`.
pub(super) async fn establish<T>(
    io: &mut T,
    destination: &str,
    authorization: Option<&HeaderValue>,
) -> Result<(), Failure>
where
    T: Read + Write + Unpin,
{
    let mut request =
        format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n").into_bytes();
    if let Some(value) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    // A proxy that refuses without reading the request closes this direction; its response still
    // counts.
    let written = write_all(io, &request).await;
    let mut answer = Vec::new();
    let mut taken = 0;
    loop {
        if let Some((status, length)) = parse_head(&answer)? {
            if status.is_informational() {
                answer.drain(..length);
                continue;
            }
            return classify(status, answer.len() > length);
        }
        let mut block = [0; 4096];
        let count = match read(io, &mut block).await {
            Ok(0) => return Err((ProxyProblem::Closed, written.err().map(Into::into))),
            Ok(count) => count,
            Err(error) => return Err((ProxyProblem::Closed, Some(error.into()))),
        };
        taken += count;
        if taken > ANSWER_LIMIT {
            return Err((ProxyProblem::TooLong(ANSWER_LIMIT), None));
        }
        answer.extend_from_slice(block.get(..count).unwrap_or_default());
    }
}

/// Status and length of the response parse_head, once it is complete.
fn parse_head(answer: &[u8]) -> Result<Option<(StatusCode, usize)>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
    let mut parsed = httparse::Response::new(&mut headers);
    let garbled = |error| (ProxyProblem::Garbled, Some(error));
    match parsed.parse(answer) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => {
            let status = StatusCode::from_u16(parsed.code.unwrap_or_default());
            Ok(Some((status.map_err(|error| garbled(error.into()))?, length)))
        }
        // The status comes before the part that cannot be parsed.
        Err(error) => match parsed.code.and_then(|code| StatusCode::from_u16(code).ok()) {
            Some(status) if !status.is_success() => Ok(Some((status, answer.len()))),
            _ => Err(garbled(error.into())),
        },
    }
}

fn classify(status: StatusCode, has_more: bool) -> Result<(), Failure> {
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Err((ProxyProblem::Login, None));
    }
    if status.is_success() {
        // TLS servers wait for the client.
        return if has_more { Err((ProxyProblem::Early, None)) } else { Ok(()) };
    }
    let transient = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    let is_permanent = !status.is_server_error() && !transient.contains(&status);
    let reason = status.canonical_reason().unwrap_or_default();
    let status = format!("{} {reason}", status.as_u16()).trim_end().to_owned();
    Err((ProxyProblem::Refused { status, is_permanent }, None))
}

async fn write_all(io: &mut (impl Write + Unpin), mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let count = std::future::poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, bytes)).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(count..).unwrap_or_default();
    }
    std::future::poll_fn(|cx| Pin::new(&mut *io).poll_flush(cx)).await
}

async fn read(io: &mut (impl Read + Unpin), block: &mut [u8]) -> std::io::Result<usize> {
    std::future::poll_fn(|cx| {
        let mut buffer = ReadBuf::new(block);
        let polled = Pin::new(&mut *io).poll_read(cx, buffer.unfilled());
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// The result for a response that arrives in these pieces; the connection stays open after it.
    async fn tunnel(pieces: &[&[u8]]) -> Result<(), ProxyProblem> {
        let (near, mut far) = tokio::io::duplex(4096);
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let answering = async move {
            for piece in pieces {
                let _ = far.write_all(&piece).await;
            }
            let mut asked = Vec::new();
            let _ = far.read_to_end(&mut asked).await;
        };
        let mut near = TokioIo::new(near);
        let asking = async move {
            let asked = establish(&mut near, "storage.test:443", None).await;
            drop(near);
            asked.map_err(|(problem, _)| problem)
        };
        let (_, result) = tokio::join!(tokio::spawn(answering), asking);
        result
    }

    fn refused(status: &str, is_permanent: bool) -> Result<(), ProxyProblem> {
        Err(ProxyProblem::Refused { status: status.to_owned(), is_permanent })
    }

    #[tokio::test]
    async fn tunnel_accepts_any_success_status() {
        let bytewise: Vec<_> = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 p\r\n\r\n"
            .iter()
            .map(std::slice::from_ref)
            .collect();
        assert_eq!(tunnel(&bytewise).await, Ok(()));
        let long =
            [b"HTTP/1.1 200 OK\r\nX-Pad: ".as_slice(), &[b'y'; 12_000], b"\r\n\r\n"].concat();
        for answer in [
            b"HTTP/1.0 200 Connection established\r\nProxy-agent: Squid/2.7\r\n\r\n".as_slice(),
            b"HTTP/1.1 200\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nVia: 1.1 x\r\n\r\n",
            b"HTTP/1.1 200 OK\n\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            &long,
        ] {
            assert_eq!(tunnel(&[answer]).await, Ok(()), "{}", answer.escape_ascii());
        }
    }

    #[tokio::test]
    async fn tunnel_refusal_keeps_its_status() {
        let answers: [(&[u8], _); 7] = [
            (b"HTTP/1.1 403 Forbidden\r\n\r\n<h1>Blocked</h1>", refused("403 Forbidden", true)),
            (b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n", refused("302 Found", true)),
            (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", refused("502 Bad Gateway", false)),
            (b"HTTP/1.1 429 Slow\r\n\r\n", refused("429 Too Many Requests", false)),
            (b"HTTP/1.1 599 whatever\r\n\r\n", refused("599", false)),
            // Unreadable after the status.
            (
                b"HTTP/1.1 503 Busy\r\nno header\x01\r\n\r\n",
                refused("503 Service Unavailable", false),
            ),
            (b"HTTP/1.1 407 Login\r\nProxy-Authenticate: NTLM\r\n\r\n", Err(ProxyProblem::Login)),
        ];
        for (answer, expected) in answers {
            assert_eq!(tunnel(&[answer]).await, expected, "{}", answer.escape_ascii());
        }
    }

    #[tokio::test]
    async fn tunnel_malformed_response_has_its_own_error() {
        for garbage in [
            b"SSH-2.0-OpenSSH_9.9\r\n".as_slice(),
            b"\x05\xff",
            b"\x15\x03\x01\0\x02",
            b"HTTP/1.1 20",
        ] {
            let expected = match garbage {
                b"HTTP/1.1 20" => ProxyProblem::Closed,
                _ => ProxyProblem::Garbled,
            };
            let (near, mut far) = tokio::io::duplex(1024);
            far.write_all(garbage).await.unwrap();
            far.shutdown().await.unwrap();
            let asked = establish(&mut TokioIo::new(near), "storage.test:443", None).await;
            assert_eq!(asked.unwrap_err().0, expected, "{}", garbage.escape_ascii());
        }
        let early = tunnel(&[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"]).await;
        assert_eq!(early, Err(ProxyProblem::Early));
    }

    #[tokio::test]
    async fn tunnel_endless_response_is_aborted() {
        let line = [b"X-Pad: ".as_slice(), &[b'y'; 8000], b"\r\n"].concat();
        let mut pieces = vec![b"HTTP/1.1 200 OK\r\n".as_slice()];
        pieces.extend(std::iter::repeat_n(line.as_slice(), 20));
        assert_eq!(tunnel(&pieces).await, Err(ProxyProblem::TooLong(ANSWER_LIMIT)));
        // Interim responses count as well.
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".as_slice();
        assert_eq!(tunnel(&[interim; 4000]).await, Err(ProxyProblem::TooLong(ANSWER_LIMIT)));
        let many = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"A: b\r\n".repeat(200), b"\r\n"].concat();
        assert_eq!(tunnel(&[&many]).await, Err(ProxyProblem::Garbled));
    }
}
