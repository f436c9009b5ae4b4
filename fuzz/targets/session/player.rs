//! Plays a script: the host of one session, and the end of it.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use s3_backup_agent::session::End;
use s3_backup_agent::session::frame::{Frame, Input, Message, Reader};
use s3_backup_agent::session::fuzzing::{Ear, Mouth, session};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::books::{Books, stream};
use crate::script::{Script, Step};
use crate::storage::{BUCKET, Memory, Weather};

/// The end of the input must not take longer (X1).
const END: Duration = Duration::from_secs(15);

/// Most bytes of all uploads of a script.
const MOST_DATA: u64 = 48 << 20;

/// Most steps of a script.
const MOST_STEPS: usize = 400;

/// Whether to say what is played, to understand a finding.
static SHOW: LazyLock<bool> = LazyLock::new(|| std::env::var_os("SHOW_STEPS").is_some());

const TIMES: [u64; 8] = [1, 20, 200, 999, 2_500, 10_000, 61_000, 400_000];
const BACKUPS: [&str; 6] = ["a", "b", "c", "B & <C>", "", "ü\u{7}"];
const NAMES: [&str; 5] = ["Nightly", "Büro 🏠", "../a & b", "", "Nightly.metadata.json"];
const SIZES: [Option<u64>; 8] = [
    None,
    Some(1),
    Some(1000),
    Some(300_000),
    Some(20 << 20),
    Some(21 << 20),
    Some(0),
    Some(u64::MAX),
];
const LENGTHS: [usize; 8] = [1, 250, 1000, 40_000, 65_536, 300_000, 1 << 20, 1 << 20];
const WEATHER: [Weather; 14] = [
    Weather::Late(1),
    Weather::Late(100),
    Weather::Late(1500),
    Weather::Late(4000),
    Weather::Late(20_000),
    Weather::Refused(500, "InternalError"),
    Weather::Refused(503, "SlowDown"),
    Weather::Refused(403, "AccessDenied"),
    Weather::Refused(404, "NoSuchUpload"),
    Weather::Broken { after: false },
    Weather::Broken { after: true },
    Weather::Damaged,
    Weather::Cut,
    Weather::Page,
];

fn one<T: Copy>(of: &[T], which: u8) -> T {
    of[usize::from(which) % of.len()]
}

/// What the host does, and what it has seen.
pub struct Player {
    memory: Arc<Memory>,
    books: Arc<Mutex<Books>>,
    mouth: Option<Mouth>,
    ear: JoinHandle<()>,
    deaf_until: Arc<Mutex<Instant>>,
    session: JoinHandle<End>,
    next_id: u64,
    data: u64,
    /// Whether nobody else wrote to the bucket.
    alone: bool,
    gone: bool,
}

/// Listens, except while the host is deaf.
async fn listen(mut ear: Ear, books: Arc<Mutex<Books>>, deaf_until: Arc<Mutex<Instant>>) {
    loop {
        let until = *deaf_until.lock().unwrap();
        sleep_until(until).await;
        let Some(frame) = ear.hear().await else { return };
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
            ear: tokio::spawn(listen(host.ear, Arc::clone(&books), Arc::clone(&deaf_until))),
            memory,
            books,
            mouth: Some(host.mouth),
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
            if self.mouth.is_none() || self.gone || self.session.is_finished() {
                break;
            }
        }
        self.mouth = None;
        let hears_from = *self.deaf_until.lock().unwrap();
        sleep_until(hears_from).await;
        let end =
            timeout(END, &mut self.session).await.expect("X1: the end takes too long").unwrap();
        if !self.gone {
            assert_ne!(end, End::StreamsFailed);
            let heard = timeout(END, &mut self.ear).await;
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
            Step::Initialize { kind } => {
                let limits = match kind % 4 {
                    0 => json!({}),
                    1 => json!({"max_payload": 65_536}),
                    2 => json!({"max_payload": 1}),
                    _ => json!({"max_payload": 300_000, "max_line": 100_000}),
                };
                let protocol = if kind < 250 { 1 } else { 2 };
                self.ask("initialize", json!({"protocol": protocol, "limits": limits})).await;
            }
            Step::Open { target, config } => self.open(target % 3, config).await,
            Step::Close { target } => {
                self.ask("target.close", json!({"target": name(target)})).await;
            }
            Step::Request { kind, target, backup, pace, detail } => {
                self.request(kind, target, backup, pace, detail).await;
            }
            Step::Upload { target, backup, name: title, size, flags, pace } => {
                let backup = json!({"id": one(&BACKUPS, backup), "name": one(&NAMES, title)});
                let mut params = json!({
                    "target": name(target),
                    "backup": backup,
                    "exact": flags & 1 > 0,
                    "if_exists": if flags & 2 > 0 { "replace" } else { "fail" },
                });
                if let Some(size) = one(&SIZES, size) {
                    params["size"] = json!(size);
                }
                self.ask("backup.upload", paced(params, pace)).await;
            }
            Step::Download { target, backup, credit, offset, pace } => {
                let params = json!({
                    "target": name(target),
                    "backup_id": one(&BACKUPS, backup),
                    "up_to": u64::from(credit) << 14,
                    "offset": u64::from(offset) << 8,
                });
                self.ask("backup.download", paced(params, pace)).await;
            }
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
                let params = match reason % 3 {
                    0 => json!({"id": id}),
                    1 => json!({"id": id, "reason": "user"}),
                    _ => json!({"id": id, "reason": "\u{1b}".repeat(2000)}),
                };
                self.tell("cancel", params, &[]).await;
            }
            Step::Shutdown { kind } => {
                let mode = if kind & 1 > 0 { "abort" } else { "drain" };
                let params = json!({"mode": mode, "timeout_ms": one(&TIMES, kind >> 1)});
                self.ask("shutdown", params).await;
            }
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
                self.ear.abort();
            }
        }
    }

    /// Opens one of three targets. What lies under it depends on the target, and a little on the
    /// settings, so that the same name may come to mean another place.
    async fn open(&mut self, target: u8, config: u8) {
        let folder = if config & 1 > 0 { "" } else { "backups" };
        let mut config_json = json!({
            "type": "s3",
            "endpoint": "http://127.0.0.1:9",
            "bucket": if config >= 250 { "another" } else { BUCKET },
            "prefix": one(&["", "ha", "b/c"], target),
            "folder": folder,
            "access_key_id": "AKIAEXAMPLE",
            "secret_access_key": "EXAMPLE-SECRET",
        });
        if config & 2 > 0 {
            config_json["memory_budget_bytes"] = json!(32 << 20);
        }
        if config & 4 > 0 {
            config_json["part_size_bytes"] = json!(5 << 20);
        }
        if config & 8 > 0 {
            config_json["max_parallel_parts"] = json!(1);
        }
        self.ask("target.open", json!({"target": name(target), "config": config_json})).await;
    }

    async fn request(&mut self, kind: u8, target: u8, backup: u8, pace: u8, detail: u8) {
        let target = name(target);
        let one_backup = json!({"target": target, "backup_id": one(&BACKUPS, backup)});
        let (method, params) = match kind % 7 {
            0 => ("ping", json!({})),
            1 => {
                let level = if detail & 1 > 0 { "read" } else { "write" };
                ("target.validate", json!({"target": target, "level": level}))
            }
            2 => {
                // Nobody has worked on anything since the year began.
                let older = if detail & 2 > 0 { 0 } else { 60 };
                let params =
                    json!({"target": target, "older_than_s": older, "dry_run": detail & 1 > 0});
                ("target.sweep", params)
            }
            3 => {
                let mut params = json!({"target": target, "refresh": detail & 1 > 0});
                if detail & 2 > 0 {
                    params["page_size"] = json!(1 + detail % 3);
                    params["cursor"] = json!(one(&NAMES, detail));
                }
                ("backup.list", params)
            }
            4 => ("backup.get", one_backup),
            5 => ("backup.delete", one_backup),
            _ => ("backup.copy", json!({})),
        };
        self.ask(method, paced(params, pace)).await;
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

    async fn ask(&mut self, method: &str, params: Value) {
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
        if let Some(mouth) = &self.mouth
            && !mouth.say(&*bytes).await
        {
            self.mouth = None;
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

fn name(target: u8) -> &'static str {
    one(&["t0", "t1", "t2"], target)
}

fn paced(mut params: Value, pace: u8) -> Value {
    if pace & 1 > 0 {
        params["progress_ms"] = json!(one(&[100, 1000, 60_000, 5], pace >> 1));
    }
    if pace & 8 > 0 {
        params["deadline_ms"] = json!(one(&TIMES, pace >> 4));
    }
    params
}
