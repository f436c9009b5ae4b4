//! A link to a server with a round trip time, a rate limit for each connection, and failing requests:
//!
//!     link UPSTREAM ROUND_TRIP_MS BYTES_PER_SECOND FAILING_PER_MILLE SEED
//!
//! UPSTREAM is an address with a port; a rate of 0 means no limit. Prints `listening PORT`. For each
//! line of standard input it prints the counters since the last line, as `NAME NUMBER` pairs on one
//! line. Ends with its standard input.
//!
//! Not simulated: slow start, packet loss, and a rate that several connections share.

mod connection;
mod counters;
mod delay_queue;
mod failures;
mod http;

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The properties of a link.
struct Link {
    upstream: SocketAddr,
    round_trip: Duration,
    /// Bytes per second, for each connection and direction.
    rate: Option<f64>,
    failures: failures::Failures,
    counts: counters::Counters,
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
        failures: failures::Failures::new(failing.parse()?, seed.parse()?),
        counts: counters::Counters::default(),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut output = io::stdout();
    writeln!(output, "listening {}", listener.local_addr()?.port())?;
    output.flush()?;
    let accepting = Arc::clone(&link);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let link = Arc::clone(&accepting);
            thread::spawn(move || connection::forward(&link, client));
        }
    });
    for line in io::stdin().lock().lines() {
        line?;
        writeln!(output, "{}", link.counts.take())?;
        output.flush()?;
    }
    Ok(())
}
