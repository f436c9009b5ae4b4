//! Adapts requests to the server: its region, addressing style, listing call and headers.
//!
//! Each is learned from an error response, at most once, and kept as long as the target is open: a server
//! that demands something else in each response would be asked forever. The settings of the target are
//! never changed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::Operation;
use crate::config::{AddressingStyle, Provider, TargetConfig};
use crate::error::{Code, Detail, Error};
use crate::platform::now;

/// The feature that an error names when the server requires this header.
pub(super) const CONTENT_MD5: &str = "Content-MD5";

/// The knowledge about the server of one bucket.
#[derive(Debug)]
pub(super) struct Quirks {
    may_learn: Mutex<MayLearn>,
    /// Seconds by which the clock of this machine is ahead of the server's, from its last response.
    ahead_s: AtomicI64,
    in_force: Mutex<InForce>,
}

/// What may still be learned.
#[derive(Clone, Copy, Debug)]
struct MayLearn {
    region: bool,
    addressing_style: bool,
}

/// How requests are currently sent.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) region: String,
    pub(super) path_style: bool,
    /// Whether objects are listed with ListObjects in place of ListObjectsV2.
    pub(super) list_v1: bool,
    /// Whether writes carry the header Content-MD5.
    pub(super) content_md5: bool,
    /// Whether writes may be conditional (`If-None-Match`).
    pub(super) conditional_writes: bool,
}

impl Quirks {
    pub(super) fn new(config: &TargetConfig) -> Self {
        // If the host name contains the region, another region also needs another host.
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
                conditional_writes: !config.provider.is_some_and(Provider::refuses_conditions),
            }),
        }
    }

    /// Records the server's time.
    pub(super) fn set_server_time(&self, time: DateTime<Utc>) {
        let ahead = now().signed_duration_since(time).num_seconds();
        self.ahead_s.store(ahead, Ordering::Relaxed);
    }

    /// The earlier of this machine's time and the server's, in seconds since 1970. So neither clock
    /// alone makes anything look old.
    pub(super) fn now(&self) -> i64 {
        now().timestamp().saturating_sub(self.ahead_s.load(Ordering::Relaxed).max(0))
    }

    fn lock(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn in_force(&self) -> InForce {
        self.lock().clone()
    }

    /// Uses ListObjects from now on.
    pub(super) fn use_list_v1(&self) {
        self.lock().list_v1 = true;
    }

    /// Learns from an `error` of a request that was sent as `before`. Returns whether to send the
    /// request again, because it will now be sent differently.
    pub(super) fn learn(&self, operation: Operation, before: &InForce, error: &Error) -> bool {
        let mut may_learn = self.may_learn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = self.lock();
        let is_conditional =
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
                    tracing::info!(region = expected, "the server names another region");
                    expected.clone_into(&mut now.region);
                }
                before.region != now.region
            }
            Code::WrongAddressingStyle => {
                let path_style = text("use") == Some(AddressingStyle::Path.as_str());
                let is_new = before.path_style == now.path_style && now.path_style != path_style;
                if may_learn.addressing_style && is_new {
                    may_learn.addressing_style = false;
                    tracing::info!(path_style, "the server requires the other addressing style");
                    now.path_style = path_style;
                }
                before.path_style != now.path_style
            }
            Code::UnsupportedFeature if text("feature") == Some(CONTENT_MD5) => {
                let applies = matches!(operation, Operation::PutObject | Operation::UploadPart);
                now.content_md5 |= applies;
                applies && !before.content_md5
            }
            // If something else is refused, the request without the condition will show it.
            Code::UnsupportedFeature if is_conditional => {
                let first = before.conditional_writes;
                now.conditional_writes = false;
                first
            }
            _ => false,
        }
    }
}
