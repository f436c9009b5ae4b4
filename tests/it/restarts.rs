//! A server that is killed at random moments of an agent's work and started again with its data:
//! acknowledged backups exist, listed backups are intact, and in the end nothing remains.
//!
//! Usually the embedded server, which loses its incomplete uploads. With `KILL_SERVER` the server
//! of this name in `tests/servers`, which has to keep what it acknowledged: `seaweedfs`. `KILLS`
//! and `KILLS_SEED` are the same as in `e2e::kills`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use s3_backup_agent::demo::server::EmbeddedServer;
use tempfile::TempDir;

use crate::e2e::kills::disruption::{Disruption, run_with_disruptions};
use crate::link_faults::{FaultyLink, State};
use crate::support::TestServer;

/// The longest time without server, in addition to its start time.
const LONGEST: Duration = Duration::from_secs(2);

/// Half of the pauses are almost zero.
async fn random_downtime(random: &mut fastrand::Rng) {
    let short = if random.bool() { 20.0 } else { 1.0 };
    tokio::time::sleep(LONGEST.mul_f64(random.f64() / short)).await;
}

/// The embedded server, which uses another port each time.
struct Embedded {
    folder: TempDir,
    running: Option<EmbeddedServer>,
    link: FaultyLink,
}

impl Embedded {
    const KEYS: [&str; 2] = ["test", "secret"];

    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let running = Self::run(folder.path()).await;
        let link =
            FaultyLink::start(running.endpoint().trim_start_matches("http://").parse().unwrap());
        Self { link: link.await, running: Some(running), folder }
    }

    async fn run(folder: &Path) -> EmbeddedServer {
        EmbeddedServer::start(folder, Self::KEYS[0], Self::KEYS[1]).await.unwrap()
    }

    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "TEST_S3_ENDPOINT" => format!("http://{}", self.link.address),
            "TEST_S3_REGION" => "us-east-1".to_owned(),
            "TEST_S3_ACCESS_KEY_ID" => Self::KEYS[0].to_owned(),
            "TEST_S3_SECRET_ACCESS_KEY" => Self::KEYS[1].to_owned(),
            _ => return None,
        };
        Some(value)
    }
}

impl Disruption for Embedded {
    /// The server has lost the upload.
    const PERSISTENT: &[&str] = &["modified"];

    async fn disrupt(&mut self, random: &mut fastrand::Rng) {
        self.running = None;
        self.link.set(State::Broken);
        random_downtime(random).await;
        let running = Self::run(self.folder.path()).await;
        self.link.set_upstream(running.endpoint().trim_start_matches("http://").parse().unwrap());
        self.running = Some(running);
        self.link.set(State::Working);
    }
}

/// A server of `tests/servers`. It stops when this is dropped.
struct Program {
    script: PathBuf,
    folder: TempDir,
}

impl Program {
    fn start(name: &str) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers");
        let script = scripts.join(name).with_extension("sh");
        let it = Self { script, folder: tempfile::tempdir().unwrap() };
        it.run_script("start");
        it
    }

    fn run_script(&self, what: &str) {
        let mut script = std::process::Command::new(&self.script);
        let status = script.arg(what).arg(self.folder.path()).status().unwrap();
        assert!(status.success(), "{} {what}", self.script.display());
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(file)).unwrap()
    }

    /// The variables that the script wrote for the environment.
    fn variables(&self) -> HashMap<String, String> {
        let text = self.read("env");
        let pairs = text.split_whitespace().filter_map(|word| word.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl Disruption for Program {
    async fn disrupt(&mut self, random: &mut fastrand::Rng) {
        for pid in self.read("pid").lines() {
            let group = format!("-{pid}");
            let mut kill = std::process::Command::new("kill");
            assert!(kill.args(["-KILL", "--", &group]).status().unwrap().success());
        }
        random_downtime(random).await;
        tokio::task::block_in_place(|| self.run_script("again"));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.run_script("stop");
    }
}

// The server of the test has to work while the test itself blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_server_kills_lose_and_leave_nothing() {
    match std::env::var("KILL_SERVER") {
        Ok(name) => {
            let mut program = Program::start(&name);
            let variables = program.variables();
            let server = TestServer::from_variables(|name| variables.get(name).cloned()).await;
            run_with_disruptions(&server, &server.config(), &mut program, 10).await;
        }
        Err(_) => {
            let mut embedded = Embedded::start().await;
            let server = TestServer::from_variables(|name| embedded.variable(name)).await;
            run_with_disruptions(&server, &server.config(), &mut embedded, 20).await;
        }
    }
}
