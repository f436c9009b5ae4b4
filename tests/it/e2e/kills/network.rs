//! The network is cut at random moments of an agent's work, and returns.

use std::time::Duration;

use url::Url;

use super::trouble::{Trouble, cleanup};
use crate::cable::{Cable, State};
use crate::support::TestServer;

/// The longest time without network: longer than the first retries of a request, and for some
/// requests longer than the last.
const LONGEST: Duration = Duration::from_secs(4);

impl Trouble for Cable {
    /// In one of three ways: connections break at once; they stall and continue; or they stall and
    /// are lost, as when an address changes.
    async fn strike(&mut self, random: &mut fastrand::Rng) {
        let [first, then] = [State::Cut, State::Silent].map(|_| {
            let short = if random.bool() { 10.0 } else { 1.0 };
            LONGEST.mul_f64(random.f64() / short)
        });
        let (start, end) = match random.u8(0..3) {
            0 => (State::Cut, State::Whole),
            1 => (State::Silent, State::Whole),
            _ => (State::Silent, State::Cut),
        };
        self.set(start);
        tokio::time::sleep(first).await;
        self.set(end);
        if end == State::Cut {
            tokio::time::sleep(then).await;
            self.set(State::Whole);
        }
    }
}

#[tokio::test]
async fn whenever_the_network_is_cut_nothing_is_lost_and_nothing_is_left() {
    let server = TestServer::start().await;
    let mut config = server.config();
    let mut endpoint: Url = config["endpoint"].as_str().unwrap().parse().unwrap();
    let far = endpoint.socket_addrs(|| None).unwrap()[0];
    let mut cable = Cable::to(far).await;
    endpoint.set_port(Some(cable.address.port())).unwrap();
    config["endpoint"] = endpoint.as_str().trim_end_matches('/').into();
    cleanup(&server, &config, &mut cable, 20).await;
}
