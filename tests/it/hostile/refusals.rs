//! Refusals without end, with absurd Retry-After values, and with texts that are meant for other
//! readers.

use super::say::Say;
use super::server::Act;
use super::{DEFAULT, Hostility, all, assert_harmless};
use crate::personality::Call;

/// Too much of everything, and a Retry-After value.
fn later(status: u16, wish: &str) -> Act {
    Act::Say(Say::refusal(status, "SlowDown", &format!("{wish}\r\n"), ""))
}

fn deletes(call: Call) -> bool {
    matches!(call, Call::DeleteObject | Call::AbortMultipartUpload)
}

const TABLE: &[Hostility] = &[
    Hostility::new("503 for ever", all, |_| later(503, "x: y")),
    Hostility::new("429 for ever", all, |_| later(429, "x: y")),
    Hostility::new("503 with a huge wait", all, |_| {
        later(503, "retry-after: 99999999999999999999999")
    }),
    Hostility::new("503 with a wait of a year", all, |_| later(503, "retry-after: 31536000")),
    Hostility::new("503 with a negative wait", all, |_| later(503, "retry-after: -5")),
    Hostility::new("503 with no number to wait", all, |_| later(503, "retry-after: soon; \u{e4}")),
    Hostility::new("503 with a date to wait for", all, |_| {
        later(503, "retry-after: Fri, 31 Dec 9999 23:59:59 GMT")
    }),
    Hostility::new("503 with a wait for the SDK", all, |_| {
        later(503, "x-amz-retry-after: 18446744073709551615")
    }),
    Hostility::new("a wait of an hour for the SDK", all, |_| {
        later(500, "x-amz-retry-after: 3600000")
    }),
    Hostility::new("an unknown code", all, |_| {
        let members = "<Message>&#10;[click](https://x.example) \u{202e}\u{1b}[31m</Message>";
        Act::Say(Say::refusal(418, "Nonsense", "", members))
    }),
    Hostility::new("a code of a MiB", all, |_| {
        Act::Say(Say::refusal(400, &"C".repeat(1 << 20), "", ""))
    }),
    Hostility::new("a refusal nested 100,000 deep", all, |_| {
        let (down, up) = ("<a>".repeat(100_000), "</a>".repeat(100_000));
        Act::Say(Say::document(400, &format!("<Error>{down}{up}</Error>")))
    }),
    Hostility::new("a bomb of entities", all, |_| {
        let mut bomb = "<!DOCTYPE a [<!ENTITY e0 \"boom\">".to_owned();
        for level in 1..20 {
            let ten = format!("&e{};", level - 1).repeat(10);
            bomb += &format!("<!ENTITY e{level} \"{ten}\">");
        }
        bomb += "]><Error><Code>&e19;</Code><Message>&e19;</Message></Error>";
        Act::Say(Say::document(400, &bomb))
    }),
    Hostility::new("nothing can be deleted", deletes, |_| {
        Act::Say(Say::refusal(403, "AccessDenied", "", ""))
    }),
    Hostility::new("deletions that are said to be done", deletes, |_| {
        Act::Say(Say::with(204, "", Vec::new(), super::say::Then::Next))
    }),
    Hostility::new("nothing exists", all, |_| Act::Say(Say::refusal(404, "NoSuchKey", "", ""))),
    Hostility::new("everything exists", all, |_| {
        Act::Say(Say::refusal(412, "PreconditionFailed", "", ""))
    }),
    Hostility::new("no upload exists", all, |_| {
        Act::Say(Say::refusal(404, "NoSuchUpload", "", ""))
    }),
];

#[tokio::test]
async fn refusals_for_ever_end_in_errors() {
    assert_harmless(TABLE, DEFAULT).await;
}
