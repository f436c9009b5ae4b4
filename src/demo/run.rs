//! The demo: an S3 server in a temporary folder, this program as its agent, and a backup that is
//! uploaded and downloaded through the stdio protocol.

use std::path::Path;
use std::time::Instant;

use console::{Alignment, pad_str, style};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::host::{Answer, Host};
use super::sample::{BACKUP, BACKUP_NAME, Sample};
use super::server::EmbeddedServer;
use crate::cli::bar;
use crate::cli::output::{bytes, note, say};
use crate::error::{Code, Error, Result};
use crate::ops::Cancel;
use crate::progress::{Phase, Progress};
use crate::protocol::{
    DownloadResult, ErrorObject, GetResult, ListResult, Status, UploadResult, ValidateResult,
};

const BUCKET: &str = "demo";
const ACCESS_KEY: &str = "demo";

/// Credit for a download: enough to never wait for a pipe.
const WINDOW: u64 = 4 << 20;

/// Kind of demo.
#[derive(Clone, Copy, Debug)]
pub enum Show {
    /// Upload and download of a small Home Assistant backup.
    Backup,
    /// Upload and download of this many random bytes.
    Random(u64),
    /// The S3 server alone.
    Storage,
}

/// Runs the demo and deletes its files afterwards.
///
/// # Errors
/// Any failure, including downloaded bytes that differ.
pub async fn run(show: Show, cancel: &Cancel) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("s3-backup-agent-demo-").tempdir();
    let folder = folder.map_err(|error| {
        Error::new(Code::LocalIo, format!("cannot make a temporary folder: {error}")).source(error)
    })?;
    let storage = Storage::start(folder.path()).await?;
    let sample = match show {
        Show::Backup => Sample::backup(),
        Show::Random(size) => Sample::random(size),
        Show::Storage => return storage.wait_for_user(folder.path(), cancel).await,
    };
    cancel.cancellable(there_and_back(&storage, &sample)).await
}

struct Storage {
    server: EmbeddedServer,
    secret: String,
}

impl Storage {
    async fn start(folder: &Path) -> Result<Self> {
        let secret = format!("{:032x}", fastrand::u128(..));
        let started = async {
            let buckets = folder.join("buckets");
            std::fs::create_dir(&buckets)?;
            let server = EmbeddedServer::start(&buckets, ACCESS_KEY, &secret).await?;
            server.create_bucket(BUCKET)?;
            Ok::<_, std::io::Error>(server)
        };
        let server = started.await.map_err(|error| {
            Error::new(Code::LocalIo, format!("cannot start the S3 server: {error}")).source(error)
        })?;
        Ok(Self { server, secret })
    }

    /// Prints how to use the server, and waits until the user ends it.
    async fn wait_for_user(self, folder: &Path, cancel: &Cancel) -> Result<()> {
        let program = program()?;
        let backup = folder.join(format!("{BACKUP_NAME}.tar"));
        std::fs::write(&backup, BACKUP).map_err(|error| {
            let message = format!("cannot write {}: {error}", backup.display());
            Error::new(Code::LocalIo, message).source(error)
        })?;
        let (endpoint, secret) = (self.server.endpoint(), &self.secret);
        let (program, backup) = (quoted(&program), quoted(&backup));
        say(format!(
            "An S3 server is running on this machine, with a backup to test it. Paste this \
             into another terminal:\n\n\
             export S3_BACKUP_AGENT_ENDPOINT={endpoint} S3_BACKUP_AGENT_BUCKET={BUCKET}\n\
             export S3_BACKUP_AGENT_ACCESS_KEY_ID={ACCESS_KEY}\n\
             export S3_BACKUP_AGENT_SECRET_ACCESS_KEY={secret}\n\
             {program} upload {backup}\n\
             {program} list\n\n\
             Press Ctrl-C to stop the server and delete its data."
        ))?;
        cancel.cancelled().await;
        Ok(())
    }
}

fn program() -> Result<std::path::PathBuf> {
    std::env::current_exe().map_err(|error| {
        Error::new(Code::LocalIo, format!("cannot find this program: {error}")).source(error)
    })
}

/// A path quoted for a shell.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    if path.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-+".contains(letter)) {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

async fn there_and_back(storage: &Storage, sample: &Sample) -> Result<()> {
    let mut steps = Steps { since: Instant::now() };
    let endpoint = storage.server.endpoint();
    steps.done("storage", &format!("a new one in a temporary folder, at {endpoint}"))?;
    let mut host =
        Host::launch(program()?, &["serve"], &[]).await.map_err(|error| error_from(&error))?;
    let agent = &host.hello().agent;
    steps.done("hello", &format!("from the agent: {} {}", agent.name, agent.version))?;
    if let Err(error) = run_backup(&mut steps, &host, storage, sample).await {
        for line in host.stderr_lines().iter().rev().take(10).rev() {
            note(format!("  agent: {line}"));
        }
        return Err(error);
    }
    answer::<Value>(host.call("shutdown", json!({})).await)?;
    host.close_stdin().await;
    let status = host
        .wait()
        .await
        .map_err(|error| Error::new(Code::Internal, "cannot wait for the agent").source(error))?;
    if !status.success() {
        return Err(Error::new(Code::Internal, format!("the agent ended with {status}")));
    }
    steps.done("shutdown", "the agent ended in order")?;
    say(format!(
        "\n{}: {} went to S3 and came back, byte for byte.",
        style("Demo passed").green().bold(),
        bytes(sample.size())
    ))
}

/// The messages that a host exchanges with an agent.
async fn run_backup(
    steps: &mut Steps,
    host: &Host,
    storage: &Storage,
    sample: &Sample,
) -> Result<()> {
    let config = json!({
        "type": "s3", "endpoint": storage.server.endpoint(), "bucket": BUCKET,
        "access_key_id": ACCESS_KEY, "secret_access_key": storage.secret,
    });
    let opened = host.call("target.open", json!({"target": "t1", "config": config})).await;
    answer::<Value>(opened)?;
    steps.done("target.open", &format!("bucket {BUCKET}"))?;

    let validated: ValidateResult =
        answer(host.call("target.validate", json!({"target": "t1"})).await)?;
    let passed = validated.checks.iter().filter(|check| check.status == Status::Passed);
    let passed: Vec<_> = passed.map(|check| check.name.as_str()).collect();
    if !validated.ok {
        let passed = passed.join(", ");
        return Err(Error::new(Code::Internal, format!("only these checks passed: {passed}")));
    }
    steps.done("target.validate", &passed.join(", "))?;

    let UploadResult { backup, etag, .. } = upload(host, sample).await?;
    // The ETag of a multipart object ends in the number of parts.
    let parts = etag.as_deref().and_then(|etag| etag.trim_matches('"').rsplit_once('-'));
    let parts = parts.map(|(_, parts)| format!(" in {parts} parts")).unwrap_or_default();
    let done = format!("{}{parts} as {}.tar", bytes(backup.stored_size), backup.name);
    steps.done("backup.upload", &done)?;

    let listed: ListResult = answer(host.call("backup.list", json!({"target": "t1"})).await)?;
    let ids: Vec<_> = listed.backups.iter().map(|backup| backup.id.as_str()).collect();
    expect(ids == [&backup.id], "the backup is not listed")?;
    steps.done("backup.list", &format!("1 backup, id {}", backup.id))?;

    let wanted = json!({"target": "t1", "backup_id": backup.id});
    let got: GetResult = answer(host.call("backup.get", wanted.clone()).await)?;
    expect(got.backup == backup, "the backup has other metadata than before")?;
    let values = got.backup.metadata.values();
    let name = values.get("name").and_then(Value::as_str).unwrap_or_default();
    steps.done("backup.get", &format!("\"{name}\", with its metadata"))?;

    let downloaded = download(host, &backup.id, sample).await?;
    let verified = if downloaded.verified { "every part verified" } else { "not verified" };
    steps.done("backup.download", &format!("{}, {verified}", bytes(downloaded.length)))?;

    answer::<Value>(host.call("backup.delete", wanted).await)?;
    steps.done("backup.delete", "archive and metadata")?;
    let listed: ListResult = answer(host.call("backup.list", json!({"target": "t1"})).await)?;
    expect(listed.backups.is_empty(), "the backup is still listed")?;
    steps.done("backup.list", "no backups")
}

async fn upload(host: &Host, sample: &Sample) -> Result<UploadResult> {
    let progress = moving(sample.size());
    let source = sample.counted_on(&progress);
    let extra = json!({"size": sample.size(), "exact": true});
    let work = host.upload("t1", sample.description(), extra, source);
    answer(bar::during(&progress, "Uploading", work).await)
}

/// Compares every byte while it arrives.
async fn download(host: &Host, id: &str, sample: &Sample) -> Result<DownloadResult> {
    let progress = moving(sample.size());
    let mut expected = sample.counted_on(&progress);
    let mut same = true;
    let sink = |bytes: &[u8]| {
        let mut original = vec![0; bytes.len()];
        same &= expected.fill(&mut original) == bytes.len() && original == bytes;
    };
    let work = host.download("t1", id, json!({}), WINDOW, sink);
    let downloaded: DownloadResult = answer(bar::during(&progress, "Downloading", work).await)?;
    if same && downloaded.length == sample.size() {
        return Ok(downloaded);
    }
    Err(Error::new(
        Code::IntegrityMismatch,
        "the bytes that came back are not those that were sent",
    ))
}

fn moving(size: u64) -> Progress {
    let progress = Progress::default();
    progress.expect(Some(size));
    progress.enter(Phase::Transferring);
    progress
}

fn expect(detail: bool, otherwise: &str) -> Result<()> {
    if detail { Ok(()) } else { Err(Error::new(Code::Internal, otherwise)) }
}

fn answer<T: DeserializeOwned>(answer: Answer) -> Result<T> {
    let value = answer.map_err(|error| error_from(&error))?;
    serde_json::from_value(value).map_err(|error| {
        Error::new(Code::Internal, "the agent's answer has an unknown form").source(error)
    })
}

/// Converts the agent's error. `agent_gone` and other unknown codes become `internal`.
fn error_from(error: &ErrorObject) -> Error {
    let code = serde_json::from_value(Value::from(error.data.code.as_str()));
    let error_of = Error::new(code.unwrap_or(Code::Internal), error.message.as_str());
    match &error.data.upstream {
        Some(upstream) => error_of.upstream(upstream.clone()),
        None => error_of,
    }
}

/// Prints each step and its duration.
struct Steps {
    since: Instant,
}

impl Steps {
    fn done(&mut self, what: &str, more: &str) -> Result<()> {
        let ms = format!("{:>6} ms", self.since.elapsed().as_millis());
        let what = pad_str(what, 16, Alignment::Left, None);
        say(format!("{} {}  {what} {more}", style("✓").green(), style(ms).dim()))?;
        self.since = Instant::now();
        Ok(())
    }
}
