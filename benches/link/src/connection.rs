//! One connection over the link, with a thread for each end of each direction.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::Link;
use crate::delay_queue::DelayQueue;
use crate::http::{Head, Piece, Requests};

const PIECE: usize = 262_144;
const BUSY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

/// Forwards a connection until both ends have closed it.
pub(crate) fn forward(link: &Arc<Link>, client: TcpStream) {
    let begin = Instant::now();
    link.counts.add("connections");
    let Ok(server) = TcpStream::connect(link.upstream) else { return };
    let clones = (client.try_clone(), server.try_clone());
    let (Ok(to_client), Ok(to_server)) = clones else { return };
    for socket in [&client, &server] {
        // Otherwise the system would add delays of its own.
        let _ = socket.set_nodelay(true);
    }
    let delay = link.round_trip / 2;
    // The first data of the client leaves after the connection is established, a round trip from
    // now.
    let up = Arc::new(DelayQueue::new(delay, link.rate, begin + link.round_trip));
    let down = Arc::new(DelayQueue::new(delay, link.rate, begin));
    let (arriving, answers) = (Arc::clone(&up), Arc::clone(&down));
    let leaving = Arc::clone(&down);
    let threads = [
        thread::spawn(move || write(&arriving, to_server)),
        thread::spawn(move || read(server, &answers)),
        thread::spawn(move || write(&leaving, to_client)),
    ];
    let mut requests =
        ClientData { link, up: &up, down: &down, parser: Requests::default(), failing: None };
    requests.read(client);
    for thread in threads {
        let _ = thread.join();
    }
}

fn read(mut from: TcpStream, queue: &DelayQueue) {
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let piece = buffer.get(..length).unwrap_or_default();
        if !queue.send(piece.to_vec(), Instant::now()) {
            break;
        }
    }
    queue.end();
}

fn write(queue: &DelayQueue, mut to: TcpStream) {
    while let Some(piece) = queue.receive() {
        if to.write_all(&piece).is_err() {
            // The sender has to notice.
            queue.end();
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Client data on its way to the server, or dropped.
struct ClientData<'a> {
    link: &'a Link,
    up: &'a DelayQueue,
    down: &'a DelayQueue,
    parser: Requests,
    /// The method of the failing request, while it is being read.
    failing: Option<String>,
}

impl ClientData<'_> {
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
                    if self.link.failures.fails() {
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
        if head.expects_continue {
            // The client decides whether it sends the body now, so the following bytes could not be
            // parsed.
            self.parser.skip_body();
            self.refuse(&head.method, "close");
            self.down.end();
            return Err(());
        }
        self.failing = Some(head.method.clone());
        Ok(())
    }

    /// Answers at the time at which the request would have arrived.
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
