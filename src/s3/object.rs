//! Single objects: write, read, look at, delete.

use std::ops::Range;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStreamError;
use aws_sdk_s3::types::StorageClass;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;

use super::content_range::ContentRange;
use super::error::{Operation, invalid_response};
use super::etag::{bare, same_tag};
use super::intercept::SignedPayload;
use super::payload::Payload;
use super::types::{ObjectInfo, Stored, UPLOAD_MARKER, Write};
use super::{Bucket, DRAIN_LIMIT};
use crate::buffer_pool::Filled;
use crate::error::secrets::MARK as MARK_OF_SECRET;
use crate::error::{Code, Error, Result, no_memory};
use crate::net::broken;

/// What a storage makes of a write that is to replace nothing, when there is something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conditional {
    /// It refuses the write.
    Enforced,
    /// It replaces what is there.
    Ignored(Stored),
    /// It does not know such writes, and replaces what is there without the wish.
    Refused(Stored),
}

/// What the storage says of a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Whether the object stays as an old version, behind a marker.
    pub marker: bool,
    /// Version of the marker, or of what was deleted.
    pub version_id: Option<String>,
}

/// How often a broken download goes on from where it stopped without having got any further.
const FRUITLESS_ATTEMPTS: u32 = 4;

impl Bucket {
    /// Stores an object in one request, and unless it `replaces` what is there, not over another one
    /// where the storage can tell. Safe to repeat with a mark.
    ///
    /// # Errors
    /// `already_exists`, and every code that a storage or a connection can cause.
    pub async fn put(&self, write: Write<'_>, payload: &Payload) -> Result<Stored> {
        match self.put_once(write, payload).await {
            Err(error) if error.code() == Code::AlreadyExists => {
                self.own(write, payload.length()).await.ok_or(error)
            }
            stored => stored,
        }
    }

    /// What was stored by this very write, when its answer was lost and it was made again.
    async fn own(&self, write: Write<'_>, length: u64) -> Option<Stored> {
        let mark = write.mark?;
        let (there, found) = self.look(write.key).await.ok()?;
        (found.as_deref() == Some(mark) && there.size == length)
            .then_some(Stored { etag: there.etag, version_id: None })
    }

    /// Writes over an object and says what the storage makes of the wish to replace nothing.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn try_to_replace(&self, write: Write<'_>, payload: &Payload) -> Result<Conditional> {
        match self.put_once(Write { replaces: false, ..write }, payload).await {
            Ok(stored) if self.quirks.in_force().conditions => Ok(Conditional::Ignored(stored)),
            Ok(stored) => Ok(Conditional::Refused(stored)),
            Err(error) if error.code() == Code::AlreadyExists => Ok(Conditional::Enforced),
            Err(error) => Err(error),
        }
    }

    async fn put_once(&self, write: Write<'_>, payload: &Payload) -> Result<Stored> {
        let output = self
            .call(Operation::PutObject, Some(DRAIN_LIMIT), |way| {
                async move {
                    let content_md5 = way.content_md5(payload).await;
                    self.client
                        .put_object()
                        .bucket(&self.name)
                        .key(write.key)
                        .content_type(write.content_type)
                        .set_storage_class(write.storage_class.map(StorageClass::from))
                        .set_metadata(write.metadata())
                        .set_server_side_encryption(self.encryption.algorithm())
                        .set_ssekms_key_id(self.encryption.key_id())
                        .set_if_none_match(way.none_match(write.replaces))
                        .set_content_md5(content_md5)
                        .content_length(i64::try_from(payload.length()).unwrap_or(i64::MAX))
                        .body(payload.body())
                        .customize()
                        .interceptor(SignedPayload::of(payload))
                        .config_override(way.config)
                        .send()
                        .await
                }
                .boxed()
            })
            .await
            .map_err(|error| self.encryption.explain(error))?;
        self.encryption.check(output.server_side_encryption.as_ref())?;
        Ok(Stored {
            etag: self.entity_tag(Operation::PutObject, output.e_tag)?,
            version_id: output.version_id,
        })
    }

    /// Every S3 service names what it stored; a web page that answers 200 to anything does not.
    pub(super) fn entity_tag(&self, operation: Operation, etag: Option<String>) -> Result<String> {
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

    /// Looks at an object without reading it.
    ///
    /// # Errors
    /// `not_found` when it does not exist.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo> {
        Ok(self.look(key).await?.0)
    }

    /// The mark that an object was stored with, if any, and if the storage keeps such things.
    ///
    /// # Errors
    /// `not_found` when the object does not exist.
    pub async fn mark(&self, key: &str) -> Result<Option<String>> {
        Ok(self.look(key).await?.1)
    }

    /// [`Bucket::head`] and [`Bucket::mark`] in one.
    ///
    /// # Errors
    /// `not_found` when the object does not exist.
    pub async fn look(&self, key: &str) -> Result<(ObjectInfo, Option<String>)> {
        let output = self.head_object(key).await?;
        let length = output.content_length.and_then(|length| u64::try_from(length).ok());
        let size = match length {
            Some(size) => size,
            None => self.measure(key).await?,
        };
        let object = ObjectInfo {
            key: key.to_owned(),
            size,
            etag: output.e_tag.unwrap_or_default(),
            modified: output.last_modified.map_or(0, |time| time.secs()),
        };
        Ok((object, output.metadata.and_then(|mut metadata| metadata.remove(UPLOAD_MARKER))))
    }

    /// The size of an object that a look at it did not tell, as something on the way leaves it out:
    /// from the range of its first byte, else from a listing.
    async fn measure(&self, key: &str) -> Result<u64> {
        let first = self.call(Operation::GetObject, None, |way| {
            let get = self.client.get_object().bucket(&self.name).key(key).range("bytes=0-0");
            get.customize().config_override(way.config).send().boxed()
        });
        // One that is empty has no first byte.
        let range = first.await.ok().and_then(|output| output.content_range);
        if let Some(ContentRange { whole: Some(whole), .. }) =
            range.as_deref().and_then(ContentRange::read)
        {
            return Ok(whole);
        }
        let member = "Content-Length";
        let unknown = || invalid_response(Operation::HeadObject, member, "it is missing");
        Ok(self.find(key).await?.ok_or_else(unknown)?.size)
    }

    async fn head_object(&self, key: &str) -> Result<HeadObjectOutput> {
        self.call(Operation::HeadObject, None, |way| {
            let head = self.client.head_object().bucket(&self.name).key(key);
            head.customize().config_override(way.config).send().boxed()
        })
        .await
    }

    /// Reads a whole small object.
    ///
    /// # Errors
    /// `not_found`, or `too_large` when it has more than `limit` bytes.
    pub async fn get(&self, key: &str, limit: u64) -> Result<Bytes> {
        let mut tries = 1;
        loop {
            match self.get_once(key, limit).await {
                // The SDK repeats a request, but not the reading of an answer.
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
            .call(Operation::GetObject, None, |way| {
                let get = self.client.get_object().bucket(&self.name).key(key);
                get.customize().config_override(way.config).send().boxed()
            })
            .await?;
        let mut content = BytesMut::new();
        while let Some(chunk) = output.body.next().await {
            content.extend_from_slice(&chunk.map_err(|error| self.body_broke(error))?);
            if content.len() as u64 > limit {
                return Err(Error::new(
                    Code::TooLarge,
                    format!("{key} has more than the {limit} bytes that such an object may have"),
                )
                .detail("limit", limit));
            }
        }
        Ok(content.freeze())
    }

    /// Reads `range` of the object as it was when `whole` was seen into `content`, in place of what
    /// is there. After a broken connection it goes on where that broke.
    ///
    /// # Errors
    /// `modified` when the object is another one by now, `not_found` when it is gone.
    pub async fn get_range(
        &self,
        whole: &ObjectInfo,
        range: Range<u64>,
        content: &mut Filled,
    ) -> Result<()> {
        let wanted = usize::try_from(range.end.saturating_sub(range.start))
            .map_err(|_| Error::new(Code::TooLarge, "the range does not fit into memory"))?;
        content.clear();
        let mut fruitless = 0;
        loop {
            let before = content.len();
            let rest = range.start + before as u64..range.end;
            let (broke, is_short) = match self.read_into(content, wanted, whole, rest).await {
                Ok(()) if content.len() == wanted => return Ok(()),
                Ok(()) => (
                    Error::new(Code::NetworkLost, "the storage ended the object too early")
                        .detail("stage", "http"),
                    true,
                ),
                Err(error) => (error, false),
            };
            // A server that ends each answer early would be asked for a few bytes again and again.
            let is_progress = content.len() > before && !is_short;
            fruitless = if is_progress { 0 } else { fruitless + 1 };
            if !broke.code().retryable() || fruitless >= FRUITLESS_ATTEMPTS {
                return Err(broke);
            }
            self.progress.retried();
            let (key, offset) = (whole.key.as_str(), content.len());
            tracing::info!(key, offset, error = %broke, "reading on after a break");
            let patience = 200_u64 << fruitless;
            tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(0..patience))).await;
        }
    }

    async fn read_into(
        &self,
        content: &mut Filled,
        wanted: usize,
        whole: &ObjectInfo,
        range: Range<u64>,
    ) -> Result<()> {
        let bytes = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        // A weak ETag matches nothing here, nor does one out of which a secret was taken.
        let condition = Some(bare(&whole.etag))
            .filter(|etag| !etag.is_empty() && !etag.contains(MARK_OF_SECRET))
            .filter(|_| !whole.etag.starts_with("W/"))
            .map(|etag| format!("\"{etag}\""));
        let mut output = self
            .call(Operation::GetObject, None, |way| {
                let get = self.client.get_object().bucket(&self.name).key(&whole.key).range(&bytes);
                get.set_if_match(condition.clone())
                    .customize()
                    .config_override(way.config)
                    .send()
                    .boxed()
            })
            .await?;
        let is_other = |etag: &str| !whole.etag.is_empty() && !same_tag(etag, &whole.etag);
        // Some servers ignore If-Match.
        if output.e_tag.as_deref().is_some_and(is_other) {
            return Err(Error::new(
                Code::Modified,
                "the object was replaced while it was being read: start again",
            ));
        }
        ContentRange::check(output.content_range.as_deref(), &range, whole.size)?;
        while let Some(chunk) = output.body.next().await {
            let chunk = chunk.map_err(|error| self.body_broke(error))?;
            if content.len() + chunk.len() > wanted {
                return Err(Error::new(
                    Code::UnsupportedFeature,
                    "the storage sent more than the range that was asked for",
                )
                .detail("feature", "Range"));
            }
            content.push(&chunk).map_err(no_memory)?;
        }
        Ok(())
    }

    fn body_broke(&self, error: ByteStreamError) -> Error {
        broken(&self.endpoint, "GetObject", Box::new(error))
    }

    /// Deletes an object. A missing one counts as deleted, so this is safe to repeat.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause, but never `not_found`.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.delete_version(key, None).await.map(|_| ())
    }

    /// Deletes one version of an object, or the marker of a deletion, for good; without a version, it
    /// is an ordinary deletion.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause, but never `not_found`.
    pub async fn delete_version(&self, key: &str, version: Option<&str>) -> Result<Deleted> {
        let deleted = self.call(Operation::DeleteObject, None, |way| {
            let delete = self.client.delete_object().bucket(&self.name).key(key);
            delete
                .set_version_id(version.map(str::to_owned))
                .customize()
                .config_override(way.config)
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
