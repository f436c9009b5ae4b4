//! Faults of the requests that only an upload makes: creation, completion, and metadata object.

use futures_util::future::join_all;
use http::Method;
use http::request::Parts;

use super::operation::Operation;
use super::{Times, line, run};
use crate::connection::wire::Act;

type Row = (&'static str, fn(&Parts) -> bool, Operation, Act, Times, &'static str);

fn is_creation(head: &Parts) -> bool {
    head.method == Method::POST && head.uri.query().unwrap_or_default().contains("uploads")
}

fn is_completion(head: &Parts) -> bool {
    head.method == Method::POST && !is_creation(head)
}

fn is_metadata_upload(head: &Parts) -> bool {
    head.method == Method::PUT && head.uri.path().ends_with(".metadata.json")
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("creation: answer lost", is_creation, Operation::Parts, Act::LoseAnswer, Times::Once, "ok 2"),
    ("creation: answer lost always", is_creation, Operation::Parts, Act::LoseAnswer, Times::Always, "network_lost 5"),
    ("completion: 200 with an error", is_completion, Operation::Parts, Act::Answer(200, "InternalError"), Times::Once, "ok 2"),
    ("completion: 200 with an error always", is_completion, Operation::Parts, Act::Answer(200, "InternalError"), Times::Always, "remote_error 5"),
    ("completion: answer lost", is_completion, Operation::Parts, Act::LoseAnswer, Times::Once, "ok 2"),
    ("completion: answer lost always", is_completion, Operation::Parts, Act::LoseAnswer, Times::Always, "ok 5"),
    ("completion: quota", is_completion, Operation::Parts, Act::Answer(403, "QuotaExceeded"), Times::Always, "quota_exceeded 1"),
    ("completion: expired keys", is_completion, Operation::Parts, Act::Answer(400, "ExpiredToken"), Times::FromFirstOn, "credentials_expired 1, left 0+1"),
    ("metadata: answer lost", is_metadata_upload, Operation::Small, Act::LoseAnswer, Times::Once, "ok 2"),
    ("metadata: answer lost always", is_metadata_upload, Operation::Small, Act::LoseAnswer, Times::Always, "network_lost 5"),
    ("metadata: 503 always", is_metadata_upload, Operation::Small, Act::Answer(503, "SlowDown"), Times::Always, "throttled 5"),
    ("metadata: quota", is_metadata_upload, Operation::Parts, Act::Answer(403, "QuotaExceeded"), Times::Always, "quota_exceeded 1"),
];

#[tokio::test]
async fn upload_with_fault_in_each_request_ends_as_listed() {
    let rows = TABLE.iter().map(|(fault, matches, operation, act, times, expected)| async move {
        (*fault, *expected, run(*operation, *matches, act.clone(), *times).await)
    });
    let seen = join_all(rows).await;
    println!("{}\n{}", line(["fault of an upload", "outcome"]), line(["---"; 2]));
    for (fault, _, seen) in &seen {
        println!("{}", line([*fault, seen]));
    }
    let wrong: Vec<_> = seen.iter().filter(|(_, expected, seen)| expected != seen).collect();
    assert!(wrong.is_empty(), "fault, expected, seen: {wrong:#?}");
}
