//! What one storage wants done in another way than most, as far as its answers have told.
//!
//! Each is learned from a refusal, at most once, and kept for as long as the target lives: a server
//! that asks for another thing in each refusal would be asked for ever. Settings are never changed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::Operation;
use crate::config::{AddressingStyle, Provider, TargetConfig};
use crate::error::{Code, Detail, Error};
use crate::platform::now;

/// The feature that an error names when a storage wants the header.
pub(super) const CONTENT_MD5: &str = "Content-MD5";

/// What has been learned about one bucket.
#[derive(Debug)]
pub(super) struct Quirks {
    may_learn: Mutex<MayLearn>,
    /// Seconds by which our clock is ahead of the server's, as its last answer had it.
    ahead_s: AtomicI64,
    in_force: Mutex<InForce>,
}

/// What can still be learned.
#[derive(Clone, Copy, Debug)]
struct MayLearn {
    region: bool,
    addressing_style: bool,
}

/// How requests are made at the moment.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) region: String,
    pub(super) path_style: bool,
    /// Whether objects are listed with the first version of the call.
    pub(super) list_v1: bool,
    /// Whether writes carry the header Content-MD5.
    pub(super) content_md5: bool,
    /// Whether writes may say that they are to replace nothing.
    pub(super) conditions: bool,
}

impl Quirks {
    pub(super) fn new(config: &TargetConfig) -> Self {
        // Where the host names the region, another region is another host as well.
        let host = config.endpoint.host_str().unwrap_or_default();
        let in_host = host.split('.').any(|label| label == config.region);
        Self {
            may_learn: Mutex::new(MayLearn {
                region: !config.region_given && !in_host,
                addressing_style: !config.addressing_given,
            }),
            ahead_s: AtomicI64::new(0),
            in_force: Mutex::new(InForce {
                region: config.region.clone(),
                path_style: config.path_style,
                list_v1: false,
                content_md5: false,
                conditions: !config.provider.is_some_and(Provider::refuses_conditions),
            }),
        }
    }

    /// Notes the time of the storage.
    pub(super) fn it_is(&self, time: DateTime<Utc>) {
        let ahead = now().signed_duration_since(time).num_seconds();
        self.ahead_s.store(ahead, Ordering::Relaxed);
    }

    /// The earlier of our time and the server's, in seconds since 1970. So neither clock alone makes
    /// anything look old.
    pub(super) fn now(&self) -> i64 {
        now().timestamp().saturating_sub(self.ahead_s.load(Ordering::Relaxed).max(0))
    }

    fn lock(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn in_force(&self) -> InForce {
        self.lock().clone()
    }

    /// Lists with the first version from now on.
    pub(super) fn list_v1(&self) {
        self.lock().list_v1 = true;
    }

    /// Whether to make a request anew that was made as `before` says and ended in `error`, because
    /// it will be made in another way now.
    pub(super) fn learn(&self, operation: Operation, before: &InForce, error: &Error) -> bool {
        let mut may_learn = self.may_learn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = self.lock();
        let conditional =
            matches!(operation, Operation::PutObject | Operation::CompleteMultipartUpload);
        let text = |name| match error.details().get(name) {
            Some(Detail::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "nothing is learned from the others")]
        match error.code() {
            Code::WrongRegion => {
                let Some(expected) = text("expected") else { return false };
                if may_learn.region && before.region == now.region && now.region != expected {
                    may_learn.region = false;
                    tracing::info!(region = expected, "the storage names another region");
                    expected.clone_into(&mut now.region);
                }
                before.region != now.region
            }
            Code::WrongAddressingStyle => {
                let path_style = text("use") == Some(AddressingStyle::Path.as_str());
                let is_new = before.path_style == now.path_style && now.path_style != path_style;
                if may_learn.addressing_style && is_new {
                    may_learn.addressing_style = false;
                    tracing::info!(path_style, "the storage wants the other addressing style");
                    now.path_style = path_style;
                }
                before.path_style != now.path_style
            }
            Code::UnsupportedFeature if text("feature") == Some(CONTENT_MD5) => {
                let takes_it = matches!(operation, Operation::PutObject | Operation::UploadPart);
                now.content_md5 |= takes_it;
                takes_it && !before.content_md5
            }
            // Whatever else it may be that is refused: without the condition it is seen alone.
            Code::UnsupportedFeature if conditional => {
                let first = before.conditions;
                now.conditions = false;
                first
            }
            _ => false,
        }
    }
}
