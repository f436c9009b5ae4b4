//! TLS: which certificates are taken, and what is said about the others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use s3_backup_agent::config::DEFAULT_PART_SIZE;
use s3_backup_agent::demo::host::Host;
use s3_backup_agent::protocol::ErrorObject;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

use super::certificates::{Authority, Identity, set_years};
use super::wire::{Act, Wire};
use super::{address, detail, list_error, open, there_and_back};
use crate::support::TestServer;

const HOST: &str = "127.0.0.1";

/// The embedded server behind a certificate.
struct Secured {
    server: TestServer,
    wire: Wire,
    identity: Arc<Identity>,
}

impl Secured {
    async fn start(identity: Arc<Identity>) -> Self {
        let server = TestServer::embedded().await;
        let wire = Wire::with_tls(address(&server), Arc::clone(&identity), |_| Act::Pass).await;
        Self { server, wire, identity }
    }

    async fn open(&self, changes: Value) -> Host {
        open(&self.server, &self.wire.https(), changes, &[]).await.unwrap()
    }

    /// How the storage is refused, with reason and field as they should be.
    async fn refusal(&self, changes: Value, reason: &str, field: &str) -> ErrorObject {
        let error = list_error(&self.open(changes).await).await;
        assert_eq!(error.data.code, "tls_untrusted", "{error:?}");
        assert_eq!(detail(&error, "reason"), reason, "{error:?}");
        assert_eq!(error.data.field.as_deref(), Some(field));
        assert!(!error.data.retryable);
        assert_eq!(detail(&error, "sha256"), self.identity.sha256());
        assert_eq!(detail(&error, "subject"), "CN=Test storage");
        error
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_issuer_is_refused_until_it_is_given() {
    let authority = Authority::new();
    let secured = Secured::start(authority.issue(&[HOST], 2000..3000)).await;
    let error = secured.refusal(json!({}), "unknown_issuer", "ca_certificate").await;
    assert_eq!(detail(&error, "issuer"), "CN=Test authority");

    let host = secured.open(json!({})).await;
    let validated = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
    let check = &validated["checks"][3];
    assert_eq!((&check["name"], &check["error"]["code"]), (&json!("tls"), &json!("tls_untrusted")));
    assert_eq!(check["error"]["details"]["sha256"], secured.identity.sha256());

    // Other certificates beside it do no harm.
    let both = format!("{}\r\n{}", Authority::new().pem, authority.pem);
    there_and_back(&secured.open(json!({"ca_certificate": both})).await).await;
    let host = secured.open(json!({"ca_certificate": authority.pem})).await;
    assert_eq!(crate::e2e::ids(&host).await, ["large", "small"]);
    // One of another issuer does not help.
    let other = json!({"ca_certificate": Authority::new().pem});
    secured.refusal(other, "unknown_issuer", "ca_certificate").await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused_until_it_is_given() {
    for is_authority in [false, true] {
        let secured = Secured::start(Identity::self_signed(HOST, is_authority)).await;
        let error = secured.refusal(json!({}), "self_signed", "ca_certificate").await;
        assert_eq!(detail(&error, "issuer"), "CN=Test storage");
        let given = json!({"ca_certificate": secured.identity.pem});
        there_and_back(&secured.open(given).await).await;
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    let given = json!({"ca_certificate": authority.pem});
    let secured = Secured::start(authority.issue(&["storage.example"], 2000..3000)).await;
    secured.refusal(given, "name_mismatch", "endpoint").await;

    let secured = Secured::start(Identity::self_signed("storage.example", false)).await;
    let given = json!({"ca_certificate": secured.identity.pem});
    secured.refusal(given, "name_mismatch", "endpoint").await;
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused() {
    let authority = Authority::new();
    for (years, reason) in [(2000..2001, "expired"), (2900..3000, "not_yet_valid")] {
        let secured = Secured::start(authority.issue(&[HOST], years)).await;
        let given = json!({"ca_certificate": authority.pem});
        secured.refusal(given, reason, "ca_certificate").await;
    }
}

#[tokio::test]
async fn certificate_problem_is_named_where_its_issuer_is_known() {
    let authority = Authority::new();
    let for_clients = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    };
    let as_authority = |params: &mut rcgen::CertificateParams| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    };
    let constrained = Authority::with(|params| {
        let elsewhere = rcgen::GeneralSubtree::DnsName("elsewhere.example".to_owned());
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![elsewhere],
            excluded_subtrees: vec![rcgen::GeneralSubtree::IpAddress(rcgen::CidrSubnet::V4(
                [0; 4], [0; 4],
            ))],
        });
    });
    for (authority, identity, words) in [
        (&authority, authority.issue_with(&[HOST], for_clients), "extended key usage"),
        (&authority, authority.issue_with(&[HOST], as_authority), "a CA certificate"),
        (&constrained, constrained.issue(&[HOST], 2000..3000), "name constraints"),
    ] {
        let secured = Secured::start(identity).await;
        let given = json!({"ca_certificate": authority.pem});
        let error = secured.refusal(given, "invalid", "ca_certificate").await;
        assert!(error.message.contains(words), "{}", error.message);
        assert!(!error.message.contains("set the CA"), "{}", error.message);
    }
}

#[tokio::test]
async fn given_certificate_out_of_its_time_is_refused_with_its_date() {
    for (years, reason, words) in [
        (2000..2001, "expired", "expired on 2001-01-01"),
        (2900..3000, "not_yet_valid", "not valid before 2900-01-01"),
    ] {
        let authority = Authority::with(|params| set_years(params, years.clone()));
        let issued = authority.issue(&[HOST], 2000..3000);
        let own = Identity::self_signed_with(HOST, |params| set_years(params, years));
        for (identity, pem) in [(issued, authority.pem.clone()), (own.clone(), own.pem.clone())] {
            let secured = Secured::start(identity).await;
            let error = list_error(&secured.open(json!({"ca_certificate": pem})).await).await;
            assert_eq!(error.data.code, "tls_untrusted", "{error:?}");
            assert_eq!(detail(&error, "reason"), reason, "{error:?}");
            assert!(error.message.contains(words), "{}", error.message);
            assert!(error.message.contains("in the settings"), "{}", error.message);
            // One that is in its time helps, whatever lies beside it.
            let both = format!("{pem}\n{}", secured.identity.pem);
            if secured.identity.pem != pem {
                let host = secured.open(json!({"ca_certificate": both})).await;
                assert_eq!(crate::e2e::ids(&host).await, Vec::<String>::new());
            }
        }
        // Not given, an expired certificate that signed itself is not asked for.
        let own = Identity::self_signed_with(HOST, |params| set_years(params, 2000..2001));
        let secured = Secured::start(own).await;
        let error = secured.refusal(json!({}), "expired", "ca_certificate").await;
        assert!(!error.message.contains("set the CA"), "{}", error.message);
    }
}

#[tokio::test]
async fn given_certificate_without_ca_flag_vouches_for_itself_alone() {
    let authority = Authority::with(|params| params.is_ca = rcgen::IsCa::ExplicitNoCa);
    let secured = Secured::start(authority.issue(&[HOST], 2000..3000)).await;
    let given = json!({"ca_certificate": authority.pem});
    let error = list_error(&secured.open(given).await).await;
    assert_eq!(detail(&error, "reason"), "invalid", "{error:?}");
    assert!(error.message.contains("no CA flag"), "{}", error.message);
    let given = json!({"ca_certificate": secured.identity.pem});
    there_and_back(&secured.open(given).await).await;
}

#[tokio::test]
async fn without_verification_any_certificate_will_do_and_the_log_warns() {
    let secured = Secured::start(Authority::new().issue(&["other"], 2000..2001)).await;
    let host = secured.open(json!({"verify_tls": false})).await;
    there_and_back(&host).await;
    let log = host.stderr_lines();
    let warned = |line: &String| line.contains("\"warning\"") && line.contains("not verified");
    assert!(log.iter().any(warned), "{log:?}");
}

#[tokio::test]
async fn a_ca_certificate_that_is_none_is_refused_at_once() {
    let server = TestServer::embedded().await;
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let cut = Authority::new().pem.replace("-----END", "");
    for pem in ["garbage", garbage, &key, &cut] {
        let changes = json!({"ca_certificate": pem});
        let error = open(&server, "https://127.0.0.1:1", changes, &[]).await.unwrap_err();
        assert_eq!(error.data.code, "invalid_config", "{pem}");
        assert_eq!(error.data.field.as_deref(), Some("ca_certificate"), "{pem}");
    }
}

#[tokio::test]
async fn https_on_plain_port_names_http_only_for_http() {
    let server = TestServer::embedded().await;
    let nginx = b"HTTP/1.1 400 Bad Request\r\n\r\n<h1>The plain HTTP request was sent</h1>";
    for address in [address(&server), saying(nginx).await, saying(b"HTTP/1.0 400\r\n\r\n").await] {
        let https = format!("https://{address}");
        let host = open(&server, &https, json!({}), &[]).await.unwrap();
        let error = list_error(&host).await;
        assert_eq!(error.data.code, "invalid_endpoint", "{error:?}");
        assert_eq!(detail(&error, "reason"), "tls_on_plain_http");
        assert_eq!(error.data.field.as_deref(), Some("endpoint"));
        assert!(error.message.contains("plain HTTP"), "{}", error.message);
        assert_no_downgrade(&host, &error).await;
    }
    for words in [
        b"SSH-2.0-OpenSSH_9.9\r\n".as_slice(),
        b"HTTP",
        b"HTTQ/1.1 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"220 mail.test ESMTP\r\n",
        b"<html>400 Bad Request</html>",
        b"\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        // TLS by its first bytes only.
        b"\x16\x03\x03\xff\xff garbage",
        b"\x16HTTP/1.1 200 OK\r\n\r\n",
    ] {
        let https = format!("https://{}", saying(words).await);
        let host = open(&server, &https, json!({}), &[]).await.unwrap();
        let error = list_error(&host).await;
        assert_eq!(error.data.code, "tls_failed", "{} {error:?}", words.escape_ascii());
        assert_eq!(error.data.field.as_deref(), Some("endpoint"));
        assert!(!error.message.contains("HTTP"), "{}", error.message);
        assert_no_downgrade(&host, &error).await;
    }
    // A server that closes without a word may be starting.
    let https = format!("https://{}", saying(b"").await);
    let host = open(&server, &https, json!({}), &[]).await.unwrap();
    let error = list_error(&host).await;
    assert_eq!(error.data.code, "cannot_connect", "{error:?}");
    assert_no_downgrade(&host, &error).await;
}

/// Neither the error nor what `validate` finds leads from https to http.
async fn assert_no_downgrade(host: &Host, error: &ErrorObject) {
    let validated = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
    assert_eq!(validated["ok"], false);
    for text in [serde_json::to_string(error).unwrap(), validated.to_string()] {
        assert!(!text.contains("http://"), "{text}");
    }
}

#[tokio::test]
async fn certificate_too_large_has_a_sentence_of_its_own() {
    let secured = Secured::start(Identity::self_signed_before(HOST, vec![4; 600_000])).await;
    let host = secured.open(json!({})).await;
    let error = list_error(&host).await;
    assert_eq!(error.data.code, "tls_failed", "{error:?}");
    assert!(error.message.contains("larger than 64 KiB"), "{}", error.message);
    assert_no_downgrade(&host, &error).await;
}

#[tokio::test]
async fn a_server_that_refuses_the_handshake_is_explained() {
    let server = TestServer::embedded().await;
    let handshake_failure = saying(b"\x15\x03\x03\x00\x02\x02\x28").await;
    let https = format!("https://{handshake_failure}");
    let error = list_error(&open(&server, &https, json!({}), &[]).await.unwrap()).await;
    assert_eq!(error.data.code, "tls_failed", "{error:?}");
    assert_eq!(error.data.field.as_deref(), Some("endpoint"));
}

/// A server that says the same to everybody, whatever it is asked.
pub(super) async fn saying(words: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(words).await;
        }
    });
    address
}

#[tokio::test]
async fn http_on_a_port_with_tls_is_explained() {
    let server = TestServer::embedded().await;
    let secured = Secured::start(Authority::new().issue(&[HOST], 2000..3000)).await;
    let in_text =
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let alert = b"\x15\x03\x01\x00\x02\x02\x46";
    for address in [saying(in_text).await, saying(alert).await, secured.wire.address] {
        let http = format!("http://{address}");
        let error = list_error(&open(&server, &http, json!({}), &[]).await.unwrap()).await;
        assert_eq!(error.data.code, "invalid_endpoint", "{error:?}");
        assert_eq!(detail(&error, "reason"), "plain_http_on_tls");
        assert_eq!(error.data.field.as_deref(), Some("endpoint"));
        assert!(error.message.contains("https://"), "{}", error.message);
    }
    // The ports of gRPC, and of what speaks first.
    for words in [&b"\0\0\x12\x04\0\0\0\0\0"[..], b"SSH-2.0-OpenSSH_9.9\r\n", b"HT", b"ok"] {
        let http = format!("http://{}", saying(words).await);
        let error = list_error(&open(&server, &http, json!({}), &[]).await.unwrap()).await;
        if words == b"HT" {
            assert_ne!(error.data.code, "internal", "{error:?}");
            continue;
        }
        assert_eq!(error.data.code, "invalid_endpoint", "{error:?}");
        assert_eq!(detail(&error, "reason"), "not_http");
        assert!(!error.message.contains("https"), "{}", error.message);
    }
    // Some close the connection without a word; this may also be a storage that is starting.
    let http = format!("http://{}", saying(b"").await);
    let error = list_error(&open(&server, &http, json!({}), &[]).await.unwrap()).await;
    assert_eq!(error.data.code, "network_lost", "{error:?}");
    assert!(error.data.retryable && error.message.contains("https://"), "{}", error.message);
}

#[tokio::test]
async fn parts_travel_at_the_same_time_on_connections_of_their_own() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST], 2000..3000);
    let server = TestServer::embedded().await;
    let all_there = Arc::new(Barrier::new(4));
    let wire = Wire::with_tls(address(&server), Arc::clone(&identity), move |head| {
        let is_part = super::seen::part(&head.uri).is_some();
        if is_part { Act::Meet(Arc::clone(&all_there)) } else { Act::Pass }
    });
    let wire = wire.await;
    let given = json!({"ca_certificate": authority.pem});
    let host = open(&server, &wire.https(), given, &[]).await.unwrap();
    crate::e2e::store(&host, "parts", 1, 4 * DEFAULT_PART_SIZE).await;
    let seen = wire.seen();
    let parts = seen.iter().filter(|seen| super::seen::part(&seen.uri).is_some());
    let connections: std::collections::BTreeSet<_> = parts.map(|seen| seen.connection).collect();
    assert_eq!(connections.len(), 4, "{connections:?}");
    let protocols = identity.protocols();
    assert!(protocols.iter().all(|name| name == "http/1.1"), "{protocols:?}");
}

/// A way to `upstream` on which one byte is damaged in each direction, once.
async fn damaging(upstream: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let damage = [Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true))];
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let (near_in, near_out) = near.into_split();
            let far = TcpStream::connect(upstream).await.unwrap();
            let (far_in, far_out) = far.into_split();
            let [there, back] = damage.each_ref().map(Arc::clone);
            tokio::spawn(pump(near_in, far_out, there));
            tokio::spawn(pump(far_in, near_out, back));
        }
    });
    address
}

/// Copies, and damages a byte behind the first mebibyte if that is still wanted.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, damage: Arc<AtomicBool>) {
    let (mut block, mut copied) = ([0; 64 << 10], 0);
    while let Ok(length @ 1..) = from.read(&mut block).await {
        copied += length;
        if copied > 1 << 20 && damage.swap(false, Ordering::Relaxed) {
            block[0] ^= 1;
        }
        if to.write_all(&block[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_damaged_byte_on_the_way_is_noticed_and_sent_again() {
    let secured = Secured::start(Identity::self_signed(HOST, false)).await;
    let https = format!("https://{}", damaging(secured.wire.address).await);
    let given = json!({"ca_certificate": secured.identity.pem});
    there_and_back(&open(&secured.server, &https, given, &[]).await.unwrap()).await;
    // A small backup and eight parts each way, and the damaged ones.
    let seen = secured.wire.seen();
    let gets = seen.iter().filter(|seen| !seen.header("range").is_empty()).count();
    assert_eq!(gets, 1 + 8 + 1);
}
