//! Lists the first keys with a prefix, without stopping at slashes.

use futures_util::FutureExt;

use super::Bucket;
use super::error::Operation;
use crate::error::Result;

impl Bucket {
    /// The first keys that begin with `prefix`, at most one page, and whether there are more.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn first_keys(&self, prefix: &str) -> Result<(Vec<String>, bool)> {
        if self.quirks.in_force().list_v1 {
            let listed = self.call(Operation::ListObjects, None, |options| {
                let list = self.client.list_objects().bucket(&self.name).prefix(prefix);
                list.customize().config_override(options.config).send().boxed()
            });
            let page = listed.await?;
            return Ok((keys(page.contents), page.is_truncated == Some(true)));
        }
        let listed = self.call(Operation::ListObjectsV2, None, |options| {
            let list = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
            list.customize().config_override(options.config).send().boxed()
        });
        let page = listed.await?;
        Ok((keys(page.contents), page.is_truncated == Some(true)))
    }
}

fn keys(contents: Option<Vec<aws_sdk_s3::types::Object>>) -> Vec<String> {
    contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect()
}
