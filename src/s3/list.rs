//! Listings of objects and of incomplete uploads.

use std::time::Duration;

use aws_sdk_s3::types::{CommonPrefix, Object};
use futures_util::FutureExt;

use super::answers::decoded;
use super::bounds::MAX_UPLOADS;
use super::error::{Operation, invalid_response};
use super::member::{lossy, text};
use super::types::{ObjectInfo, OpenUpload};
use super::{Bucket, Pagination};
use crate::error::{Code, Error, Result};

/// Number of keys with a common prefix that one listing checks.
const FEW_KEYS: i32 = 16;

/// Pauses between listings while a new object is not listed yet.
const LISTING_PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// An object whose listing entry cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its key, with U+FFFD in place of each byte that is not UTF-8.
    pub key: String,
    /// The member that cannot be read.
    pub member: &'static str,
}

/// One page of a listing, mostly 1,000 objects.
#[derive(Clone, Debug)]
pub struct Page {
    /// The objects, usually in the order of their keys.
    pub objects: Vec<ObjectInfo>,
    /// Further objects, which cannot be used.
    pub unreadable: Vec<Unreadable>,
    /// Number of folders (common prefixes), which stand for the objects in them.
    pub folders: usize,
    /// The last folder in the order of keys.
    pub last_folder: Option<String>,
    /// Start of the next page, if there is one.
    pub next: Option<Next>,
}

/// Start of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The server's continuation token.
    Token(String),
    /// The key after which the page starts.
    After(String),
}

impl Next {
    /// The token or key.
    #[must_use]
    pub fn marker(&self) -> &str {
        match self {
            Self::Token(marker) | Self::After(marker) => marker,
        }
    }
}

impl Bucket {
    /// The objects directly in `folder`, which ends with a slash, from the page `next` on.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn list(&self, folder: &str, next: Option<Next>) -> Result<Page> {
        self.list_some(folder, next, None).await
    }

    /// The objects directly in `folder` whose keys come after `key`, at most one page.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn list_after(&self, folder: &str, key: &str) -> Result<Page> {
        let key = Some(key.to_owned());
        if self.quirks.in_force().list_v1 {
            return self.list_v1(folder, key, None).await;
        }
        self.list_v2(folder, None, key, None).await
    }

    /// Lists a single object in `folder`: the cheapest request that shows that the bucket exists
    /// and can be listed.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn probe_list(&self, folder: &str) -> Result<()> {
        self.list_some(folder, None, Some(1)).await.map(|_| ())
    }

    /// Whether an object with this key exists. Needs only the permission to list, unlike HEAD,
    /// which some servers deny for missing objects.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.find(key).await?.is_some())
    }

    /// The listing entry of the object with this key, if it exists. Needs only the permission to
    /// list.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn find(&self, key: &str) -> Result<Option<ObjectInfo>> {
        // It is the first of all keys with this prefix.
        let page = self.list_some(key, None, Some(1)).await?;
        Ok(page.objects.into_iter().next().filter(|object| object.key == key))
    }

    /// The listing entry of an object that was just stored. Waits up to 4.5 s until the object is
    /// listed, because some servers take seconds; `None` after that. The flag tells whether it was
    /// listed at once.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn find_new(&self, key: &str) -> Result<(Option<ObjectInfo>, bool)> {
        if let Some(object) = self.find(key).await? {
            return Ok((Some(object), true));
        }
        for pause in LISTING_PAUSES {
            #[cfg(feature = "demo")]
            let pause = crate::fault_injection::hurried(pause);
            tokio::time::sleep(pause).await;
            if let Some(object) = self.find(key).await? {
                return Ok((Some(object), false));
            }
        }
        Ok((None, false))
    }

    /// Whether an object with any of these keys exists, which all have the prefix `start`. Takes
    /// one listing, plus one for each key if there are many other keys with this prefix.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn any_exists(&self, start: &str, keys: &[String]) -> Result<bool> {
        let page = self.list_some(start, None, Some(FEW_KEYS)).await?;
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

    async fn list_some(
        &self,
        folder: &str,
        next: Option<Next>,
        limit: Option<i32>,
    ) -> Result<Page> {
        let token = match next {
            Some(Next::After(key)) => return self.list_v1(folder, Some(key), limit).await,
            None if self.quirks.in_force().list_v1 => {
                return self.list_v1(folder, None, limit).await;
            }
            Some(Next::Token(token)) => Some(token),
            None => None,
        };
        let first = token.is_none();
        match self.list_v2(folder, token, None, limit).await {
            Err(error) if first && error.code() == Code::UnsupportedFeature => {
                let page = self.list_v1(folder, None, limit).await.map_err(|other| {
                    // When the server supports neither call, the first error tells more.
                    if other.code() == Code::UnsupportedFeature { error } else { other }
                })?;
                tracing::info!(
                    "the server does not support ListObjectsV2: listing with \
                                ListObjects"
                );
                self.quirks.use_list_v1();
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
        limit: Option<i32>,
    ) -> Result<Page> {
        let operation = Operation::ListObjectsV2;
        let listed = self.call(operation, None, |options| {
            let list = self.client.list_objects_v2().bucket(&self.name).prefix(folder);
            list.delimiter("/")
                .set_max_keys(limit)
                .set_continuation_token(token.clone())
                .set_start_after(after.clone())
                .customize()
                .config_override(options.config)
                .send()
                .boxed()
        });
        let output = listed.await?;
        let has_no_members = output.name.is_none() && output.is_truncated.is_none();
        let mut page = Page::of(operation, output.contents, output.common_prefixes)?;
        self.check_is_listing(has_no_members && page.is_empty())?;
        let member = "NextContinuationToken";
        let token = text(operation, member, output.next_continuation_token)?;
        let token = token.filter(|token| !token.is_empty());
        if output.is_truncated.unwrap_or(token.is_some()) {
            page.next = Some(match token {
                Some(token) => Next::Token(token),
                // The server answered in the format of the older call.
                None => Next::After(page.next_marker(operation, None)?),
            });
        }
        Ok(page)
    }

    async fn list_v1(
        &self,
        folder: &str,
        after: Option<String>,
        limit: Option<i32>,
    ) -> Result<Page> {
        let listed = self.call(Operation::ListObjects, None, |options| {
            let list = self.client.list_objects().bucket(&self.name).prefix(folder);
            list.delimiter("/")
                .set_max_keys(limit)
                .set_marker(after.clone())
                .customize()
                .config_override(options.config)
                .send()
                .boxed()
        });
        let output = listed.await?;
        let has_no_members = output.name.is_none() && output.is_truncated.is_none();
        let operation = Operation::ListObjects;
        let mut page = Page::of(operation, output.contents, output.common_prefixes)?;
        self.check_is_listing(has_no_members && page.is_empty())?;
        if output.is_truncated == Some(true) {
            let last = page.next_marker(Operation::ListObjects, output.next_marker)?;
            page.next = Some(Next::After(last));
        }
        Ok(page)
    }

    /// A web page that answers 200 to any request has none of a listing's members.
    fn check_is_listing(&self, has_no_members: bool) -> Result<()> {
        if !has_no_members {
            return Ok(());
        }
        let message = format!("{} does not answer as an S3 service", self.endpoint);
        Err(Error::new(Code::InvalidEndpoint, message)
            .hint("check the endpoint, which may be a web console, web page or login")
            .field("endpoint")
            .detail("reason", "not_s3"))
    }

    /// The incomplete multipart uploads whose keys begin with `prefix`: at most 5,000 plus the rest
    /// of a page.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        let operation = Operation::ListMultipartUploads;
        let mut pagination = Pagination::new(operation);
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (None::<String>, None::<String>);
        loop {
            let listed = self.call(operation, None, |options| {
                let list = self.client.list_multipart_uploads().bucket(&self.name).prefix(prefix);
                list.set_key_marker(key_marker.clone())
                    .set_upload_id_marker(id_marker.clone())
                    .customize()
                    .config_override(options.config)
                    .send()
                    .boxed()
            });
            let output = match listed.await {
                Ok(output) => output,
                // rclone answers so when there is no upload.
                Err(error) if error.code() == Code::Modified => return Ok(found),
                Err(error) => return Err(error),
            };
            let before = found.len();
            for upload in output.uploads.unwrap_or_default() {
                // The agent uses no keys and gets no upload IDs that are not UTF-8.
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
            if found.len() >= MAX_UPLOADS {
                tracing::warn!("there are more incomplete uploads than are listed at once");
                return Ok(found);
            }
            let Some(key) = key.filter(|key| !key.is_empty()) else {
                return Err(pagination.no_marker());
            };
            let marker = format!("{key}\n{}", id.as_deref().unwrap_or_default());
            pagination.advance(&marker, found.len() > before)?;
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
            // Without sizes there are no backups, so a missing size is an error.
            let size = object.size.and_then(|size| u64::try_from(size).ok());
            let unknown = || invalid_response(operation, "Size", "missing, or not a number");
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

    /// The marker of the next page: `marker`, or the last name on this page.
    fn next_marker(&self, operation: Operation, marker: Option<String>) -> Result<String> {
        let marker = text(operation, "NextMarker", marker)?;
        if let Some(marker) = marker.filter(|marker| !marker.is_empty()) {
            return Ok(marker);
        }
        let last = self.last_name().map(str::to_owned);
        last.ok_or_else(|| Pagination::new(operation).no_marker())
    }

    /// The last name on the page, in the order of keys.
    #[must_use]
    pub fn last_name(&self) -> Option<&str> {
        let objects = self.objects.iter().map(|object| object.key.as_str());
        let unreadable = self.unreadable.iter().map(|unreadable| unreadable.key.as_str());
        objects.chain(unreadable).chain(self.last_folder.as_deref()).max()
    }
}
