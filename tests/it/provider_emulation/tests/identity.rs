//! Account keys, signatures and regions.

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Region;
use bytes::Bytes;
use http::Request;
use serde_json::json;

use super::super::Traits;
use super::super::providers::{
    ALL, AWS_LOCKED, BACKBLAZE, CEPH, CLOUDFLARE, GARAGE, MEGA, MINIO, SCALEWAY, STORAGEGRID,
};
use super::super::traits::PLAIN;
use super::{assert_refused, document, emulating, refusal};
use crate::provider_emulation::named;
use crate::relay::{collect, pass_on};
use crate::support::TestServer;

fn with_keys(server: &TestServer, key_id: &str, secret: &str) -> Client {
    let keys = Credentials::new(key_id, secret, None, None, "tests");
    Client::from_conf(server.sdk().credentials_provider(keys).build())
}

/// A key id of the same form as the valid one.
fn unknown_key(traits: &Traits) -> String {
    traits.access_key_id.chars().rev().collect()
}

#[test]
fn provider_names_are_unique() {
    for traits in ALL {
        assert_eq!(named(traits.name).access_key_id, traits.access_key_id);
    }
}

#[tokio::test]
async fn valid_account_keys_are_accepted_by_every_provider() {
    // The SDK cannot read the answers of `odd`.
    let plain = ALL.into_iter().filter(|traits| !traits.odd);
    for traits in plain.chain([PLAIN]) {
        let (server, client) = emulating(traits).await;
        client.list_objects().bucket(&server.bucket).send().await.unwrap();
        let answer = client.get_object().bucket(&server.bucket).key("none").send().await;
        let code = if traits.missing.is_some() { "AccessDenied" } else { "NoSuchKey" };
        assert_eq!(refusal(answer).1, code, "{}", traits.name);
    }
}

#[tokio::test]
async fn unknown_key_gets_the_refusal_of_the_provider() {
    for (traits, status, code, message) in [
        (AWS_LOCKED, 403, "InvalidAccessKeyId", "The access key"),
        (BACKBLAZE, 403, "InvalidAccessKeyId", "The key '1000000000a10987654321400' is not valid"),
        (CEPH, 403, "InvalidAccessKeyId", ""),
        (CLOUDFLARE, 401, "Unauthorized", "Unauthorized"),
        (GARAGE, 403, "AccessDenied", "Forbidden: No such key: e9324"),
        (MEGA, 403, "InvalidAccessKeyId", ""),
        (MINIO, 403, "InvalidAccessKeyId", ""),
        (SCALEWAY, 403, "InvalidAccessKeyId", ""),
        (STORAGEGRID, 403, "InvalidAccessKeyId", ""),
    ] {
        let (server, _) = emulating(traits).await;
        let client = with_keys(&server, &unknown_key(&traits), "x");
        // StorageGRID would refuse ListObjectsV2 itself.
        let answer = client.list_objects().bucket(&server.bucket).send().await;
        assert_refused(&refusal(answer), status, code, message);
    }
}

#[tokio::test]
async fn wrong_secret_gets_the_refusal_of_the_provider() {
    for (traits, code, message) in [
        (BACKBLAZE, "SignatureDoesNotMatch", "Signature validation failed"),
        (CEPH, "SignatureDoesNotMatch", ""),
        (CLOUDFLARE, "SignatureDoesNotMatch", "The request signature we calculated"),
        (GARAGE, "AccessDenied", "Forbidden: Invalid signature"),
        (MEGA, "SignatureDoesNotMatch", "Request signature does not match"),
        (MINIO, "SignatureDoesNotMatch", ""),
    ] {
        let (server, _) = emulating(traits).await;
        let client = with_keys(&server, traits.access_key_id, "x");
        // Also where this request is rewritten.
        let answer = client.list_objects_v2().bucket(&server.bucket).send().await;
        assert_refused(&refusal(answer), 403, code, message);
        let put = client.put_object().bucket(&server.bucket).key("k").if_none_match("*");
        if traits.name != BACKBLAZE.name {
            assert_refused(&refusal(put.send().await), 403, code, message);
        }
        assert_eq!(server.objects().await, []);
    }
}

#[tokio::test]
async fn payload_mismatch_is_refused_on_rewritten_requests_too() {
    let (server, client) = emulating(GARAGE).await;
    let put = client.put_object().bucket(&server.bucket).key("k").body(b"x".to_vec().into());
    let put = put.if_none_match("*").customize().interceptor(crate::support::SignedForOther);
    assert_eq!(refusal(put.send().await).1, "XAmzContentSHA256Mismatch");
    assert_eq!(server.objects().await, []);
}

#[tokio::test]
async fn key_id_of_other_service_is_detected_by_length() {
    for (traits, status, code, message) in [
        (BACKBLAZE, 403, "InvalidAccessKeyId", "Malformed Access Key Id"),
        (CLOUDFLARE, 400, "InvalidArgument", "Credential access key has length 12, should be 32"),
    ] {
        let (server, _) = emulating(traits).await;
        let client = with_keys(&server, "0123456789ab", "x");
        let answer = client.list_objects_v2().bucket(&server.bucket).send().await;
        assert_refused(&refusal(answer), status, code, message);
    }
}

#[tokio::test]
async fn wrong_region_is_refused_where_it_matters() {
    for (traits, code, named, message) in [
        (AWS_LOCKED, "AuthorizationHeaderMalformed", Some("eu-central-1"), "The authorization"),
        (CLOUDFLARE, "InvalidRegionName", None, "The region name 'mars-1' is not valid. Must be"),
        (GARAGE, "AuthorizationHeaderMalformed", Some("garage"), "Authorization header malformed"),
        (MINIO, "AuthorizationHeaderMalformed", Some("nas-1"), "The authorization header"),
    ] {
        let (server, _) = emulating(traits).await;
        let elsewhere = Client::from_conf(server.sdk().region(Region::new("mars-1")).build());
        let list = elsewhere.list_objects_v2().bucket(&server.bucket);
        assert_refused(&refusal(list.clone().send().await), 400, code, message);
        let document = document(list.send().await);
        let region = named.map(|region| format!("<Region>{region}</Region>"));
        assert_eq!(document.contains("<Region>"), region.is_some(), "{document}");
        assert!(document.contains(&region.unwrap_or_default()), "{document}");
    }
    for (traits, region) in [(CLOUDFLARE, "us-east-1"), (BACKBLAZE, "mars-1"), (CEPH, "mars-1")] {
        let (server, _) = emulating(traits).await;
        let elsewhere = Client::from_conf(server.sdk().region(Region::new(region)).build());
        elsewhere.list_objects_v2().bucket(&server.bucket).send().await.unwrap();
    }
}

#[tokio::test]
async fn error_members_match_those_of_the_provider() {
    let missing = |server: &TestServer, client: &Client| {
        client.get_object().bucket(&server.bucket).key("none").send()
    };
    let (server, client) = emulating(CEPH).await;
    assert!(!document(missing(&server, &client).await).contains("<Message>"));
    let (server, client) = emulating(GARAGE).await;
    let said = document(missing(&server, &client).await);
    assert!(said.contains("<Message>") && said.contains("<Region>garage</Region>"), "{said}");
    let (server, client) = emulating(MINIO).await;
    let said = document(missing(&server, &client).await);
    assert!(said.contains("<Message>") && !said.contains("<Region>"), "{said}");
    let head = client.head_object().bucket(&server.bucket).key("none").send().await.unwrap_err();
    let head = head.raw_response().unwrap();
    assert_eq!(head.status().as_u16(), 404);
    assert_eq!(head.headers().get("x-minio-error-code"), Some("NoSuchKey"));
}

#[tokio::test]
async fn unsigned_request_is_refused() {
    for (traits, status, code) in [
        (BACKBLAZE, 401, "<Code>UnauthorizedAccess</Code>"),
        (CEPH, 403, "<Code>AccessDenied</Code>"),
        (CLOUDFLARE, 401, "<Code>Unauthorized</Code>"),
        (GARAGE, 403, "Garage does not support anonymous access yet"),
        (MEGA, 400, "<Code>MissingSecurityHeader</Code>"),
        (MINIO, 403, "<Code>AccessDenied</Code>"),
    ] {
        let server = TestServer::emulating(traits).await;
        let endpoint = server.config()["endpoint"].as_str().unwrap().to_owned();
        let address = endpoint.trim_start_matches("http://");
        let path = format!("/{}?list-type=2", server.bucket);
        let (head, ()) = Request::get(path).header("host", address).body(()).unwrap().into_parts();
        let answer = pass_on(address.parse().unwrap(), head, Bytes::new()).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{}", traits.name);
        assert!(answer.headers().contains_key("date"));
        for (name, value) in traits.headers {
            assert_eq!(answer.headers()[*name], *value);
        }
        let said = String::from_utf8(collect(answer.into_body()).await.unwrap().to_vec()).unwrap();
        assert!(said.contains(code), "{}: {said}", traits.name);
        // The agent gets the same account keys as every client.
        assert_eq!(server.target(json!({})).access_key_id, traits.access_key_id);
    }
}
