//! Two agents in one folder: in any order of their requests, no incomplete backup is listed, and no
//! stored backup is lost.
//!
//! Real agents against the embedded server. Every request waits at a gate; the test lets one after
//! the other pass, in every order for the small cases and in random orders for the larger ones.
//! After each request the test checks the bucket as a third party would see it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::random_data::RandomData;
use crate::relay::{Body, Listening, Relay, body, collect, pass_on};
use crate::support::{TestServer, agent_command};

/// Random orders of a larger case.
const ROUNDS: usize = 60;

/// A request at the gate, and the means to let it pass.
struct Waiting {
    agent: usize,
    release: oneshot::Sender<()>,
}

/// Holds requests until the test releases them.
struct Gate {
    agent: usize,
    upstream: SocketAddr,
    waiting: mpsc::UnboundedSender<Waiting>,
}

impl Relay for Gate {
    async fn handle(
        self: Arc<Self>,
        _connection: usize,
        request: Request<Incoming>,
    ) -> io::Result<Response<Body>> {
        let (head, content): (Parts, _) = request.into_parts();
        let content = collect(content).await?;
        let (release, gone) = oneshot::channel();
        // While nothing is tested, the gate is not read.
        if self.waiting.send(Waiting { agent: self.agent, release }).is_ok() {
            let _ = gone.await;
        }
        let (head, content) = pass_on(self.upstream, head, content).await?.into_parts();
        Ok(Response::from_parts(head, body(collect(content).await?)))
    }
}

/// Two agents, each behind its own gate, with the target `t1` in one folder.
struct TwoAgents {
    server: TestServer,
    hosts: Vec<Host>,
    waiting: mpsc::UnboundedReceiver<Waiting>,
    _gates: Vec<Listening>,
}

impl TwoAgents {
    async fn new() -> Self {
        let server = TestServer::embedded().await;
        let endpoint = server.config()["endpoint"].as_str().unwrap().to_owned();
        let upstream = endpoint.trim_start_matches("http://").parse().unwrap();
        let (sender, waiting) = mpsc::unbounded_channel();
        let (mut hosts, mut gates) = (Vec::new(), Vec::new());
        for agent in 0..2 {
            let gate = Gate { agent, upstream, waiting: sender.clone() };
            let gate = Listening::start(None, Arc::new(gate)).await;
            let host = Host::launch(agent_command(), &["serve"], &[]).await.unwrap();
            let mut config = server.config();
            config["endpoint"] = format!("http://{}", gate.address).into();
            host.call("target.open", json!({"target": "t1", "config": config})).await.unwrap();
            hosts.push(host);
            gates.push(gate);
        }
        Self { server, hosts, waiting, _gates: gates }
    }

    /// Runs both operations. Their requests pass in the order that `choose` gives (which agent is
    /// next, of those with a waiting request). Returns the results, and how many requests passed.
    async fn run<T>(
        &mut self,
        works: [impl Future<Output = T>; 2],
        mut choose: impl FnMut(usize) -> usize,
    ) -> ([T; 2], usize) {
        let Self { server, waiting, .. } = self;
        let mut queues = [Vec::new(), Vec::new()];
        let [first, second] = works;
        let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
        let (mut ended_first, mut ended_second) = (None, None);
        let mut passed = 0;
        loop {
            // Both have reached a request, or their end.
            let calm = |queue: &Vec<Waiting>, ended: bool| ended || !queue.is_empty();
            if calm(&queues[0], ended_first.is_some()) && calm(&queues[1], ended_second.is_some()) {
                check(server).await;
                let next = match (queues[0].is_empty(), queues[1].is_empty()) {
                    (true, true) => break,
                    (false, true) => 0,
                    (true, false) => 1,
                    (false, false) => choose(passed),
                };
                let Waiting { release, .. } = queues[next].remove(0);
                passed += 1;
                let _ = release.send(());
                continue;
            }
            tokio::select! {
                ended = &mut first, if ended_first.is_none() => ended_first = Some(ended),
                ended = &mut second, if ended_second.is_none() => ended_second = Some(ended),
                Some(one) = waiting.recv() => queues[one.agent].push(one),
            }
        }
        ([ended_first.unwrap(), ended_second.unwrap()], passed)
    }
}

/// No metadata object exists beside an archive that is not its own.
async fn check(server: &TestServer) {
    let objects: BTreeMap<_, _> = server.objects().await.into_iter().collect();
    for key in objects.keys().filter(|key| key.ends_with(".metadata.json")) {
        // It may be deleted by now.
        let Some(document) = server.get(key).await else { continue };
        let document: Value = serde_json::from_slice(&document).unwrap();
        let archive = server.get(&key.replace(".metadata.json", ".tar")).await;
        if server.get(key).await.is_none() {
            continue;
        }
        let seed = document["seed"].as_u64().unwrap();
        let archive = archive.unwrap_or_else(|| panic!("{key} has no archive"));
        assert!(archive == content(seed), "{key} has the archive of another backup");
    }
}

/// A different length for each seed.
fn content(seed: u64) -> Vec<u8> {
    let length = 1000 + seed;
    RandomData::new(seed, length).bytes(length as usize)
}

/// Stores a backup with this id; all have the same name.
async fn upload(host: &Host, id: &str, seed: u64, if_exists: &str) -> Result<(), String> {
    let backup = json!({
        "id": id, "name": "Nightly", "metadata": {"backup_id": id, "seed": seed}
    });
    let length = 1000 + seed;
    let options = json!({"size": length, "if_exists": if_exists});
    let stored = host.upload("t1", backup, options, RandomData::new(seed, length)).await;
    stored.map(|_| ()).map_err(|error| error.data.code)
}

async fn delete(host: &Host, id: &str) -> Result<(), String> {
    let deleted = host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await;
    deleted.map(|_| ()).map_err(|error| error.data.code)
}

/// Id and seed of every backup that an agent lists, each downloaded and compared.
async fn listed(server: &TestServer) -> Vec<(String, u64)> {
    let host = crate::e2e::connect(server).await;
    let mut found = Vec::new();
    for id in crate::e2e::ids(&host).await {
        let (bytes, result) = crate::e2e::fetch(&host, &id).await;
        assert_eq!(result["verified"], true);
        let seed = bytes.len() as u64 - 1000;
        assert!(bytes == content(seed));
        found.push((id, seed));
    }
    found.sort();
    found
}

/// Every order of this many choices, as the bits of a number; after them the first agent goes
/// first.
fn orders(choices: u32) -> impl Iterator<Item = u64> {
    0..(1 << choices)
}

#[tokio::test]
async fn interleaved_uploads_with_same_name_never_collide() {
    let mut pair = TwoAgents::new().await;
    let (mut both, mut one) = (0, 0);
    for order in orders(8) {
        let hosts = std::mem::take(&mut pair.hosts);
        let works = [upload(&hosts[0], "a", 1, "fail"), upload(&hosts[1], "b", 2, "fail")];
        let (ended, passed) = pair.run(works, |step| usize::from(order >> step & 1 == 1)).await;
        // Five requests of one agent, and at least the two of the other that show that the name is
        // taken.
        assert!(passed >= 7, "{passed}");
        // A backup that was reported as stored is stored.
        let mut expected = Vec::new();
        for (ended, it) in ended.iter().zip([("a".to_owned(), 1), ("b".to_owned(), 2)]) {
            match ended {
                Ok(()) => expected.push(it),
                Err(code) => assert_eq!(code, "already_exists", "order {order:b}"),
            }
        }
        assert!(!expected.is_empty(), "order {order:b}");
        assert_eq!(listed(&pair.server).await, expected, "order {order:b}");
        // Nothing else remains.
        assert_eq!(pair.server.objects().await.len(), 2 * expected.len(), "order {order:b}");
        if expected.len() == 2 {
            both += 1
        } else {
            one += 1
        }
        for (key, _) in pair.server.objects().await {
            pair.server.delete(&key).await;
        }
        pair.hosts = hosts;
    }
    println!("two uploads: {both} orders with both stored, {one} with one refused");
    assert!(both > 0 && one > 0);
}

#[tokio::test]
async fn interleaved_replace_and_delete_leave_all_or_nothing() {
    let mut pair = TwoAgents::new().await;
    let mut random = fastrand::Rng::with_seed(7);
    let mut counts = BTreeMap::<String, usize>::new();
    for round in 0..ROUNDS {
        let hosts = std::mem::take(&mut pair.hosts);
        {
            let direct = crate::e2e::connect(&pair.server).await;
            upload(&direct, "a", 1, "fail").await.unwrap();
        }
        let works: [std::pin::Pin<Box<dyn Future<Output = _>>>; 2] = match round % 2 {
            0 => [
                Box::pin(upload(&hosts[0], "a", 2, "replace")),
                Box::pin(upload(&hosts[1], "a", 3, "replace")),
            ],
            _ => [Box::pin(upload(&hosts[0], "a", 2, "replace")), Box::pin(delete(&hosts[1], "a"))],
        };
        let order = random.u64(..);
        let choose = |step: usize| usize::from(order >> (step % 64) & 1 == 1);
        let (ended, _) = pair.run(works, choose).await;
        let listed = listed(&pair.server).await;
        // At most one backup of one id is listed, and if the last operation was an upload, there is
        // one.
        assert!(listed.len() <= 1, "{listed:?}");
        if round % 2 == 0 {
            assert_eq!(listed.len(), 1, "round {round}, order {order:x}: {ended:?}");
        }
        *counts.entry(format!("{listed:?}")).or_default() += 1;
        for (key, _) in pair.server.objects().await {
            pair.server.delete(&key).await;
        }
        pair.hosts = hosts;
    }
    println!("what was left: {counts:?}");
    assert!(counts.len() > 1);
}
