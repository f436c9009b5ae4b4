//! Table of unfinished uploads, which s3s-fs lacks.
//!
//! Holds each upload from its creation to its end, with its parts. A refused
//! `CompleteMultipartUpload` changes nothing, whereas s3s-fs drops the upload before it checks the
//! parts. In memory only: uploads are lost when the server ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use s3s::dto::{
    CompleteMultipartUploadInput, CreateMultipartUploadInput, ETag, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, MultipartUpload, Part,
};
use s3s::{S3Result, s3_error};

/// Smallest part except the last one, in bytes.
const MIN_PART: i64 = 5 << 20;

/// Most entries in one listing.
const PAGE: i32 = 1000;

/// Unfinished uploads by ID.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<BTreeMap<String, Unfinished>>);

/// A multipart upload that was neither completed nor aborted.
#[derive(Debug)]
pub(super) struct Unfinished {
    bucket: String,
    key: String,
    since: SystemTime,
    parts: BTreeMap<i32, Part>,
}

impl From<&CreateMultipartUploadInput> for Unfinished {
    fn from(input: &CreateMultipartUploadInput) -> Self {
        Self {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            since: SystemTime::now(),
            parts: BTreeMap::new(),
        }
    }
}

impl Uploads {
    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Unfinished>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, id: String, upload: Unfinished) {
        self.table().insert(id, upload);
    }

    pub(super) fn end(&self, id: &str) -> Option<Unfinished> {
        self.table().remove(id)
    }

    pub(super) fn check(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        match self.table().get(id) {
            Some(upload) if upload.bucket == bucket && upload.key == key => Ok(()),
            _ => Err(s3_error!(NoSuchUpload, "No such upload.")),
        }
    }

    /// Adds a part; replaces an earlier part with the same number.
    pub(super) fn add(
        &self,
        id: &str,
        number: i32,
        tag: Option<ETag>,
        size: Option<i64>,
    ) -> S3Result<()> {
        let part = Part {
            e_tag: tag,
            last_modified: Some(SystemTime::now().into()),
            part_number: Some(number),
            size,
            ..Part::default()
        };
        match self.table().get_mut(id) {
            Some(upload) => {
                upload.parts.insert(number, part);
                Ok(())
            }
            None => Err(s3_error!(NoSuchUpload, "The upload has ended.")),
        }
    }

    pub(super) fn parts(&self, id: &str) -> Vec<Part> {
        self.table()
            .get(id)
            .map(|upload| upload.parts.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Checks the parameters of a completion.
    pub(super) fn check_completion(&self, input: &CompleteMultipartUploadInput) -> S3Result<()> {
        self.check(&input.bucket, &input.key, &input.upload_id)?;
        let listed = input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_deref());
        let listed = listed.unwrap_or_default();
        let numbers: Vec<_> = listed.iter().filter_map(|part| part.part_number).collect();
        if !numbers.is_sorted_by(|one, other| one < other) {
            return Err(s3_error!(InvalidPartOrder, "The parts are not in order."));
        }
        let table = self.table();
        let sent = table.get(&input.upload_id).map(|upload| &upload.parts);
        for (index, part) in listed.iter().enumerate() {
            let kept = part.part_number.and_then(|number| sent?.get(&number));
            let Some(kept) = kept.filter(|kept| kept.e_tag == part.e_tag) else {
                return Err(s3_error!(InvalidPart, "A part was not sent, or not with this tag."));
            };
            if index + 1 < listed.len() && kept.size.unwrap_or_default() < MIN_PART {
                return Err(s3_error!(EntityTooSmall, "A part other than the last is too small."));
            }
        }
        Ok(())
    }

    /// One page of a bucket's unfinished uploads, sorted by key and ID.
    pub(super) fn list(&self, input: ListMultipartUploadsInput) -> ListMultipartUploadsOutput {
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let key_marker = input.key_marker.as_deref().unwrap_or_default();
        // Without an ID the marker means all uploads of its key.
        let id_marker = input.upload_id_marker.as_deref();
        let mut found: Vec<_> = self
            .table()
            .iter()
            .filter(|(_, upload)| upload.bucket == input.bucket && upload.key.starts_with(prefix))
            .filter(|(id, upload)| {
                upload.key.as_str() > key_marker
                    || upload.key == key_marker
                        && id_marker.is_some_and(|marker| id.as_str() > marker)
            })
            .map(|(id, upload)| MultipartUpload {
                initiated: Some(upload.since.into()),
                key: Some(upload.key.clone()),
                upload_id: Some(id.clone()),
                ..MultipartUpload::default()
            })
            .collect();
        found.sort_by(|one, other| (&one.key, &one.upload_id).cmp(&(&other.key, &other.upload_id)));
        let max_uploads = input.max_uploads.unwrap_or(PAGE).clamp(1, PAGE);
        let most = usize::try_from(max_uploads).unwrap_or_default();
        let is_truncated = found.len() > most;
        found.truncate(most);
        let last = found.last().filter(|_| is_truncated).cloned();
        ListMultipartUploadsOutput {
            is_truncated: Some(is_truncated),
            next_key_marker: last.as_ref().and_then(|upload| upload.key.clone()),
            next_upload_id_marker: last.and_then(|upload| upload.upload_id),
            max_uploads: Some(max_uploads),
            bucket: Some(input.bucket),
            prefix: input.prefix,
            key_marker: input.key_marker,
            upload_id_marker: input.upload_id_marker,
            uploads: Some(found),
            ..ListMultipartUploadsOutput::default()
        }
    }
}
