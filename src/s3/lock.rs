//! Whether a bucket locks what is stored in it.

use futures_util::FutureExt;

use super::Bucket;
use super::error::Operation;
use crate::error::Result;

/// What a bucket does with every object that is stored in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `GOVERNANCE`, which some users may overrule, or `COMPLIANCE`.
    pub mode: String,
    /// Days for which an object cannot be deleted; a year counts as 365.
    pub days: i64,
}

impl Bucket {
    /// How long objects are locked unless a request says otherwise; None when they are not.
    ///
    /// # Errors
    /// `access_denied` without a right that nothing else needs, and others where there is no such
    /// call or no such configuration.
    pub async fn default_retention(&self) -> Result<Option<Retention>> {
        let asked = self.call(Operation::GetObjectLockConfiguration, None, |way| {
            let get = self.client.get_object_lock_configuration().bucket(&self.name);
            get.customize().config_override(way.config).send().boxed()
        });
        let configuration = asked.await?.object_lock_configuration;
        let rule = configuration.and_then(|it| it.rule).and_then(|rule| rule.default_retention);
        Ok(rule.and_then(|rule| {
            let days = rule.days.or_else(|| rule.years.map(|years| years.saturating_mul(365)))?;
            let mode = rule.mode.map(|mode| mode.as_str().to_owned()).unwrap_or_default();
            Some(Retention { mode, days: i64::from(days) })
        }))
    }
}
