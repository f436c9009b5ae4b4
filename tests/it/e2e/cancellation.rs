//! An upload that stops at any moment for any reason: no backup is listed and nothing remains.

use std::time::Duration;

use s3_backup_agent::demo::host::{Event, Host};
use serde_json::{Value, json};

use super::streams::begin_upload;
use super::{assert_empty, code, connect, ids};
use crate::support::TestServer;

/// How far an upload gets before it stops.
pub(super) const MOMENTS: [(&str, u64); 6] = [
    ("before the first byte", 0),
    ("in a small upload", 5 << 20),
    ("just before the first part", (20 << 20) - 1),
    ("when the multipart upload opens", 20 << 20),
    ("with parts on their way", 40 << 20),
    ("after several parts", 70 << 20),
];

/// Sends this many bytes of an upload within the credit.
pub(crate) async fn send_until(
    host: &Host,
    id: &str,
    bytes: u64,
    extra: Value,
) -> s3_backup_agent::demo::host::Request {
    let (mut request, mut credit) = begin_upload(host, id, extra).await;
    let block = vec![1_u8; 1 << 20];
    let mut offset = 0;
    while offset < bytes {
        let length = (bytes - offset).min(1 << 20);
        if offset + length > credit {
            match request.next_event().await.unwrap() {
                Event::Response(answer) => panic!("{answer:?}"),
                Event::Notification { params, .. } => {
                    credit = credit.max(params["up_to"].as_u64().unwrap_or_default());
                }
            }
            continue;
        }
        let data = json!({"id": request.id, "offset": offset});
        let length = usize::try_from(length).unwrap();
        host.notify("stream.data", data, Some(&block[..length])).await.unwrap();
        offset += length as u64;
    }
    request
}

#[tokio::test]
async fn cancelled_upload_leaves_nothing() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    for (moment, bytes) in MOMENTS {
        for announced in [json!({}), json!({"size": 100 << 20})] {
            let mut request = send_until(&host, "c", bytes, announced).await;
            host.notify("cancel", json!({"id": request.id, "reason": "source_failed"}), None)
                .await
                .unwrap();
            let error = request.response().await.unwrap_err();
            assert_eq!(error.data.code, "cancelled", "{moment}");
            assert_ne!(format!("{:?}", error.data.cleanup), "Some(Failed)", "{moment}");
            assert_empty(&server).await;
        }
    }
    assert_eq!(ids(&host).await, Vec::<String>::new());
}

#[tokio::test]
async fn upload_can_be_cancelled_at_any_time() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    for round in 0..40_u64 {
        let size = if round % 2 == 0 { 300_000 } else { 21 << 20 };
        let new = json!({"target": "t1", "backup": super::backup("r"), "size": size});
        let mut request = host.start("backup.upload", new).await.unwrap();
        let id = request.id;
        let feed = async {
            // An upload of a host that only watches its credit.
            let (mut offset, mut credit) = (0_u64, 0_u64);
            let block = vec![2_u8; 256 << 10];
            loop {
                if offset < credit.min(size) {
                    let length = (credit.min(size) - offset).min(256 << 10);
                    let data = json!({"id": request.id, "offset": offset});
                    let part = &block[..usize::try_from(length).unwrap()];
                    host.notify("stream.data", data, Some(part)).await.unwrap();
                    offset += length;
                    if offset == size {
                        let end = json!({"id": request.id, "length": size});
                        host.notify("stream.end", end, None).await.unwrap();
                    }
                    continue;
                }
                match request.next_event().await.unwrap() {
                    Event::Response(answer) => break answer,
                    Event::Notification { params, .. } => {
                        credit = credit.max(params["up_to"].as_u64().unwrap_or_default());
                    }
                }
            }
        };
        let pause = Duration::from_millis(fastrand::u64(0..if round % 2 == 0 { 60 } else { 250 }));
        let cancel = async {
            tokio::time::sleep(pause).await;
            host.notify("cancel", json!({"id": id}), None).await.unwrap();
        };
        let ((), answer) = tokio::join!(cancel, feed);
        match answer {
            // It was complete before the cancel arrived.
            Ok(_) => {
                assert_eq!(ids(&host).await, ["r"]);
                host.call("backup.delete", json!({"target": "t1", "backup_id": "r"}))
                    .await
                    .unwrap();
            }
            Err(error) => assert_eq!(error.data.code, "cancelled", "{error:?}"),
        }
        assert_empty(&server).await;
    }
}

#[tokio::test]
async fn closed_stdin_ends_the_agent_and_leaves_nothing() {
    let server = TestServer::start().await;
    for (moment, bytes) in MOMENTS {
        let mut host = connect(&server).await;
        let _request = send_until(&host, "eof", bytes, json!({})).await;
        host.close_stdin().await;
        let status = tokio::time::timeout(Duration::from_secs(15), host.wait()).await;
        assert_eq!(status.unwrap().unwrap().code(), Some(0), "{moment}");
        assert_empty(&server).await;
    }
}

#[tokio::test]
async fn frame_cut_by_end_of_input_is_a_protocol_error() {
    let server = TestServer::start().await;
    let mut host = connect(&server).await;
    let request = send_until(&host, "cut", 21 << 20, json!({})).await;
    let line = json!({"jsonrpc": "2.0", "method": "stream.data",
        "params": {"id": request.id, "offset": 21 << 20}, "payload": 100});
    host.raw_write(format!("{line}\nonly this").as_bytes()).await.unwrap();
    host.close_stdin().await;
    assert_eq!(host.wait().await.unwrap().code(), Some(76));
    assert_empty(&server).await;
}

#[cfg(unix)]
#[tokio::test]
async fn signal_ends_the_agent_and_leaves_nothing() {
    let server = TestServer::start().await;
    for signal in ["TERM", "INT"] {
        for (moment, bytes) in MOMENTS {
            let mut host = connect(&server).await;
            let _request = send_until(&host, "sig", bytes, json!({})).await;
            let pid = host.pid().unwrap().to_string();
            let sent = std::process::Command::new("kill").args(["-s", signal, &pid]).status();
            assert!(sent.unwrap().success());
            let status = tokio::time::timeout(Duration::from_secs(15), host.wait()).await;
            assert_eq!(status.unwrap().unwrap().code(), Some(0), "{signal} {moment}");
            assert_empty(&server).await;
        }
    }
}

#[tokio::test]
async fn killed_upload_is_not_listed() {
    let server = TestServer::start().await;
    for (moment, bytes) in MOMENTS {
        let mut host = connect(&server).await;
        let _request = send_until(&host, "kill", bytes, json!({})).await;
        host.kill().await.unwrap();
        assert_eq!(ids(&connect(&server).await).await, Vec::<String>::new(), "{moment}");
    }
}

#[tokio::test]
async fn upload_shorter_than_announced_is_refused() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    for (sent, announced) in
        [(3_u64, 10_u64), (20 << 20, (20 << 20) + 1), (19 << 20, 30 << 20), (33 << 20, 1_u64 << 40)]
    {
        let extra = json!({"size": announced});
        let source = crate::random_data::RandomData::new(1, sent);
        let error = host.upload("t1", super::backup("s"), extra, source).await.unwrap_err();
        let expected = if announced == 1_u64 << 40 { "too_large" } else { "length_mismatch" };
        assert_eq!(error.data.code, expected);
        assert_empty(&server).await;
    }
    let empty = host.upload("t1", super::backup("e"), json!({}), &b""[..]).await;
    assert_eq!(code(empty), "length_mismatch");
    let zero = host.upload("t1", super::backup("e"), json!({"size": 0}), &b""[..]).await;
    assert_eq!(code(zero), "invalid_params");
    let exact = json!({"size": 3, "exact": true});
    let long = host.upload("t1", super::backup("x"), exact, &b"four"[..]).await;
    assert_eq!(code(long), "length_mismatch");
    assert_empty(&server).await;
}

#[tokio::test]
async fn deadline_ends_upload_and_cleans_up() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let mut request = send_until(&host, "d", 21 << 20, json!({"deadline_ms": 1500})).await;
    let error = request.response().await.unwrap_err();
    assert_eq!(error.data.code, "timeout");
    assert_empty(&server).await;
}

#[tokio::test]
async fn shutdown_cancels_running_requests() {
    let server = TestServer::start().await;
    let mut host = connect(&server).await;
    let mut request = send_until(&host, "sd", 21 << 20, json!({})).await;
    let shutdown = host.call("shutdown", json!({"mode": "abort"})).await.unwrap();
    assert_eq!(shutdown, json!({"aborted": [request.id]}));
    assert_eq!(code(request.response().await), "shutting_down");
    assert_eq!(code(host.call("ping", json!({})).await), "shutting_down");
    assert_empty(&server).await;
    host.close_stdin().await;
    assert_eq!(host.wait().await.unwrap().code(), Some(0));
}
