//! Refusals without end, with absurd Retry-After values, and with texts that are meant for other
//! readers.

use super::script::Script;
use super::server::Act;
use super::{Behavior, DEFAULT, all, assert_harmless};
use crate::provider_emulation::Call;

/// Too much of everything, and a Retry-After value.
fn with_retry_after(status: u16, wish: &str) -> Act {
    Act::Send(Script::refusal(status, "SlowDown", &format!("{wish}\r\n"), ""))
}

fn deletes(call: Call) -> bool {
    matches!(call, Call::DeleteObject | Call::AbortMultipartUpload)
}

const TABLE: &[Behavior] = &[
    Behavior::new("503 always", all, |_| with_retry_after(503, "x: y")),
    Behavior::new("429 always", all, |_| with_retry_after(429, "x: y")),
    Behavior::new("503 with a huge wait", all, |_| {
        with_retry_after(503, "retry-after: 99999999999999999999999")
    }),
    Behavior::new("503 with a wait of a year", all, |_| {
        with_retry_after(503, "retry-after: 31536000")
    }),
    Behavior::new("503 with a negative wait", all, |_| with_retry_after(503, "retry-after: -5")),
    Behavior::new("503 with no number to wait", all, |_| {
        with_retry_after(503, "retry-after: soon; \u{e4}")
    }),
    Behavior::new("503 with a date to wait for", all, |_| {
        with_retry_after(503, "retry-after: Fri, 31 Dec 9999 23:59:59 GMT")
    }),
    Behavior::new("503 with a wait for the SDK", all, |_| {
        with_retry_after(503, "x-amz-retry-after: 18446744073709551615")
    }),
    Behavior::new("a wait of an hour for the SDK", all, |_| {
        with_retry_after(500, "x-amz-retry-after: 3600000")
    }),
    Behavior::new("an unknown code", all, |_| {
        let members = "<Message>&#10;[click](https://x.example) \u{202e}\u{1b}[31m</Message>";
        Act::Send(Script::refusal(418, "Nonsense", "", members))
    }),
    Behavior::new("a code of a MiB", all, |_| {
        Act::Send(Script::refusal(400, &"C".repeat(1 << 20), "", ""))
    }),
    Behavior::new("a refusal nested 100,000 deep", all, |_| {
        let (down, up) = ("<a>".repeat(100_000), "</a>".repeat(100_000));
        Act::Send(Script::document(400, &format!("<Error>{down}{up}</Error>")))
    }),
    Behavior::new("an entity expansion bomb", all, |_| {
        let mut bomb = "<!DOCTYPE a [<!ENTITY e0 \"boom\">".to_owned();
        for level in 1..20 {
            let ten = format!("&e{};", level - 1).repeat(10);
            bomb += &format!("<!ENTITY e{level} \"{ten}\">");
        }
        bomb += "]><Error><Code>&e19;</Code><Message>&e19;</Message></Error>";
        Act::Send(Script::document(400, &bomb))
    }),
    Behavior::new("nothing can be deleted", deletes, |_| {
        Act::Send(Script::refusal(403, "AccessDenied", "", ""))
    }),
    Behavior::new("deletions that are only claimed", deletes, |_| {
        Act::Send(Script::with(204, "", Vec::new(), super::script::Then::Next))
    }),
    Behavior::new("nothing exists", all, |_| Act::Send(Script::refusal(404, "NoSuchKey", "", ""))),
    Behavior::new("everything exists", all, |_| {
        Act::Send(Script::refusal(412, "PreconditionFailed", "", ""))
    }),
    Behavior::new("no upload exists", all, |_| {
        Act::Send(Script::refusal(404, "NoSuchUpload", "", ""))
    }),
];

#[tokio::test]
async fn endless_refusals_end_in_errors() {
    assert_harmless(TABLE, DEFAULT).await;
}
