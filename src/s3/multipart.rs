//! Multipart uploads. Nothing of one is visible before it is completed.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, StorageClass};

use futures_util::FutureExt;

use super::bounds::PARTS;
use super::error::{Operation, invalid_response};
use super::intercept::SignedPayload;
use super::member::{lossy, text};
use super::payload::Payload;
use super::types::{Stored, Write};
use super::{Bucket, COMPLETE_LIMIT, DRAIN_LIMIT, Onward};
use crate::error::{Code, Result};

/// A running multipart upload. Dropping it leaves it open on the storage; see [`Upload::abort`].
#[derive(Clone, Debug)]
pub struct Upload {
    bucket: Bucket,
    key: String,
    id: String,
}

/// A part that the storage has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 1 to 10,000.
    pub number: u16,
    /// Entity tag that completes the upload.
    pub etag: String,
}

/// A part as a listing names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    /// From 1 to 10,000.
    pub number: u16,
    /// Number of bytes.
    pub size: u64,
    /// Entity tag; not every storage writes it as it did when it took the part, see [`same_tag`].
    pub etag: String,
    /// When it was stored, in seconds since 1970; 0 where the storage does not say.
    pub stored: i64,
}

impl Bucket {
    /// Opens a multipart upload. Not safe to give up half-way: the answer holds the only name under
    /// which it can be aborted.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn create_upload(&self, write: Write<'_>) -> Result<Upload> {
        let output = self
            .call(Operation::CreateMultipartUpload, None, |way| {
                let create = self.client.create_multipart_upload();
                create
                    .bucket(&self.name)
                    .key(write.key)
                    .content_type(write.content_type)
                    .set_storage_class(write.storage_class.map(StorageClass::from))
                    .set_metadata(write.metadata())
                    .set_server_side_encryption(self.encryption.algorithm())
                    .set_ssekms_key_id(self.encryption.key_id())
                    .customize()
                    .config_override(way.config)
                    .send()
                    .boxed()
            })
            .await
            .map_err(|error| self.encryption.explain(error))?;
        let operation = Operation::CreateMultipartUpload;
        let id = text(operation, "UploadId", output.upload_id)?;
        let upload = Upload {
            bucket: self.clone(),
            key: write.key.to_owned(),
            id: self.entity_tag(operation, id)?,
        };
        if let Err(error) = self.encryption.check(output.server_side_encryption.as_ref()) {
            upload.abort().await?;
            return Err(error);
        }
        Ok(upload)
    }

    /// An upload that was opened before, whether it still exists or not.
    #[must_use]
    pub fn upload(&self, key: &str, id: &str) -> Upload {
        Upload { bucket: self.clone(), key: key.to_owned(), id: id.to_owned() }
    }
}

impl Upload {
    /// Names it on the storage, together with the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When its newest part was stored, in seconds since 1970. None while it has no parts.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn newest_part(&self) -> Result<Option<i64>> {
        Ok(self.parts().await?.iter().map(|part| part.stored).max())
    }

    /// All parts that the storage has, at most 10,000.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn parts(&self) -> Result<Vec<ListedPart>> {
        let operation = Operation::ListParts;
        let mut onward = Onward::new(operation);
        let (mut parts, mut marker) = (Vec::new(), None);
        loop {
            let listed = self.bucket.call(operation, None, |way| {
                let list = self.bucket.client.list_parts().bucket(&self.bucket.name);
                list.key(&self.key)
                    .upload_id(&self.id)
                    .set_part_number_marker(marker.clone())
                    .customize()
                    .config_override(way.config)
                    .send()
                    .boxed()
            });
            let page = listed.await?;
            let before = parts.len();
            for part in page.parts.unwrap_or_default() {
                let number = part.part_number.and_then(|number| u16::try_from(number).ok());
                let size = part.size.and_then(|size| u64::try_from(size).ok());
                let invalid = |member| invalid_response(operation, member, "it is no number");
                parts.push(ListedPart {
                    number: number.ok_or_else(|| invalid("PartNumber"))?,
                    size: size.ok_or_else(|| invalid("Size"))?,
                    etag: part.e_tag.map_or_else(String::new, |etag| lossy(&etag)),
                    stored: part.last_modified.map_or(0, |time| time.secs()),
                });
            }
            if !page.is_truncated.unwrap_or(false) || parts.len() >= PARTS {
                return Ok(parts);
            }
            let next = text(operation, "NextPartNumberMarker", page.next_part_number_marker)?;
            let Some(next) = next.filter(|next| !next.is_empty()) else {
                return Err(onward.no_marker());
            };
            onward.step(&next, parts.len() > before)?;
            marker = Some(next);
        }
    }

    /// Sends one part. Safe to repeat: the last one of a number counts.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn send_part(&self, number: u16, payload: &Payload) -> Result<Part> {
        let uploaded = self.bucket.call(Operation::UploadPart, Some(DRAIN_LIMIT), |way| {
            async move {
                let content_md5 = way.content_md5(payload).await;
                let upload = self.bucket.client.upload_part().bucket(&self.bucket.name);
                upload
                    .key(&self.key)
                    .upload_id(&self.id)
                    .part_number(i32::from(number))
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
        });
        let output = uploaded.await?;
        let etag = self.bucket.entity_tag(Operation::UploadPart, output.e_tag)?;
        // What completes the upload is compared as it was before something on the way made it weak.
        let etag = etag.strip_prefix("W/").unwrap_or(&etag).to_owned();
        Ok(Part { number, etag })
    }

    /// Makes the object visible, not over another one where the storage can tell. `parts` must be in
    /// the order of their numbers.
    ///
    /// # Errors
    /// `already_exists`, and every code that a storage or a connection can cause. After one of them the object may exist
    /// all the same, when only the answer was lost.
    pub async fn complete(&self, parts: &[Part]) -> Result<Stored> {
        self.make_visible(parts, false).await
    }

    /// As [`Upload::complete`], but whatever is there.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn replace(&self, parts: &[Part]) -> Result<Stored> {
        self.make_visible(parts, true).await
    }

    async fn make_visible(&self, parts: &[Part], replaces: bool) -> Result<Stored> {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| {
                CompletedPart::builder()
                    .part_number(i32::from(part.number))
                    .e_tag(&part.etag)
                    .build()
            })
            .collect();
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let operation = Operation::CompleteMultipartUpload;
        let completed = self.bucket.call(operation, Some(COMPLETE_LIMIT), |way| {
            let complete = self.bucket.client.complete_multipart_upload();
            complete
                .bucket(&self.bucket.name)
                .key(&self.key)
                .upload_id(&self.id)
                .multipart_upload(parts.clone())
                .set_if_none_match(way.none_match(replaces))
                .customize()
                .config_override(way.config)
                .send()
                .boxed()
        });
        let output = completed.await?;
        let etag = output.e_tag.map_or_else(String::new, |etag| lossy(&etag));
        Ok(Stored { etag, version_id: output.version_id })
    }

    /// Throws away what was sent. An upload that is gone already counts as aborted.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn abort(&self) -> Result<()> {
        let aborted = self.bucket.call(Operation::AbortMultipartUpload, None, |way| {
            let abort = self.bucket.client.abort_multipart_upload().bucket(&self.bucket.name);
            abort
                .key(&self.key)
                .upload_id(&self.id)
                .customize()
                .config_override(way.config)
                .send()
                .boxed()
        });
        match aborted.await {
            Err(error) if !matches!(error.code(), Code::Modified | Code::NotFound) => Err(error),
            _ => Ok(()),
        }
    }
}
