//! Listings of objects and of unfinished uploads.

use std::time::Duration;

use aws_sdk_s3::types::{CommonPrefix, Object};
use futures_util::FutureExt;

use super::answers::decoded;
use super::bounds::UPLOADS;
use super::error::{Operation, invalid_response};
use super::member::{lossy, text};
use super::types::{ObjectInfo, OpenUpload};
use super::{Bucket, Onward};
use crate::error::{Code, Error, Result};

/// As many keys with the same start are looked through in one listing.
const FEW: i32 = 16;

/// How long the listing of a server is waited for that is behind.
const LAG: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// An object that a listing names in a way that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its key, with a mark in place of each byte that is no text.
    pub key: String,
    /// The member of the listing that cannot be read.
    pub member: &'static str,
}

/// Some of the objects in a folder, mostly 1,000.
#[derive(Clone, Debug)]
pub struct Page {
    /// The objects, as a rule in the order of their keys.
    pub objects: Vec<ObjectInfo>,
    /// Objects that are there as well.
    pub unreadable: Vec<Unreadable>,
    /// Number of folders that are named in place of what they hold.
    pub folders: usize,
    /// The last of them, as keys go.
    pub last_folder: Option<String>,
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

impl Next {
    /// What tells it from others.
    #[must_use]
    pub fn marker(&self) -> &str {
        match self {
            Self::Token(marker) | Self::After(marker) => marker,
        }
    }
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

    /// The object with this key, which was stored just now, as soon as a listing names it: some servers
    /// take seconds. None when it is not named after 4.5 s. With whether it was named at once.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn find_new(&self, key: &str) -> Result<(Option<ObjectInfo>, bool)> {
        if let Some(object) = self.find(key).await? {
            return Ok((Some(object), true));
        }
        for pause in LAG {
            #[cfg(feature = "demo")]
            let pause = crate::fault_injection::hurried(pause);
            tokio::time::sleep(pause).await;
            if let Some(object) = self.find(key).await? {
                return Ok((Some(object), false));
            }
        }
        Ok((None, false))
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
        let mut page = Page::of(operation, output.contents, output.common_prefixes)?;
        self.check_is_listing(says_nothing && page.is_empty())?;
        let member = "NextContinuationToken";
        let token = text(operation, member, output.next_continuation_token)?;
        let token = token.filter(|token| !token.is_empty());
        if output.is_truncated.unwrap_or(token.is_some()) {
            page.next = Some(match token {
                Some(token) => Next::Token(token),
                // It took the call for the older one.
                None => Next::After(page.last(operation, None)?),
            });
        }
        Ok(page)
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
        let operation = Operation::ListObjects;
        let mut page = Page::of(operation, output.contents, output.common_prefixes)?;
        self.check_is_listing(says_nothing && page.is_empty())?;
        if output.is_truncated == Some(true) {
            let last = page.last(Operation::ListObjects, output.next_marker)?;
            page.next = Some(Next::After(last));
        }
        Ok(page)
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
        Err(Error::new(Code::InvalidEndpoint, message).field("endpoint").detail("reason", "not_s3"))
    }

    /// The unfinished multipart uploads whose keys begin with `prefix`, at most 5,000 and the rest of a
    /// page.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        let operation = Operation::ListMultipartUploads;
        let mut onward = Onward::new(operation);
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (None::<String>, None::<String>);
        loop {
            let listed = self.call(operation, None, |way| {
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
                Err(error) if error.code() == Code::Modified => return Ok(found),
                Err(error) => return Err(error),
            };
            let before = found.len();
            for upload in output.uploads.unwrap_or_default() {
                // Nothing of ours has a key or an id that is no text.
                let key = text(operation, "Key", upload.key).ok().flatten();
                let id = text(operation, "UploadId", upload.upload_id).ok().flatten();
                if let (Some(key), Some(id)) = (key, id) {
                    let opened = upload.initiated.map_or(0, |time| time.secs());
                    found.push(OpenUpload { key, id, opened });
                }
            }
            let key = text(operation, "NextKeyMarker", output.next_key_marker)?;
            let id = text(operation, "NextUploadIdMarker", output.next_upload_id_marker)?;
            if !output.is_truncated.unwrap_or(false) {
                return Ok(found);
            }
            if found.len() >= UPLOADS {
                tracing::warn!("there are more unfinished uploads than are looked at in one go");
                return Ok(found);
            }
            let Some(key) = key.filter(|key| !key.is_empty()) else {
                return Err(onward.no_marker());
            };
            let marker = format!("{key}\n{}", id.as_deref().unwrap_or_default());
            onward.step(&marker, found.len() > before)?;
            (key_marker, id_marker) = (Some(key), id);
        }
    }
}

impl Page {
    fn of(
        operation: Operation,
        contents: Option<Vec<Object>>,
        folders: Option<Vec<CommonPrefix>>,
    ) -> Result<Self> {
        let folders = folders.unwrap_or_default();
        let names = folders.iter().filter_map(|folder| folder.prefix.as_deref());
        let mut page = Self {
            objects: Vec::new(),
            unreadable: Vec::new(),
            folders: folders.len(),
            last_folder: names.map(lossy).max(),
            next: None,
        };
        for object in contents.unwrap_or_default() {
            let Some(key) = object.key else { continue };
            let Ok(name) = String::from_utf8(decoded(&key).into_owned()) else {
                page.unreadable.push(Unreadable { key: lossy(&key), member: "Key" });
                continue;
            };
            // A server that leaves out one size leaves out all: without them nothing is a backup.
            let size = object.size.and_then(|size| u64::try_from(size).ok());
            let unknown = || invalid_response(operation, "Size", "it is missing, or no number");
            page.objects.push(ObjectInfo {
                key: name,
                size: size.ok_or_else(unknown)?,
                etag: object.e_tag.map_or_else(String::new, |etag| lossy(&etag)),
                modified: object.last_modified.map_or(0, |time| time.secs()),
            });
        }
        Ok(page)
    }

    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.unreadable.is_empty()
    }

    /// The last name on a page, where the next one goes on.
    fn last(&self, operation: Operation, marker: Option<String>) -> Result<String> {
        let marker = text(operation, "NextMarker", marker)?;
        if let Some(marker) = marker.filter(|marker| !marker.is_empty()) {
            return Ok(marker);
        }
        let last = self.furthest().map(str::to_owned);
        last.ok_or_else(|| Onward::new(operation).no_marker())
    }

    /// The last name on the page, as keys go.
    #[must_use]
    pub fn furthest(&self) -> Option<&str> {
        let objects = self.objects.iter().map(|object| object.key.as_str());
        let unreadable = self.unreadable.iter().map(|unreadable| unreadable.key.as_str());
        objects.chain(unreadable).chain(self.last_folder.as_deref()).max()
    }
}
