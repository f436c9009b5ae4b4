//! Where requests start and end in client data: HTTP/1.1 with keep-alive connections.

/// Most bytes of a head.
const LONGEST_HEAD: usize = 65_536;

/// Parses the bytes of a connection, wherever they are cut.
#[derive(Default)]
pub(crate) struct Requests {
    head: Vec<u8>,
    body: Body,
}

/// The rest of the body of the current request.
#[derive(Default, Clone, Copy, PartialEq, Debug)]
enum Body {
    /// Nothing: a head comes next.
    #[default]
    None,
    Length(u64),
    /// A line with the length of a chunk is being read.
    ChunkLine(u64),
    /// This many bytes of a chunk, including its line end.
    Chunk(u64),
    /// After the last chunk; whether the current line is empty so far.
    Trailer(bool),
}

/// The kind of the next bytes of a client.
#[derive(PartialEq, Debug)]
pub(crate) enum Piece {
    /// A complete head.
    Head(Head),
    /// This many bytes of a body.
    Body(usize),
}

#[derive(PartialEq, Debug)]
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
    pub(crate) method: String,
    /// The method, or `LIST`.
    pub(crate) kind: String,
    /// Whether the client expects_continue for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
}

impl Requests {
    /// The kind of the first bytes, and their number; no kind when the head is still incomplete,
    /// and all bytes were buffered. An error when this is not HTTP.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<(Option<Piece>, usize), ()> {
        if self.body != Body::None {
            let taken = self.take_body(bytes)?;
            return Ok((Some(Piece::Body(taken)), taken));
        }
        for (n, byte) in bytes.iter().enumerate() {
            self.head.push(*byte);
            if self.head.ends_with(b"\r\n\r\n") {
                let whole = std::mem::take(&mut self.head);
                let head = self.read_head(whole)?;
                return Ok((Some(Piece::Head(head)), n + 1));
            }
        }
        if self.head.len() > LONGEST_HEAD { Err(()) } else { Ok((None, bytes.len())) }
    }

    /// Whether the request is complete.
    pub(crate) fn at_end(&self) -> bool {
        self.body == Body::None && self.head.is_empty()
    }

    /// The body does not follow: the client expects_continue for a `100 Continue` that it does not get.
    pub(crate) fn skip_body(&mut self) {
        self.body = Body::None;
    }

    fn read_head(&mut self, bytes: Vec<u8>) -> Result<Head, ()> {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut lines = text.split("\r\n");
        let mut request = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target)) = (request.next(), request.next()) else {
            return Err(());
        };
        let mut expects_continue = false;
        self.body = Body::None;
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => match value.parse().map_err(|_| ())? {
                    0 => {}
                    length => self.body = Body::Length(length),
                },
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                    self.body = Body::ChunkLine(0);
                }
                "expect" => expects_continue = value.eq_ignore_ascii_case("100-continue"),
                _ => {}
            }
        }
        let lists =
            method == "GET" && (target.contains("list-type=") || target.contains("prefix="));
        let kind = if lists { "LIST" } else { method }.to_owned();
        Ok(Head {
            method: method.to_owned(),
            kind,
            expects_continue: expects_continue && !self.at_end(),
            bytes,
        })
    }

    fn take_body(&mut self, bytes: &[u8]) -> Result<usize, ()> {
        let mut rest = bytes;
        while self.body != Body::None {
            let Some((first, others)) = rest.split_first() else { break };
            match &mut self.body {
                Body::None => {}
                Body::Length(left) | Body::Chunk(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= u64::try_from(taken).map_err(|_| ())?;
                    rest = rest.get(taken..).unwrap_or_default();
                    self.body = match self.body {
                        Body::Length(0) => Body::None,
                        Body::Chunk(0) => Body::ChunkLine(0),
                        unfinished => unfinished,
                    };
                    continue;
                }
                Body::ChunkLine(length) => match first {
                    b'\n' if *length == 0 => self.body = Body::Trailer(true),
                    b'\n' => self.body = Body::Chunk(*length + 2),
                    b'\r' => {}
                    digit => {
                        let value = char::from(*digit).to_digit(16).ok_or(())?;
                        *length = length.checked_mul(16).ok_or(())? + u64::from(value);
                    }
                },
                Body::Trailer(empty) => match first {
                    b'\n' if *empty => self.body = Body::None,
                    b'\n' => *empty = true,
                    b'\r' => {}
                    _ => *empty = false,
                },
            }
            rest = others;
        }
        Ok(bytes.len() - rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{Piece, Requests};

    const STREAM: &[u8] =
        b"PUT /b/k?partNumber=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
        GET /b?list-type=2&prefix=p HTTP/1.1\r\nHost: x\r\n\r\n\
        POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
        a\r\n0123456789\r\n0\r\nx: y\r\n\r\n\
        HEAD /d HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn requests_are_separated_at_any_fragmentation() {
        for size in 1..=STREAM.len() {
            let mut requests = Requests::default();
            let (mut kinds, mut forwarded, mut ends) = (Vec::new(), Vec::new(), 0);
            for piece in STREAM.chunks(size) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let (what, taken) = requests.next(rest).expect("HTTP");
                    match what {
                        Some(Piece::Head(head)) => {
                            kinds.push((head.kind, head.expects_continue));
                            forwarded.extend(head.bytes);
                        }
                        Some(Piece::Body(length)) => forwarded.extend(&rest[..length]),
                        None => {}
                    }
                    ends += usize::from(request_ended(&requests, taken));
                    rest = &rest[taken..];
                }
            }
            let expected = [("PUT", false), ("LIST", false), ("POST", true), ("HEAD", false)];
            assert_eq!(
                kinds,
                expected.map(|(kind, expects_continue)| (kind.to_owned(), expects_continue))
            );
            assert_eq!(forwarded, STREAM);
            assert_eq!(ends, 4);
        }
    }

    fn request_ended(requests: &Requests, taken: usize) -> bool {
        taken > 0 && requests.at_end()
    }

    #[test]
    fn input_that_is_not_http_is_an_error() {
        assert!(Requests::default().next(b"\r\n\r\n").is_err());
        assert!(Requests::default().next(b"PUT / HTTP/1.1\r\nContent-Length: x\r\n\r\n").is_err());
    }
}
