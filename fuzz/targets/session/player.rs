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

use crate::books::{Books, stream};
use crate::choices::{self, LENGTHS, TIMES, WEATHER, one};
use crate::script::{Script, Step};
use crate::storage::Memory;

/// The end of the input must not take longer (X1).
const END: Duration = Duration::from_secs(15);

/// Most bytes of all uploads of a script.
const MOST_DATA: u64 = 48 << 20;

/// Most steps of a script.
const MOST_STEPS: usize = 400;

/// Whether to say what is played, to understand a finding.
static SHOW: LazyLock<bool> = LazyLock::new(|| std::env::var_os("SHOW_STEPS").is_some());

/// What the host does, and what it has seen.
pub struct Player {
    memory: Arc<Memory>,
    books: Arc<Mutex<Books>>,
    writer: Option<HostWriter>,
    reader: JoinHandle<()>,
    deaf_until: Arc<Mutex<Instant>>,
    session: JoinHandle<End>,
    next_id: u64,
    data: u64,
    /// Whether nobody else wrote to the bucket.
    alone: bool,
    gone: bool,
}

/// Listens, except while the host is deaf.
async fn listen(mut reader: HostReader, books: Arc<Mutex<Books>>, deaf_until: Arc<Mutex<Instant>>) {
    loop {
        let until = *deaf_until.lock().unwrap();
        sleep_until(until).await;
        let Some(frame) = reader.next().await else { return };
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let (line, payload) = bytes.split_at(line);
        let payload = payload.strip_suffix(b"\n").unwrap_or(payload);
        books.lock().unwrap().hear(line, payload);
    }
}

impl Player {
    pub fn new(memory: Arc<Memory>) -> Self {
        let (host, session) = session();
        let books = Arc::default();
        let deaf_until = Arc::new(Mutex::new(Instant::now()));
        Self {
            reader: tokio::spawn(listen(host.reader, Arc::clone(&books), Arc::clone(&deaf_until))),
            memory,
            books,
            writer: Some(host.writer),
            deaf_until,
            session: tokio::spawn(session),
            next_id: 1,
            data: 0,
            alone: true,
            gone: false,
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// Plays the script and checks what is left.
    pub async fn play(mut self, script: Script<'_>) {
        for step in script.take(MOST_STEPS) {
            self.step(step).await;
            if self.writer.is_none() || self.gone || self.session.is_finished() {
                break;
            }
        }
        self.writer = None;
        let hears_from = *self.deaf_until.lock().unwrap();
        sleep_until(hears_from).await;
        let end =
            timeout(END, &mut self.session).await.expect("X1: the end takes too long").unwrap();
        if !self.gone {
            assert_ne!(end, End::StreamsFailed);
            let heard = timeout(END, &mut self.reader).await;
            // What it heard was right.
            heard.unwrap_or_else(|_| panic!("never answered: {:?}", self.books().open())).unwrap();
        }
        self.check(end);
    }

    fn check(&self, end: End) {
        let fair = !self.memory.was_rough();
        if self.alone {
            self.memory.with_bucket(|bucket| {
                assert_eq!(bucket.damaged_backups(), Vec::<String>::new(), "B1");
                for (id, name) in self.books().stored.iter().flatten() {
                    assert!(bucket.has_backup(id, name), "B1: {id:?} as {name:?} is lost");
                }
                assert!(!fair || bucket.leftovers().is_empty(), "X1: {:?}", bucket.leftovers());
            });
            assert!(!fair || !self.books().unclean, "C4");
        }
        if end == End::Orderly && !self.gone {
            assert_eq!(self.books().open(), Vec::new(), "every request is answered");
        }
    }

    async fn step(&mut self, step: Step) {
        if *SHOW {
            eprintln!("{:?} {step:?}", Instant::now());
        }
        match step {
            Step::Initialize { kind } => self.ask(choices::initialize(kind)).await,
            Step::Open { target, config } => self.ask(choices::open(target, config)).await,
            Step::Close { target } => self.ask(choices::close(target)).await,
            Step::Request(request) => self.ask(choices::request(&request)).await,
            Step::Upload(upload) => self.ask(choices::upload(&upload)).await,
            Step::Download(download) => self.ask(choices::download(&download)).await,
            Step::Data { stream, length, fault } => self.send_data(stream, length, fault).await,
            Step::EndOfData { stream, fault } => {
                let Some((id, moved, _)) = self.uploading(stream) else { return };
                let length = if fault > 250 { moved + 1 } else { moved };
                self.tell("stream.end", json!({"id": id, "length": length}), &[]).await;
            }
            Step::Credit { stream, more } => {
                let Some(id) = self.books().stream("backup.download", stream) else { return };
                let moved = self.books().request(id).map_or(0, |request| request.moved);
                let up_to = moved + (u64::from(more) << 14);
                self.tell("stream.credit", json!({"id": id, "up_to": up_to}), &[]).await;
            }
            Step::Cancel { request, reason } => {
                let Some(id) = self.used(request) else { return };
                self.tell("cancel", choices::cancel(id, reason), &[]).await;
            }
            Step::Shutdown { kind } => self.ask(choices::shutdown(kind)).await,
            Step::Repeat { request } => {
                let Some(id) = self.used(request) else { return };
                self.say(json!({"id": id, "method": "ping"}), &[]).await;
            }
            Step::Wait { how_long } => {
                sleep(Duration::from_millis(one(&TIMES, how_long))).await;
            }
            Step::Deafness { how_long } => {
                let until = Instant::now() + Duration::from_millis(one(&TIMES, how_long));
                let mut deaf_until = self.deaf_until.lock().unwrap();
                *deaf_until = until.max(*deaf_until);
            }
            Step::Weather { kind, count } => {
                self.memory.expect(one(&WEATHER, kind), usize::from(count % 16) + 1);
            }
            Step::Foreign { kind, name, place } => self.foreign(kind, name, place),
            Step::Message { line, payload } => {
                if let Ok(message @ Value::Object(_)) = serde_json::from_slice(&line) {
                    let offset = message["params"]["offset"].as_u64().unwrap_or_default();
                    self.say(message, stream(offset, payload)).await;
                }
            }
            Step::Noise { bytes } => {
                if self.note(&bytes) {
                    self.pronounce(bytes).await;
                }
            }
            Step::Gone => {
                self.gone = true;
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
            // Beyond the credit, too.
            253 => (moved, wanted),
            _ => (moved, usize::try_from(credit.saturating_sub(moved)).unwrap().min(wanted)),
        };
        self.data += length as u64;
        if self.data > MOST_DATA || (length == 0 && fault != 254) {
            return;
        }
        let params = json!({"id": id, "offset": offset});
        self.tell("stream.data", params, stream(moved, length)).await;
    }

    /// Id, bytes so far and credit of an upload.
    fn uploading(&self, back: u8) -> Option<(u64, u64, u64)> {
        let books = self.books();
        let id = books.stream("backup.upload", back)?;
        let request = books.request(id)?;
        Some((id, request.moved, request.credit))
    }

    fn used(&self, back: u8) -> Option<u64> {
        self.books().ids.iter().rev().copied().nth(usize::from(back % 16))
    }

    fn foreign(&mut self, kind: u8, name: u8, place: u8) {
        self.alone = false;
        let name = ["backups/", "ha/backups/", "ha/"][usize::from(place % 3)].to_owned()
            + ["Nightly", "a", "b"][usize::from(name % 3)];
        let (archive, document) = (format!("{name}.tar"), format!("{name}.metadata.json"));
        self.memory.with_bucket(|bucket| match kind % 6 {
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

    async fn ask(&mut self, (method, params): (&str, Value)) {
        let id = self.next_id;
        self.next_id += 1;
        self.say(json!({"id": id, "method": method, "params": params}), &[]).await;
    }

    async fn tell(&mut self, method: &str, params: Value, payload: &[u8]) {
        self.say(json!({"method": method, "params": params}), payload).await;
    }

    async fn say(&mut self, mut message: Value, payload: &[u8]) {
        if let Value::Object(members) = &mut message {
            members.remove("payload");
        }
        if !payload.is_empty() {
            message["payload"] = json!(payload.len());
        }
        if self.session.is_finished() || !self.enter(&message, payload.len() as u64) {
            return;
        }
        let mut frame = serde_json::to_vec(&message).unwrap();
        frame.push(b'\n');
        if !payload.is_empty() {
            frame.extend_from_slice(payload);
            frame.push(b'\n');
        }
        self.pronounce(frame).await;
    }

    async fn pronounce(&mut self, bytes: Vec<u8>) {
        if let Some(writer) = &self.writer
            && !writer.send(&*bytes).await
        {
            self.writer = None;
        }
    }

    /// Enters the messages that are in `bytes`. Says whether they may be sent.
    fn note(&mut self, bytes: &[u8]) -> bool {
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
            // Streams have the bytes that are known, and no others.
            let unknown = payload.is_some() && message["method"] == "stream.data";
            if unknown || !self.enter(&message, 0) {
                return false;
            }
        }
    }

    /// Enters a message into the books. Says whether it may be sent.
    fn enter(&mut self, message: &Value, payload: u64) -> bool {
        if message["method"] == "target.open" {
            let config = &message["params"]["config"];
            if ["secret_access_key", "session_token"].iter().any(|name| config[name].is_object()) {
                // No file of this machine is to be read.
                return false;
            }
        }
        self.books().say(message, payload);
        true
    }
}
