//! Multipart uploads.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::super::Traits;
use super::super::providers::{AWS_LOCKED, CLOUDFLARE, GARAGE, MEGA, MINIO, SCALEWAY};
use super::super::traits::PLAIN;
use super::{assert_refused, emulating, refusal};
use crate::support::TestServer;

const MIB: usize = 1 << 20;

/// An upload in progress.
struct Upload {
    server: TestServer,
    client: Client,
    id: String,
    done: Vec<CompletedPart>,
}

/// The result of a request: `Ok`, or status, code and message.
type Outcome = Result<(), (u16, String, String)>;

impl Upload {
    async fn begin(traits: Traits) -> Self {
        let (server, client) = emulating(traits).await;
        let create = client.create_multipart_upload().bucket(&server.bucket).key("k");
        let id = create.send().await.unwrap().upload_id.unwrap();
        Self { server, client, id, done: Vec::new() }
    }

    async fn send(&mut self, number: i32, size: usize) -> Outcome {
        let part = self.client.upload_part().bucket(&self.server.bucket).key("k");
        let part = part.upload_id(&self.id).part_number(number).body(vec![0; size].into());
        let part = match self.server.emulation().traits().wants_md5.is_empty() {
            true => part,
            false => part.content_md5(MD5_OF_NOTHING),
        };
        match part.send().await {
            Ok(sent) => {
                let tag = sent.e_tag.unwrap();
                self.done.push(CompletedPart::builder().part_number(number).e_tag(tag).build());
                Ok(())
            }
            Err(error) => Err(refusal::<(), _>(Err(error))),
        }
    }

    async fn complete(&self) -> Outcome {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.done.clone())).build();
        let complete = self.client.complete_multipart_upload().bucket(&self.server.bucket);
        let complete = complete.key("k").upload_id(&self.id).multipart_upload(parts);
        match complete.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(refusal::<(), _>(Err(error))),
        }
    }

    /// The ETag of the completed object.
    async fn tag(&self) -> String {
        let head = self.client.head_object().bucket(&self.server.bucket).key("k");
        head.send().await.unwrap().e_tag.unwrap()
    }

    async fn is_open(&self) -> bool {
        !self.server.open_uploads().await.is_empty()
    }
}

/// In Base64.
pub(super) const MD5_OF_NOTHING: &str = "1B2M2Y8AsgTpgAmY7PhCfg==";

#[tokio::test]
async fn uneven_parts_are_refused_at_completion() {
    for sizes in [&[6, 5, 5][..], &[5, 6], &[5, 6, 5]] {
        let mut upload = Upload::begin(CLOUDFLARE).await;
        for (number, size) in (1..).zip(sizes) {
            upload.send(number, size * MIB).await.unwrap();
        }
        let refused = upload.complete().await.unwrap_err();
        assert_refused(&refused, 400, "InvalidPart", "All non-trailing parts");
        assert_eq!(upload.server.objects().await, []);
    }
    for sizes in [&[6, 6, 5][..], &[6, 6], &[1]] {
        let mut upload = Upload::begin(CLOUDFLARE).await;
        // In any order.
        for number in (1..=sizes.len()).rev() {
            let size = sizes[number - 1] * MIB;
            upload.send(i32::try_from(number).unwrap(), size).await.unwrap();
        }
        upload.done.reverse();
        upload.complete().await.unwrap();
    }
}

#[tokio::test]
async fn uneven_small_or_empty_part_can_end_the_upload() {
    for (sizes, code) in [
        (&[(1, 5), (2, 6)][..], "InvalidPart"),
        (&[(1, 5), (3, 5), (2, 6)], "InvalidPart"),
        (&[(1, 1), (2, 5)], "EntityTooSmall"),
        (&[(2, 5), (1, 1)], "EntityTooSmall"),
    ] {
        let mut upload = Upload::begin(Traits { crowded: None, ..MEGA }).await;
        let (last, first) = sizes.split_last().unwrap();
        for (number, size) in first {
            upload.send(*number, size * MIB).await.unwrap();
        }
        let refused = upload.send(last.0, last.1 * MIB).await.unwrap_err();
        assert_refused(&refused, 400, code, "The part");
        assert!(!upload.is_open().await);
    }
    let mut upload = Upload::begin(MEGA).await;
    assert_refused(&upload.send(1, 0).await.unwrap_err(), 400, "InvalidPart", "The part is empty");
    assert!(upload.is_open().await);
    let mut upload = Upload::begin(GARAGE).await;
    assert_refused(&upload.send(1, 0).await.unwrap_err(), 400, "InvalidRequest", "Bad request");
}

#[tokio::test]
async fn repeated_part_can_be_refused() {
    let mut upload = Upload::begin(MEGA).await;
    upload.send(1, MIB).await.unwrap();
    let refused = upload.send(1, MIB).await.unwrap_err();
    assert_refused(&refused, 400, "InvalidPart", "The part was uploaded before");
    upload.complete().await.unwrap();
    let mut upload = Upload::begin(PLAIN).await;
    upload.send(1, MIB).await.unwrap();
    upload.send(1, MIB).await.unwrap();
}

#[tokio::test]
async fn second_part_can_be_throttled_once() {
    let mut upload = Upload::begin(MEGA).await;
    upload.send(1, 5 * MIB).await.unwrap();
    let refused = upload.send(2, MIB).await.unwrap_err();
    assert_refused(&refused, 503, "ServiceUnavailable", "");
    upload.send(2, MIB).await.unwrap();
    upload.complete().await.unwrap();
}

#[tokio::test]
async fn part_count_can_be_limited() {
    let mut upload = Upload::begin(SCALEWAY).await;
    upload.send(1000, MIB).await.unwrap();
    let refused = upload.send(1001, MIB).await.unwrap_err();
    assert_refused(
        &refused,
        400,
        "InvalidArgument",
        "Part number must be an integer between 1 and",
    );
    Upload::begin(PLAIN).await.send(1001, MIB).await.unwrap();
}

#[tokio::test]
async fn part_below_minimum_size_is_refused() {
    let mut upload = Upload::begin(PLAIN).await;
    upload.send(1, MIB).await.unwrap();
    upload.send(2, MIB).await.unwrap();
    assert_refused(&upload.complete().await.unwrap_err(), 400, "EntityTooSmall", "");
}

#[tokio::test]
async fn completion_can_fail_with_status_200() {
    let mut upload = Upload::begin(MINIO).await;
    upload.send(1, MIB).await.unwrap();
    assert_refused(&upload.complete().await.unwrap_err(), 200, "InternalError", "We encountered");
    assert_eq!(upload.server.objects().await, []);
    upload.complete().await.unwrap();
}

#[tokio::test]
async fn part_etag_can_differ_from_md5() {
    let mut tags = Vec::new();
    for traits in [PLAIN, GARAGE, AWS_LOCKED] {
        let mut upload = Upload::begin(traits).await;
        let size = if traits.wants_md5.is_empty() { MIB } else { 0 };
        upload.send(1, size).await.unwrap();
        upload.complete().await.unwrap();
        let tag = upload.tag().await;
        let get = upload.client.get_object().bucket(&upload.server.bucket).key("k");
        get.clone().if_match(&tag).send().await.unwrap();
        assert_eq!(refusal(get.if_match("\"0-1\"").send().await).0, 412);
        tags.push((tag, upload.done[0].e_tag.clone().unwrap()));
    }
    assert_eq!(tags[0].1, tags[1].1);
    assert_ne!(tags[0].0, tags[1].0);
    assert!(tags[1].0.ends_with("-1\""), "{tags:?}");
    let (opaque, _) = tags[2].0.split_once("-1").unwrap();
    assert!(!opaque.contains(|letter: char| letter.is_ascii_hexdigit()), "{tags:?}");
}
