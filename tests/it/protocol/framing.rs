//! Input that is not a frame ends the session; a frame that is not a message does not.

use serde_json::json;

use super::{anonymous, code, greeted, session};

#[tokio::test]
async fn invalid_frame_ends_the_session() {
    let long = format!("{{\"jsonrpc\":\"2.0\",\"x\":\"{}\"}}\n", "y".repeat(65_536));
    let deep = format!("{{\"x\":{}1{}}}\n", "[".repeat(40), "]".repeat(40));
    let huge = "{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"payload\":1048577}\n".to_owned();
    for input in [
        "oops, a print statement\n".to_owned(),
        "{\"jsonrpc\":\"2.0\",\n".to_owned(),
        "null\n".to_owned(),
        "42\n".to_owned(),
        "\u{feff}{\"jsonrpc\":\"2.0\"}\n".to_owned(),
        "{\"method\":\"x\",\"payload\":0}\n".to_owned(),
        "{\"method\":\"x\",\"payload\":-3}\n".to_owned(),
        "{\"method\":\"x\",\"payload\":\"3\"}\nabc\n".to_owned(),
        "{\"method\":\"x\",\"payload\":2}\nabc\n".to_owned(),
        long,
        deep,
        huge,
    ] {
        let mut host = session().await;
        host.raw_write(input.as_bytes()).await.unwrap();
        let shown: String = input.chars().take(40).collect();
        assert_eq!(anonymous(&mut host).await, (-32700, "parse_error".to_owned()), "{shown}");
        assert_eq!(host.wait().await.unwrap().code(), Some(76), "{shown}");
    }
}

#[tokio::test]
async fn invalid_message_does_not_end_the_session() {
    let mut host = session().await;
    host.raw_write(b"\n\r\n\n").await.unwrap();
    for (input, expected) in [
        ("[{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}]", "invalid_request"),
        ("{\"jsonrpc\":\"2.0\",\"id\":\"text\",\"method\":\"ping\"}", "invalid_request"),
        ("{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"ping\"}", "invalid_request"),
        ("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", "invalid_request"),
        ("{\"jsonrpc\":\"2.0\",\"id\":-1,\"method\":\"ping\"}", "invalid_request"),
        ("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}", "invalid_request"),
        ("{\"jsonrpc\":\"2.0\",\"id\":9007199254740992,\"method\":\"ping\"}", "invalid_request"),
        ("{\"jsonrpc\":\"2.0\",\"id\":7}", "invalid_request"),
        ("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":12}", "invalid_request"),
        ("{}", "invalid_request"),
        ("{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}", "invalid_request"),
    ] {
        host.raw_write(format!("{input}\n").as_bytes()).await.unwrap();
        assert_eq!(anonymous(&mut host).await, (-32600, expected.to_owned()), "{input}");
        host.call("ping", json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn unknown_members_and_methods_are_tolerated() {
    let host = session().await;
    let unknown = host.call("backup.copy", json!({"from": "t1"})).await.unwrap_err();
    assert_eq!((unknown.code, unknown.data.code.as_str()), (-32601, "method_not_found"));
    host.notify("x-vendor.thing", json!({}), Some(b"{\"id\":1}\n\n")).await.unwrap();
    host.notify("x-vendor.other", json!([1, 2]), None).await.unwrap();
    let answer = host.call("ping", json!({"new_member": true})).await.unwrap();
    assert_eq!(answer, json!({}));
}

#[tokio::test]
async fn frames_may_arrive_in_pieces_or_together() {
    let host = greeted().await;
    let initialize =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocol\":1}}\r\n";
    let mut first = host.listen(1);
    for byte in initialize.bytes() {
        host.raw_write(&[byte]).await.unwrap();
    }
    assert_eq!(first.response().await.unwrap(), json!({"protocol": 1}));
    let mut glued = String::new();
    let mut requests: Vec<_> = (2..30).map(|id| host.listen(id)).collect();
    for id in 2..30 {
        glued += &format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n");
    }
    host.raw_write(glued.as_bytes()).await.unwrap();
    for request in &mut requests {
        assert_eq!(code(request.response().await), "no error but {}");
    }
}

#[tokio::test]
async fn end_of_input_at_any_byte_ends_the_agent() {
    let transcript = concat!(
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocol\":1}}\n",
        "{\"jsonrpc\":\"2.0\",\"method\":\"stream.data\",\"params\":{\"id\":3,\"offset\":0},\"payload\":5}\n",
        "hello\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}\n",
    );
    for cut in (0..=transcript.len()).step_by(7).chain([transcript.len()]) {
        let mut host = greeted().await;
        let head = &transcript.as_bytes()[..cut];
        host.raw_write(head).await.unwrap();
        host.close_stdin().await;
        let between =
            head.is_empty() || head.ends_with(b"\n") && !head.ends_with(b"payload\":5}\n");
        let status = host.wait().await.unwrap().code();
        assert_eq!(status, Some(if between { 0 } else { 76 }), "cut at {cut}");
    }
}
