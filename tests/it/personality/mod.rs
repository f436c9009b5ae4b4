//! Providers that cannot be run here, played in front of the embedded server.
//!
//! A personality takes the requests of the agent, refuses what its provider refuses, in the words
//! that were recorded there, and passes the rest on. What it is made of are [`Traits`]; those of the
//! providers are in `provider`, with the places where each was seen. Beside that a personality can
//! be told to answer single calls with something recorded.
//!
//! Requests keep their signatures, which the embedded server checks. The few that have to be changed
//! on the way are checked here and signed anew.

mod answer;
mod bites;
mod call;
mod etags;
mod memory;
mod odd;
mod provider;
mod recorded;
mod rules;
mod signing;
mod stage;
mod traits;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

pub(crate) use self::call::Call;
use self::memory::Memory;
pub(crate) use self::provider::named;
pub(crate) use self::recorded::Recorded;
pub(crate) use self::signing::Keys;
use self::stage::Stage;
pub(crate) use self::traits::{PLAIN, Traits};
use crate::relay::Listening;

/// A provider that is being played.
#[derive(Debug)]
pub(crate) struct Personality {
    listening: Listening,
    stage: Arc<Stage>,
}

impl Personality {
    /// In front of an embedded server whose only keys are the key id of `traits` and this secret.
    pub(crate) async fn start(upstream: SocketAddr, traits: Traits, secret: &str) -> Self {
        let keys = Keys {
            access_key_id: traits.access_key_id.to_owned(),
            secret_access_key: secret.to_owned(),
        };
        let memory = Mutex::new(Memory::default());
        let stage = Arc::new(Stage { upstream, traits, keys, memory });
        Self { listening: Listening::start(None, Arc::clone(&stage)).await, stage }
    }

    /// Scheme, host and port.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.listening.address)
    }

    pub(crate) fn traits(&self) -> &Traits {
        &self.stage.traits
    }

    /// Whether unfinished uploads can be found by the beginning of their keys.
    pub(crate) fn lists_uploads(&self) -> bool {
        !self.stage.traits.lists_uploads_of_one_key
    }

    /// How many versions there are of objects with such paths, with deletions among them.
    pub(crate) fn versions(&self, is_it: impl Fn(&str) -> bool) -> usize {
        self.stage.memory.lock().unwrap().versions(is_it)
    }

    /// Answers a call with something recorded from now on. What was told last counts.
    pub(crate) fn play(&self, recorded: Recorded) {
        self.stage.memory.lock().unwrap().recorded.push(recorded);
    }

    /// How often something recorded was answered.
    pub(crate) fn played(&self) -> usize {
        self.stage.memory.lock().unwrap().played
    }
}
