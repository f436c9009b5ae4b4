//! Multipart uploads. The object is not visible before the upload is completed.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, StorageClass};

use futures_util::FutureExt;

use super::bounds::MAX_PARTS;
use super::error::{Operation, invalid_response};
use super::intercept::SignedPayload;
use super::member::{lossy, text};
use super::payload::Payload;
use super::types::{Stored, Write};
use super::{Bucket, COMPLETE_LIMIT, DRAIN_LIMIT, Pagination};
use crate::error::{Code, Result};

/// A multipart upload. Dropping it leaves it open on the server; see [`Upload::abort`].
#[derive(Clone, Debug)]
pub struct Upload {
    bucket: Bucket,
    key: String,
    id: String,
}

/// A part that the server has stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 1 to 10,000.
    pub number: u16,
    /// ETag, which completes the upload.
    pub etag: String,
}

/// A part as a listing names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    /// From 1 to 10,000.
    pub number: u16,
    /// Number of bytes.
    pub size: u64,
    /// ETag. Some servers write it differently than when they stored the part, see [`same_etag`].
    pub etag: String,
    /// Time when it was stored, in seconds since 1970; 0 when the server does not send it.
    pub stored: i64,
}

impl Bucket {
    /// Creates a multipart upload. Do not drop the future before it is ready: the response contains
    /// the ID that is needed to abort the upload.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn create_upload(&self, write: Write<'_>) -> Result<Upload> {
        let output = self
            .call(Operation::CreateMultipartUpload, None, |options| {
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
                    .config_override(options.config)
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
            id: self.require_id(operation, id)?,
        };
        if let Err(error) = self.encryption.check(output.server_side_encryption.as_ref()) {
            upload.abort().await?;
            return Err(error);
        }
        Ok(upload)
    }

    /// An upload that was created before. It may no longer exist.
    #[must_use]
    pub fn upload(&self, key: &str, id: &str) -> Upload {
        Upload { bucket: self.clone(), key: key.to_owned(), id: id.to_owned() }
    }
}

impl Upload {
    /// The upload ID, which identifies the upload together with the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Time when its newest part was stored, in seconds since 1970. `None` when it has no parts.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn newest_part(&self) -> Result<Option<i64>> {
        Ok(self.parts().await?.iter().map(|part| part.stored).max())
    }

    /// All parts that the server has, at most 10,000.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn parts(&self) -> Result<Vec<ListedPart>> {
        let operation = Operation::ListParts;
        let mut pagination = Pagination::new(operation);
        let (mut parts, mut marker) = (Vec::new(), None);
        loop {
            let listed = self.bucket.call(operation, None, |options| {
                let list = self.bucket.client.list_parts().bucket(&self.bucket.name);
                list.key(&self.key)
                    .upload_id(&self.id)
                    .set_part_number_marker(marker.clone())
                    .customize()
                    .config_override(options.config)
                    .send()
                    .boxed()
            });
            let page = listed.await?;
            let before = parts.len();
            for part in page.parts.unwrap_or_default() {
                let number = part.part_number.and_then(|number| u16::try_from(number).ok());
                let size = part.size.and_then(|size| u64::try_from(size).ok());
                let invalid = |member| invalid_response(operation, member, "not a number");
                parts.push(ListedPart {
                    number: number.ok_or_else(|| invalid("PartNumber"))?,
                    size: size.ok_or_else(|| invalid("Size"))?,
                    etag: part.e_tag.map_or_else(String::new, |etag| lossy(&etag)),
                    stored: part.last_modified.map_or(0, |time| time.secs()),
                });
            }
            if !page.is_truncated.unwrap_or(false) || parts.len() >= MAX_PARTS {
                return Ok(parts);
            }
            let next = text(operation, "NextPartNumberMarker", page.next_part_number_marker)?;
            let Some(next) = next.filter(|next| !next.is_empty()) else {
                return Err(pagination.no_marker());
            };
            pagination.advance(&next, parts.len() > before)?;
            marker = Some(next);
        }
    }

    /// Uploads one part. Safe to repeat: the last one with a number counts.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn send_part(&self, number: u16, payload: &Payload) -> Result<Part> {
        let uploaded = self.bucket.call(Operation::UploadPart, Some(DRAIN_LIMIT), |options| {
            async move {
                let content_md5 = options.content_md5(payload).await;
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
                    .config_override(options.config)
                    .send()
                    .await
            }
            .boxed()
        });
        let output = uploaded.await?;
        let etag = self.bucket.require_id(Operation::UploadPart, output.e_tag)?;
        // The server compares the ETag as it was before a proxy made it weak.
        let etag = etag.strip_prefix("W/").unwrap_or(&etag).to_owned();
        Ok(Part { number, etag })
    }

    /// Completes the upload, which makes the object visible. Does not replace an existing object if
    /// the server supports conditional writes. `parts` must be in the order of their numbers.
    ///
    /// # Errors
    /// `already_exists`, and any code of a failed call or a broken connection. The object may exist
    /// after an error, when only the response was lost.
    pub async fn complete(&self, parts: &[Part]) -> Result<Stored> {
        self.make_visible(parts, false).await
    }

    /// As [`Upload::complete`], but may_replace an existing object.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn replace(&self, parts: &[Part]) -> Result<Stored> {
        self.make_visible(parts, true).await
    }

    async fn make_visible(&self, parts: &[Part], may_replace: bool) -> Result<Stored> {
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
        let completed = self.bucket.call(operation, Some(COMPLETE_LIMIT), |options| {
            let complete = self.bucket.client.complete_multipart_upload();
            complete
                .bucket(&self.bucket.name)
                .key(&self.key)
                .upload_id(&self.id)
                .multipart_upload(parts.clone())
                .set_if_none_match(options.if_none_match(may_replace))
                .customize()
                .config_override(options.config)
                .send()
                .boxed()
        });
        let output = completed.await?;
        let etag = output.e_tag.map_or_else(String::new, |etag| lossy(&etag));
        Ok(Stored { etag, version_id: output.version_id })
    }

    /// Aborts the upload, which deletes its parts. An upload that no longer exists counts as
    /// aborted.
    ///
    /// # Errors
    /// Any code of a failed call or a broken connection.
    pub async fn abort(&self) -> Result<()> {
        let aborted = self.bucket.call(Operation::AbortMultipartUpload, None, |options| {
            let abort = self.bucket.client.abort_multipart_upload().bucket(&self.bucket.name);
            abort
                .key(&self.key)
                .upload_id(&self.id)
                .customize()
                .config_override(options.config)
                .send()
                .boxed()
        });
        match aborted.await {
            Err(error) if !matches!(error.code(), Code::Modified | Code::NotFound) => Err(error),
            _ => Ok(()),
        }
    }
}
