//! The default retention (object lock) of a bucket.

use futures_util::FutureExt;

use super::Bucket;
use super::error::Operation;
use crate::error::Result;

/// The default retention of new objects in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `GOVERNANCE`, which users with a special permission can override, or `COMPLIANCE`.
    pub mode: String,
    /// Number of days for which an object cannot be deleted; a year counts as 365.
    pub days: i64,
}

impl Bucket {
    /// The default retention of new objects; `None` when there is none.
    ///
    /// # Errors
    /// `access_denied` without a permission that the agent needs for nothing else
    /// (`s3:GetBucketObjectLockConfiguration`), and other codes when the server does not support
    /// the call or the bucket has no such configuration.
    pub async fn default_retention(&self) -> Result<Option<Retention>> {
        let response = self.call(Operation::GetObjectLockConfiguration, None, |way| {
            let get = self.client.get_object_lock_configuration().bucket(&self.name);
            get.customize().config_override(way.config).send().boxed()
        });
        let configuration = response.await?.object_lock_configuration;
        let rule = configuration.and_then(|it| it.rule).and_then(|rule| rule.default_retention);
        Ok(rule.and_then(|rule| {
            let days = rule.days.or_else(|| rule.years.map(|years| years.saturating_mul(365)))?;
            let mode = rule.mode.map(|mode| mode.as_str().to_owned()).unwrap_or_default();
            Some(Retention { mode, days: i64::from(days) })
        }))
    }
}
