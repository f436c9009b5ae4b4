//! Limits of a target, which can change while it is open.
//!
//! [`LiveLimits`] is the only place that holds them: code that uses a limit reads it each time or
//! watches it, and keeps no copy.

use std::fmt;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::sync::watch;

use super::check::{check_memory_budget, check_parallel_parts, check_rate};
#[cfg(test)]
use super::{MIN_BYTES_PER_SECOND, MIN_MEMORY_BUDGET, MOST_PARALLEL_PARTS};
use crate::error::Result;

/// Limits in use at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes that the process may use while it works on this target.
    pub memory_budget: u64,
    /// Maximum number of parts of one transfer in flight, memory permitting.
    pub concurrency: usize,
    /// Bytes per second in each direction, for all transfers together; not zero.
    pub bandwidth_limit: Option<u64>,
}

/// A change of limits: a missing member keeps its value, and `null` means the default.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LimitsUpdate {
    /// As in the settings; `null`: no limit.
    #[cfg_attr(test, schemars(with = "Option<u64>", range(min = MIN_BYTES_PER_SECOND)))]
    #[serde(default, deserialize_with = "given")]
    pub bandwidth_limit: Option<Option<u64>>,
    /// As in the settings; `null`: the default.
    #[cfg_attr(test, schemars(with = "Option<u64>", range(min = 1, max = MOST_PARALLEL_PARTS)))]
    #[serde(default, deserialize_with = "given")]
    pub concurrency: Option<Option<u64>>,
    /// As in the settings; `null`: the default.
    #[cfg_attr(test, schemars(with = "Option<u64>", range(min = MIN_MEMORY_BUDGET)))]
    #[serde(default, deserialize_with = "given")]
    pub memory: Option<Option<u64>>,
}

/// Distinguishes `null` from a missing member.
#[expect(clippy::option_option, reason = "missing, null and a value are three things")]
fn given<'de, D: Deserializer<'de>>(json: D) -> std::result::Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(json).map(Some)
}

impl LimitsUpdate {
    /// Deserializes an object and nothing else. An array is refused, although every member is
    /// optional.
    ///
    /// # Errors
    /// The error of the deserializer.
    pub fn of_object<'de, D: Deserializer<'de>>(json: D) -> std::result::Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = LimitsUpdate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                members: A,
            ) -> std::result::Result<LimitsUpdate, A::Error> {
                LimitsUpdate::deserialize(MapAccessDeserializer::new(members))
            }
        }
        json.deserialize_map(Object)
    }

    /// The limits after this change.
    ///
    /// # Errors
    /// `invalid_config`, naming the field.
    pub fn of(self, now: Limits) -> Result<Limits> {
        let Self { bandwidth_limit, concurrency, memory } = self;
        Ok(Limits {
            memory_budget: memory.map_or(Ok(now.memory_budget), check_memory_budget)?,
            concurrency: concurrency.map_or(Ok(now.concurrency), check_parallel_parts)?,
            bandwidth_limit: bandwidth_limit.map_or(Ok(now.bandwidth_limit), check_rate)?,
        })
    }
}

/// The limits of one target. Clones share them.
#[derive(Clone, Debug)]
pub struct LiveLimits(Arc<watch::Sender<Limits>>);

impl LiveLimits {
    /// Limits with these values.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(watch::Sender::new(limits)))
    }

    /// The limits in use.
    #[must_use]
    pub fn get(&self) -> Limits {
        *self.0.borrow()
    }

    /// Receives every change from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Limits> {
        self.0.subscribe()
    }

    /// Applies a change as a whole, or fails. `adjust` gets the new limits before any other reader,
    /// and concurrent changes call it one after the other.
    ///
    /// # Errors
    /// `invalid_config`, naming the field.
    pub fn change(&self, change: LimitsUpdate, adjust: impl FnOnce(Limits)) -> Result<Limits> {
        let mut changed = Ok(self.get());
        self.0.send_if_modified(|now| {
            changed = change.of(*now);
            let Ok(new) = changed else { return false };
            adjust(new);
            let differ = *now != new;
            *now = new;
            differ
        });
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DEFAULT_MEMORY_BUDGET, DEFAULT_PARALLEL_PARTS, MIB};

    const SET: Limits =
        Limits { memory_budget: 64 * MIB, concurrency: 3, bandwidth_limit: Some(1_000_000) };

    fn change(json: &str) -> LimitsUpdate {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn missing_limit_stays_and_null_resets_to_default() {
        let of = |json: &str| change(json).of(SET).unwrap();
        assert_eq!(of("{}"), SET);
        assert_eq!(of(r#"{"concurrency":5,"later":1}"#), Limits { concurrency: 5, ..SET });
        let defaults = r#"{"bandwidth_limit":null,"concurrency":null,"memory":null}"#;
        let expected = Limits {
            memory_budget: DEFAULT_MEMORY_BUDGET,
            concurrency: DEFAULT_PARALLEL_PARTS,
            bandwidth_limit: None,
        };
        assert_eq!(of(defaults), expected);
    }

    #[test]
    fn one_invalid_limit_changes_nothing() {
        let limits = LiveLimits::new(SET);
        for (json, field) in [
            (r#"{"bandwidth_limit":65535,"concurrency":5}"#, "bandwidth_limit"),
            (r#"{"concurrency":65,"memory":null}"#, "concurrency"),
            (r#"{"memory":33554431,"concurrency":1}"#, "memory"),
        ] {
            let refused = limits.change(change(json), |_| panic!("{json}"));
            assert_eq!(refused.unwrap_err().data().field.as_deref(), Some(field));
            assert_eq!(limits.get(), SET);
        }
    }

    #[test]
    fn limit_clones_share_values_and_are_notified() {
        let limits = LiveLimits::new(SET);
        let (other, watch) = (limits.clone(), limits.watch());
        limits.change(change("{}"), |_| ()).unwrap();
        assert!(!watch.has_changed().unwrap());
        limits.change(change(r#"{"concurrency":7}"#), |_| ()).unwrap();
        assert!(watch.has_changed().unwrap());
        assert_eq!(other.get().concurrency, 7);
    }
}
