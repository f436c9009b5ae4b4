//! Two uploads of one agent: one finishes while the other still reads the listing.

use std::sync::Arc;

use http::Method;
use http::request::Parts;
use s3_backup_agent::demo::host::{Answer, Host};
use serde_json::json;
use tokio::sync::{Barrier, Notify};

use super::wire::{Act, Wire};
use super::{address, connect};
use crate::e2e::{code, ids, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

type Named = (&'static str, &'static str);

async fn upload(host: &Host, (id, name): Named) -> Answer {
    let backup = json!({"id": id, "name": name});
    host.upload("t1", backup, json!({}), RandomData::new(2, 1000)).await
}

/// Uploads `late`, and in the middle of its listing `early`, each an id with a name. Returns the
/// result of `late`.
async fn upload_while_other_lists(server: &TestServer, early: Named, late: Named) -> Answer {
    // A metadata object that a listing has to read.
    store(&crate::e2e::connect(server).await, "other", 1, 1000).await;
    let (reached, barrier) = (Arc::new(Notify::new()), Arc::new(Barrier::new(2)));
    let (notify, meeting) = (Arc::clone(&reached), Arc::clone(&barrier));
    let mut is_first = true;
    let rule = move |head: &Parts| {
        let is_metadata_upload = head.uri.path().ends_with(".metadata.json");
        if head.method != Method::GET || !is_metadata_upload || !std::mem::take(&mut is_first) {
            return Act::Pass;
        }
        notify.notify_one();
        Act::AtBarrier(Arc::clone(&meeting))
    };
    let wire = Wire::start(address(server), rule).await;
    let host = connect(server, &wire).await;
    let (late, ()) = tokio::join!(upload(&host, late), async {
        reached.notified().await;
        upload(&host, early).await.unwrap();
        barrier.wait().await;
    });
    late
}

#[tokio::test]
async fn upload_overtaken_by_same_name_takes_another_name() {
    let server = TestServer::embedded().await;
    upload_while_other_lists(&server, ("a", "Nightly"), ("b", "Nightly")).await.unwrap();
    let host = crate::e2e::connect(&server).await;
    let mut ids = ids(&host).await;
    ids.sort();
    assert_eq!(ids, ["a", "b", "other"]);
}

#[tokio::test]
async fn upload_overtaken_by_same_id_is_refused() {
    let server = TestServer::embedded().await;
    assert_eq!(
        code(upload_while_other_lists(&server, ("a", "one"), ("a", "other")).await),
        "already_exists"
    );
    assert_eq!(server.objects().await.len(), 4);
}
