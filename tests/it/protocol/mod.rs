//! The protocol itself: mistakes that a host can make, and the answers to them.

mod bad_config;
#[cfg(target_os = "linux")]
mod endurance;
#[cfg(unix)]
mod files;
mod framing;
#[cfg(unix)]
mod limits;
mod messages;
mod panics;
mod process;
mod schema;
mod update;

use s3_backup_agent::demo::host::{Event, Host};
use serde_json::{Value, json};

use crate::support::agent_command;

/// A session that is initialized and has no target.
async fn session() -> Host {
    Host::launch(agent_command(), &["serve"], &[]).await.unwrap()
}

/// A session before `initialize`.
async fn greeted() -> Host {
    Host::spawn(agent_command(), &["serve"], &[]).await.unwrap()
}

/// The code of an answer.
fn code(answer: Result<Value, Box<s3_backup_agent::protocol::ErrorObject>>) -> String {
    match answer {
        Ok(result) => format!("no error but {result}"),
        Err(error) => error.data.code,
    }
}

/// The next answer with `"id": null`: its JSON-RPC integer and its code.
async fn anonymous(host: &mut Host) -> (i32, String) {
    loop {
        match host.session().next_event().await.expect("the agent is there") {
            Event::Response(Err(error)) => return (error.code, error.data.code),
            Event::Response(Ok(result)) => panic!("no error but {result}"),
            Event::Notification { .. } => {}
        }
    }
}

/// Valid settings with `changes`.
fn config(changes: Value) -> Value {
    let mut config = json!({
        "type": "s3", "endpoint": "http://127.0.0.1:1", "bucket": "bucket",
        "access_key_id": "AK", "secret_access_key": "SK-canary-4711",
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    config
}
