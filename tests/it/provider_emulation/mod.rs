//! Emulation of providers that cannot run here, in front of the embedded server.
//!
//! The emulation takes the requests of the agent, refuses what the provider refuses, with the words
//! that were recorded there, and passes the rest on. A provider consists of [`Traits`]; those of
//! the providers are in `providers`, with links to the sources. A test can also replace the answer
//! to single calls with a recorded one.
//!
//! Requests keep their signatures, which the embedded server checks. The few requests that have to
//! be rewritten are checked here and signed again.

mod answer;
mod call;
mod etags;
mod odd;
mod providers;
mod recorded;
mod request_handler;
mod rules;
mod signing;
mod state;
mod tests;
mod traits;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

pub(crate) use self::call::Call;
pub(crate) use self::providers::named;
pub(crate) use self::recorded::Recorded;
use self::request_handler::RequestHandler;
pub(crate) use self::signing::Keys;
use self::state::EmulationState;
pub(crate) use self::traits::{PLAIN, Traits};
use crate::relay::Listening;

/// A provider that is being emulated.
#[derive(Debug)]
pub(crate) struct EmulatedProvider {
    listening: Listening,
    handler: Arc<RequestHandler>,
}

impl EmulatedProvider {
    /// In front of an embedded server that accepts only the key id of `traits` and this secret.
    pub(crate) async fn start(upstream: SocketAddr, traits: Traits, secret: &str) -> Self {
        let keys = Keys {
            access_key_id: traits.access_key_id.to_owned(),
            secret_access_key: secret.to_owned(),
        };
        let state = Mutex::new(EmulationState::default());
        let handler = Arc::new(RequestHandler { upstream, traits, keys, state });
        Self { listening: Listening::start(None, Arc::clone(&handler)).await, handler }
    }

    /// Scheme, host and port.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.listening.address)
    }

    pub(crate) fn traits(&self) -> &Traits {
        &self.handler.traits
    }

    /// Whether incomplete uploads can be listed by a prefix of their keys.
    pub(crate) fn lists_uploads(&self) -> bool {
        !self.handler.traits.lists_uploads_of_one_key
    }

    /// How many versions the objects with matching paths have, including delete markers.
    pub(crate) fn versions(&self, is_it: impl Fn(&str) -> bool) -> usize {
        self.handler.state.lock().unwrap().versions(is_it)
    }

    /// Answers a call with a recorded answer from now on. The answer that was added last counts.
    pub(crate) fn add_recorded(&self, recorded: Recorded) {
        self.handler.state.lock().unwrap().recorded.push(recorded);
    }

    /// How often a recorded answer was given.
    pub(crate) fn recorded_count(&self) -> usize {
        self.handler.state.lock().unwrap().recorded_count
    }
}
