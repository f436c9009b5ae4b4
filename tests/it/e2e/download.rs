//! Downloads that start in the middle or are cancelled.

use s3_backup_agent::config::DEFAULT_PART_SIZE;
use serde_json::json;

use super::streams::next;
use super::{code, connect, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

#[tokio::test]
async fn download_can_start_at_any_offset() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    let size = 40_u64 << 20;
    store(&host, "o", 2, size).await;
    for offset in [0, 1, DEFAULT_PART_SIZE, DEFAULT_PART_SIZE + 5, size - 1, size] {
        let mut content = Vec::new();
        let extra = json!({"offset": offset});
        let result = host
            .download("t1", "o", extra, 1 << 20, |bytes| content.extend_from_slice(bytes))
            .await
            .unwrap();
        assert_eq!(result, json!({"length": size - offset, "verified": true}));
        let expected = RandomData::new(2, size).from(offset).bytes(usize::try_from(size).unwrap());
        assert!(content == expected, "from {offset}");
    }
    let beyond = host.download("t1", "o", json!({"offset": size + 1}), 1, |_| {}).await;
    assert_eq!(code(beyond), "invalid_params");
}

#[tokio::test]
async fn cancelled_download_is_answered_and_session_continues() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    store(&host, "c", 2, 40 << 20).await;
    for up_to in [0, 1, 5 << 20, 100 << 20] {
        let params = json!({"target": "t1", "backup_id": "c", "up_to": up_to});
        let mut request = host.start("backup.download", params).await.unwrap();
        next(&mut request, "stream.begin").await;
        host.notify("cancel", json!({"id": request.id}), None).await.unwrap();
        // With credit for everything it could be complete before the cancel.
        let answer = request.response().await;
        assert!(matches!(code(answer).as_str(), "cancelled") || up_to > 40 << 20);
    }
    host.call("ping", json!({})).await.unwrap();
}

#[tokio::test]
async fn download_payloads_respect_the_requested_size() {
    let server = TestServer::start().await;
    let host = connect(&server).await;
    store(&host, "small", 2, 3 << 20).await;
    let mut largest = 0;
    let count = |largest: &mut usize, bytes: &[u8]| *largest = bytes.len().max(*largest);
    host.download("t1", "small", json!({}), 4 << 20, |bytes| count(&mut largest, bytes))
        .await
        .unwrap();
    assert_eq!(largest, 1 << 20);

    let modest =
        s3_backup_agent::demo::host::Host::spawn(crate::support::agent_command(), &["serve"], &[])
            .await
            .unwrap();
    let limits = json!({"protocol": 1, "limits": {"max_payload": 65_536}});
    modest.call("initialize", limits).await.unwrap();
    modest.call("target.open", json!({"target": "t1", "config": server.config()})).await.unwrap();
    largest = 0;
    modest
        .download("t1", "small", json!({}), 4 << 20, |bytes| count(&mut largest, bytes))
        .await
        .unwrap();
    assert_eq!(largest, 65_536);
}
