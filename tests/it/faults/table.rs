//! Faults of one request of each operation.

use futures_util::StreamExt as _;
use futures_util::stream;

use super::operation::Operation;
use super::{Times, line, run};
use crate::connection::wire::Act;

type Row = (&'static str, fn(Operation) -> Option<Act>, Times, [&'static str; 6]);

/// A cell is the outcome, and how often the request was made; `-` where there is no such fault.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    // fault, its act, how often; small upload, upload in parts, download, list, delete, validate
    ("500", |_| Some(Act::Answer(500, "InternalError")), Times::Once, ["ok 2", "ok 2", "ok 2", "ok 2", "ok 2", "?"]),
    ("500 always", |_| Some(Act::Answer(500, "InternalError")), Times::Always, ["?"; 6]),
    ("503", |_| Some(Act::Answer(503, "SlowDown")), Times::Once, ["?"; 6]),
    ("503 always", |_| Some(Act::Answer(503, "SlowDown")), Times::Always, ["?"; 6]),
    ("503 with Retry-After", |_| Some(Act::Later(1)), Times::Once, ["?"; 6]),
    ("503 with Retry-After always", |_| Some(Act::Later(1)), Times::Always, ["?"; 6]),
    ("reset before the body", |_| Some(Act::CutRequest(0)), Times::Once, ["?"; 6]),
    ("reset before the body always", |_| Some(Act::CutRequest(0)), Times::Always, ["?"; 6]),
    ("reset in the body", in_the_body, Times::Once, ["?"; 6]),
    ("reset in the body always", in_the_body, Times::Always, ["?"; 6]),
    ("reset after the body", |_| Some(Act::LoseAnswer), Times::Once, ["?"; 6]),
    ("reset after the body always", |_| Some(Act::LoseAnswer), Times::Always, ["?"; 6]),
    ("stall of the request", |_| Some(Act::StallRequest), Times::Always, ["?"; 6]),
    ("stall of the answer", |_| Some(Act::StallAnswer(100)), Times::Always, ["?"; 6]),
    ("short answer", short, Times::Once, ["?"; 6]),
    ("short answer always", short, Times::Always, ["?"; 6]),
    ("damaged body", damaged, Times::Once, ["?"; 6]),
    ("damaged body always", damaged, Times::Always, ["?"; 6]),
    ("trickle", |operation| operation.receives().then_some(Act::Trickle), Times::Always, ["?"; 6]),
    ("expired keys", |_| Some(Act::Answer(400, "ExpiredToken")), Times::FromThenOn, ["?"; 6]),
    ("quota", |operation| operation.sends().then_some(Act::Answer(403, "QuotaExceeded")), Times::Always, ["?"; 6]),
    ("bucket gone", |_| Some(Act::Answer(404, "NoSuchBucket")), Times::FromThenOn, ["?"; 6]),
];

fn in_the_body(operation: Operation) -> Option<Act> {
    if operation.sends() {
        // The test object has fewer bytes than are in flight at any time.
        return (operation != Operation::Validate).then_some(Act::CutRequest(1 << 20));
    }
    operation.receives().then_some(Act::CutAnswer(200))
}

fn short(operation: Operation) -> Option<Act> {
    operation.receives().then_some(Act::ShortenAnswer(200))
}

fn damaged(operation: Operation) -> Option<Act> {
    match operation.sends() {
        true => Some(Act::DamageRequest),
        false => operation.receives().then_some(Act::DamageAnswer),
    }
}

#[tokio::test]
async fn every_fault_ends_as_the_table_says() {
    let mut cells = Vec::new();
    for (fault, act, times, expected) in TABLE {
        for (operation, expected) in Operation::ALL.into_iter().zip(expected) {
            let act = act(operation);
            cells.push(async move {
                let seen = match act {
                    Some(act) => {
                        run(operation, move |head| operation.asks(head), act, *times).await
                    }
                    None => "-".to_owned(),
                };
                (*fault, operation, *expected, seen)
            });
        }
    }
    let seen: Vec<_> = stream::iter(cells).buffered(12).collect().await;
    let names = Operation::ALL.map(|operation| format!("{operation:?}"));
    println!("{}", line(["fault"].into_iter().chain(names.iter().map(String::as_str))));
    println!("{}", line(["---"; 7]));
    for row in seen.chunks(Operation::ALL.len()) {
        println!("{}", line([row[0].0].into_iter().chain(row.iter().map(|cell| cell.3.as_str()))));
    }
    let wrong: Vec<_> = seen.iter().filter(|(_, _, expected, seen)| expected != seen).collect();
    assert!(wrong.is_empty(), "fault, operation, expected, seen: {wrong:#?}");
}
