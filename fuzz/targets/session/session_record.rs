//! The host's record of a session: requests, answers, and whether the agent follows the protocol.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

/// Longest line that every host accepts, including its line feed.
const MAX_LINE: usize = 65_536;

/// Most bytes that the agent may have granted beyond the received ones.
const WINDOW: u64 = 4 << 20;

/// Largest id of a request.
const MAX_ID: u64 = (1 << 53) - 1;

/// Largest payload that the agent sends.
const MAX_PAYLOAD: usize = 1 << 20;

/// Byte `n` of every stream is `n` modulo this.
const PERIOD: usize = 251;

/// One request.
#[derive(Debug, Default)]
pub struct Request {
    method: String,
    /// Outstanding answers. More than one when the host broke the rules and used the id again; then
    /// nothing else is known of it.
    open: usize,
    reused: bool,
    /// Bytes of the stream so far.
    pub moved: u64,
    /// Bytes that may be sent in total.
    pub credit: u64,
    length: Option<u64>,
    ended: bool,
    /// Offset of the stream in the archive, if its bytes are known.
    known_from: Option<u64>,
    done: u64,
    /// Largest payload that the host accepts from now on, if this request succeeds.
    max_payload: Option<u64>,
}

/// All requests of a session.
#[derive(Debug)]
pub struct SessionRecord {
    requests: HashMap<u64, Request>,
    /// Ids in the order of their first use.
    pub ids: Vec<u64>,
    greeted: bool,
    max_payload: usize,
    /// Ids and names of stored backups, as long as the host never asked for a deletion.
    pub stored: Option<Vec<(String, String)>>,
    /// Whether an upload may have left something, because its answer says so.
    pub unclean: bool,
}

impl Default for SessionRecord {
    fn default() -> Self {
        let (requests, ids) = Default::default();
        Self {
            requests,
            ids,
            greeted: false,
            max_payload: MAX_PAYLOAD,
            stored: Some(Vec::new()),
            unclean: false,
        }
    }
}

impl SessionRecord {
    /// Records a message that the host is about to send, if it is one.
    pub fn sent(&mut self, message: &Value, payload: u64) {
        let params = &message["params"];
        let method = message["method"].as_str().unwrap_or_default();
        if let Some(id) = message["id"].as_u64() {
            if !(1..=MAX_ID).contains(&id) || !message["method"].is_string() {
                return;
            }
            let request = self.requests.entry(id).or_default();
            if request.method.is_empty() {
                self.ids.push(id);
                method.clone_into(&mut request.method);
            } else {
                request.reused = true;
            }
            request.open += 1;
            if method == "backup.delete" || params["if_exists"] == "replace" {
                self.stored = None;
            }
            if method == "initialize" {
                request.max_payload = params["limits"]["max_payload"].as_u64();
            }
            if method == "backup.download" {
                request.credit = params["up_to"].as_u64().unwrap_or_default();
            }
            return;
        }
        let Some(request) = params["id"].as_u64().and_then(|id| self.requests.get_mut(&id)) else {
            return;
        };
        match (method, request.method.as_str()) {
            ("stream.data", "backup.upload") => request.moved += payload,
            ("stream.credit", "backup.download") => {
                request.credit = request.credit.max(params["up_to"].as_u64().unwrap_or_default());
            }
            _ => {}
        }
    }

    pub fn request(&self, id: u64) -> Option<&Request> {
        self.requests.get(&id)
    }

    /// The newest stream of this kind, or one of a few before it.
    pub fn stream(&self, method: &str, back: u8) -> Option<u64> {
        let streams = self.ids.iter().rev().filter(|id| self.requests[id].method == method);
        streams.copied().nth(usize::from(back % 4))
    }

    /// Unanswered requests.
    pub fn open(&self) -> Vec<(u64, &str)> {
        let open = self.requests.iter().filter(|(_, request)| request.open > 0);
        open.map(|(id, request)| (*id, request.method.as_str())).collect()
    }

    /// Checks a frame of the agent.
    pub fn received(&mut self, line: &[u8], payload: &[u8]) {
        assert!(line.len() <= MAX_LINE, "F1: a line of {} bytes", line.len());
        let message: Value = serde_json::from_slice(line).unwrap();
        let announced = message.get("payload").map_or(0, |length| length.as_u64().unwrap());
        assert_eq!(announced, payload.len() as u64, "F2: {message}");
        let method = message["method"].as_str();
        assert_eq!(!self.greeted, method == Some("hello"), "H2: {message}");
        self.greeted = true;
        match method {
            Some("hello") => {}
            Some(method) => self.notified(method, &message["params"], payload),
            None => self.answered(&message),
        }
    }

    fn answered(&mut self, message: &Value) {
        let error = &message["error"];
        assert!(message.get("result").is_some() != error.is_object(), "{message}");
        if error.is_object() {
            assert!(error["data"]["code"].is_string() && error["message"].is_string(), "{message}");
            assert_ne!(error["data"]["code"], "internal", "{message}");
            self.unclean |= !matches!(error["data"]["cleanup"].as_str(), None | Some("complete"));
        }
        let Some(id) = message["id"].as_u64() else {
            return assert!(message["id"].is_null() && error.is_object(), "{message}");
        };
        let request = self.requests.get_mut(&id).unwrap_or_else(|| panic!("not asked: {message}"));
        assert!(request.open > 0, "answered more than once: {message}");
        request.open -= 1;
        if let Some(limit) = request.max_payload.take()
            && error.is_null()
        {
            self.max_payload = usize::try_from(limit).unwrap().min(self.max_payload);
        }
        let backup = &message["result"]["backup"];
        if request.method == "backup.upload"
            && let (Some(stored), Some(id)) = (&mut self.stored, backup["id"].as_str())
        {
            stored.push((id.to_owned(), backup["name"].as_str().unwrap().to_owned()));
        }
        if !request.reused && request.method == "backup.download" && error.is_null() {
            assert!(request.ended, "S7: {message}");
            assert_eq!(message["result"]["length"].as_u64(), Some(request.moved), "{message}");
        }
    }

    fn notified(&mut self, method: &str, params: &Value, payload: &[u8]) {
        let id = params["id"].as_u64().unwrap();
        let max_payload = self.max_payload;
        let request = self.requests.get_mut(&id).unwrap_or_else(|| panic!("{method} for {id}"));
        assert!(request.open > 0, "O3: {method} behind the answer: {params}");
        if request.reused {
            return;
        }
        let number = |name: &str| params[name].as_u64().unwrap();
        let expected = match method {
            "stream.credit" => "backup.upload",
            "stream.begin" | "stream.data" | "stream.end" => "backup.download",
            _ => request.method.as_str(),
        };
        assert_eq!(request.method, expected, "{method}: {params}");
        match method {
            "stream.credit" => {
                let up_to = number("up_to");
                assert!(up_to > request.credit, "S2: {params} after {}", request.credit);
                assert!(up_to <= request.moved + WINDOW, "S3: {params} at {}", request.moved);
                request.credit = up_to;
            }
            "stream.begin" => {
                assert!(request.length.is_none(), "S7: {params}");
                request.length = Some(number("length"));
                let has_checksums = params["backup"]["has_checksums"] == true;
                request.known_from = has_checksums.then(|| number("offset"));
            }
            "stream.data" => {
                assert!(request.length.is_some() && !request.ended, "S5, S6: {params}");
                assert!((1..=max_payload).contains(&payload.len()), "F2: {}", payload.len());
                assert_eq!(number("offset"), request.moved, "S1");
                if let Some(from) = request.known_from {
                    assert!(
                        payload == stream(from + request.moved, payload.len()),
                        "B3: wrong bytes: {params}"
                    );
                }
                request.moved += payload.len() as u64;
                assert!(request.moved <= request.credit, "S2: {params} of {}", request.credit);
            }
            "stream.end" => {
                assert!(!request.ended, "S6: {params}");
                assert_eq!(
                    (Some(number("length")), request.length),
                    (request.length, Some(request.moved))
                );
                request.ended = true;
            }
            "progress" => {
                assert!(number("done") >= request.done, "P3: {params} after {}", request.done);
                request.done = number("done");
            }
            _ => panic!("unknown notification {method}"),
        }
    }
}

/// `length` bytes of any stream, up to the largest payload, from `start` on.
pub fn stream(start: u64, length: usize) -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0..MAX_PAYLOAD + PERIOD).map(|n| u8::try_from(n % PERIOD).unwrap()).collect()
    });
    let first = usize::try_from(start % PERIOD as u64).unwrap();
    &BYTES[first..first + length]
}
