//! Multipart uploads. Nothing of one is visible before it is completed.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, StorageClass};

use futures_util::FutureExt;

use super::error::{Operation, translate};
use super::object::{Stored, Write};
use super::payload::Payload;
use super::{Bucket, COMPLETE_LIMIT, DRAIN_LIMIT, SignedPayload, patient};
use crate::error::{Code, Result};

/// Number of parts that S3 allows in one upload.
pub const MAX_PARTS: u64 = 10_000;

/// An unfinished upload as a listing names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// Key of the object it is for.
    pub key: String,
    /// Id of the upload.
    pub id: String,
    /// When it was opened, in seconds since 1970; 0 where the storage does not say.
    pub opened: i64,
}

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
    /// From 1 to [`MAX_PARTS`].
    pub number: u16,
    /// Entity tag that completes the upload.
    pub etag: String,
}

impl Bucket {
    /// Opens a multipart upload. Not safe to give up half-way: the answer holds the only name under
    /// which it can be aborted.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn create_upload(&self, write: Write<'_>) -> Result<Upload> {
        let output = self
            .client
            .create_multipart_upload()
            .bucket(&self.name)
            .key(write.key)
            .content_type(write.content_type)
            .set_storage_class(write.storage_class.map(StorageClass::from))
            .set_metadata(write.metadata())
            .send()
            .boxed()
            .await
            .map_err(|error| translate(Operation::CreateMultipartUpload, &self.context, error))?;
        Ok(Upload {
            bucket: self.clone(),
            key: write.key.to_owned(),
            id: self.entity_tag(Operation::CreateMultipartUpload, output.upload_id)?,
        })
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
        let Bucket { client, name, context } = &self.bucket;
        let mut newest = None;
        let mut pages = client
            .list_parts()
            .bucket(name)
            .key(&self.key)
            .upload_id(&self.id)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().boxed().await {
            let page = page.map_err(|error| translate(Operation::ListParts, context, error))?;
            let times = page.parts.unwrap_or_default().into_iter();
            let times = times.map(|part| part.last_modified.map_or(0, |time| time.secs()));
            newest = newest.max(times.max());
        }
        Ok(newest)
    }

    /// Sends one part. Safe to repeat: the last one of a number counts.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn send_part(&self, number: u16, payload: &Payload) -> Result<Part> {
        let Bucket { client, name, context } = &self.bucket;
        let output = client
            .upload_part()
            .bucket(name)
            .key(&self.key)
            .upload_id(&self.id)
            .part_number(i32::from(number))
            .content_length(i64::try_from(payload.length()).unwrap_or(i64::MAX))
            .body(payload.body())
            .customize()
            .interceptor(SignedPayload::of(payload))
            .config_override(patient(DRAIN_LIMIT))
            .send()
            .boxed()
            .await
            .map_err(|error| translate(Operation::UploadPart, context, error))?;
        let etag = self.bucket.entity_tag(Operation::UploadPart, output.e_tag)?;
        Ok(Part { number, etag })
    }

    /// Makes the object visible. `parts` must be in the order of their numbers.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause. After one of them the object may exist
    /// all the same, when only the answer was lost.
    pub async fn complete(&self, parts: &[Part]) -> Result<Stored> {
        let Bucket { client, name, context } = &self.bucket;
        let parts = parts
            .iter()
            .map(|part| {
                CompletedPart::builder()
                    .part_number(i32::from(part.number))
                    .e_tag(&part.etag)
                    .build()
            })
            .collect();
        let output = client
            .complete_multipart_upload()
            .bucket(name)
            .key(&self.key)
            .upload_id(&self.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .customize()
            .config_override(patient(COMPLETE_LIMIT))
            .send()
            .boxed()
            .await
            .map_err(|error| translate(Operation::CompleteMultipartUpload, context, error))?;
        Ok(Stored { etag: output.e_tag.unwrap_or_default(), version_id: output.version_id })
    }

    /// Throws away what was sent. An upload that is gone already counts as aborted.
    ///
    /// # Errors
    /// Every code that a storage or a connection can cause.
    pub async fn abort(&self) -> Result<()> {
        let Bucket { client, name, context } = &self.bucket;
        let aborted = client
            .abort_multipart_upload()
            .bucket(name)
            .key(&self.key)
            .upload_id(&self.id)
            .send()
            .boxed()
            .await
            .map_err(|error| translate(Operation::AbortMultipartUpload, context, error));
        match aborted {
            Err(error) if !matches!(error.code(), Code::Changed | Code::NotFound) => Err(error),
            _ => Ok(()),
        }
    }
}
