//! The server: reads requests from connections in memory and answers as the plan says.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use s3_backup_agent::net::fuzzing::MemoryStream;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::io::{DuplexStream, duplex};

use crate::bucket::{Asked, Bucket, Whole};
use crate::plan::{Answer, Framing, Plan};

/// Bytes that may be in flight, as in the buffers of a system.
const ON_THE_WAY: usize = 64 << 10;

/// Most bytes of one answer.
const LONGEST: usize = 32 << 20;

/// Headers that an answer may have.
const HEADERS: [&str; 24] = [
    "etag",
    "content-length",
    "content-range",
    "last-modified",
    "date",
    "transfer-encoding",
    "content-type",
    "content-encoding",
    "connection",
    "location",
    "retry-after",
    "x-amz-retry-after",
    "x-amz-bucket-region",
    "x-amz-request-id",
    "x-amz-id-2",
    "x-amz-version-id",
    "x-amz-delete-marker",
    "x-amz-meta-s3-backup-agent",
    "x-amz-storage-class",
    "x-amz-error-code",
    "x-minio-error-code",
    "server",
    "www-authenticate",
    "accept-ranges",
];

/// Elements that a document may contain.
const MEMBERS: [&str; 32] = [
    "Contents",
    "Key",
    "Size",
    "ETag",
    "LastModified",
    "IsTruncated",
    "NextContinuationToken",
    "NextMarker",
    "EncodingType",
    "Prefix",
    "CommonPrefixes",
    "Upload",
    "UploadId",
    "Initiated",
    "NextKeyMarker",
    "NextUploadIdMarker",
    "Part",
    "PartNumber",
    "NextPartNumberMarker",
    "Code",
    "Message",
    "Region",
    "Endpoint",
    "BucketName",
    "ServerTime",
    "RequestId",
    "Error",
    "KeyCount",
    "MaxKeys",
    "Owner",
    "ObjectLockEnabled",
    "StorageClass",
];

const ROOTS: [&str; 8] = [
    "ListBucketResult",
    "Error",
    "ListMultipartUploadsResult",
    "ListPartsResult",
    "InitiateMultipartUploadResult",
    "CompleteMultipartUploadResult",
    "ObjectLockConfiguration",
    "html",
];

fn one(of: &[&'static str], number: u8) -> &'static str {
    of[usize::from(number) % of.len()]
}

pub struct Server(Mutex<State>);

struct State {
    answers: VecDeque<Answer>,
    bucket: Bucket,
    requests: usize,
}

impl Server {
    pub fn new(plan: Plan<'_>) -> Self {
        let answers = plan.answers().into();
        Self(Mutex::new(State { answers, bucket: Bucket::default(), requests: 0 }))
    }

    pub fn requests(&self) -> usize {
        self.0.lock().unwrap().requests
    }

    /// The next answer, and the honest one.
    fn next(&self, asked: Asked) -> (Answer, Whole) {
        let mut state = self.0.lock().unwrap();
        state.requests += 1;
        let answer = state.answers.pop_front().unwrap_or(Answer::Honest);
        (answer, state.bucket.answer(asked))
    }
}

impl s3_backup_agent::net::fuzzing::Server for Server {
    fn dial(self: std::sync::Arc<Self>) -> MemoryStream {
        let (near, far) = duplex(ON_THE_WAY);
        tokio::spawn(async move {
            let mut connection = BufReader::new(far);
            // Ends when the agent closes the connection, or when the plan says so.
            while let Some(asked) = read(&mut connection).await {
                let is_head = asked.method == "HEAD";
                let (answer, honest) = self.next(asked);
                if write(connection.get_mut(), answer, honest, is_head).await.is_none() {
                    return;
                }
            }
        });
        near
    }
}

async fn read(connection: &mut BufReader<DuplexStream>) -> Option<Asked> {
    let mut line = String::new();
    connection.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
    let mut words = line.split_ascii_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut range) = (0, None);
    loop {
        line.clear();
        connection.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        let value = value.trim();
        match name {
            "content-length" => length = value.parse().unwrap(),
            "range" => range = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    Some(Asked { method, path, range, body })
}

/// Returns nothing when the connection ends here.
async fn write(
    out: &mut DuplexStream,
    answer: Answer,
    mut honest: Whole,
    is_head: bool,
) -> Option<()> {
    let mut ends = false;
    let bytes = match answer {
        Answer::Honest => honest.bytes(is_head),
        Answer::Raw { bytes, ends: it } => {
            ends = it;
            bytes
        }
        Answer::Made { status, headers, framing, body } => {
            let made = framed(status, headers, framing, body);
            ends = made.1;
            made.0
        }
        Answer::Spliced(splice) => {
            let mut bytes = honest.bytes(is_head);
            splice.apply(&mut bytes);
            bytes
        }
        Answer::SplicedBody(splice) => {
            splice.apply(&mut honest.body);
            honest.bytes(is_head)
        }
        Answer::Header(name, value) => {
            let name = one(&HEADERS, name);
            honest.headers.retain(|(other, _)| other != name);
            let value = String::from_utf8_lossy(&value).replace(['\r', '\n'], " ");
            honest.headers.push((name.to_owned(), value));
            honest.bytes(is_head)
        }
        Answer::Repeated { at, length, doublings } => {
            let start = at.min(honest.body.len());
            let end = (start + length).min(honest.body.len());
            let part = honest.body[start..end].to_vec();
            let times = (1_usize << doublings).min(LONGEST / part.len().max(1));
            honest.body.splice(start..end, part.repeat(times));
            honest.bytes(is_head)
        }
        Answer::Document { root, members } => {
            let root = one(&ROOTS, root);
            let members = members.iter().map(|(name, text)| {
                let name = one(&MEMBERS, *name);
                format!("<{name}>{}</{name}>", String::from_utf8_lossy(text))
            });
            let members: String = members.collect();
            honest.body = format!("<{root}>{members}</{root}>").into_bytes();
            honest.bytes(is_head)
        }
        Answer::Cut(at) => {
            ends = true;
            let mut bytes = honest.bytes(is_head);
            bytes.truncate(at);
            bytes
        }
        Answer::Stalled(at) => {
            let bytes = honest.bytes(is_head);
            out.write_all(&bytes[..at.min(bytes.len())]).await.ok()?;
            return std::future::pending().await;
        }
        Answer::Slow { piece, pause_ms } => {
            for piece in honest.bytes(is_head).chunks(piece) {
                out.write_all(piece).await.ok()?;
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            return Some(());
        }
        Answer::Closed => return None,
    };
    out.write_all(&bytes).await.ok()?;
    (!ends).then_some(())
}

/// An answer, and whether the connection ends after it.
fn framed(
    status: u16,
    headers: Vec<(u8, Vec<u8>)>,
    framing: Framing,
    body: Vec<u8>,
) -> (Vec<u8>, bool) {
    let mut bytes = format!("HTTP/1.1 {status} S\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{}: ", one(&HEADERS, name)).as_bytes());
        bytes.extend(value.iter().filter(|byte| !b"\r\n".contains(byte)));
        bytes.extend_from_slice(b"\r\n");
    }
    let length = body.len();
    let says = match framing {
        Framing::Right => format!("content-length: {length}\r\n"),
        Framing::Longer => format!("content-length: {}\r\n", length + 1),
        Framing::Shorter => format!("content-length: {}\r\n", length / 2),
        Framing::Huge => format!("content-length: {}\r\n", u64::MAX - 1),
        Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
        Framing::UntilClose => String::new(),
    };
    bytes.extend_from_slice(says.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    match framing {
        Framing::Chunked => {
            for piece in body.chunks(1000) {
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        _ => bytes.extend_from_slice(&body),
    }
    (bytes, matches!(framing, Framing::UntilClose))
}
