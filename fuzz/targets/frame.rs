//! From bytes to frames: the same frames wherever the input is cut, and back to the same bytes.
#![no_main]

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use s3_backup_agent::protocol::{MAX_LINE, MAX_PAYLOAD};
use s3_backup_agent::session::frame::{Frame, Input, Message, Outgoing, Reader};

/// Input that arrives in pieces, cut at lengths that the fuzzer chooses.
struct Pieces<'a> {
    rest: &'a [u8],
    cuts: &'a [u8],
    cut: usize,
    /// Bytes of the current piece that are not read yet.
    left: usize,
}

impl<'a> Pieces<'a> {
    fn new(cuts: &'a [u8], rest: &'a [u8]) -> Self {
        Self { rest, cuts, cut: 0, left: 0 }
    }
}

impl BufRead for Pieces<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            let cut = self.cuts.get(self.cut % self.cuts.len().max(1)).map_or(255, |cut| *cut);
            self.cut += 1;
            self.left = usize::from(cut).max(1).min(self.rest.len());
        }
        Ok(&self.rest[..self.left])
    }

    fn consume(&mut self, count: usize) {
        self.rest = &self.rest[count..];
        self.left -= count;
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(into.len());
        into[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// The result of reading an input.
#[derive(Debug, PartialEq)]
enum Seen {
    Frame {
        id: Option<String>,
        method: Option<String>,
        params: Option<String>,
        payload: Option<Vec<u8>>,
    },
    Batch,
    End,
    Broken(String),
}

fn see(input: Input) -> Seen {
    match input {
        Input::Frame(Frame { message: Message { id, method, params, .. }, payload }) => {
            Seen::Frame {
                id: id.map(|id| id.get().to_owned()),
                method: method.map(|method| method.get().to_owned()),
                params: params.map(|params| params.get().to_owned()),
                payload: payload.map(|pieces| pieces.unwrap().concat()),
            }
        }
        Input::Batch => Seen::Batch,
        Input::End => Seen::End,
        Input::Broken(error) => Seen::Broken(error.message().to_owned()),
    }
}

fn all(input: impl BufRead) -> Vec<Seen> {
    let mut reader = Reader::new(input);
    let mut seen = Vec::new();
    loop {
        seen.push(see(reader.read()));
        if let Some(Seen::End | Seen::Broken(_)) = seen.last() {
            return seen;
        }
    }
}

/// A frame as the agent would write it, with its payload in pieces.
fn written(seen: &Seen, cut: usize) -> Option<Vec<u8>> {
    let Seen::Frame { id, method, params, payload } = seen else { return None };
    let length = payload.as_ref().map(|payload| payload.len().to_string());
    let members = [("id", id), ("method", method), ("params", params), ("payload", &length)];
    let members: Vec<_> = members
        .iter()
        .filter_map(|(name, value)| Some(format!("\"{name}\":{}", value.as_ref()?)))
        .collect();
    let line = format!("{{{}}}", members.join(",")).into_bytes();
    if line.len() >= MAX_LINE {
        return None;
    }
    let pieces = payload.iter().flat_map(|payload| payload.chunks(cut));
    let pieces = pieces.map(Bytes::copy_from_slice).collect();
    let mut bytes = Vec::new();
    Outgoing::new(line, pieces).write(&mut bytes).unwrap();
    Some(bytes)
}

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first() else { return };
    let (cuts, input) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let whole = all(input);
    assert_eq!(whole, all(Pieces::new(cuts, input)));
    assert!(whole.len() <= input.len() + 1);
    for seen in &whole {
        if let Seen::Frame { payload: Some(payload), .. } = seen {
            assert!((1..=MAX_PAYLOAD).contains(&payload.len()));
        }
        if let Some(bytes) = written(seen, usize::from(*count) + 1) {
            let again = all(&*bytes);
            assert_eq!((again.len(), &again[0], &again[1]), (2, seen, &Seen::End));
        }
    }
});
