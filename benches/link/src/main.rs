//! A link with a round trip, a rate for each connection and requests that fail, to a server that has
//! none of them:
//!
//!     link UPSTREAM ROUND_TRIP_MS BYTES_PER_SECOND FAILING_PER_MILLE SEED
//!
//! UPSTREAM is an address with a port; a rate of 0 is none. Prints `listening PORT`, and for each
//! line that it reads what was counted since the last one, as `NAME NUMBER` pairs on one line. It
//! ends with its standard input.
//!
//! Not played: slow start, losses, and a rate that several connections share.

mod connection;
mod count;
mod http;
mod line;
mod lot;

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// What a link does to its connections.
struct Link {
    upstream: SocketAddr,
    round_trip: Duration,
    /// Bytes in each second, of each connection and direction.
    rate: Option<f64>,
    lots: lot::Lots,
    counts: count::Counts,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("link: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [upstream, round_trip, rate, failing, seed] = given.as_slice() else {
        return Err("UPSTREAM ROUND_TRIP_MS BYTES_PER_SECOND FAILING_PER_MILLE SEED".into());
    };
    let rate: f64 = rate.parse()?;
    let link = Arc::new(Link {
        upstream: upstream.parse()?,
        round_trip: Duration::from_millis(round_trip.parse()?),
        rate: (rate > 0.0).then_some(rate),
        lots: lot::Lots::new(failing.parse()?, seed.parse()?),
        counts: count::Counts::default(),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut output = io::stdout();
    writeln!(output, "listening {}", listener.local_addr()?.port())?;
    output.flush()?;
    let accepting = Arc::clone(&link);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let link = Arc::clone(&accepting);
            thread::spawn(move || connection::carry(&link, client));
        }
    });
    for line in io::stdin().lock().lines() {
        line?;
        writeln!(output, "{}", link.counts.take())?;
        output.flush()?;
    }
    Ok(())
}
