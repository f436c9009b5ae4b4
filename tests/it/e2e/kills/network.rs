//! The network is cut at random moments of an agent's work, and returns.

use std::time::Duration;

use url::Url;

use super::disruption::{Disruption, run_with_disruptions};
use crate::link_faults::{FaultyLink, State};
use crate::support::TestServer;

/// The longest time without network: longer than the first retries of a request, and for some
/// requests longer than the last.
const LONGEST: Duration = Duration::from_secs(4);

impl Disruption for FaultyLink {
    /// In one of three ways: connections break at once; they stall and continue; or they stall and
    /// are lost, as when an address changes.
    async fn disrupt(&mut self, random: &mut fastrand::Rng) {
        let [first, then] = [State::Broken, State::Silent].map(|_| {
            let short = if random.bool() { 10.0 } else { 1.0 };
            LONGEST.mul_f64(random.f64() / short)
        });
        let (start, end) = match random.u8(0..3) {
            0 => (State::Broken, State::Working),
            1 => (State::Silent, State::Working),
            _ => (State::Silent, State::Broken),
        };
        self.set(start);
        tokio::time::sleep(first).await;
        self.set(end);
        if end == State::Broken {
            tokio::time::sleep(then).await;
            self.set(State::Working);
        }
    }
}

#[tokio::test]
async fn random_network_cuts_lose_and_leave_nothing() {
    let server = TestServer::start().await;
    let mut config = server.config();
    let mut endpoint: Url = config["endpoint"].as_str().unwrap().parse().unwrap();
    let upstream = endpoint.socket_addrs(|| None).unwrap()[0];
    let mut link = FaultyLink::start(upstream).await;
    endpoint.set_port(Some(link.address.port())).unwrap();
    config["endpoint"] = endpoint.as_str().trim_end_matches('/').into();
    run_with_disruptions(&server, &config, &mut link, 20).await;
}
