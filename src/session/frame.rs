//! Reader and writer of frames: one JSON object per line, with raw bytes after a line that
//! announces them. Enforces the limits, and does not depend on a certain stream.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::buffer_pool::{BlockBuffer, Pool, write_all};
use crate::error::{Code, Error, no_memory};
use crate::protocol::{MAX_DEPTH, MAX_LINE, MAX_PAYLOAD};

/// A parsed frame of the host.
#[derive(Debug)]
pub struct Frame {
    /// The message.
    pub message: Message,
    /// The bytes after the line, in pieces; an error if the machine has no memory for them.
    pub payload: Option<Result<Vec<Bytes>, Error>>,
}

/// The members of a JSON-RPC object.
#[derive(Default, Deserialize)]
pub struct Message {
    /// ID of a request.
    #[serde(default, deserialize_with = "present")]
    pub id: Option<Box<RawValue>>,
    /// Name of the method.
    pub method: Option<Box<RawValue>>,
    /// Parameters.
    pub params: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    payload: Option<Box<RawValue>>,
}

impl fmt::Debug for Message {
    /// Omits the parameters, which may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("method", &self.method).finish_non_exhaustive()
    }
}

/// Distinguishes a `null` member, which is not a valid ID or length, from a missing one.
fn present<'de, D: Deserializer<'de>>(member: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(member).map(Some)
}

/// Result of reading a frame.
#[derive(Debug)]
pub enum Input {
    /// A frame.
    Frame(Frame),
    /// A JSON array: a valid frame, but not a message of this protocol.
    Batch,
    /// End of the input.
    End,
    /// The rest of the input cannot be parsed.
    Broken(Error),
}

/// Reads frames from `R`.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    pool: Pool,
    line: Vec<u8>,
    lines: u64,
}

impl<R: BufRead> Reader<R> {
    /// A reader at the start of the input.
    pub fn new(input: R) -> Self {
        Self { input, pool: Pool::of_process(), line: Vec::new(), lines: 0 }
    }

    /// Reads the next frame. Do not call it again after [`Input::End`] or [`Input::Broken`].
    pub fn read(&mut self) -> Input {
        self.try_read().unwrap_or_else(|why| {
            Input::Broken(
                Error::new(Code::ParseError, format!("{why} (line {})", self.lines))
                    .detail("line", self.lines),
            )
        })
    }

    fn try_read(&mut self) -> Result<Input, String> {
        loop {
            self.line.clear();
            let limit = MAX_LINE as u64 + 1;
            let read = self.input.by_ref().take(limit).read_until(b'\n', &mut self.line);
            read.map_err(|error| format!("cannot read: {error}"))?;
            if self.line.is_empty() {
                return Ok(Input::End);
            }
            self.lines += 1;
            if self.line.len() > MAX_LINE {
                return Err(format!("the line has more than {MAX_LINE} bytes"));
            }
            if self.line.pop() != Some(b'\n') {
                return Err("the input ends inside a line".to_owned());
            }
            if !self.line.iter().all(|byte| *byte == b'\r') {
                break;
            }
        }
        let text =
            std::str::from_utf8(&self.line).map_err(|_| "the line is not UTF-8".to_owned())?;
        if !shallow(text) {
            return Err(format!("the JSON is nested deeper than {MAX_DEPTH}"));
        }
        match text.trim_start().as_bytes().first() {
            Some(b'{') => {}
            Some(b'[') if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
                return Ok(Input::Batch);
            }
            _ => return Err("the line is not a JSON object".to_owned()),
        }
        let message: Message =
            serde_json::from_str(text).map_err(|_| "the line is not valid JSON".to_owned())?;
        let payload = match &message.payload {
            None => None,
            Some(length) => Some(self.payload(length.get())?),
        };
        Ok(Input::Frame(Frame { message, payload }))
    }

    fn payload(&mut self, length: &str) -> Result<Result<Vec<Bytes>, Error>, String> {
        let length = length
            .parse::<usize>()
            .ok()
            .filter(|length| (1..=MAX_PAYLOAD).contains(length))
            .ok_or_else(|| format!("the payload must have 1 to {MAX_PAYLOAD} bytes"))?;
        let mut bytes = BlockBuffer::new(&self.pool);
        let payload = match bytes.read_exact(&mut self.input, length) {
            Ok(()) => Ok(bytes.into_bytes(0)),
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                // The following bytes are still frames.
                let rest = (length - bytes.len()) as u64;
                drop(bytes);
                let skipped = io::copy(&mut self.input.by_ref().take(rest), &mut io::sink());
                if skipped.map_err(cannot_read)? < rest {
                    return Err(cannot_read(io::ErrorKind::UnexpectedEof.into()));
                }
                Err(no_memory(error))
            }
            Err(error) => return Err(cannot_read(error)),
        };
        let mut end = [0];
        match self.input.read_exact(&mut end) {
            Ok(()) if end == *b"\n" => Ok(payload),
            Ok(()) => {
                Err("the payload is not followed by a line feed: its length is wrong".to_owned())
            }
            Err(_) => Err("the input ends after a payload".to_owned()),
        }
    }
}

/// Message for a payload that cannot be read completely.
fn cannot_read(error: io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the input ends inside a payload".to_owned();
    }
    format!("cannot read: {error}")
}

/// Whether brackets outside of strings are nested at most [`MAX_DEPTH`] levels.
fn shallow(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

/// A frame to be written.
#[derive(Debug)]
pub struct Outgoing {
    line: Vec<u8>,
    payload: Vec<Bytes>,
}

impl Outgoing {
    /// A frame with this line, without its line feed, and these bytes after it.
    pub fn new(mut line: Vec<u8>, payload: Vec<Bytes>) -> Self {
        line.push(b'\n');
        Self { line, payload }
    }

    /// Writes the frame in as few calls as possible.
    ///
    /// # Errors
    /// The error of the output.
    pub fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let line = std::iter::once(self.line.as_slice());
        let payload = self.payload.iter().map(AsRef::as_ref);
        let end = (!self.payload.is_empty()).then_some(b"\n".as_slice());
        write_all(output, line.chain(payload).chain(end))?;
        output.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(bytes: &[u8]) -> (Vec<(String, Vec<u8>)>, Input) {
        let mut reader = Reader::new(bytes);
        let mut found = Vec::new();
        loop {
            match reader.read() {
                Input::Frame(Frame { message, payload }) => found.push((
                    message.method.map(|method| method.get().to_owned()).unwrap_or_default(),
                    payload.map(|bytes| bytes.unwrap().concat()).unwrap_or_default(),
                )),
                end @ (Input::Batch | Input::End | Input::Broken(_)) => return (found, end),
            }
        }
    }

    #[test]
    fn lines_and_payloads_are_separated() {
        let input = b"\n\r\n{\"method\":\"a\"}\r\n{\"payload\":3,\"method\":\"b\"}\n{\n}\n{\"method\":\"c\"}\n";
        let (found, end) = frames(input);
        let expected = [("\"a\"", &b""[..]), ("\"b\"", b"{\n}"), ("\"c\"", b"")];
        let expected: Vec<_> =
            expected.iter().map(|(method, bytes)| ((*method).to_owned(), bytes.to_vec())).collect();
        assert_eq!(found, expected);
        assert!(matches!(end, Input::End));
    }

    #[test]
    fn invalid_frame_ends_the_input() {
        let deep = format!("{{\"a\":{}{}}}\n", "[".repeat(40), "]".repeat(40));
        let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(MAX_LINE));
        for input in [
            "hello\n",
            "{\"method\":1",
            "{}",
            "7\n",
            "\"x\"\n",
            "{\"payload\":0}\n",
            "{\"payload\":-1}\n",
            "{\"payload\":1048577}\n",
            "{\"payload\":\"1\"}\n",
            "{\"payload\":null}\n",
            "{\"payload\":1.0}\n",
            "{\"payload\":2}\nab",
            "{\"payload\":2}\nabc",
            "{\"payload\":2}\na",
            "{\"id\":1,\"id\":2}\n",
            "[1,\n",
            &deep,
            &long,
        ] {
            let (found, end) = frames(input.as_bytes());
            assert!(found.is_empty() && matches!(end, Input::Broken(_)), "{input:.40}: {end:?}");
        }
        assert!(matches!(frames(b"{\"a\":\"\xff\"}\n").1, Input::Broken(_)));
    }

    #[test]
    fn payload_without_memory_is_skipped() {
        let long =
            [b"{\"method\":\"a\",\"payload\":200000}\n", &[b'\n'; 200_000][..], b"\n"].concat();
        let short = b"{\"method\":\"b\",\"payload\":2}\nxy\n";
        let read = |input: &[u8], most| {
            let mut reader = Reader { pool: Pool::of(most), ..Reader::new(input) };
            let mut found = Vec::new();
            loop {
                match reader.read() {
                    Input::Frame(frame) => {
                        let payload = frame.payload.unwrap();
                        found.push(
                            payload.map(|bytes| bytes.concat().len()).map_err(|it| it.code()),
                        );
                    }
                    Input::End => return found,
                    Input::Batch | Input::Broken(_) => panic!("after {found:?}"),
                }
            }
        };
        let both = [&long[..], short].concat();
        assert_eq!(read(&both, 0), [Err(Code::Busy), Err(Code::Busy)]);
        for most in 1..4 {
            assert_eq!(read(&both, most), [Err(Code::Busy), Ok(2)]);
        }
        assert_eq!(read(&both, 4), [Ok(200_000), Ok(2)]);
        for cut in [long.len() - 1, long.len() - 2, 100_000, 40] {
            let mut reader = Reader { pool: Pool::of(1), ..Reader::new(&long[..cut]) };
            assert!(matches!(reader.read(), Input::Broken(_)), "{cut}");
        }
    }

    #[test]
    fn longest_allowed_line_is_accepted() {
        let fill = MAX_LINE - "{\"method\":\"\"}\n".len();
        let line = format!("{{\"method\":\"{}\"}}\n", "x".repeat(fill));
        assert_eq!(line.len(), MAX_LINE);
        assert_eq!(frames(line.as_bytes()).0.len(), 1);
        let longer = line.replacen('x', "xx", 1);
        assert!(matches!(frames(longer.as_bytes()).1, Input::Broken(_)));
    }

    proptest! {
        #[test]
        fn any_input_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            frames(&bytes);
        }

        #[test]
        fn written_frame_reads_back(payload in prop::collection::vec(any::<u8>(), 1..3000)) {
            let line = format!("{{\"method\":\"m\",\"payload\":{}}}", payload.len());
            let mut bytes = Vec::new();
            Outgoing::new(line.into_bytes(), vec![payload.clone().into()]).write(&mut bytes).unwrap();
            let (found, end) = frames(&bytes);
            prop_assert_eq!(found, vec![("\"m\"".to_owned(), payload)]);
            prop_assert!(matches!(end, Input::End));
        }
    }
}
