//! Listings of objects and of incomplete uploads.

use aws_sdk_s3::Client;

use super::super::providers::{CEPH, MINIO, STORAGEGRID};
use super::super::traits::PLAIN;
use super::{assert_refused, emulating, refusal};
use crate::support::TestServer;

async fn keys_of_v1(server: &TestServer, client: &Client, marker: Option<String>) -> Vec<String> {
    let list = client.list_objects().bucket(&server.bucket).max_keys(2).set_marker(marker);
    let page = list.send().await.unwrap();
    page.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn list_v2_can_be_refused() {
    let (server, client) = emulating(STORAGEGRID).await;
    let answer = client.list_objects_v2().bucket(&server.bucket).send().await;
    assert_refused(&refusal(answer), 501, "NotImplemented", "A header you provided");
    server.put("a", *b"x").await;
    assert_eq!(keys_of_v1(&server, &client, None).await, ["a"]);
}

#[tokio::test]
async fn list_v2_can_be_treated_as_v1() {
    for (traits, goes_on) in [(PLAIN, true), (CEPH, false)] {
        let (server, client) = emulating(traits).await;
        for key in ["a", "b", "c"] {
            server.put(key, *b"x").await;
        }
        let list = client.list_objects_v2().bucket(&server.bucket).max_keys(2);
        let page = list.clone().send().await.unwrap();
        assert_eq!((page.contents().len(), page.is_truncated()), (2, Some(true)));
        assert_eq!(page.next_continuation_token().is_some(), goes_on);
        let next = list.continuation_token("b").send().await.unwrap();
        assert_eq!(next.contents()[0].key(), Some(if goes_on { "c" } else { "a" }));
        assert_eq!(keys_of_v1(&server, &client, Some("b".to_owned())).await, ["c"]);
    }
}

#[tokio::test]
async fn list_v1_has_next_marker_only_with_delimiter() {
    let (server, client) = emulating(PLAIN).await;
    for key in ["f/a", "f/b", "f/d/x", "f/e"] {
        server.put(key, *b"x").await;
    }
    let list = client.list_objects().bucket(&server.bucket).prefix("f/").max_keys(2);
    let flat = list.clone().send().await.unwrap();
    assert_eq!((flat.is_truncated(), flat.next_marker()), (Some(true), None));
    assert!(flat.contents()[0].e_tag().is_some());
    let page = list.clone().delimiter("/").send().await.unwrap();
    assert_eq!(page.next_marker(), Some("f/b"));
    let page = list.delimiter("/").marker("f/b").send().await.unwrap();
    assert_eq!(page.common_prefixes()[0].prefix(), Some("f/d/"));
    assert_eq!(page.contents()[0].key(), Some("f/e"));
}

#[tokio::test]
async fn upload_listing_can_be_limited_to_one_key() {
    for (traits, found) in [(PLAIN, [1, 2, 2]), (MINIO, [1, 0, 0])] {
        let (server, client) = emulating(traits).await;
        for key in ["f/a&b", "f/c"] {
            server.abandon_upload(key, false).await;
        }
        for (prefix, expected) in [Some("f/a&b"), Some("f/"), None].into_iter().zip(found) {
            let list = client.list_multipart_uploads().bucket(&server.bucket);
            let uploads = list.set_prefix(prefix.map(str::to_owned)).send().await.unwrap();
            assert_eq!(uploads.uploads().len(), expected, "{prefix:?}");
        }
    }
}
