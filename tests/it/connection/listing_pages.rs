//! A bucket that is known from an earlier listing is listed in pages that are requested in
//! parallel; a changed bucket is still listed correctly.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, stream};
use http::request::Parts;
use s3_backup_agent::demo::host::Host;
use serde_json::json;
use tokio::sync::Barrier;

use super::address;
use super::wire::{Act, Wire};
use crate::support::{TestServer, agent_command};

/// A server with many backups, and a wire to it that can hold listings until two are in flight.
struct PagedServer {
    server: TestServer,
    wire: Wire,
    meet: Arc<AtomicBool>,
    ids: BTreeSet<String>,
}

impl PagedServer {
    /// A server with these backups.
    async fn with(ids: impl Iterator<Item = String>) -> Self {
        let server = TestServer::embedded().await;
        let meet = Arc::new(AtomicBool::new(false));
        let (wanted, two) = (Arc::clone(&meet), Arc::new(Barrier::new(2)));
        let rule = move |head: &Parts| {
            if is_list(head.uri.query()) && wanted.load(Ordering::Relaxed) {
                return Act::AtBarrier(Arc::clone(&two));
            }
            Act::Pass
        };
        let wire = Wire::start(address(&server), rule).await;
        let mut paged = Self { server, wire, meet, ids: BTreeSet::new() };
        paged.put(ids).await;
        paged
    }

    async fn put(&mut self, ids: impl Iterator<Item = String>) {
        let ids: Vec<_> = ids.collect();
        let put = |id: String| {
            let server = &self.server;
            async move {
                let document = json!({"backup_id": id}).to_string();
                server.put(&format!("backups/{id}.tar"), "x").await;
                server.put(&format!("backups/{id}.metadata.json"), document).await;
            }
        };
        stream::iter(ids.clone()).for_each_concurrent(8, put).await;
        self.ids.extend(ids);
    }

    async fn delete(&mut self, ids: impl Iterator<Item = String>) {
        for id in ids {
            self.server.delete(&format!("backups/{id}.metadata.json")).await;
            self.server.delete(&format!("backups/{id}.tar")).await;
            self.ids.remove(&id);
        }
    }

    /// Lists everything with a new agent. Returns how each page was requested.
    async fn list(&self, state: &Path) -> Vec<&'static str> {
        let arguments = ["serve", "--state-dir", state.to_str().unwrap()];
        let host = Host::launch(agent_command(), &arguments, &[]).await.unwrap();
        let mut config = self.server.config();
        config["endpoint"] = self.wire.http().into();
        host.call("target.open", json!({"target": "t1", "config": config})).await.unwrap();
        let mut found = Vec::new();
        let mut cursor = json!(null);
        loop {
            let mut params = json!({"target": "t1", "page_size": 1000});
            if !cursor.is_null() {
                params["cursor"] = cursor;
            }
            let page = host.call("backup.list", params).await.unwrap();
            let backups = page["backups"].as_array().unwrap();
            found.extend(backups.iter().map(|backup| backup["id"].as_str().unwrap().to_owned()));
            cursor = page["next"].clone();
            if cursor.is_null() {
                break;
            }
        }
        assert_eq!(found.len(), self.ids.len());
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), self.ids);
        let seen = self.wire.take_requests();
        let queries = seen.iter().filter_map(|seen| seen.uri.query());
        let mut pages: Vec<_> = queries.filter(|query| is_list(Some(query))).map(kind).collect();
        pages.sort_unstable();
        pages
    }
}

fn is_list(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.contains("list-type=2"))
}

fn kind(query: &str) -> &'static str {
    match (query.contains("start-after="), query.contains("continuation-token=")) {
        (true, _) => "behind a key",
        (_, true) => "next",
        _ => "first",
    }
}

fn ids(numbers: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    numbers.map(|number| format!("b{number:04}"))
}

#[tokio::test]
async fn list_of_known_bucket_requests_pages_in_parallel() {
    let mut paged = PagedServer::with(ids(100..620)).await;
    let state = tempfile::tempdir().unwrap();
    assert_eq!(paged.list(state.path()).await, ["first", "next"]);
    paged.meet.store(true, Ordering::Relaxed);
    assert_eq!(paged.list(state.path()).await, ["behind a key", "first"]);
    paged.meet.store(false, Ordering::Relaxed);

    // The first page now ends before the key with which it ended last time.
    paged.put(ids(0..3)).await;
    assert_eq!(paged.list(state.path()).await, ["behind a key", "first", "next"]);
    assert_eq!(paged.list(state.path()).await, ["behind a key", "first"]);
    // The first page now ends after that key.
    paged.delete(ids(100..110)).await;
    assert_eq!(paged.list(state.path()).await, ["behind a key", "first"]);
    // There is no second page any more, which the agent only knows next time.
    paged.delete(ids(300..320)).await;
    assert_eq!(paged.list(state.path()).await, ["behind a key", "first"]);
    assert_eq!(paged.list(state.path()).await, ["first"]);
}
