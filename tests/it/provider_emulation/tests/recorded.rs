//! Recorded answers instead of the emulation's own.

use super::super::Recorded;
use super::super::call::Call;
use super::super::traits::PLAIN;
use super::{assert_refused, emulating, refusal};

fn recorded(call: Call, once: bool) -> Recorded {
    Recorded {
        call,
        status: 503,
        headers: vec![("retry-after".to_owned(), "7".to_owned())],
        body: "<Error><Code>SlowDown</Code></Error>".to_owned(),
        once,
    }
}

#[tokio::test]
async fn recorded_answer_applies_to_one_call_only() {
    let (server, client) = emulating(PLAIN).await;
    server.put("k", *b"x").await;
    server.emulation().add_recorded(recorded(Call::GetObject, false));
    server.emulation().add_recorded(recorded(Call::ListObjectsV2, true));
    let get = client.get_object().bucket(&server.bucket).key("k");
    let list = client.list_objects_v2().bucket(&server.bucket);
    for _ in 0..2 {
        let error = get.clone().send().await.unwrap_err();
        assert_eq!(error.raw_response().unwrap().headers().get("retry-after"), Some("7"));
        assert_refused(&refusal::<(), _>(Err(error)), 503, "SlowDown", "");
    }
    assert_refused(&refusal(list.clone().send().await), 503, "SlowDown", "");
    assert_eq!(list.send().await.unwrap().contents().len(), 1);
    client.head_object().bucket(&server.bucket).key("k").send().await.unwrap();
    assert_eq!(server.emulation().recorded_count(), 3);
}

#[tokio::test]
async fn recorded_answer_can_be_a_web_page() {
    let (server, client) = emulating(PLAIN).await;
    server.emulation().add_recorded(Recorded {
        call: Call::ListObjectsV2,
        status: 200,
        headers: vec![("content-type".to_owned(), "text/html".to_owned())],
        body: "<!doctype html><html lang=\"en\"><title>MinIO Console</title></html>".to_owned(),
        once: false,
    });
    let list = client.list_objects_v2().bucket(&server.bucket).send().await;
    let answered = list.map(|list| list.contents().len());
    assert!(answered.is_err() || answered.unwrap() == 0);
    assert_eq!(server.emulation().recorded_count(), 1);
}
