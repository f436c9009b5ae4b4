//! One connection over the link, with a thread for each end of each direction.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::Link;
use crate::http::{Head, Piece, Requests};
use crate::line::Line;

const PIECE: usize = 262_144;
const BUSY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

/// Carries a connection until both ends have closed it.
pub(crate) fn carry(link: &Arc<Link>, client: TcpStream) {
    let begin = Instant::now();
    link.counts.add("connections");
    let Ok(server) = TcpStream::connect(link.upstream) else { return };
    let clones = (client.try_clone(), server.try_clone());
    let (Ok(to_client), Ok(to_server)) = clones else { return };
    for socket in [&client, &server] {
        // Without it the system would add delays of its own.
        let _ = socket.set_nodelay(true);
    }
    let delay = link.round_trip / 2;
    // What the client sends first goes only once the connection stands, a round trip from now.
    let up = Arc::new(Line::new(delay, link.rate, begin + link.round_trip));
    let down = Arc::new(Line::new(delay, link.rate, begin));
    let (arriving, answers) = (Arc::clone(&up), Arc::clone(&down));
    let leaving = Arc::clone(&down);
    let threads = [
        thread::spawn(move || write(&arriving, to_server)),
        thread::spawn(move || read(server, &answers)),
        thread::spawn(move || write(&leaving, to_client)),
    ];
    let mut requests =
        Passing { link, up: &up, down: &down, parser: Requests::default(), failing: None };
    requests.read(client);
    for thread in threads {
        let _ = thread.join();
    }
}

fn read(mut from: TcpStream, line: &Line) {
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let piece = buffer.get(..length).unwrap_or_default();
        if !line.send(piece.to_vec(), Instant::now()) {
            break;
        }
    }
    line.end();
}

fn write(line: &Line, mut to: TcpStream) {
    while let Some(piece) = line.receive() {
        if to.write_all(&piece).is_err() {
            // The one who sends has to notice.
            line.end();
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// What a client sends, on its way to the server, or to nowhere.
struct Passing<'a> {
    link: &'a Link,
    up: &'a Line,
    down: &'a Line,
    parser: Requests,
    /// The method of the request that fails, while it is being read.
    failing: Option<String>,
}

impl Passing<'_> {
    fn read(&mut self, mut client: TcpStream) {
        let mut buffer = vec![0; PIECE];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            if self.pass(buffer.get(..length).unwrap_or_default()).is_err() {
                break;
            }
        }
        self.up.end();
        if self.failing.is_some() {
            self.down.end();
        }
    }

    /// An error ends the connection.
    fn pass(&mut self, mut rest: &[u8]) -> Result<(), ()> {
        let mut passed = Vec::with_capacity(rest.len());
        while !rest.is_empty() {
            let (piece, taken) = self.parser.next(rest)?;
            let (bytes, others) = rest.split_at(taken);
            rest = others;
            match piece {
                Some(Piece::Head(head)) => {
                    self.link.counts.add(&head.kind);
                    if self.link.lots.loses() {
                        self.link.counts.add("failed");
                        self.begin_failure(&head)?;
                    } else {
                        passed.extend(head.bytes);
                    }
                }
                Some(Piece::Body(length)) if self.failing.is_some() => {
                    self.up.pass(length);
                }
                Some(Piece::Body(_)) => passed.extend(bytes),
                None => {}
            }
            if self.parser.at_end()
                && let Some(method) = self.failing.take()
            {
                self.refuse(&method, "keep-alive");
            }
        }
        let arrives = passed.is_empty() || self.up.send(passed, Instant::now());
        arrives.then_some(()).ok_or(())
    }

    fn begin_failure(&mut self, head: &Head) -> Result<(), ()> {
        self.up.pass(head.bytes.len());
        if head.waits {
            // Whether it sends the body now is up to the client, so nobody could tell what follows.
            self.parser.skip_body();
            self.refuse(&head.method, "close");
            self.down.end();
            return Err(());
        }
        self.failing = Some(head.method.clone());
        Ok(())
    }

    /// Answers when the request would have arrived.
    fn refuse(&self, method: &str, connection: &str) {
        let head = format!(
            "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\
             Connection: {connection}\r\n\r\n",
            BUSY.len()
        );
        let body = if method == "HEAD" { "" } else { BUSY };
        self.down.send([head.as_bytes(), body.as_bytes()].concat(), self.up.pass(0));
    }
}
