//! How far the server of one target can affect another target in the same session.

use futures_util::FutureExt as _;
use serde_json::json;

use super::script::{Piece, Script};
use super::server::{Act, HostileServer, Rule};
use super::{TIME_LIMIT, check_honest_target, listings};
use crate::connection::{address, open};
use crate::e2e::crash_cleanup::connect_to;
use crate::e2e::store;
use crate::support::TestServer;

/// Members of a listing that make it longer than the agent reads without reserving memory.
fn long() -> String {
    let object = |number| {
        let name = "n".repeat(600);
        format!("<Contents><Key>other/backups/{number:04}{name}.txt</Key><Size>1</Size></Contents>")
    };
    (0..1000).map(object).collect()
}

#[tokio::test]
async fn slow_long_listing_does_not_delay_other_target() {
    let server = TestServer::embedded().await;
    let mut config = server.config();
    config["prefix"] = "other".into();
    let state = tempfile::tempdir().unwrap();
    store(&connect_to(config.clone(), state.path()).await, "b", 1, 1000).await;

    let slow = HostileServer::start(address(&server), "").await;
    let act = |_: &super::MatchedRequest<'_>| {
        let start = format!("<ListBucketResult>{}", long().replace("other/", ""));
        let body = vec![Piece::Once(start.into_bytes()), Piece::Trickle(b" ".to_vec())];
        Act::Send(Script::chunked(200, "content-type: application/xml\r\n", body))
    };
    slow.set_rule(Some(Rule { to: listings, act }));
    let honest = HostileServer::start(address(&server), "").await;
    let act = |_: &super::MatchedRequest<'_>| {
        Act::Alter(|honest, _| {
            honest.edit(|it| it.replace("</ListBucketResult>", &(long() + "</ListBucketResult>")));
        })
    };
    honest.set_rule(Some(Rule { to: listings, act }));

    let host = open(&server, &format!("http://{}", slow.address), json!({}), &[]).await.unwrap();
    config["endpoint"] = format!("http://{}", honest.address).into();
    host.call("target.open", json!({"target": "other", "config": config})).await.unwrap();
    let mut waiting = host.start("backup.list", json!({"target": "t1"})).await.unwrap();
    // By then the other listing has stalled.
    for _ in 0..20 {
        assert_eq!(check_honest_target(&host).await, None, "within {:?}", TIME_LIMIT / 2);
    }
    let ended = waiting.next_event().now_or_never();
    assert!(ended.is_none(), "the slow listing has ended: {:?}", ended.map(|it| it.is_some()));
}
