//! A connection to a server or to its proxy. Its first bytes tell TLS, HTTP/1 and other protocols apart.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read as _, ReadBuf, ReadBufCursor};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::faults::{NotHttp, NotTls};

/// TCP, or TLS to a proxy.
pub(super) type Transport = MaybeHttpsStream<TokioIo<TcpStream>>;

/// The first bytes of an HTTP/1 response.
const HTTP: &[u8] = b"HTTP/";

/// The types of TLS records: change_cipher_spec, alert, handshake, application_data.
const TLS_RECORDS: std::ops::RangeInclusive<u8> = 0x14..=0x17;

/// Buffer space that may be filled in one go before the task yields. Otherwise a server that never
/// stops sending would block its thread: interim responses are read as long as there are any.
const BURST: usize = 256 << 10;

/// A connection to an endpoint, directly or through a proxy.
pub(super) struct Stream {
    io: Transport,
    /// Buffer space that was filled since the task last yielded.
    burst: usize,
    /// Whether a proxy forwards the requests, which must then carry the whole URI.
    is_forwarded: bool,
    first_bytes: Option<FirstBytes>,
}

/// The first bytes of a server that is expected to speak TLS or HTTP/1.
struct FirstBytes {
    expects_tls: bool,
    bytes: [u8; HTTP.len()],
    filled: usize,
}

impl Stream {
    pub(super) fn new(io: Transport, is_forwarded: bool, expects_tls: bool) -> Self {
        let first_bytes = FirstBytes { expects_tls, bytes: [0; HTTP.len()], filled: 0 };
        Self { io, burst: 0, is_forwarded, first_bytes: Some(first_bytes) }
    }
}

impl FirstBytes {
    /// Reads until the protocol is known. Returns the bytes read, which belong to the stream.
    fn poll(&mut self, io: &mut Transport, cx: &mut Context<'_>) -> Poll<std::io::Result<&[u8]>> {
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
        let Self { io, first_bytes, burst, .. } = &mut *self;
        if *burst >= BURST {
            *burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(first) = first_bytes.as_mut().filter(|_| buffer.remaining() >= HTTP.len()) {
            buffer.put_slice(ready!(first.poll(io, cx))?);
            *first_bytes = None;
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
