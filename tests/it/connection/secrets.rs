//! Secrets: read from files instead of the settings, and never shown, whatever a server repeats.

mod echo_server;

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use self::echo_server::{Canaries, EchoServer};
use super::wire::{Act, Wire};
use super::{address, open};
use crate::cli::{REAL, real_backup};
use crate::e2e::{backup, ids};
use crate::random_data::RandomData;
use crate::support::{TestServer, agent_command};

#[tokio::test]
async fn secret_is_read_from_file_or_systemd_credential() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let folder = tempfile::tempdir().unwrap();
    let config = server.config();
    let secret = config["secret_access_key"].as_str().unwrap();
    for ending in ["", "\n", "\r\n"] {
        let file = folder.path().join("key");
        std::fs::write(&file, format!("{secret}{ending}")).unwrap();
        let environment = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
        for form in [json!({"file": file}), json!({"credential": "key"})] {
            let changes = json!({"secret_access_key": form});
            let host = open(&server, &wire.http(), changes, &environment).await.unwrap();
            assert_eq!(ids(&host).await, Vec::<String>::new());
        }
    }
}

/// Canaries that `server` accepts as its account keys.
fn canaries(server: &TestServer) -> Canaries {
    let config = server.config();
    let text = |name: &str| config[name].as_str().unwrap().to_owned();
    Canaries {
        id: text("access_key_id"),
        secret: text("secret_access_key"),
        token: format!("FwoGZXIvYXdzEBYaCANARY/{:032x}+x=", fastrand::u128(..)),
        proxy: format!("proxy/pw+{:08x}", fastrand::u32(..)),
    }
}

/// Everything that the command line prints and stores in these runs.
async fn command_line_output(
    server: &TestServer,
    canaries: &Canaries,
    endpoint: &str,
    proxy: Option<String>,
    state: &Path,
) -> String {
    let file = real_backup(REAL[0].0);
    let file = file.to_str().unwrap();
    let runs: &[&[&str]] = &[
        &["validate", "-vv"],
        &["validate", "--json", "-vv"],
        &["upload", file, "-vv"],
        &["upload", file, "-vv", "--id", "large", "--replace"],
        &["list", "-vv"],
        &["list", "--json", "-vv"],
        &["info", REAL[0].1, "-vv"],
        &["verify", REAL[0].1, "-vv"],
        &["download", REAL[0].1, "-o", "back.tar", "-vv"],
        &["delete", REAL[0].1, "--yes", "-vv"],
        &["cleanup", "-vv"],
        &["repair", "-vv"],
    ];
    let mut said = String::new();
    for arguments in runs {
        let mut command = Command::new(agent_command());
        command.env_clear().envs(server.env()).current_dir(state).args(*arguments);
        command.env("S3_BACKUP_AGENT_ENDPOINT", endpoint);
        command.env("S3_BACKUP_AGENT_STATE_DIR", state);
        command.env("S3_BACKUP_AGENT_SESSION_TOKEN", &canaries.token);
        command.envs(proxy.iter().map(|proxy| ("HTTP_PROXY", proxy)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let ran = command.output().await.unwrap();
        assert!(ran.status.code().is_some_and(|code| code != 101 && code != 64), "{ran:?}");
        said.push_str(&String::from_utf8(ran.stdout).unwrap());
        said.push_str(&String::from_utf8(ran.stderr).unwrap());
    }
    said
}

/// Everything that a session answers and logs.
async fn session_output(
    server: &TestServer,
    canaries: &Canaries,
    endpoint: &str,
    proxy: Option<String>,
    state: &Path,
) -> String {
    let mut environment = vec![("S3_BACKUP_AGENT_STATE_DIR", state.to_str().unwrap())];
    environment.extend(proxy.iter().map(|proxy| ("HTTP_PROXY", proxy.as_str())));
    let changes = json!({"session_token": canaries.token, "part_size": 5 << 20});
    let host = open(server, endpoint, changes, &environment).await.unwrap();
    let mut said = String::new();
    for round in 0..4 {
        let target = json!({"target": "t1", "refresh": true});
        let one = json!({"target": "t1", "backup_id": "one"});
        for (method, params) in [
            ("target.validate", json!({"target": "t1"})),
            ("backup.list", target.clone()),
            ("backup.get", one.clone()),
            ("backup.verify", one.clone()),
            ("target.cleanup", json!({"target": "t1", "older_than_s": 0})),
            ("target.repair", json!({"target": "t1"})),
        ] {
            said.push_str(&answered(host.call(method, params).await));
        }
        let size = [1000_u64, 12 << 20][round % 2];
        let kept = json!({"size": size, "resume_s": 3600});
        let uploaded = host.upload("t1", backup("one"), kept, RandomData::new(1, size)).await;
        said.push_str(&answered(uploaded));
        let downloaded = host.download("t1", "one", json!({}), 1 << 20, |_| {}).await;
        said.push_str(&answered(downloaded));
        said.push_str(&answered(host.call("backup.delete", one).await));
    }
    said.push_str(&host.stderr_lines().join("\n"));
    said
}

fn answered(answer: Result<Value, Box<s3_backup_agent::protocol::ErrorObject>>) -> String {
    answer.map_or_else(|error| serde_json::to_string(&error).unwrap(), |value| value.to_string())
}

/// The content of all files in the folder.
fn files_in(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let contents = entries.map(|path| match path.is_dir() {
        true => files_in(&path),
        false => {
            String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned()
                + &path.display().to_string()
        }
    });
    contents.collect()
}

#[tokio::test]
async fn echoed_request_in_refusal_leaks_no_secret() {
    let server = TestServer::embedded().await;
    let canaries = canaries(&server);
    let echo = EchoServer::start(&canaries, None).await;
    let state = tempfile::tempdir().unwrap();
    let login = url::form_urlencoded::byte_serialize(canaries.proxy.as_bytes()).collect::<String>();
    let proxy = Some(format!("http://me:{login}@{}", echo.address));
    let endpoint = "http://storage.test:9000";
    let said = [
        command_line_output(&server, &canaries, endpoint, proxy.clone(), state.path()).await,
        session_output(&server, &canaries, endpoint, proxy, state.path()).await,
        files_in(state.path()),
    ];
    let signatures = echo.signatures();
    assert!(signatures.len() > 20, "{}", signatures.len());
    for said in said {
        let leaks = canaries.leaks(&signatures, &said);
        assert!(leaks.is_empty(), "{leaks:?} in {said}");
    }
}

#[tokio::test]
async fn echoed_request_in_response_leaks_no_secret() {
    let server = TestServer::embedded().await;
    let canaries = canaries(&server);
    let echo = EchoServer::start(&canaries, Some(address(&server))).await;
    let state = tempfile::tempdir().unwrap();
    let endpoint = format!("http://{}", echo.address);
    let said = [
        command_line_output(&server, &canaries, &endpoint, None, state.path()).await,
        session_output(&server, &canaries, &endpoint, None, state.path()).await,
        files_in(state.path()),
    ];
    assert!(said[0].contains("Uploaded") && said[1].contains("\"verified\":true"), "{said:?}");
    let signatures = echo.signatures();
    for said in said {
        let leaks = canaries.leaks(&signatures, &said);
        assert!(leaks.is_empty(), "{leaks:?} in {said}");
    }
}
