//! The host of a session that runs one operation.

use s3_backup_agent::session::fuzzing::{HostReader, HostWriter, session};
use serde_json::{Value, json};

use crate::plan::Operation;

/// Longest line of the agent.
const LONGEST_LINE: usize = 65_536;

const BLOCK: u64 = 256 << 10;

/// Runs an operation from the start of a session to its answer, which must be valid.
pub async fn run(operation: Operation, settings: u8) {
    let (host, session) = session();
    let session = tokio::spawn(session);
    let mut talk = Connection { writer: host.writer, reader: host.reader };
    talk.say(&json!({"id": 1, "method": "initialize", "params": {"protocol": 1}})).await;
    talk.answer(1).await;
    let params = json!({"target": "t", "config": config(settings)});
    talk.say(&json!({"id": 2, "method": "target.open", "params": params})).await;
    let opened = talk.answer(2).await;
    assert!(opened["error"].is_null(), "{opened}");
    talk.say(&request(operation)).await;
    let answer = talk.work(operation.size).await;
    let code = answer["error"]["data"]["code"].as_str();
    assert_ne!(code, Some("internal"), "{answer}");
    drop(talk);
    session.await.unwrap();
}

fn config(settings: u8) -> Value {
    let mut config = json!({
        "endpoint": "http://127.0.0.1:9",
        "bucket": "backups",
        "access_key_id": "AKIAEXAMPLE",
        "secret_access_key": "EXAMPLE-SECRET",
    });
    if settings & 1 > 0 {
        config["memory"] = json!(32 << 20);
    }
    if settings & 2 > 0 {
        config["concurrency"] = json!(1);
    }
    if settings & 4 > 0 {
        config["region"] = json!("eu-west-1");
    }
    config
}

fn request(operation: Operation) -> Value {
    let (method, variant) = operation.method.split_once('/').unwrap_or((operation.method, ""));
    let mut params = json!({"target": "t"});
    match method {
        "backup.get" | "backup.delete" => params["backup_id"] = json!("b"),
        "backup.verify" => {
            params["backup_id"] = json!("b");
            if !variant.is_empty() {
                params["level"] = json!(variant);
            }
        }
        "backup.download" => {
            params["backup_id"] = json!("b");
            // More than any archive here contains.
            params["up_to"] = json!(1_u64 << 50);
        }
        "backup.upload" => {
            let backup = json!({"id": "n", "name": "n", "metadata": {"backup_id": "n"}});
            params["backup"] = backup;
            params["size"] = json!(operation.size);
        }
        "backup.list" => params["refresh"] = json!(true),
        "target.cleanup" if !variant.is_empty() => params["objects"] = json!(true),
        _ => {}
    }
    json!({"id": 3, "method": method, "params": params})
}

struct Connection {
    writer: HostWriter,
    reader: HostReader,
}

impl Connection {
    async fn say(&self, message: &Value) {
        let mut line = serde_json::to_vec(message).unwrap();
        line.push(b'\n');
        assert!(self.writer.send(&*line).await);
    }

    /// The next message of the agent.
    async fn hear(&mut self) -> Value {
        let frame = self.reader.next().await.expect("the agent ends");
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        assert!(line < LONGEST_LINE, "a line of {line} bytes");
        serde_json::from_slice(&bytes[..line]).unwrap()
    }

    async fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.hear().await;
            if message["id"] == id {
                return message;
            }
        }
    }

    /// Sends the data that an upload requests, until its answer arrives.
    async fn work(&mut self, size: u64) -> Value {
        let (mut sent, mut has_ended) = (0, size == 0);
        loop {
            let message = self.hear().await;
            if message["id"] == 3 {
                return message;
            }
            if message["method"] != "stream.credit" {
                continue;
            }
            let credit = message["params"]["up_to"].as_u64().unwrap();
            while sent < credit.min(size) {
                let length = (credit.min(size) - sent).min(BLOCK);
                let params = json!({"id": 3, "offset": sent});
                let message = json!({"method": "stream.data", "params": params, "payload": length});
                let mut frame = serde_json::to_vec(&message).unwrap();
                frame.push(b'\n');
                frame.resize(frame.len() + usize::try_from(length).unwrap(), 0);
                frame.push(b'\n');
                assert!(self.writer.send(&*frame).await);
                sent += length;
            }
            if sent == size && !has_ended {
                has_ended = true;
                let params = json!({"id": 3, "length": size});
                self.say(&json!({"method": "stream.end", "params": params})).await;
            }
        }
    }
}
