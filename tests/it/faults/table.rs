//! Faults of one request of each operation.

use futures_util::StreamExt as _;
use futures_util::stream;

use super::operation::Operation;
use super::{Times, line, run};
use crate::connection::wire::Act;

type Row = (&'static str, fn(Operation) -> Option<Act>, Times, [&'static str; 6]);

/// A cell is the outcome, how often the request was made, and what remains although it should not:
/// objects and uploads. `-` where this fault does not exist. Expired keys cannot clean up; a
/// deletion that stops in the middle leaves an archive that is not listed.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    // fault, its act, how often; small upload, upload in parts, download, list, delete, validate
    ("500", |_| Some(Act::Answer(500, "InternalError")), Times::Once, ["ok 2", "ok 2", "ok 2", "ok 2", "ok 2", "ok 4"]),
    ("500 always", |_| Some(Act::Answer(500, "InternalError")), Times::Always, ["remote_error 5", "remote_error 5", "remote_error 20", "remote_error 5", "remote_error 5", "remote_error 3"]),
    ("503", |_| Some(Act::Answer(503, "SlowDown")), Times::Once, ["ok 2", "ok 2", "ok 2", "ok 2", "ok 2", "ok 4"]),
    ("503 always", |_| Some(Act::Answer(503, "SlowDown")), Times::Always, ["throttled 5", "throttled 5", "throttled 20", "throttled 5", "throttled 5", "throttled 3"]),
    ("503 with Retry-After", |_| Some(Act::Throttle(1)), Times::Once, ["ok 2", "ok 2", "ok 2", "ok 2", "ok 2", "ok 4"]),
    ("503 with Retry-After always", |_| Some(Act::Throttle(1)), Times::Always, ["throttled 5", "throttled 5", "throttled 20", "throttled 5", "throttled 5", "throttled 3"]),
    ("reset before the body", |_| Some(Act::CutRequest(0)), Times::Once, ["ok 2", "ok 2", "ok 2", "ok 2", "ok 2", "ok 4"]),
    ("reset before the body always", |_| Some(Act::CutRequest(0)), Times::Always, ["network_lost 5", "network_lost 5", "network_lost 20", "network_lost 5", "network_lost 5", "network_lost 3"]),
    ("reset in the body", in_the_body, Times::Once, ["ok 2", "ok 2", "ok 2", "ok 2", "-", "-"]),
    ("reset in the body always", in_the_body, Times::Always, ["network_lost 5", "network_lost 5", "ok 3", "network_lost 5", "-", "-"]),
    ("reset after the body", |_| Some(Act::LoseAnswer), Times::Once, ["ok 2", "ok 2", "ok 2", "ok 2", "ok 2", "ok 4"]),
    ("reset after the body always", |_| Some(Act::LoseAnswer), Times::Always, ["network_lost 5", "network_lost 5", "network_lost 20", "network_lost 5", "network_lost 5, left 1+0", "network_lost 3"]),
    ("stall of the request", |_| Some(Act::StallRequest), Times::Always, ["timeout 1", "timeout 1", "timeout 1", "timeout 1", "timeout 1", "timeout 1"]),
    ("stall of the answer", |_| Some(Act::StallAnswer(100)), Times::Always, ["timeout 1", "timeout 1", "timeout 1", "timeout 1", "timeout 1, left 1+0", "timeout 1, left 1+0"]),
    ("short answer", short, Times::Once, ["-", "-", "ok 2", "ok 2", "-", "-"]),
    ("short answer always", short, Times::Always, ["-", "-", "ok 3", "network_lost 5", "-", "-"]),
    ("damaged body", damaged, Times::Once, ["ok 2", "ok 2", "ok 2", "ok 2", "-", "integrity_mismatch 1"]),
    ("damaged body always", damaged, Times::Always, ["integrity_mismatch 5", "integrity_mismatch 5", "integrity_mismatch 2", "network_lost 5", "-", "integrity_mismatch 1"]),
    ("trickle", |operation| operation.receives().then_some(Act::Trickle), Times::Always, ["-", "-", "ok 1", "ok 1", "-", "-"]),
    ("expired keys", |_| Some(Act::Answer(400, "ExpiredToken")), Times::FromFirstOn, ["credentials_expired 1", "credentials_expired 1, left 0+1", "credentials_expired 1", "credentials_expired 1", "credentials_expired 1", "credentials_expired 1"]),
    ("quota", |operation| operation.sends().then_some(Act::Answer(403, "QuotaExceeded")), Times::Always, ["quota_exceeded 1", "quota_exceeded 1", "-", "-", "-", "quota_exceeded 1"]),
    ("bucket deleted", |_| Some(Act::Answer(404, "NoSuchBucket")), Times::FromFirstOn, ["bucket_not_found 1", "bucket_not_found 1, left 0+1", "bucket_not_found 1", "bucket_not_found 1", "bucket_not_found 1", "bucket_not_found 1"]),
];

fn in_the_body(operation: Operation) -> Option<Act> {
    if operation.sends() {
        // The test object has fewer bytes than are always in flight.
        return (operation != Operation::Validate).then_some(Act::CutRequest(1 << 20));
    }
    cut_at(operation).map(Act::CutAnswer)
}

fn short(operation: Operation) -> Option<Act> {
    cut_at(operation).map(Act::ShortenAnswer)
}

/// In the middle of the data that the server sends.
fn cut_at(operation: Operation) -> Option<usize> {
    match operation {
        Operation::Download => Some(1 << 20),
        Operation::List => Some(200),
        Operation::Small | Operation::Parts | Operation::Delete | Operation::Validate => None,
    }
}

fn damaged(operation: Operation) -> Option<Act> {
    match operation.sends() {
        true => Some(Act::DamageRequest),
        false => operation.receives().then_some(Act::DamageAnswer),
    }
}

/// Cells that run at the same time; most of them wait.
const AT_ONCE: usize = 24;

#[tokio::test]
async fn operation_with_each_fault_ends_as_listed() {
    let mut cells = Vec::new();
    for (fault, act, times, expected) in TABLE {
        for (operation, expected) in Operation::ALL.into_iter().zip(expected) {
            let (act, number) = (act(operation), cells.len());
            cells.push(async move {
                let seen = match act {
                    Some(act) => {
                        run(operation, move |head| operation.is_request(head), act, *times).await
                    }
                    None => "-".to_owned(),
                };
                (number, *fault, operation, *expected, seen)
            });
        }
    }
    let mut seen: Vec<_> = stream::iter(cells).buffer_unordered(AT_ONCE).collect().await;
    seen.sort_by_key(|cell| cell.0);
    let names = Operation::ALL.map(|operation| format!("{operation:?}"));
    println!("{}", line(["fault"].into_iter().chain(names.iter().map(String::as_str))));
    println!("{}", line(["---"; 7]));
    for row in seen.chunks(Operation::ALL.len()) {
        println!("{}", line([row[0].1].into_iter().chain(row.iter().map(|cell| cell.4.as_str()))));
    }
    let wrong: Vec<_> = seen.iter().filter(|(.., expected, seen)| expected != seen).collect();
    assert!(wrong.is_empty(), "fault, operation, expected, seen: {wrong:#?}");
}
