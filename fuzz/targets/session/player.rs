//! Plays a script: the host of one session, and the end of it.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use s3_backup_agent::session::End;
use s3_backup_agent::session::frame::{Frame, Input, Message, Reader};
use s3_backup_agent::session::fuzzing::{HostReader, HostWriter, session};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::choices::{self, CONDITIONS, LENGTHS, TIMES, one};
use crate::script::{Script, Step};
use crate::server::MemoryServer;
use crate::session_record::{SessionRecord, stream};

/// The agent must end within this time after the end of its input (X2).
const END: Duration = Duration::from_secs(15);

/// Most bytes of all uploads of a script.
const MOST_DATA: u64 = 48 << 20;

/// Most steps of a script.
const MOST_STEPS: usize = 400;

/// Whether to print each step, to analyze a finding.
static SHOW: LazyLock<bool> = LazyLock::new(|| std::env::var_os("SHOW_STEPS").is_some());

/// The host and its knowledge.
pub struct Player {
    server: Arc<MemoryServer>,
    record: Arc<Mutex<SessionRecord>>,
    writer: Option<HostWriter>,
    reader: JoinHandle<()>,
    paused_until: Arc<Mutex<Instant>>,
    session: JoinHandle<End>,
    next_id: u64,
    data: u64,
    /// Whether only the agent has written to the bucket.
    sole_writer: bool,
    stopped_reading: bool,
}

/// Receives messages, except while the host does not read.
async fn receive(
    mut reader: HostReader,
    record: Arc<Mutex<SessionRecord>>,
    paused_until: Arc<Mutex<Instant>>,
) {
    loop {
        let until = *paused_until.lock().unwrap();
        sleep_until(until).await;
        let Some(frame) = reader.next().await else { return };
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let (line, payload) = bytes.split_at(line);
        let payload = payload.strip_suffix(b"\n").unwrap_or(payload);
        record.lock().unwrap().received(line, payload);
    }
}

impl Player {
    pub fn new(server: Arc<MemoryServer>) -> Self {
        let (host, session) = session();
        let record = Arc::default();
        let paused_until = Arc::new(Mutex::new(Instant::now()));
        Self {
            reader: tokio::spawn(receive(
                host.reader,
                Arc::clone(&record),
                Arc::clone(&paused_until),
            )),
            server,
            record,
            writer: Some(host.writer),
            paused_until,
            session: tokio::spawn(session),
            next_id: 1,
            data: 0,
            sole_writer: true,
            stopped_reading: false,
        }
    }

    fn record(&self) -> MutexGuard<'_, SessionRecord> {
        self.record.lock().unwrap()
    }

    /// Plays the script and checks the result.
    pub async fn play(mut self, script: Script<'_>) {
        for step in script.take(MOST_STEPS) {
            self.step(step).await;
            if self.writer.is_none() || self.stopped_reading || self.session.is_finished() {
                break;
            }
        }
        self.writer = None;
        let reads_from = *self.paused_until.lock().unwrap();
        sleep_until(reads_from).await;
        let end = timeout(END, &mut self.session)
            .await
            .expect("X1: the agent does not end in time")
            .unwrap();
        if !self.stopped_reading {
            assert_ne!(end, End::StreamsFailed);
            let received = timeout(END, &mut self.reader).await;
            // The received messages were valid.
            received
                .unwrap_or_else(|_| panic!("never answered: {:?}", self.record().open()))
                .unwrap();
        }
        self.check(end);
    }

    fn check(&self, end: End) {
        let all_good = !self.server.had_bad_condition();
        if self.sole_writer {
            self.server.with_bucket(|bucket| {
                assert_eq!(bucket.damaged_backups(), Vec::<String>::new(), "B1");
                for (id, name) in self.record().stored.iter().flatten() {
                    assert!(bucket.has_backup(id, name), "B1: {id:?} as {name:?} is lost");
                }
                assert!(
                    !all_good || bucket.incomplete_objects().is_empty(),
                    "X1: {:?}",
                    bucket.incomplete_objects()
                );
            });
            assert!(!all_good || !self.record().unclean, "C4");
        }
        if end == End::Orderly && !self.stopped_reading {
            assert_eq!(self.record().open(), Vec::new(), "every request is answered");
        }
    }

    async fn step(&mut self, step: Step) {
        if *SHOW {
            eprintln!("{:?} {step:?}", Instant::now());
        }
        match step {
            Step::Initialize { kind } => self.send_request(choices::initialize(kind)).await,
            Step::Open { target, config } => self.send_request(choices::open(target, config)).await,
            Step::Close { target } => self.send_request(choices::close(target)).await,
            Step::Request(request) => self.send_request(choices::request(&request)).await,
            Step::Upload(upload) => self.send_request(choices::upload(&upload)).await,
            Step::Download(download) => self.send_request(choices::download(&download)).await,
            Step::Data { stream, length, fault } => self.send_data(stream, length, fault).await,
            Step::EndOfData { stream, fault } => {
                let Some((id, moved, _)) = self.uploading(stream) else { return };
                let length = if fault > 250 { moved + 1 } else { moved };
                self.send_notification("stream.end", json!({"id": id, "length": length}), &[])
                    .await;
            }
            Step::Credit { stream, more } => {
                let Some(id) = self.record().stream("backup.download", stream) else { return };
                let moved = self.record().request(id).map_or(0, |request| request.moved);
                let up_to = moved + (u64::from(more) << 14);
                self.send_notification("stream.credit", json!({"id": id, "up_to": up_to}), &[])
                    .await;
            }
            Step::Cancel { request, reason } => {
                let Some(id) = self.used(request) else { return };
                self.send_notification("cancel", choices::cancel(id, reason), &[]).await;
            }
            Step::Shutdown { kind } => self.send_request(choices::shutdown(kind)).await,
            Step::Repeat { request } => {
                let Some(id) = self.used(request) else { return };
                self.send_message(json!({"id": id, "method": "ping"}), &[]).await;
            }
            Step::Wait { how_long } => {
                sleep(Duration::from_millis(one(&TIMES, how_long))).await;
            }
            Step::PauseReading { how_long } => {
                let until = Instant::now() + Duration::from_millis(one(&TIMES, how_long));
                let mut paused_until = self.paused_until.lock().unwrap();
                *paused_until = until.max(*paused_until);
            }
            Step::Conditions { kind, count } => {
                self.server.expect(one(&CONDITIONS, kind), usize::from(count % 16) + 1);
            }
            Step::Foreign { kind, name, place } => self.foreign(kind, name, place),
            Step::Message { line, payload } => {
                if let Ok(message @ Value::Object(_)) = serde_json::from_slice(&line) {
                    let offset = message["params"]["offset"].as_u64().unwrap_or_default();
                    self.send_message(message, stream(offset, payload)).await;
                }
            }
            Step::RawBytes { bytes } => {
                if self.record_messages(&bytes) {
                    self.send_bytes(bytes).await;
                }
            }
            Step::StopReading => {
                self.stopped_reading = true;
                self.reader.abort();
            }
        }
    }

    async fn send_data(&mut self, back: u8, length: u8, fault: u8) {
        let Some((id, moved, credit)) = self.uploading(back) else { return };
        let wanted = one(&LENGTHS, length);
        let (offset, length) = match fault {
            255 => (moved + 1, wanted),
            254 => (moved, 0),
            // Also beyond the credit.
            253 => (moved, wanted),
            _ => (moved, usize::try_from(credit.saturating_sub(moved)).unwrap().min(wanted)),
        };
        self.data += length as u64;
        if self.data > MOST_DATA || (length == 0 && fault != 254) {
            return;
        }
        let params = json!({"id": id, "offset": offset});
        self.send_notification("stream.data", params, stream(moved, length)).await;
    }

    /// Id, bytes so far and credit of an upload.
    fn uploading(&self, back: u8) -> Option<(u64, u64, u64)> {
        let record = self.record();
        let id = record.stream("backup.upload", back)?;
        let request = record.request(id)?;
        Some((id, request.moved, request.credit))
    }

    fn used(&self, back: u8) -> Option<u64> {
        self.record().ids.iter().rev().copied().nth(usize::from(back % 16))
    }

    fn foreign(&mut self, kind: u8, name: u8, place: u8) {
        self.sole_writer = false;
        let name = ["backups/", "ha/backups/", "ha/"][usize::from(place % 3)].to_owned()
            + ["Nightly", "a", "b"][usize::from(name % 3)];
        let (archive, document) = (format!("{name}.tar"), format!("{name}.metadata.json"));
        self.server.with_bucket(|bucket| match kind % 6 {
            0 => {
                bucket.put(&archive, vec![Bytes::from_static(stream(0, 70_000))]);
                bucket.put(&document, vec![r#"{"backup_id":"a","size":70000}"#.into()]);
            }
            1 => drop(bucket.put(&document, vec![r#"{"backup_id":"#.into()])),
            2 => drop(bucket.put(&archive, vec!["short".into()])),
            3 => drop(bucket.open_upload(&archive)),
            4 => bucket.delete(&archive),
            _ => bucket.delete(&document),
        });
    }

    async fn send_request(&mut self, (method, params): (&str, Value)) {
        let id = self.next_id;
        self.next_id += 1;
        self.send_message(json!({"id": id, "method": method, "params": params}), &[]).await;
    }

    async fn send_notification(&mut self, method: &str, params: Value, payload: &[u8]) {
        self.send_message(json!({"method": method, "params": params}), payload).await;
    }

    async fn send_message(&mut self, mut message: Value, payload: &[u8]) {
        if let Value::Object(members) = &mut message {
            members.remove("payload");
        }
        if !payload.is_empty() {
            message["payload"] = json!(payload.len());
        }
        if self.session.is_finished() || !self.record_message(&message, payload.len() as u64) {
            return;
        }
        let mut frame = serde_json::to_vec(&message).unwrap();
        frame.push(b'\n');
        if !payload.is_empty() {
            frame.extend_from_slice(payload);
            frame.push(b'\n');
        }
        self.send_bytes(frame).await;
    }

    async fn send_bytes(&mut self, bytes: Vec<u8>) {
        if let Some(writer) = &self.writer
            && !writer.send(&*bytes).await
        {
            self.writer = None;
        }
    }

    /// Records the messages in `bytes`. Returns whether they may be sent.
    fn record_messages(&mut self, bytes: &[u8]) -> bool {
        let mut reader = Reader::new(bytes);
        loop {
            let Frame { message: Message { id, method, params, .. }, payload } = match reader.read()
            {
                Input::Frame(frame) => frame,
                Input::Batch => continue,
                Input::End | Input::Broken(_) => return true,
            };
            let value = |text: Option<Box<RawValue>>| json!(text);
            let message =
                json!({"id": value(id), "method": value(method), "params": value(params)});
            // Streams contain only the known bytes.
            let unknown = payload.is_some() && message["method"] == "stream.data";
            if unknown || !self.record_message(&message, 0) {
                return false;
            }
        }
    }

    /// Records a message. Returns whether it may be sent.
    fn record_message(&mut self, message: &Value, payload: u64) -> bool {
        if message["method"] == "target.open" {
            let config = &message["params"]["config"];
            if ["secret_access_key", "session_token"].iter().any(|name| config[name].is_object()) {
                // No file of this machine may be read.
                return false;
            }
        }
        self.record().sent(message, payload);
        true
    }
}
