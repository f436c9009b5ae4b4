//! What a hostile server can do to an agent: it can only make single operations fail.
//!
//! Each file has one subject and a table of server behaviors. All operations run against each row,
//! one after the other, in one agent. Meanwhile the agent cleans up in the background after an
//! earlier agent at the same server, and has another target at an honest server. After each
//! operation:
//!
//! * it ended within [`TIME_LIMIT`], with no more requests than docs/costs.md and a few retries;
//! * the result is right, or an error with a code;
//! * the other target answered meanwhile;
//! * the peak of memory is within the limit.
//!
//! In the end the backup that existed before is unchanged, unless it was deleted.

mod adaptation;
mod bodies;
mod headers;
mod metadata;
mod numbers;
mod operation;
mod other_target;
mod pages;
mod refusals;
mod script;
mod server;

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::operation::{Expectation, Operation, SIZE};
use self::server::{Act, HostileServer, MatchedRequest, Rule};
use crate::connection::address;
use crate::e2e::cancellation::send_until;
use crate::e2e::crash_cleanup::connect_to;
use crate::e2e::memory::{status, surplus_code};
use crate::e2e::{ids, store};
use crate::provider_emulation::Call;
use crate::support::{TestServer, agent_command};

/// The time limits and pauses of the agent under test are divided by this.
const TIME_DIVISOR: &str = "100";

/// The longest time for an operation, on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(45);

/// Rows of a table that run at the same time.
const AT_ONCE: usize = 6;

/// Requests of a background cleanup: it makes three calls, five times each, runs again after 5, 10,
/// 20 and 40 seconds, and starts over after an operation that hung.
const BACKGROUND_REQUESTS: usize = 5 * 3 * 5 + 20;

/// A hostile behavior of a server.
#[derive(Clone, Copy)]
struct Behavior {
    name: &'static str,
    rule: Rule,
    /// The operations that run.
    operations: &'static [Operation],
    /// Objects in the folder of the target, written by other programs.
    objects: fn() -> Vec<(String, Vec<u8>)>,
    /// Metadata objects, real or not, that the agent has to read beside the three of the test.
    documents: usize,
    /// Whether its listings are true, or false in a way that the agent cannot notice.
    listings_are_true: bool,
    /// Whether every operation has to work.
    works: bool,
    /// How often each request has to be made until it succeeds.
    tries: usize,
}

impl Behavior {
    /// Against all operations.
    const fn new(
        name: &'static str,
        to: fn(Call) -> bool,
        act: fn(&MatchedRequest<'_>) -> Act,
    ) -> Self {
        Self {
            name,
            rule: Rule { to, act },
            operations: &Operation::ALL,
            objects: Vec::new,
            documents: 0,
            listings_are_true: true,
            works: false,
            tries: 1,
        }
    }

    /// False answers that look true.
    const fn undetectable(self) -> Self {
        Self { listings_are_true: false, ..self }
    }

    /// Only with two operations, because each answer takes long to read without optimization.
    const fn with_few_operations(self) -> Self {
        const FEW: &[Operation] = &[Operation::List, Operation::Parts];
        Self { operations: FEW, ..self }
    }

    /// Every second request succeeds.
    const fn every_second_succeeds(self) -> Self {
        Self { tries: 2, ..self }
    }
}

fn all(_: Call) -> bool {
    true
}

fn listings(call: Call) -> bool {
    matches!(call, Call::ListObjects | Call::ListObjectsV2)
}

/// Memory setting of a target, and the most that its agent may use, in MiB.
#[derive(Clone, Copy, Debug)]
struct Memory {
    budget: Option<u64>,
    most: u64,
}

const DEFAULT: Memory = Memory { budget: None, most: 96 };
/// The right value is 40 MiB; the allocator of an unoptimized build keeps freed memory longer.
const SMALL: Memory = Memory { budget: Some(32 << 20), most: 40 };

/// Asserts that no row of a table harms an agent.
async fn assert_harmless(table: &[Behavior], memory: Memory) {
    let rows = table.iter().map(|behavior| async move {
        let faults = run_operations(behavior, memory).await;
        faults.into_iter().map(|fault| format!("{}: {fault}", behavior.name)).collect::<Vec<_>>()
    });
    let faults: Vec<_> = stream::iter(rows).buffer_unordered(AT_ONCE).collect().await;
    let faults = faults.concat();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The peak of memory in MiB since the last call, converted to an optimized build; none when the
/// process has ended.
fn peak(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.contains("VmHWM").then_some(())?;
    let peak = status(pid, "VmHWM").saturating_sub(surplus_code(pid)) >> 20;
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    Some(peak)
}

/// An agent with the targets `t1`, whose server becomes hostile, and `other`, which is honest.
struct AgentUnderTest {
    server: TestServer,
    hostile: HostileServer,
    state: TempDir,
    memory: Memory,
}

impl AgentUnderTest {
    async fn new(behavior: &Behavior, memory: Memory) -> Self {
        let server = TestServer::embedded().await;
        let hostile = HostileServer::start(address(&server), "left-behind").await;
        let state = tempfile::tempdir().unwrap();
        let tested = Self { server, hostile, state, memory };
        tested.prepare().await;
        for (name, content) in (behavior.objects)() {
            tested.server.put(&format!("t1/backups/{name}"), content).await;
        }
        tested
    }

    /// A backup in each folder, and an upload that is killed.
    async fn prepare(&self) {
        for place in ["t1", "other"] {
            let host = connect_to(self.config(place), self.state.path()).await;
            store(&host, "b", 1, SIZE).await;
        }
        let mut host = connect_to(self.config("left-behind"), self.state.path()).await;
        let request = send_until(&host, "k", 21 << 20, json!({"size": 30 << 20})).await;
        host.kill().await.unwrap();
        drop(request);
    }

    fn config(&self, place: &str) -> Value {
        let mut config = self.server.config();
        if place != "other" {
            config["endpoint"] = format!("http://{}", self.hostile.address).into();
        }
        config["prefix"] = place.into();
        config["memory"] = self.memory.budget.into();
        // A configured region is never changed, so nothing could be learned.
        config.as_object_mut().unwrap().remove("region");
        config
    }

    /// The agent with all targets open except `t1`.
    async fn launch(&self) -> Host {
        let environment = [("S3_BACKUP_AGENT_DEMO_HURRY".to_owned(), TIME_DIVISOR.to_owned())];
        let arguments = ["serve", "--state-dir", self.state.path().to_str().unwrap()];
        let host = Host::launch(agent_command(), &arguments, &environment).await.unwrap();
        for place in ["other", "left-behind"] {
            self.open(&host, place).await;
        }
        host
    }

    async fn open(&self, host: &Host, place: &str) {
        let params = json!({"target": place, "config": self.config(place)});
        host.call("target.open", params).await.unwrap();
    }
}

/// Runs all operations against a behavior. Returns the problems.
async fn run_operations(behavior: &Behavior, memory: Memory) -> Vec<String> {
    let tested = AgentUnderTest::new(behavior, memory).await;
    let mut expectation = Expectation::new(behavior.listings_are_true);
    let mut faults = Vec::new();
    tested.hostile.set_rule(Some(behavior.rule));
    let mut host = tested.launch().await;
    for operation in behavior.operations {
        let mut fault = |text: String| faults.push(format!("{operation:?}: {text}"));
        tested.open(&host, "t1").await;
        tested.hostile.counts();
        peak(host.pid().unwrap());
        let start = Instant::now();
        let running = tokio::time::timeout(TIME_LIMIT, operation.run(&host));
        let (ended, other) = tokio::join!(running, check_honest_target(&host));
        let (most, took) =
            (operation.most_requests(behavior.documents + 3, behavior.tries), start.elapsed());
        let (requests, _) = tested.hostile.counts();
        if requests > most {
            fault(format!("{requests} requests, at most {most} are expected"));
        }
        if let Some(trouble) = other {
            fault(trouble);
        }
        match ended {
            Ok((answer, content)) => {
                let wrong =
                    expectation.check_result(*operation, &answer, &content, &tested.server).await;
                if std::env::var_os("SHOW_HOSTILE").is_some() {
                    let outcome = match &answer {
                        Ok(_) => "ok".to_owned(),
                        Err(error) => format!("{}: {}", error.data.code, error.message),
                    };
                    let peak = status(host.pid().unwrap(), "VmHWM") >> 20;
                    println!(
                        "{}: {operation:?}: {took:?}, {requests} requests, {peak} MiB: {outcome}",
                        behavior.name
                    );
                }
                if let Some(wrong) = wrong {
                    fault(wrong);
                }
                if let (true, Err(error)) = (behavior.works, &answer) {
                    fault(format!("{error:?}"));
                }
            }
            Err(_) => fault(format!("no end after {took:?}")),
        }
        let peak = host.pid().and_then(peak);
        if peak.is_none_or(|peak| peak > memory.most) {
            fault(format!("a peak of {peak:?} MiB, at most {} are expected", memory.most));
        }
        // A new start, because requests that hang would be counted for the next operation.
        if took >= TIME_LIMIT || peak.is_none() {
            host.kill().await.unwrap();
            host = tested.launch().await;
            continue;
        }
        let closed = host.call("target.close", json!({"target": "t1"})).await;
        if let Err(error) = closed {
            fault(format!("cannot be closed: {error:?}"));
        }
    }
    let (_, separate) = tested.hostile.counts();
    if separate > BACKGROUND_REQUESTS {
        faults.push(format!(
            "background: {separate} requests, at most {BACKGROUND_REQUESTS} are expected"
        ));
    }
    tested.hostile.set_rule(None);
    if ids(&reconnect(&tested).await).await.is_empty() && expectation.ids.contains("b") {
        faults.push("afterwards: the honest server has no backups".to_owned());
    }
    faults.extend(expectation.check_bucket(&tested.server).await);
    faults
}

/// What is wrong with the honest target while the other one is hostile.
async fn check_honest_target(host: &Host) -> Option<String> {
    let start = Instant::now();
    let list = async {
        loop {
            let list = json!({"target": "other", "refresh": true});
            let answer = host.call("backup.list", list).await;
            // The limits are so short that a busy machine exceeds them.
            if !answer.as_ref().is_err_and(|error| error.data.code == "timeout") {
                return answer;
            }
        }
    };
    match tokio::time::timeout(TIME_LIMIT / 2, list).await {
        Ok(Ok(listed)) if listed["backups"].as_array().is_some_and(|it| it.len() == 1) => None,
        Ok(answer) => Some(format!("the honest target: {answer:?}")),
        Err(_) => Some(format!("the honest target did not answer for {:?}", start.elapsed())),
    }
}

/// A new agent at the server, which is honest again.
async fn reconnect(tested: &AgentUnderTest) -> Host {
    let state = tempfile::tempdir().unwrap();
    connect_to(tested.config("t1"), state.path()).await
}
