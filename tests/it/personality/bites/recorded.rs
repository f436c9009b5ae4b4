//! Recorded answers instead of the emulation's own.

use super::super::Recorded;
use super::super::call::Call;
use super::super::traits::PLAIN;
use super::{assert_refused, playing, refusal};

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
async fn one_call_is_answered_so_and_the_others_are_not() {
    let (server, client) = playing(PLAIN).await;
    server.put("k", *b"x").await;
    server.personality().play(recorded(Call::GetObject, false));
    server.personality().play(recorded(Call::ListObjectsV2, true));
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
    assert_eq!(server.personality().played(), 3);
}

#[tokio::test]
async fn the_page_of_a_console_is_an_answer_too() {
    let (server, client) = playing(PLAIN).await;
    server.personality().play(Recorded {
        call: Call::ListObjectsV2,
        status: 200,
        headers: vec![("content-type".to_owned(), "text/html".to_owned())],
        body: "<!doctype html><html lang=\"en\"><title>MinIO Console</title></html>".to_owned(),
        once: false,
    });
    let list = client.list_objects_v2().bucket(&server.bucket).send().await;
    let answered = list.map(|list| list.contents().len());
    assert!(answered.is_err() || answered.unwrap() == 0);
    assert_eq!(server.personality().played(), 1);
}
