//! Operations on a target, one per file. The stdio session and the command line both call them.

mod cancel;
mod chunks;
mod cleanup;
mod concurrency;
mod delete;
mod download;
mod elsewhere;
mod list;
mod memory_budget;
mod repair;
mod replaced;
mod retry;
mod upload;
mod validate;
mod verify;

use std::sync::Arc;

pub use self::cancel::{Cancel, Cause};
pub use self::chunks::Chunks;
use self::cleanup::{Background, TargetJournal, clean_up};
pub use self::cleanup::{Cleanup, Place, clean_up_interrupted, cleanup, start_cleanup};
pub use self::delete::delete;
pub use self::download::{Download, Sink, download};
pub use self::elsewhere::{Elsewhere, elsewhere};
pub use self::list::{get, list, list_soon};
pub use self::memory_budget::{Budget, WINDOW, share};
pub use self::repair::repair;
pub use self::upload::{Source, Upload, upload};
pub use self::validate::validate;
pub use self::verify::{Verify, verify};
use crate::archives::Store;
pub use crate::archives::{Entry, Listing, backup_json};
use crate::buffer_pool::Pool;
use crate::config::{Limits, LimitsUpdate, TargetConfig};
use crate::error::Result;
use crate::journal::Journal;

/// A bucket and prefix with credentials, ready for operations.
#[derive(Debug)]
pub struct Target {
    config: TargetConfig,
    store: Store,
    budget: Budget,
    pool: Pool,
    journal: TargetJournal,
    background: Background,
}

impl Target {
    /// The settings in use.
    #[must_use]
    pub fn config(&self) -> &TargetConfig {
        &self.config
    }

    /// Changes limits, also for running transfers. Returns the limits in use.
    ///
    /// # Errors
    /// `invalid_config`, naming the field; then nothing is changed.
    pub fn change(&self, change: LimitsUpdate) -> Result<Limits> {
        let limits = &self.config.limits;
        let before = limits.get().memory_budget;
        let now = limits.change(change, |new| self.budget.resize(new.memory_budget))?;
        if now.memory_budget > before {
            // There may be memory now for a listing that was too large.
            self.store.changed();
        }
        Ok(now)
    }

    /// The address of the bucket.
    #[must_use]
    pub fn place(&self) -> Place {
        let endpoint = self.config.endpoint.as_str().to_owned();
        Place { endpoint, bucket: self.config.bucket.clone() }
    }

    /// The folder of the backups, with a final slash; empty for the root of the bucket.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.store.layout().folder()
    }

    /// Checks the settings as far as possible without the network. `budget` is the memory for the
    /// transfers of this target: a caller with several targets divides its memory. Uploads are
    /// recorded in `journal`; see [`start_cleanup`].
    ///
    /// # Errors
    /// `invalid_config` or `tls_untrusted`, naming the field.
    pub fn open(
        config: TargetConfig,
        budget: Budget,
        journal: Option<Journal>,
    ) -> Result<Arc<Self>> {
        if config.split {
            let endpoint = config.endpoint.as_str();
            tracing::info!(endpoint, bucket = config.bucket, "the endpoint contains the bucket");
        }
        let kept = journal.as_ref().map(|journal| journal.sibling_folder("listings"));
        Ok(Arc::new(Self {
            journal: TargetJournal::new(journal, config.endpoint.as_str(), &config.bucket),
            store: Store::new(&config, kept.as_deref())?,
            budget,
            pool: Pool::of_process(),
            background: Background::default(),
            config,
        }))
    }
}
