//! Single objects: put, head, get, delete.

use std::ops::Range;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStreamError;
use aws_sdk_s3::types::StorageClass;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;

use super::content_range::ContentRange;
use super::error::{Operation, invalid_response};
use super::etag::{bare, same_etag};
use super::intercept::SignedPayload;
use super::payload::Payload;
use super::types::{ObjectInfo, Stored, UPLOAD_MARKER, Write};
use super::{Bucket, DRAIN_LIMIT};
use crate::buffer_pool::BlockBuffer;
use crate::error::secrets::REDACTED;
use crate::error::{Code, Error, Result, no_memory};
use crate::net::broken;

/// How the server handles a conditional write (`If-None-Match`) when the object exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conditional {
    /// It rejects the write.
    Enforced,
    /// It ignores the condition and replaces the object.
    Ignored(Stored),
    /// It rejects the condition. Without the condition, it replaces the object.
    Refused(Stored),
}

/// The server's response to a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Whether the object is kept as an old version behind a delete marker.
    pub marker: bool,
    /// Version ID of the delete marker, or of the deleted version.
    pub version_id: Option<String>,
}

/// Maximum number of attempts in a row that receive no further bytes of a download.
const FRUITLESS_ATTEMPTS: u32 = 4;

impl Bucket {
    /// Stores an object in one request. Without `may_replace` it does not replace an existing
    /// object if the server supports conditional writes. Safe to repeat with an upload marker.
    ///
    /// # Errors
    /// `already_exists`, and any code of a failed call or a broken connection.
    pub async fn put(&self, write: Write<'_>, payload: &Payload) -> Result<Stored> {
        match self.put_once(write, payload).await {
            Err(error) if error.code() == Code::AlreadyExists => {
                self.find_own(write, payload.length()).await.ok_or(error)
            }
            stored => stored,
        }
    }

    /// The object, if this write stored it: the response was lost, and the retry found the object.
    async fn find_own(&self, write: Write<'_>, length: u64) -> Option<Stored> {
        let marker = write.upload_marker?;
        let (there, found) = self.head_with_marker(write.key).await.ok()?;
        (found.as_deref() == Some(marker) && there.size == length)
            .then_some(Stored { etag: there.etag, version_id: None })
    }

    /// Overwrites an object with a conditional write, and returns how the server handles it.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn try_to_replace(&self, write: Write<'_>, payload: &Payload) -> Result<Conditional> {
        match self.put_once(Write { may_replace: false, ..write }, payload).await {
            Ok(stored) if self.quirks.in_force().conditional_writes => {
                Ok(Conditional::Ignored(stored))
            }
            Ok(stored) => Ok(Conditional::Refused(stored)),
            Err(error) if error.code() == Code::AlreadyExists => Ok(Conditional::Enforced),
            Err(error) => Err(error),
        }
    }

    async fn put_once(&self, write: Write<'_>, payload: &Payload) -> Result<Stored> {
        let output = self
            .call(Operation::PutObject, Some(DRAIN_LIMIT), |options| {
                async move {
                    let content_md5 = options.content_md5(payload).await;
                    self.client
                        .put_object()
                        .bucket(&self.name)
                        .key(write.key)
                        .content_type(write.content_type)
                        .set_storage_class(write.storage_class.map(StorageClass::from))
                        .set_metadata(write.metadata())
                        .set_server_side_encryption(self.encryption.algorithm())
                        .set_ssekms_key_id(self.encryption.key_id())
                        .set_if_none_match(options.if_none_match(write.may_replace))
                        .set_content_md5(content_md5)
                        .content_length(i64::try_from(payload.length()).unwrap_or(i64::MAX))
                        .body(payload.body())
                        .customize()
                        .interceptor(SignedPayload::of(payload))
                        .config_override(options.config)
                        .send()
                        .await
                }
                .boxed()
            })
            .await
            .map_err(|error| self.encryption.explain(error))?;
        self.encryption.check(output.server_side_encryption.as_ref())?;
        Ok(Stored {
            etag: self.require_id(Operation::PutObject, output.e_tag)?,
            version_id: output.version_id,
        })
    }

    /// The ETag or upload ID. Every S3 server sends it; a web page that answers 200 to any request
    /// does not.
    pub(super) fn require_id(&self, operation: Operation, etag: Option<String>) -> Result<String> {
        etag.filter(|etag| !etag.is_empty()).ok_or_else(|| {
            let endpoint = &self.endpoint;
            Error::new(
                Code::InvalidEndpoint,
                format!(
                    "{endpoint} does not answer as an S3 service ({operation:?} without an ETag)"
                ),
            )
            .field("endpoint")
            .detail("reason", "not_s3")
        })
    }

    /// Size, ETag and time of an object (HEAD).
    ///
    /// # Errors
    /// `not_found` when it does not exist.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo> {
        Ok(self.head_with_marker(key).await?.0)
    }

    /// The upload marker of an object; `None` when it has none, or the server does not keep object
    /// metadata.
    ///
    /// # Errors
    /// `not_found` when the object does not exist.
    pub async fn upload_marker(&self, key: &str) -> Result<Option<String>> {
        Ok(self.head_with_marker(key).await?.1)
    }

    /// [`Bucket::head`] and [`Bucket::upload_marker`] in one request.
    ///
    /// # Errors
    /// `not_found` when the object does not exist.
    pub async fn head_with_marker(&self, key: &str) -> Result<(ObjectInfo, Option<String>)> {
        let output = self.head_object(key).await?;
        let length = output.content_length.and_then(|length| u64::try_from(length).ok());
        let size = match length {
            Some(size) => size,
            None => self.size_without_length(key).await?,
        };
        let object = ObjectInfo {
            key: key.to_owned(),
            size,
            etag: output.e_tag.unwrap_or_default(),
            modified: output.last_modified.map_or(0, |time| time.secs()),
        };
        Ok((object, output.metadata.and_then(|mut metadata| metadata.remove(UPLOAD_MARKER))))
    }

    /// The size of an object whose HEAD response has no length, because a proxy removed it: from
    /// the range of its first byte, or else from a listing.
    async fn size_without_length(&self, key: &str) -> Result<u64> {
        let first = self.call(Operation::GetObject, None, |options| {
            let get = self.client.get_object().bucket(&self.name).key(key).range("bytes=0-0");
            get.customize().config_override(options.config).send().boxed()
        });
        // An empty object has no first byte.
        let range = first.await.ok().and_then(|output| output.content_range);
        if let Some(ContentRange { whole: Some(whole), .. }) =
            range.as_deref().and_then(ContentRange::read)
        {
            return Ok(whole);
        }
        let member = "Content-Length";
        let unknown = || invalid_response(Operation::HeadObject, member, "missing");
        Ok(self.find(key).await?.ok_or_else(unknown)?.size)
    }

    async fn head_object(&self, key: &str) -> Result<HeadObjectOutput> {
        self.call(Operation::HeadObject, None, |options| {
            let head = self.client.head_object().bucket(&self.name).key(key);
            head.customize().config_override(options.config).send().boxed()
        })
        .await
    }

    /// Reads a small object of at most `limit` bytes.
    ///
    /// # Errors
    /// `not_found`, or `too_large` when it has more than `limit` bytes.
    pub async fn get(&self, key: &str, limit: u64) -> Result<Bytes> {
        let mut tries = 1;
        loop {
            match self.get_once(key, limit).await {
                // The SDK retries a request, but not the reading of a response body.
                Err(error) if error.code() == Code::NetworkLost && tries < FRUITLESS_ATTEMPTS => {
                    tries += 1;
                    self.progress.retried();
                }
                done => return done,
            }
        }
    }

    async fn get_once(&self, key: &str, limit: u64) -> Result<Bytes> {
        let mut output = self
            .call(Operation::GetObject, None, |options| {
                let get = self.client.get_object().bucket(&self.name).key(key);
                get.customize().config_override(options.config).send().boxed()
            })
            .await?;
        let mut content = BytesMut::new();
        while let Some(chunk) = output.body.next().await {
            content.extend_from_slice(&chunk.map_err(|error| self.broken_body(error))?);
            if content.len() as u64 > limit {
                return Err(Error::new(
                    Code::TooLarge,
                    format!("{key} is larger than the limit of {limit} bytes"),
                )
                .detail("limit", limit));
            }
        }
        Ok(content.freeze())
    }

    /// Reads `range` of the object `whole` into `content`, which is cleared first. After a broken
    /// connection it continues where that broke.
    ///
    /// # Errors
    /// `modified` when the object has changed since `whole` was read, `not_found` when it no longer
    /// exists.
    pub async fn get_range(
        &self,
        whole: &ObjectInfo,
        range: Range<u64>,
        content: &mut BlockBuffer,
    ) -> Result<()> {
        let wanted = usize::try_from(range.end.saturating_sub(range.start))
            .map_err(|_| Error::new(Code::TooLarge, "the range does not fit into memory"))?;
        content.clear();
        let mut fruitless = 0;
        loop {
            let before = content.len();
            let rest = range.start + before as u64..range.end;
            let (error, is_short) = match self.read_into(content, wanted, whole, rest).await {
                Ok(()) if content.len() == wanted => return Ok(()),
                Ok(()) => (
                    Error::new(Code::NetworkLost, "the server ended the object too early")
                        .detail("stage", "http"),
                    true,
                ),
                Err(error) => (error, false),
            };
            // A server that ends each response early would be asked for a few bytes again and
            // again.
            let is_progress = content.len() > before && !is_short;
            fruitless = if is_progress { 0 } else { fruitless + 1 };
            if !error.code().retryable() || fruitless >= FRUITLESS_ATTEMPTS {
                return Err(error);
            }
            self.progress.retried();
            let (key, offset) = (whole.key.as_str(), content.len());
            tracing::info!(key, offset, %error, "continuing the download after a broken connection");
            let max_pause = 200_u64 << fruitless;
            tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(0..max_pause))).await;
        }
    }

    async fn read_into(
        &self,
        content: &mut BlockBuffer,
        wanted: usize,
        whole: &ObjectInfo,
        range: Range<u64>,
    ) -> Result<()> {
        let bytes = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        // A weak ETag never matches If-Match, and neither does an ETag that a secret was removed
        // from.
        let condition = Some(bare(&whole.etag))
            .filter(|etag| !etag.is_empty() && !etag.contains(REDACTED))
            .filter(|_| !whole.etag.starts_with("W/"))
            .map(|etag| format!("\"{etag}\""));
        let mut output = self
            .call(Operation::GetObject, None, |options| {
                let get = self.client.get_object().bucket(&self.name).key(&whole.key).range(&bytes);
                get.set_if_match(condition.clone())
                    .customize()
                    .config_override(options.config)
                    .send()
                    .boxed()
            })
            .await?;
        let differs = |etag: &str| !whole.etag.is_empty() && !same_etag(etag, &whole.etag);
        // Some servers ignore If-Match.
        if output.e_tag.as_deref().is_some_and(differs) {
            return Err(Error::new(
                Code::Modified,
                "the object was replaced while it was being read",
            )
            .hint("start again"));
        }
        ContentRange::check(output.content_range.as_deref(), &range, whole.size)?;
        while let Some(chunk) = output.body.next().await {
            let chunk = chunk.map_err(|error| self.broken_body(error))?;
            if content.len() + chunk.len() > wanted {
                return Err(Error::new(
                    Code::UnsupportedFeature,
                    "the server sent more than the requested range",
                )
                .detail("feature", "Range"));
            }
            content.push(&chunk).map_err(no_memory)?;
        }
        Ok(())
    }

    fn broken_body(&self, error: ByteStreamError) -> Error {
        broken(&self.endpoint, "GetObject", Box::new(error))
    }

    /// Deletes an object. Safe to repeat: a missing object counts as deleted.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection, but never `not_found`.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.delete_version(key, None).await.map(|_| ())
    }

    /// Deletes one version of an object, or a delete marker, permanently. Without a version, it is
    /// an ordinary deletion.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection, but never `not_found`.
    pub async fn delete_version(&self, key: &str, version: Option<&str>) -> Result<Deleted> {
        let deleted = self.call(Operation::DeleteObject, None, |options| {
            let delete = self.client.delete_object().bucket(&self.name).key(key);
            delete
                .set_version_id(version.map(str::to_owned))
                .customize()
                .config_override(options.config)
                .send()
                .boxed()
        });
        match deleted.await {
            Err(error) if error.code() == Code::NotFound => Ok(Deleted::default()),
            Err(error) => Err(error),
            Ok(output) => Ok(Deleted {
                marker: output.delete_marker.unwrap_or_default(),
                version_id: output.version_id,
            }),
        }
    }
}
