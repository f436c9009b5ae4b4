//! Listings of objects and of unfinished uploads.

use aws_sdk_s3::types::{CommonPrefix, Object};
use futures_util::FutureExt;

use super::Bucket;
use super::error::Operation;
use super::multipart::OpenUpload;
use crate::error::{Code, Error, Result};

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

/// As many keys with the same start are looked through in one listing.
const FEW: i32 = 16;

/// At most 1,000 objects.
#[derive(Clone, Debug)]
pub struct Page {
    /// The objects, in the order of their keys.
    pub objects: Vec<ObjectInfo>,
    /// Where the next page begins, if there is one.
    pub next: Option<Next>,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// At what the storage means by this.
    Token(String),
    /// Behind this key.
    After(String),
}

impl Bucket {
    /// The objects directly under `folder`, which ends with a slash, from the page `next` on.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn list(&self, folder: &str, next: Option<Next>) -> Result<Page> {
        self.list_some(folder, next, None).await
    }

    /// The objects directly under `folder` whose keys come behind `key`, at most a page of them.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn list_behind(&self, folder: &str, key: &str) -> Result<Page> {
        let key = Some(key.to_owned());
        if self.quirks.in_force().list_v1 {
            return self.list_v1(folder, key, None).await;
        }
        self.list_v2(folder, None, key, None).await
    }

    /// Asks for a single object under `folder`: the cheapest question that shows that the bucket
    /// exists and may be listed.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn probe_list(&self, folder: &str) -> Result<()> {
        self.list_some(folder, None, Some(1)).await.map(|_| ())
    }

    /// Whether there is an object with this key. Unlike a look at the object itself, which some
    /// storages forbid where there is none, this needs only the right to list.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.find(key).await?.is_some())
    }

    /// The object with this key as a listing names it, if there is one. Needs only the right to list.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn find(&self, key: &str) -> Result<Option<ObjectInfo>> {
        // Of all keys that begin so, it is the first.
        let page = self.list_some(key, None, Some(1)).await?;
        Ok(page.objects.into_iter().next().filter(|object| object.key == key))
    }

    /// Whether there is an object with any of these keys, all of which begin with `start`. Takes one
    /// listing, or one more for each key where there are many others that begin so.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn any_exists(&self, start: &str, keys: &[String]) -> Result<bool> {
        let page = self.list_some(start, None, Some(FEW)).await?;
        if page.objects.iter().any(|object| keys.contains(&object.key)) {
            return Ok(true);
        }
        if page.next.is_none() {
            return Ok(false);
        }
        for key in keys {
            if self.exists(key).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn list_some(&self, folder: &str, next: Option<Next>, most: Option<i32>) -> Result<Page> {
        let token = match next {
            Some(Next::After(key)) => return self.list_v1(folder, Some(key), most).await,
            None if self.quirks.in_force().list_v1 => {
                return self.list_v1(folder, None, most).await;
            }
            Some(Next::Token(token)) => Some(token),
            None => None,
        };
        let first = token.is_none();
        match self.list_v2(folder, token, None, most).await {
            Err(error) if first && error.code() == Code::UnsupportedFeature => {
                let page = self.list_v1(folder, None, most).await.map_err(|other| {
                    // When neither is known, the first refusal tells more.
                    if other.code() == Code::UnsupportedFeature { error } else { other }
                })?;
                tracing::info!("the storage has no ListObjectsV2: listing with ListObjects");
                self.quirks.list_v1();
                Ok(page)
            }
            page => page,
        }
    }

    async fn list_v2(
        &self,
        folder: &str,
        token: Option<String>,
        after: Option<String>,
        most: Option<i32>,
    ) -> Result<Page> {
        let operation = Operation::ListObjectsV2;
        let listed = self.call(operation, None, |way| {
            let list = self.client.list_objects_v2().bucket(&self.name).prefix(folder);
            list.delimiter("/")
                .set_max_keys(most)
                .set_continuation_token(token.clone())
                .set_start_after(after.clone())
                .customize()
                .config_override(way.config)
                .send()
                .boxed()
        });
        let output = listed.await?;
        let says_nothing = output.name.is_none() && output.is_truncated.is_none();
        let objects = objects(output.contents);
        self.check_is_listing(says_nothing && objects.is_empty())?;
        let truncated = output.is_truncated == Some(true);
        let next = match output.next_continuation_token {
            Some(token) if truncated => Some(Next::Token(token)),
            // It took the call for the older one.
            None if truncated => last(&objects, output.common_prefixes).map(Next::After),
            _ => None,
        };
        Ok(Page { objects, next })
    }

    async fn list_v1(
        &self,
        folder: &str,
        after: Option<String>,
        most: Option<i32>,
    ) -> Result<Page> {
        let listed = self.call(Operation::ListObjects, None, |way| {
            let list = self.client.list_objects().bucket(&self.name).prefix(folder);
            list.delimiter("/")
                .set_max_keys(most)
                .set_marker(after.clone())
                .customize()
                .config_override(way.config)
                .send()
                .boxed()
        });
        let output = listed.await?;
        let says_nothing = output.name.is_none() && output.is_truncated.is_none();
        let objects = objects(output.contents);
        self.check_is_listing(says_nothing && objects.is_empty())?;
        let truncated = output.is_truncated == Some(true);
        let marker = output.next_marker.filter(|marker| !marker.is_empty());
        let next = marker.or_else(|| last(&objects, output.common_prefixes));
        Ok(Page { objects, next: next.filter(|_| truncated).map(Next::After) })
    }

    /// A page of something else that answers 200 to anything has none of a listing's members.
    fn check_is_listing(&self, says_nothing: bool) -> Result<()> {
        if !says_nothing {
            return Ok(());
        }
        let message = format!(
            "{} does not answer as an S3 service: check the endpoint; a console, web page or login \
             may live there",
            self.endpoint
        );
        Err(Error::new(Code::InvalidEndpoint, message).field("endpoint").fact("reason", "not_s3"))
    }

    /// The unfinished multipart uploads whose keys begin with `prefix`.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (None::<String>, None::<String>);
        loop {
            let listed = self.call(Operation::ListMultipartUploads, None, |way| {
                let list = self.client.list_multipart_uploads().bucket(&self.name).prefix(prefix);
                list.set_key_marker(key_marker.clone())
                    .set_upload_id_marker(id_marker.clone())
                    .customize()
                    .config_override(way.config)
                    .send()
                    .boxed()
            });
            let output = match listed.await {
                Ok(output) => output,
                // rclone, when there is none.
                Err(error) if error.code() == Code::Changed => return Ok(found),
                Err(error) => return Err(error),
            };
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

fn objects(contents: Option<Vec<Object>>) -> Vec<ObjectInfo> {
    let contents = contents.unwrap_or_default().into_iter();
    contents
        .filter_map(|object| {
            Some(ObjectInfo {
                key: object.key?,
                size: u64::try_from(object.size.unwrap_or_default()).unwrap_or_default(),
                etag: object.e_tag.unwrap_or_default(),
                modified: object.last_modified.map_or(0, |time| time.secs()),
            })
        })
        .collect()
}

/// The last name on a page, where the next one goes on.
fn last(objects: &[ObjectInfo], folders: Option<Vec<CommonPrefix>>) -> Option<String> {
    let folders = folders.unwrap_or_default().into_iter().filter_map(|folder| folder.prefix);
    folders.chain(objects.last().map(|object| object.key.clone())).max()
}
