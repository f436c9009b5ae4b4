//! Any answer of a server becomes an error with a code, and its text stays short and harmless.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_backup_agent::error::text::is_hidden;
use s3_backup_agent::error::{Detail, Error};
use s3_backup_agent::s3::{Answer, Context, Operation, classify};

/// Longest text from a server, in bytes.
const LONGEST: usize = 2048;

/// Longest body that the agent reads, in bytes.
const LONGEST_BODY: usize = 64 << 10;

const OPERATIONS: [Operation; 11] = [
    Operation::ListObjectsV2,
    Operation::GetObject,
    Operation::HeadObject,
    Operation::PutObject,
    Operation::DeleteObject,
    Operation::CreateMultipartUpload,
    Operation::UploadPart,
    Operation::CompleteMultipartUpload,
    Operation::AbortMultipartUpload,
    Operation::ListMultipartUploads,
    Operation::ListParts,
];

const ENDPOINTS: [&str; 4] = [
    "https://s3.example.org",
    "http://nas.example.org:9001",
    "https://s3.eu-west-1.amazonaws.com",
    "http://127.0.0.1:9000",
];

fn harmless(what: &str, text: &str) {
    assert!(text.len() <= LONGEST, "{what} has {} bytes", text.len());
    assert!(!text.contains(is_hidden), "{what}: {text:?}");
}

fn check(error: &Error) {
    harmless("the message", &error.message());
    assert!(!error.message().is_empty());
    for (name, detail) in error.details() {
        if let Detail::Text(text) = detail {
            harmless(name, text);
        }
    }
    let upstream = error.upstream_answer().unwrap();
    for text in [&upstream.code, &upstream.message, &upstream.request_id].into_iter().flatten() {
        harmless("what the storage says", text);
    }
    let data = error.data();
    assert_eq!((data.code.as_str(), data.kind), (error.code().as_str(), error.code().kind()));
    assert!(data.retry_after_ms.is_none_or(|ms| ms <= 86_400_000));
    // An answer has to fit into a protocol line with space for the rest.
    assert!(serde_json::to_vec(&data).unwrap().len() < 32 << 10);
}

fuzz_target!(|data: &[u8]| {
    let &[operation, endpoint, low, high, ref text @ ..] = data else { return };
    let text = String::from_utf8_lossy(&text[..text.len().min(LONGEST_BODY)]);
    // The input consists of headers, an empty line, and the body.
    let (headers, body) = text.split_once("\n\n").unwrap_or_default();
    let headers = headers.lines().filter_map(|line| line.split_once(": "));
    let answer = Answer {
        status: 100 + u16::from_le_bytes([low, high]) % 900,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: body.to_owned(),
    };
    let context = Context {
        endpoint: ENDPOINTS[usize::from(endpoint) % ENDPOINTS.len()].to_owned(),
        bucket: "backups".to_owned(),
        region: "us-east-1".to_owned(),
        keys_look_swapped: endpoint & 64 != 0,
        clock_corrected: endpoint & 128 != 0,
    };
    let operation = OPERATIONS[usize::from(operation) % OPERATIONS.len()];
    check(&classify(operation, &context, &answer));
});
