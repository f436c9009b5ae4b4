//! S3 operations of the embedded server: s3s-fs over a folder, with its gaps closed.
//!
//! Answers every call that the agent makes like AWS, where s3s-fs differs: missing buckets,
//! listings with ETags, `If-Match` on reads, unfinished uploads, the checks of
//! `CompleteMultipartUpload`, refused payloads, long keys. Conditional writes are not atomic, and
//! the text between two slashes of a key is limited to 255 bytes.

use std::io::{self, SeekFrom};
use std::path::{Component, Path, PathBuf};

use futures_util::StreamExt as _;
use http::StatusCode;
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::object_path::ObjectPath;
use super::uploads::{Unfinished, Uploads};

/// Bytes of one file read.
const READ: usize = 256 << 10;

/// A folder of buckets.
#[derive(Debug)]
pub(super) struct Folder {
    files: FileSystem,
    root: PathBuf,
    uploads: Uploads,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> io::Result<Self> {
        let files =
            FileSystem::new(&root).map_err(|error| io::Error::other(format!("{error:?}")))?;
        Ok(Self { files, root, uploads: Uploads::default() })
    }

    fn bucket(&self, bucket: &str) -> S3Result<PathBuf> {
        let path = self.root.join(bucket);
        if path.is_dir() { Ok(path) } else { Err(s3_error!(NoSuchBucket, "No such bucket.")) }
    }

    /// Path of the object with this key, which need not exist.
    fn path(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        let bucket = self.bucket(bucket)?;
        let plain = Path::new(key).components().all(|part| matches!(part, Component::Normal(_)));
        plain.then(|| bucket.join(key)).ok_or_else(|| s3_error!(InvalidArgument, "No path."))
    }

    fn object(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        self.bucket(bucket)?;
        let path = self.path(bucket, key).ok().filter(|path| path.is_file());
        path.ok_or_else(|| s3_error!(NoSuchKey, "No such key."))
    }

    /// The ETag, from the file of s3s-fs.
    fn etag(&self, bucket: &str, key: &str) -> Option<ETag> {
        #[derive(serde::Deserialize)]
        struct Kept {
            e_tag: String,
        }
        let name = ObjectPath::of(bucket, key).file_name();
        let path = self.root.join(format!("{name}.internal.json"));
        let kept: Kept = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        Some(ETag::Strong(kept.e_tag))
    }

    fn check_condition(&self, input: &GetObjectInput) -> S3Result<()> {
        let wanted = input.if_match.as_ref().and_then(ETagCondition::as_etag);
        match (wanted, self.etag(&input.bucket, &input.key)) {
            (Some(wanted), Some(now)) if !wanted.strong_cmp(&now) => {
                Err(s3_error!(PreconditionFailed, "The object has another ETag."))
            }
            _ => Ok(()),
        }
    }
}

/// Reads the rest of a refused request, so that the client receives the refusal.
async fn drained(refusal: S3Error, body: Option<StreamingBlob>) -> S3Error {
    if let Some(mut body) = body {
        while let Some(Ok(_)) = body.next().await {}
    }
    refusal
}

/// Gives a wrong payload its proper code; s3s-fs calls all of them internal.
fn payload_fault(error: S3Error) -> S3Error {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let code = if cause.ends_with("Sha256Mismatch") {
        S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into())
    } else if cause.ends_with("Incomplete") {
        S3ErrorCode::IncompleteBody
    } else {
        return error;
    };
    let mut fault = S3Error::with_message(code, "The payload is not the announced one.");
    fault.set_status_code(StatusCode::BAD_REQUEST);
    fault
}

#[async_trait::async_trait]
impl S3 for Folder {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(request).await
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(request).await
    }

    async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files.list_buckets(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = request.input.bucket.clone();
        let mut response = self.files.list_objects_v2(request).await?;
        for object in response.output.contents.iter_mut().flatten() {
            let key = object.key.as_deref().unwrap_or_default();
            object.e_tag = self.etag(&bucket, key);
        }
        Ok(response)
    }

    /// The older listing, which s3s-fs has without its marker and its ETags.
    async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let marker = request.input.marker.clone();
        let request = request.map_input(|input| ListObjectsV2Input {
            start_after: input.marker.clone(),
            ..input.into()
        });
        let listed = self.list_objects_v2(request).await?;
        Ok(listed.map_output(|output| ListObjectsOutput {
            // A client that does not group keys continues after the last one.
            next_marker: output.next_continuation_token.filter(|_| output.delimiter.is_some()),
            marker,
            contents: output.contents,
            common_prefixes: output.common_prefixes,
            delimiter: output.delimiter,
            encoding_type: output.encoding_type,
            is_truncated: output.is_truncated,
            max_keys: output.max_keys,
            name: output.name,
            prefix: output.prefix,
            ..ListObjectsOutput::default()
        }))
    }

    async fn head_object(
        &self,
        mut request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.object(&request.input.bucket, &request.input.key)?;
        ObjectPath::redirect(&mut request.input.bucket, &mut request.input.key);
        self.files.head_object(request).await
    }

    async fn get_object(
        &self,
        mut request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let path = self.object(&request.input.bucket, &request.input.key)?;
        self.check_condition(&request.input)?;
        ObjectPath::redirect(&mut request.input.bucket, &mut request.input.key);
        let range = request.input.range;
        let mut response = self.files.get_object(request).await?;
        // s3s-fs reads 4 KiB at a time.
        let length = u64::try_from(response.output.content_length.unwrap_or_default());
        let length = length.map_err(S3Error::internal_error)?;
        let mut file = File::open(path).await.map_err(S3Error::internal_error)?;
        let start = match range {
            Some(Range::Int { first, .. }) => SeekFrom::Start(first),
            Some(Range::Suffix { .. }) => SeekFrom::End(-i64::try_from(length).unwrap_or_default()),
            None => SeekFrom::Start(0),
        };
        file.seek(start).await.map_err(S3Error::internal_error)?;
        let body = ReaderStream::with_capacity(file.take(length), READ);
        response.output.body = Some(StreamingBlob::wrap(body));
        Ok(response)
    }

    async fn put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let path = match self.path(&request.input.bucket, &request.input.key) {
            Ok(path) => path,
            Err(refusal) => return Err(drained(refusal, request.input.body.take()).await),
        };
        let object_path = ObjectPath::redirect(&mut request.input.bucket, &mut request.input.key);
        let response = self.files.put_object(request).await.map_err(payload_fault)?;
        object_path.show(&self.root, &path).map_err(S3Error::internal_error)?;
        Ok(response)
    }

    async fn delete_object(
        &self,
        mut request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        match self.object(&request.input.bucket, &request.input.key) {
            Ok(path) => {
                std::fs::remove_file(path).map_err(S3Error::internal_error)?;
                ObjectPath::redirect(&mut request.input.bucket, &mut request.input.key);
                self.files.delete_object(request).await
            }
            Err(error) if *error.code() == S3ErrorCode::NoSuchKey => {
                Ok(S3Response::new(DeleteObjectOutput::default()))
            }
            Err(error) => Err(error),
        }
    }

    async fn create_multipart_upload(
        &self,
        mut request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let CreateMultipartUploadInput { bucket, key, storage_class, .. } = &request.input;
        self.path(bucket, key)?;
        let known = [StorageClass::STANDARD, StorageClass::REDUCED_REDUNDANCY];
        if storage_class.as_ref().is_some_and(|class| !known.contains(&class.as_str())) {
            return Err(s3_error!(InvalidStorageClass, "No such storage class."));
        }
        let upload = Unfinished::from(&request.input);
        let names = (Some(bucket.clone()), Some(key.clone()));
        ObjectPath::redirect(&mut request.input.bucket, &mut request.input.key);
        let mut response = self.files.create_multipart_upload(request).await?;
        (response.output.bucket, response.output.key) = names;
        let id = response.output.upload_id.clone().unwrap_or_default();
        self.uploads.begin(id, upload);
        Ok(response)
    }

    async fn upload_part(
        &self,
        mut request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let UploadPartInput { bucket, key, upload_id, part_number, .. } = &request.input;
        let (id, number) = (upload_id.clone(), *part_number);
        if let Err(refusal) = self.uploads.check(bucket, key, &id) {
            return Err(drained(refusal, request.input.body.take()).await);
        }
        let size = request.input.content_length;
        let response = self.files.upload_part(request).await.map_err(payload_fault)?;
        self.uploads.add(&id, number, response.output.e_tag.clone(), size)?;
        Ok(response)
    }

    async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let ListPartsInput { bucket, key, upload_id, .. } = request.input;
        self.bucket(&bucket)?;
        self.uploads.check(&bucket, &key, &upload_id)?;
        let parts = Some(self.uploads.parts(&upload_id));
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(upload_id),
            is_truncated: Some(false),
            parts,
            ..ListPartsOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        mut request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let CompleteMultipartUploadInput { bucket, key, upload_id, .. } = &request.input;
        let path = self.path(bucket, key)?;
        self.uploads.check_completion(&request.input)?;
        let (id, names) = (upload_id.clone(), (Some(bucket.clone()), Some(key.clone())));
        let object_path = ObjectPath::redirect(&mut request.input.bucket, &mut request.input.key);
        // Removed first, so that no request aborts an upload that is being completed.
        let unfinished = self.uploads.end(&id);
        let completing = self.files.complete_multipart_upload(request);
        let mut response = match completing.await {
            Ok(response) => response,
            Err(refusal) => {
                unfinished.into_iter().for_each(|upload| self.uploads.begin(id.clone(), upload));
                return Err(refusal);
            }
        };
        if let Some(done) = response.output.future.take() {
            response.output = done.await?;
        }
        (response.output.bucket, response.output.key) = names;
        object_path.show(&self.root, &path).map_err(S3Error::internal_error)?;
        Ok(response)
    }

    async fn abort_multipart_upload(
        &self,
        mut request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let AbortMultipartUploadInput { bucket, key, upload_id, .. } = &request.input;
        self.bucket(bucket)?;
        self.uploads.check(bucket, key, upload_id)?;
        self.uploads.end(upload_id);
        ObjectPath::redirect(&mut request.input.bucket, &mut request.input.key);
        self.files.abort_multipart_upload(request).await
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.bucket(&request.input.bucket)?;
        Ok(S3Response::new(self.uploads.list(request.input)))
    }
}
