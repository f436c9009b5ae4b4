//! Headers that a request must not have, and headers that it must have.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use super::super::providers::{AWS_LOCKED, BACKBLAZE, CEPH, CLOUDFLARE, MINIO};
use super::super::traits::PLAIN;
use super::parts::MD5_OF_NOTHING;
use super::{assert_refused, emulating, refusal};

/// The checksum setting of clients that follow AWS.
const AS_AWS: RequestChecksumCalculation = RequestChecksumCalculation::WhenSupported;

#[tokio::test]
async fn checksum_in_header_can_be_refused() {
    for (traits, status, code, message) in [
        (BACKBLAZE, 400, "InvalidArgument", "Unsupported header 'x-amz-"),
        (CLOUDFLARE, 501, "NotImplemented", "Header 'x-amz-"),
    ] {
        let (server, plain) = emulating(traits).await;
        let client = Client::from_conf(server.sdk().request_checksum_calculation(AS_AWS).build());
        let put = |client: &Client| {
            let put = client.put_object().bucket(&server.bucket).key("k");
            put.body(b"x".to_vec().into()).send()
        };
        assert_refused(&refusal(put(&client).await), status, code, message);
        put(&plain).await.unwrap();
    }
}

#[tokio::test]
async fn checksum_in_trailer_can_be_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "x").unwrap();
    for (traits, status, code) in [
        (BACKBLAZE, 400, "InvalidArgument"),
        (CEPH, 400, "XAmzContentSHA256Mismatch"),
        (CLOUDFLARE, 501, "NotImplemented"),
        (MINIO, 400, "XAmzContentSHA256Mismatch"),
    ] {
        let (server, _) = emulating(traits).await;
        let client = Client::from_conf(server.sdk().request_checksum_calculation(AS_AWS).build());
        let body = ByteStream::from_path(file.path()).await.unwrap();
        let put = client.put_object().bucket(&server.bucket).key("k").body(body).send().await;
        assert_refused(&refusal(put), status, code, "");
        assert_eq!(server.objects().await, []);
    }
}

#[tokio::test]
async fn unsigned_payload_can_be_refused() {
    let (server, client) = emulating(CEPH).await;
    let put = client.put_object().bucket(&server.bucket).key("k").body(b"x".to_vec().into());
    let put = put.customize().disable_payload_signing();
    assert_refused(&refusal(put.send().await), 403, "SignatureDoesNotMatch", "");
    let (server, client) = emulating(PLAIN).await;
    let put = client.put_object().bucket(&server.bucket).key("k").body(b"x".to_vec().into());
    put.customize().disable_payload_signing().send().await.unwrap();
}

#[tokio::test]
async fn object_lock_can_require_content_md5() {
    let (server, client) = emulating(AWS_LOCKED).await;
    let put = || client.put_object().bucket(&server.bucket).key("k");
    let refused = refusal(put().send().await);
    assert_refused(&refused, 400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header");
    put().content_md5(MD5_OF_NOTHING).send().await.unwrap();
    let create = client.create_multipart_upload().bucket(&server.bucket).key("k");
    let id = create.send().await.unwrap().upload_id.unwrap();
    let part =
        || client.upload_part().bucket(&server.bucket).key("k").upload_id(&id).part_number(1);
    assert_refused(&refusal(part().send().await), 400, "InvalidRequest", "Content-MD5");
    part().content_md5(MD5_OF_NOTHING).send().await.unwrap();
}

#[tokio::test]
async fn multi_object_delete_can_require_content_md5() {
    for (traits, wanted) in [(MINIO, true), (PLAIN, false)] {
        let (server, client) = emulating(traits).await;
        let object = ObjectIdentifier::builder().key("k").build().unwrap();
        let delete = Delete::builder().objects(object).build().unwrap();
        let answer = client.delete_objects().bucket(&server.bucket).delete(delete).send().await;
        assert_eq!(refusal(answer).1 == "MissingContentMD5", wanted);
    }
}
