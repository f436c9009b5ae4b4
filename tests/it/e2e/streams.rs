//! Credit: neither side sends more than allowed, and no stream blocks another one.

use std::time::{Duration, Instant};

use s3_backup_agent::config::DEFAULT_PART_SIZE;
use s3_backup_agent::demo::host::{Answer, Event, Host, Request};
use serde_json::{Value, json};

use super::{backup, code, connect, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

/// Waits for the next notification of this method.
pub(super) async fn next(request: &mut Request, wanted: &str) -> (Value, Option<bytes::Bytes>) {
    loop {
        match request.next_event().await.expect("the agent is there") {
            Event::Notification { method, params, payload } if method == wanted => {
                return (params, payload);
            }
            Event::Notification { .. } => {}
            Event::Response(answer) => panic!("answered before {wanted}: {answer:?}"),
        }
    }
}

/// Waits until a report says that the request waits for the server.
pub(crate) async fn wait_until_waiting_for_server(request: &mut Request) {
    while next(request, "progress").await.0["waiting_for"] != "remote" {}
}

/// Starts an upload and waits for the go-ahead.
pub(crate) async fn begin_upload(host: &Host, id: &str, extra: Value) -> (Request, u64) {
    let mut params = json!({"target": "t1", "backup": backup(id)});
    params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let mut request = host.start("backup.upload", params).await.unwrap();
    let (credit, _) = next(&mut request, "stream.credit").await;
    (request, credit["up_to"].as_u64().unwrap())
}

/// Sends an upload to its end: random data of seed 1 and this length, in whole MiB. Calls `told`
/// with each progress report.
pub(crate) async fn feed(
    host: &Host,
    mut upload: Request,
    mut credit: u64,
    size: u64,
    mut told: impl AsyncFnMut(&Value),
) -> Answer {
    let (mut data, mut offset) = (RandomData::new(1, size), 0);
    let block = 1 << 20;
    loop {
        if offset < size && offset + block <= credit {
            send(host, &upload, offset, &data.bytes(block as usize)).await;
            offset += block;
            if offset == size {
                let end = json!({"id": upload.id, "length": size});
                host.notify("stream.end", end, None).await.unwrap();
            }
            continue;
        }
        match upload.next_event().await.expect("the agent is there") {
            Event::Response(answer) => return answer,
            Event::Notification { method, params, .. } if method == "progress" => {
                told(&params).await;
            }
            Event::Notification { params, .. } => credit = params["up_to"].as_u64().unwrap(),
        }
    }
}

async fn send(host: &Host, request: &Request, offset: u64, bytes: &[u8]) {
    let params = json!({"id": request.id, "offset": offset});
    host.notify("stream.data", params, Some(bytes)).await.unwrap();
}

#[tokio::test]
async fn ping_is_answered_while_download_waits_for_credit() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    store(&host, "slow", 4, 40 << 20).await;
    let params = json!({"target": "t1", "backup_id": "slow", "up_to": 1000});
    let mut download = host.start("backup.download", params).await.unwrap();
    let (begin, _) = next(&mut download, "stream.begin").await;
    assert_eq!((&begin["length"], &begin["offset"]), (&json!(40 << 20), &json!(0)));
    let (_, payload) = next(&mut download, "stream.data").await;
    assert_eq!(payload.unwrap().len(), 1000);
    let mut times = Vec::new();
    for _ in 0..21 {
        let start = Instant::now();
        host.call("ping", json!({})).await.unwrap();
        times.push(start.elapsed());
    }
    // The median: a busy machine may delay any single answer.
    times.sort();
    assert!(times[10] < Duration::from_millis(100), "{times:?}");
    // Other requests are not blocked either.
    host.call("backup.list", json!({"target": "t1"})).await.unwrap();
    let more = json!({"id": download.id, "up_to": 1500});
    host.notify("stream.credit", more, None).await.unwrap();
    let (params, payload) = next(&mut download, "stream.data").await;
    assert_eq!((params["offset"].as_u64(), payload.unwrap().len()), (Some(1000), 500));
    host.notify("cancel", json!({"id": download.id}), None).await.unwrap();
    assert_eq!(code(download.response().await), "cancelled");
}

#[tokio::test]
async fn upload_data_with_gap_or_beyond_credit_is_refused() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let cases: [(&str, &[(u64, usize)]); 3] =
        [("gap", &[(0, 3), (4, 1)]), ("overlap", &[(0, 3), (2, 1)]), ("start", &[(1, 1)])];
    for (id, frames) in cases {
        let (mut request, credit) = begin_upload(&host, id, json!({})).await;
        assert_eq!(credit, 4 << 20);
        for (offset, length) in frames {
            send(&host, &request, *offset, &vec![b'x'; *length]).await;
        }
        assert_eq!(code(request.response().await), "stream_violation", "{id}");
    }
    // Data together with the request, which cannot get any credit behind all the others.
    let mut others = Vec::new();
    for number in 0..host.hello().limits.max_transfers {
        let params = json!({"target": "t1", "backup": backup(&format!("other {number}"))});
        others.push(host.start("backup.upload", params).await.unwrap());
    }
    let params = json!({"target": "t1", "backup": backup("flow")});
    let upload = json!({"jsonrpc": "2.0", "id": 1000, "method": "backup.upload", "params": params});
    let data = json!({"jsonrpc": "2.0", "method": "stream.data",
        "params": {"id": 1000, "offset": 0}, "payload": 1});
    let mut request = host.listen(1000);
    host.raw_write(format!("{upload}\n{data}\nx\n").as_bytes()).await.unwrap();
    assert_eq!(code(request.response().await), "flow_violation");
    for mut other in others {
        host.notify("cancel", json!({"id": other.id}), None).await.unwrap();
        assert_eq!(code(other.response().await), "cancelled");
    }
    let (mut request, _) = begin_upload(&host, "end", json!({})).await;
    send(&host, &request, 0, b"abc").await;
    host.notify("stream.end", json!({"id": request.id, "length": 4}), None).await.unwrap();
    assert_eq!(code(request.response().await), "length_mismatch");
    let params = json!({"target": "t1", "backup_id": "none", "up_to": 0});
    drop(host.start("backup.download", params).await.unwrap());
    host.call("ping", json!({})).await.unwrap();
    super::assert_empty(&server).await;
}

#[tokio::test]
async fn late_messages_for_answered_request_are_ignored() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let (mut request, _) = begin_upload(&host, "late", json!({})).await;
    send(&host, &request, 0, b"half").await;
    host.notify("cancel", json!({"id": request.id, "reason": "user"}), None).await.unwrap();
    let error = request.response().await.unwrap_err();
    assert_eq!(error.data.code, "cancelled");
    assert_eq!(serde_json::to_value(&error.data.details["reason"]).unwrap(), "user");
    send(&host, &request, 4, b"late").await;
    host.notify("stream.end", json!({"id": request.id, "length": 8}), None).await.unwrap();
    host.notify("stream.credit", json!({"id": request.id, "up_to": 8}), None).await.unwrap();
    host.notify("cancel", json!({"id": request.id}), None).await.unwrap();
    host.notify("cancel", json!({"id": 4711}), None).await.unwrap();
    host.call("ping", json!({})).await.unwrap();
    super::assert_empty(&server).await;
}

#[tokio::test]
async fn upload_in_single_bytes_is_stored() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let (mut request, _) = begin_upload(&host, "tiny", json!({})).await;
    let content: Vec<u8> = (0..3000_u32).map(|index| (index % 251) as u8).collect();
    for (offset, byte) in (0..).zip(&content) {
        send(&host, &request, offset, &[*byte]).await;
    }
    host.notify("stream.end", json!({"id": request.id, "length": 3000}), None).await.unwrap();
    request.response().await.unwrap();
    assert_eq!(super::fetch(&host, "tiny").await.0, content);
}

#[tokio::test]
async fn progress_counts_stored_bytes_and_ends_complete() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let size = 10 * DEFAULT_PART_SIZE;
    let (request, credit) =
        begin_upload(&host, "progress", json!({"size": size, "progress_ms": 100})).await;
    let mut reports = Vec::new();
    let told = async |report: &Value| reports.push(report.clone());
    feed(&host, request, credit, size, told).await.unwrap();
    let done: Vec<u64> = reports.iter().map(|report| report["done"].as_u64().unwrap()).collect();
    assert!(done.is_sorted(), "{done:?}");
    assert_eq!(reports.last().unwrap()["done"], size);
    assert_eq!(reports.last().unwrap()["total"], size);
    // Only complete parts, never data that is in flight.
    assert!(done.iter().all(|done| done % DEFAULT_PART_SIZE == 0), "{done:?}");
}

#[tokio::test]
async fn stalled_downloads_leave_memory_for_others() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    store(&host, "big", 4, 100 << 20).await;
    // Two hosts that read nothing; together they would fill the memory with read-ahead data.
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let params = json!({"target": "t1", "backup_id": "big", "up_to": 1});
        let mut download = host.start("backup.download", params).await.unwrap();
        next(&mut download, "stream.data").await;
        waiting.push(download);
    }
    store(&host, "small", 5, 21 << 20).await;
    // The data that was dropped is fetched again.
    let mut download = waiting.remove(0);
    let everything = json!({"id": download.id, "up_to": 200_u64 << 20});
    host.notify("stream.credit", everything, None).await.unwrap();
    let (mut data, mut received) = (crate::random_data::RandomData::new(4, 100 << 20).from(1), 1);
    while received < 100 << 20 {
        let (params, payload) = next(&mut download, "stream.data").await;
        let payload = payload.unwrap();
        assert_eq!(params["offset"], received);
        assert!(payload == data.bytes(payload.len()));
        received += payload.len() as u64;
    }
    download.response().await.unwrap();
}
