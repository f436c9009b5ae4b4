//! The connection that a route ends in: it knows how requests on it are written, and looks at the first
//! bytes that come back, which tell TLS, HTTP/1 and other protocols apart.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read as _, ReadBuf, ReadBufCursor};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::faults::{NotHttp, NotTls};

/// TCP, or TLS to a proxy.
pub(super) type Hop = MaybeHttpsStream<TokioIo<TcpStream>>;

/// How answers of HTTP/1 begin.
const HTTP: &[u8] = b"HTTP/";

/// The types of TLS records: change_cipher_spec, alert, handshake, application_data.
const TLS_RECORDS: std::ops::RangeInclusive<u8> = 0x14..=0x17;

/// Room for bytes that may be read in one go, before others get their turn. A server that never stops to send
/// would else keep its thread: heads that are no answer yet are read as long as there are any.
const BURST: usize = 256 << 10;

/// A connection on the route to an endpoint.
pub(super) struct Stream {
    io: Hop,
    /// Room for bytes that was filled since others had their turn.
    burst: usize,
    /// Whether requests must carry the whole URI.
    is_forwarded: bool,
    opening: Option<Opening>,
}

/// The first bytes of a server that should speak TLS, or HTTP/1.
struct Opening {
    expects_tls: bool,
    bytes: [u8; HTTP.len()],
    filled: usize,
}

impl Stream {
    pub(super) fn new(io: Hop, is_forwarded: bool, expects_tls: bool) -> Self {
        let opening = Opening { expects_tls, bytes: [0; HTTP.len()], filled: 0 };
        Self { io, burst: 0, is_forwarded, opening: Some(opening) }
    }
}

impl Opening {
    /// Reads until it is clear what comes; gives the bytes that belong to it.
    fn poll(&mut self, io: &mut Hop, cx: &mut Context<'_>) -> Poll<std::io::Result<&[u8]>> {
        loop {
            let rest = self.bytes.get_mut(self.filled..).unwrap_or_default();
            let mut buffer = ReadBuf::new(rest);
            ready!(Pin::new(&mut *io).poll_read(cx, buffer.unfilled()))?;
            let count = buffer.filled().len();
            self.filled += count;
            let seen = self.bytes.get(..self.filled).unwrap_or_default();
            let is_tls = seen.first().is_some_and(|first| TLS_RECORDS.contains(first));
            let is_http = seen == HTTP;
            if count > 0 && !is_tls && !is_http && HTTP.starts_with(seen) {
                continue;
            }
            if seen.is_empty() {
                break;
            }
            match (self.expects_tls, is_tls) {
                (true, false) => return fault(NotTls { is_http }),
                (false, _) if count > 0 && !is_http => return fault(NotHttp { is_tls }),
                _ => break,
            }
        }
        Poll::Ready(Ok(self.bytes.get(..self.filled).unwrap_or_default()))
    }
}

fn fault<T>(fault: impl std::error::Error + Send + Sync + 'static) -> Poll<std::io::Result<T>> {
    Poll::Ready(Err(std::io::Error::other(fault)))
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.is_forwarded)
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let Self { io, opening, burst, .. } = &mut *self;
        if *burst >= BURST {
            *burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(first) = opening.as_mut().filter(|_| buffer.remaining() >= HTTP.len()) {
            buffer.put_slice(ready!(first.poll(io, cx))?);
            *opening = None;
            return Poll::Ready(Ok(()));
        }
        let most = buffer.remaining();
        let read = Pin::new(io).poll_read(cx, buffer);
        *burst = if read.is_pending() { 0 } else { *burst + most };
        read
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}
