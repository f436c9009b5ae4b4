//! The script of a session: bytes that determine the actions of the host and the server, step by
//! step.
//!
//! One byte for the step and a few for its details; missing bytes are 0. So every input is a
//! script, and one more or less byte changes the rest only a little.

use s3_backup_agent::protocol::MAX_PAYLOAD;

/// The rest of a script.
pub struct Script<'a>(pub &'a [u8]);

/// One step. Numbers are taken modulo the number of choices.
#[derive(Debug)]
pub enum Step {
    Initialize {
        kind: u8,
    },
    Open {
        target: u8,
        config: u8,
    },
    Close {
        target: u8,
    },
    Request(Request),
    Upload(Upload),
    Download(Download),
    /// Data, valid or with a fault.
    Data {
        stream: u8,
        length: u8,
        fault: u8,
    },
    EndOfData {
        stream: u8,
        fault: u8,
    },
    Credit {
        stream: u8,
        more: u8,
    },
    Cancel {
        request: u8,
        reason: u8,
    },
    Shutdown {
        kind: u8,
    },
    Repeat {
        request: u8,
    },
    /// Time passes.
    Wait {
        how_long: u8,
    },
    /// The host does not read for a while.
    PauseReading {
        how_long: u8,
    },
    /// The next answers of the server are late or wrong.
    Conditions {
        kind: u8,
        count: u8,
    },
    /// Another program writes to the bucket.
    Foreign {
        kind: u8,
        name: u8,
        place: u8,
    },
    /// A message as it is, with this many bytes of payload.
    Message {
        line: Vec<u8>,
        payload: usize,
    },
    /// Bytes that may be no frame.
    RawBytes {
        bytes: Vec<u8>,
    },
    /// The host stops reading for the rest of the session.
    StopReading,
}

/// A request without a stream.
#[derive(Debug)]
pub struct Request {
    pub kind: u8,
    pub target: u8,
    pub backup: u8,
    pub pace: u8,
    pub detail: u8,
}

#[derive(Debug)]
pub struct Upload {
    pub target: u8,
    pub backup: u8,
    pub name: u8,
    pub size: u8,
    pub flags: u8,
    pub pace: u8,
}

#[derive(Debug)]
pub struct Download {
    pub target: u8,
    pub backup: u8,
    pub credit: u8,
    pub offset: u8,
    pub pace: u8,
}

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.number().min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes.to_vec()
    }
}

impl Iterator for Script<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.0.is_empty() {
            return None;
        }
        // The order is that of the table in seeds.py.
        Some(match self.byte() % 32 {
            0 => Step::Initialize { kind: self.byte() },
            1 | 2 => Step::Open { target: self.byte(), config: self.byte() },
            3 => Step::Close { target: self.byte() },
            4..=7 => Step::Request(Request {
                kind: self.byte(),
                target: self.byte(),
                backup: self.byte(),
                pace: self.byte(),
                detail: self.byte(),
            }),
            8..=10 => Step::Upload(Upload {
                target: self.byte(),
                backup: self.byte(),
                name: self.byte(),
                size: self.byte(),
                flags: self.byte(),
                pace: self.byte(),
            }),
            11 | 12 => Step::Download(Download {
                target: self.byte(),
                backup: self.byte(),
                credit: self.byte(),
                offset: self.byte(),
                pace: self.byte(),
            }),
            13..=15 => Step::Data { stream: self.byte(), length: self.byte(), fault: self.byte() },
            16 | 17 => Step::EndOfData { stream: self.byte(), fault: self.byte() },
            18 | 19 => Step::Credit { stream: self.byte(), more: self.byte() },
            20 => Step::Cancel { request: self.byte(), reason: self.byte() },
            21 => Step::Shutdown { kind: self.byte() },
            22 => Step::Repeat { request: self.byte() },
            23 | 24 => Step::Wait { how_long: self.byte() },
            25 => Step::PauseReading { how_long: self.byte() },
            26 | 27 => Step::Conditions { kind: self.byte(), count: self.byte() },
            28 => Step::Foreign { kind: self.byte(), name: self.byte(), place: self.byte() },
            29 => Step::Message {
                payload: (self.number() << 8 | usize::from(self.byte())).min(MAX_PAYLOAD),
                line: self.bytes(),
            },
            30 => Step::RawBytes { bytes: self.bytes() },
            _ => Step::StopReading,
        })
    }
}
