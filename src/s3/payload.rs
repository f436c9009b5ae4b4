//! Request bodies: hashed once, and sent as often as needed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::body::SdkBody;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use sha2::Digest as _;

use super::checksum::PartChecksums;
use crate::net::{FRAME, hex};

/// The body of a request with its length and checksums. Cloning copies no bytes.
#[derive(Clone, Debug)]
pub struct Payload {
    chunks: Arc<[Bytes]>,
    length: u64,
    checksums: PartChecksums,
}

impl Payload {
    /// Hashes `chunks` in the calling thread; for small bodies.
    #[must_use]
    pub fn new(chunks: Vec<Bytes>) -> Self {
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let checksums = PartChecksums::of(chunks.iter().map(AsRef::as_ref));
        Self { chunks: chunks.into(), length, checksums }
    }

    /// Hashes `chunks` in a blocking thread, so that the caller's thread stays responsive.
    pub async fn hash_in_background(chunks: Vec<Bytes>) -> Self {
        in_background(move || Self::new(chunks)).await
    }

    /// Number of bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The checksums of all bytes.
    #[must_use]
    pub fn checksums(&self) -> PartChecksums {
        self.checksums
    }

    /// The SHA-256 in hexadecimal, as the signature needs it.
    pub(super) fn sha256_hex(&self) -> String {
        hex(&self.checksums.sha256)
    }

    /// The MD5 of all bytes for the header Content-MD5, which few servers require.
    pub(super) async fn md5_base64(&self) -> String {
        let chunks = Arc::clone(&self.chunks);
        in_background(move || {
            let mut hasher = md5::Md5::new();
            chunks.iter().for_each(|chunk| hasher.update(chunk));
            BASE64_STANDARD.encode(hasher.finalize())
        })
        .await
    }

    /// A body that the SDK can send any number of times.
    pub(super) fn body(&self) -> ByteStream {
        let payload = self.clone();
        ByteStream::new(SdkBody::retryable(move || {
            SdkBody::from_body_1_x(Reader {
                chunks: Arc::clone(&payload.chunks),
                chunk: 0,
                offset: 0,
                left: payload.length,
            })
        }))
    }
}

/// Runs `work` in a blocking thread.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let work = tokio::task::spawn_blocking(work);
    match work.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime is shutting down, and the waiting task with it.
        Err(Err(_)) => std::future::pending().await,
    }
}

struct Reader {
    chunks: Arc<[Bytes]>,
    chunk: usize,
    offset: usize,
    left: u64,
}

impl Body for Reader {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            let Some(chunk) = self.chunks.get(self.chunk) else { return Poll::Ready(None) };
            let end = chunk.len().min(self.offset + FRAME);
            if self.offset == end {
                self.chunk += 1;
                self.offset = 0;
                continue;
            }
            let data = chunk.slice(self.offset..end);
            self.offset = end;
            self.left = self.left.saturating_sub(data.len() as u64);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
