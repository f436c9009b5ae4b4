//! The targets of a session, by name. Opening a target reads local files, which can take a while:
//! the session continues meanwhile, and requests on that target wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;

use crate::config::{LimitsUpdate, S3Config};
use crate::error::{Code, Error, Result, shortened};
use crate::journal::Journal;
use crate::ops::{Budget, Target};
use crate::platform::within;
use crate::protocol::{MAX_TARGET, TargetUpdateResult};

/// Time limit to open a target: reads two secrets and the certificates of the system.
const LIMIT: Duration = Duration::from_secs(15);

/// The target with a name, once it is open. None if opening failed.
pub(super) type Slot = Shared<BoxFuture<'static, Option<Arc<Target>>>>;

/// The targets of one session.
#[derive(Default)]
pub(super) struct Targets(HashMap<String, Slot>);

impl Targets {
    /// The target with this name, open or opening.
    ///
    /// # Errors
    /// `target_unknown`.
    pub(super) fn get(&self, name: &str) -> Result<Slot> {
        let slot = self.0.get(name).filter(|slot| !is_empty(slot));
        slot.cloned().ok_or_else(|| unknown(name))
    }

    /// Removes the target with this name and returns it.
    ///
    /// # Errors
    /// `target_unknown`.
    pub(super) fn close(&mut self, name: &str) -> Result<Slot> {
        let slot = self.get(name);
        self.0.remove(name);
        slot
    }

    /// Assigns the target that `opening` returns to the name. If opening fails, the name keeps its
    /// previous target.
    pub(super) fn open(
        &mut self,
        name: &str,
        opening: impl Future<Output = Option<Arc<Target>>> + Send + 'static,
    ) -> Slot {
        let before = self.get(name).ok();
        let slot = async move {
            match (opening.await, before) {
                (None, Some(before)) => before.await,
                (opened, _) => opened,
            }
        };
        let slot = slot.boxed().shared();
        self.0.retain(|_, slot| !is_empty(slot));
        self.0.insert(name.to_owned(), slot.clone());
        slot
    }
}

/// Whether opening has failed.
fn is_empty(slot: &Slot) -> bool {
    matches!(slot.peek(), Some(None))
}

/// Opens a target, within [`LIMIT`].
///
/// # Errors
/// Every code of a wrong setting; `local_io` when reading the files takes too long.
pub(super) async fn open(config: S3Config, journal: Option<Journal>) -> Result<Arc<Target>> {
    let runtime = Handle::current();
    let work = move || {
        let _inside = runtime.enter();
        Ok(config.check().and_then(|config| {
            let budget = Budget::new(config.limits.get().memory_budget);
            Target::open(config, budget, journal)
        }))
    };
    let opening = tokio::task::spawn_blocking(move || within(LIMIT, work, drop)).await;
    let opening = opening.map_err(|error| failed().source(error))?;
    opening.unwrap_or_else(|error| {
        let message = format!("cannot read the files that the target needs: {error}");
        Err(Error::new(Code::LocalIo, message).source(error))
    })
}

/// Changes the limits of an open target.
///
/// # Errors
/// `invalid_config`, naming the field; then nothing is changed.
pub(super) fn update(
    name: &str,
    target: &Target,
    limits: LimitsUpdate,
) -> Result<TargetUpdateResult> {
    let limits = target.change(limits)?;
    tracing::info!(target = name, ?limits, "the limits were changed");
    Ok(TargetUpdateResult { target: name.to_owned(), limits: limits.into() })
}

fn failed() -> Error {
    Error::new(Code::Internal, "opening the target failed inside the agent").hint("see its log")
}

pub(super) fn unknown(target: &str) -> Error {
    let target = shortened(target, MAX_TARGET);
    Error::new(Code::TargetUnknown, format!("there is no target \"{target}\""))
        .hint("open it first")
        .detail("target", target)
}
