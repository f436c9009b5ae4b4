//! A look at keys below a prefix, however deep.

use futures_util::FutureExt;

use super::Bucket;
use super::error::Operation;
use crate::error::Result;

impl Bucket {
    /// The first keys that begin with `prefix`, at most a page of them, and whether there are more.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn first_keys(&self, prefix: &str) -> Result<(Vec<String>, bool)> {
        if self.quirks.in_force().list_v1 {
            let listed = self.call(Operation::ListObjects, None, |way| {
                let list = self.client.list_objects().bucket(&self.name).prefix(prefix);
                list.customize().config_override(way.config).send().boxed()
            });
            let page = listed.await?;
            return Ok((keys(page.contents), page.is_truncated == Some(true)));
        }
        let listed = self.call(Operation::ListObjectsV2, None, |way| {
            let list = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
            list.customize().config_override(way.config).send().boxed()
        });
        let page = listed.await?;
        Ok((keys(page.contents), page.is_truncated == Some(true)))
    }
}

fn keys(contents: Option<Vec<aws_sdk_s3::types::Object>>) -> Vec<String> {
    contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect()
}
