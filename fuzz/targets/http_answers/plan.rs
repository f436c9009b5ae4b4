//! The plan of a server: bytes that determine its answers, one after the other.
//!
//! One byte for the kind and a few for its details; missing bytes are 0. After the last answer of
//! the plan the server is honest, so that a plan can spoil any single moment of an operation.

/// The operation that runs against the server.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub method: &'static str,
    /// Bytes of an upload.
    pub size: u64,
}

const OPERATIONS: [Operation; 12] = [
    of("target.validate"),
    of("backup.list"),
    of("backup.get"),
    Operation { method: "backup.upload", size: 1000 },
    of("backup.download"),
    of("backup.verify"),
    of("backup.delete"),
    of("target.cleanup"),
    of("target.repair"),
    of("backup.verify/quick"),
    of("target.cleanup/objects"),
    Operation { method: "backup.upload", size: 20 << 20 },
];

const fn of(method: &'static str) -> Operation {
    Operation { method, size: 0 }
}

/// The operation with this number.
pub fn operations(number: u8) -> Operation {
    OPERATIONS[usize::from(number) % OPERATIONS.len()]
}

/// A change of bytes: removes some at an offset, and inserts others there.
#[derive(Debug)]
pub struct Splice {
    at: usize,
    takes: usize,
    puts: Vec<u8>,
}

impl Splice {
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        let start = self.at.min(bytes.len());
        let end = (start + self.takes).min(bytes.len());
        bytes.splice(start..end, self.puts.iter().copied());
    }
}

/// How an answer announces the length of its body.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    Right,
    Chunked,
    UntilClose,
    Longer,
    Shorter,
    Huge,
}

#[derive(Debug)]
pub enum Answer {
    Honest,
    /// These bytes on the connection, which then ends or continues.
    Raw {
        bytes: Vec<u8>,
        ends: bool,
    },
    /// A status, headers from a table with values, and a body.
    Made {
        status: u16,
        headers: Vec<(u8, Vec<u8>)>,
        framing: Framing,
        body: Vec<u8>,
    },
    /// The honest answer with other bytes somewhere in its head or body.
    Spliced(Splice),
    /// The same in the body only, with the right length.
    SplicedBody(Splice),
    /// The honest answer with another header.
    Header(u8, Vec<u8>),
    /// The honest answer with a part of its body repeated.
    Repeated {
        at: usize,
        length: usize,
        doublings: u8,
    },
    /// A document with these elements.
    Document {
        root: u8,
        members: Vec<(u8, Vec<u8>)>,
    },
    /// The connection ends in the honest answer.
    Cut(usize),
    /// The honest answer stops here, and the connection stays open.
    Stalled(usize),
    /// The honest answer arrives in pieces of this size, with pauses.
    Slow {
        piece: usize,
        pause_ms: u64,
    },
    Closed,
}

pub struct Plan<'a> {
    pub operation: u8,
    pub settings: u8,
    rest: &'a [u8],
}

impl<'a> Plan<'a> {
    pub fn read(input: &'a [u8]) -> Self {
        let mut plan = Self { operation: 0, settings: 0, rest: input };
        (plan.operation, plan.settings) = (plan.byte(), plan.byte());
        // The last kind takes ten times as long as the others, so that few inputs lead to it.
        let is_seldom = input.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) % 32 != 0;
        plan.operation %= if is_seldom { 11 } else { 12 };
        plan
    }

    /// All answers.
    pub fn answers(mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while !self.rest.is_empty() && answers.len() < 64 {
            let answer = self.answer();
            answers.push(answer);
        }
        answers
    }

    fn answer(&mut self) -> Answer {
        match self.byte() % 13 {
            0 => Answer::Honest,
            1 => {
                let ends = self.byte().is_multiple_of(2);
                Answer::Raw { bytes: self.long(), ends }
            }
            2 => Answer::Made {
                status: self.status(),
                headers: self.members(),
                framing: self.framing(),
                body: self.long(),
            },
            3 => Answer::Spliced(self.splice()),
            4 => Answer::SplicedBody(self.splice()),
            5 => Answer::Header(self.byte(), self.short()),
            6 => Answer::Repeated {
                at: self.word(),
                length: usize::from(self.byte()),
                doublings: self.byte() % 20,
            },
            7 => Answer::Document { root: self.byte(), members: self.members() },
            8 => Answer::Cut(self.word()),
            9 => Answer::Stalled(self.word()),
            10 => {
                let piece = usize::from(self.byte()) + 1;
                Answer::Slow { piece, pause_ms: u64::from(self.byte()) << 8 }
            }
            11 => Answer::Made {
                status: self.status(),
                headers: Vec::new(),
                framing: Framing::Right,
                body: self.long(),
            },
            _ => Answer::Closed,
        }
    }

    fn status(&mut self) -> u16 {
        const STATUS: [u16; 16] =
            [200, 206, 204, 301, 304, 307, 400, 401, 403, 404, 409, 412, 416, 429, 500, 503];
        match self.byte() {
            255 => u16::try_from(self.word()).unwrap() % 1000,
            number => STATUS[usize::from(number) % STATUS.len()],
        }
    }

    fn framing(&mut self) -> Framing {
        match self.byte() % 6 {
            0 => Framing::Right,
            1 => Framing::Chunked,
            2 => Framing::UntilClose,
            3 => Framing::Longer,
            4 => Framing::Shorter,
            _ => Framing::Huge,
        }
    }

    fn splice(&mut self) -> Splice {
        Splice { at: self.word(), takes: usize::from(self.byte()), puts: self.short() }
    }

    fn members(&mut self) -> Vec<(u8, Vec<u8>)> {
        let count = self.byte() % 8;
        (0..count).map(|_| (self.byte(), self.short())).collect()
    }

    fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                *byte
            }
            None => 0,
        }
    }

    fn word(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn short(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte());
        self.take(length)
    }

    fn long(&mut self) -> Vec<u8> {
        let length = self.word();
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken.to_vec()
    }
}
