//! Single objects: their headers, and the conditions under which they are written.

use super::super::providers::{AWS_LOCKED, BACKBLAZE, CLOUDFLARE, GARAGE};
use super::super::traits::PLAIN;
use super::{assert_refused, emulating, refusal};

#[tokio::test]
async fn conditional_write_is_enforced_ignored_or_refused() {
    for (traits, expected) in [(PLAIN, 412), (GARAGE, 200), (BACKBLAZE, 501)] {
        let (server, client) = emulating(traits).await;
        server.put("k", *b"old").await;
        let put = client.put_object().bucket(&server.bucket).key("k").if_none_match("*");
        let answer = put.body(b"new".to_vec().into()).send().await;
        if expected == 200 {
            answer.unwrap();
            assert_eq!(server.get("k").await.unwrap(), b"new");
        } else {
            assert_eq!(refusal(answer).0, expected);
            assert_eq!(server.get("k").await.unwrap(), b"old");
        }
    }
}

#[tokio::test]
async fn second_write_can_be_refused_once_as_too_soon() {
    let (server, client) = emulating(CLOUDFLARE).await;
    let put = || client.put_object().bucket(&server.bucket).key("k").send();
    put().await.unwrap();
    assert_refused(&refusal(put().await), 429, "TooManyRequests", "Reduce your");
    put().await.unwrap();
    client.put_object().bucket(&server.bucket).key("other").send().await.unwrap();
}

#[tokio::test]
async fn versions_remain_after_delete() {
    let (server, client) = emulating(BACKBLAZE).await;
    let put = || client.put_object().bucket(&server.bucket).key("k").send();
    let first = put().await.unwrap().version_id.unwrap();
    let get = client.get_object().bucket(&server.bucket).key("k");
    assert_eq!(get.send().await.unwrap().version_id.unwrap(), first);
    let second = put().await.unwrap().version_id.unwrap();
    let head = client.head_object().bucket(&server.bucket).key("k").send().await.unwrap();
    assert_eq!(head.version_id.unwrap(), second);
    assert_ne!(first, second);
    let deleted = client.delete_object().bucket(&server.bucket).key("k").send().await.unwrap();
    assert_eq!(deleted.delete_marker, Some(true));
    let marker = deleted.version_id.unwrap();
    assert_eq!(server.objects().await, []);
    assert_eq!(server.emulation().versions(|path| path.ends_with("/k")), 3);
    let delete = client.delete_object().bucket(&server.bucket).key("k");
    // Restoring an older version by deleting the current one is not emulated.
    assert_eq!(refusal(delete.clone().version_id(&marker).send().await).0, 501);
    for version in [first, second, marker] {
        delete.clone().version_id(version).send().await.unwrap();
    }
    assert_eq!(server.emulation().versions(|_| true), 0);
    let (server, client) = emulating(PLAIN).await;
    let put = client.put_object().bucket(&server.bucket).key("k").send().await.unwrap();
    assert_eq!(put.version_id, None);
}

#[tokio::test]
async fn etag_can_differ_from_md5() {
    let (server, client) = emulating(AWS_LOCKED).await;
    server.put("k", *b"").await;
    let get = client.get_object().bucket(&server.bucket).key("k");
    let tag = get.clone().send().await.unwrap().e_tag.unwrap();
    // The MD5 of empty content begins with d41d.
    assert!(tag.starts_with("\"tkht"), "{tag}");
    let listed = client.list_objects_v2().bucket(&server.bucket).send().await.unwrap();
    assert_eq!(listed.contents()[0].e_tag(), Some(tag.as_str()));
    get.clone().if_match(&tag).send().await.unwrap();
    assert_eq!(refusal(get.if_match("\"tkhtg\"").send().await).0, 412);
}

#[tokio::test]
async fn missing_object_can_be_forbidden() {
    let (server, client) = emulating(AWS_LOCKED).await;
    let get = client.get_object().bucket(&server.bucket).key("none").send().await;
    assert_refused(&refusal(get), 403, "AccessDenied", "Access Denied");
    let head = client.head_object().bucket(&server.bucket).key("none").send().await;
    assert_eq!(refusal(head).0, 403);
    server.put("k", *b"x").await;
    client.get_object().bucket(&server.bucket).key("k").send().await.unwrap();
}
