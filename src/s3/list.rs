//! Listings of objects and of unfinished uploads.

use futures_util::FutureExt;

use super::Bucket;
use super::error::{Operation, translate};
use super::multipart::OpenUpload;
use crate::error::Result;

/// One object as a listing names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Full key.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Entity tag as sent, quotes included; empty where the storage sends none.
    pub etag: String,
    /// When it was stored, in seconds since 1970; 0 where the storage does not say.
    pub modified: i64,
}

/// At most 1,000 objects.
#[derive(Clone, Debug)]
pub struct Page {
    /// The objects, in the order of their keys.
    pub objects: Vec<ObjectInfo>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

impl Bucket {
    /// The objects directly under `folder`, which ends with a slash, from the page `next` on.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn list(&self, folder: &str, next: Option<String>) -> Result<Page> {
        let output = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(folder)
            .delimiter("/")
            .set_continuation_token(next)
            .send()
            .boxed()
            .await
            .map_err(|error| translate(Operation::ListObjectsV2, &self.context, error))?;
        let objects = output
            .contents
            .unwrap_or_default()
            .into_iter()
            .filter_map(|object| {
                Some(ObjectInfo {
                    key: object.key?,
                    size: u64::try_from(object.size.unwrap_or_default()).unwrap_or_default(),
                    etag: object.e_tag.unwrap_or_default(),
                    modified: object.last_modified.map_or(0, |time| time.secs()),
                })
            })
            .collect();
        let next = output.next_continuation_token.filter(|_| output.is_truncated == Some(true));
        Ok(Page { objects, next })
    }

    /// Asks for a single object under `folder`: the cheapest question that shows that the bucket
    /// exists and may be listed.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn probe_list(&self, folder: &str) -> Result<()> {
        self.client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(folder)
            .max_keys(1)
            .send()
            .boxed()
            .await
            .map_err(|error| translate(Operation::ListObjectsV2, &self.context, error))?;
        Ok(())
    }

    /// The unfinished multipart uploads whose keys begin with `prefix`.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let output = self
                .client
                .list_multipart_uploads()
                .bucket(&self.name)
                .prefix(prefix)
                .set_key_marker(key_marker.take())
                .set_upload_id_marker(id_marker.take())
                .send()
                .boxed()
                .await
                .map_err(|error| {
                    translate(Operation::ListMultipartUploads, &self.context, error)
                })?;
            for upload in output.uploads.unwrap_or_default() {
                if let (Some(key), Some(id)) = (upload.key, upload.upload_id) {
                    let opened = upload.initiated.map_or(0, |time| time.secs());
                    found.push(OpenUpload { key, id, opened });
                }
            }
            if output.is_truncated != Some(true) || output.next_key_marker.is_none() {
                return Ok(found);
            }
            (key_marker, id_marker) = (output.next_key_marker, output.next_upload_id_marker);
        }
    }
}
