//! TLS: which certificates are accepted, and how the agent explains the others.

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
use super::{address, detail, list_error, open, round_trip};
use crate::support::TestServer;

const HOST: &str = "127.0.0.1";

/// The embedded server behind a certificate.
struct TlsServer {
    server: TestServer,
    wire: Wire,
    identity: Arc<Identity>,
}

impl TlsServer {
    async fn start(identity: Arc<Identity>) -> Self {
        let server = TestServer::embedded().await;
        let wire = Wire::with_tls(address(&server), Arc::clone(&identity), |_| Act::Pass).await;
        Self { server, wire, identity }
    }

    async fn open(&self, changes: Value) -> Host {
        open(&self.server, &self.wire.https(), changes, &[]).await.unwrap()
    }

    /// The error of the refused connection, checked for this reason and field.
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
async fn certificate_of_unknown_issuer_needs_ca_certificate() {
    let authority = Authority::new();
    let tls_server = TlsServer::start(authority.issue(&[HOST], 2000..3000)).await;
    let error = tls_server.refusal(json!({}), "unknown_issuer", "ca_certificate").await;
    assert_eq!(detail(&error, "issuer"), "CN=Test authority");

    let host = tls_server.open(json!({})).await;
    let validated = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
    let check = &validated["checks"][3];
    assert_eq!((&check["name"], &check["error"]["code"]), (&json!("tls"), &json!("tls_untrusted")));
    assert_eq!(check["error"]["details"]["sha256"], tls_server.identity.sha256());

    // Other certificates beside it do not matter.
    let both = format!("{}\r\n{}", Authority::new().pem, authority.pem);
    round_trip(&tls_server.open(json!({"ca_certificate": both})).await).await;
    let host = tls_server.open(json!({"ca_certificate": authority.pem})).await;
    assert_eq!(crate::e2e::ids(&host).await, ["large", "small"]);
    // The certificate of another issuer does not help.
    let other = json!({"ca_certificate": Authority::new().pem});
    tls_server.refusal(other, "unknown_issuer", "ca_certificate").await;
}

#[tokio::test]
async fn self_signed_certificate_needs_ca_certificate() {
    for is_authority in [false, true] {
        let tls_server = TlsServer::start(Identity::self_signed(HOST, is_authority)).await;
        let error = tls_server.refusal(json!({}), "self_signed", "ca_certificate").await;
        assert_eq!(detail(&error, "issuer"), "CN=Test storage");
        let given = json!({"ca_certificate": tls_server.identity.pem});
        round_trip(&tls_server.open(given).await).await;
    }
}

#[tokio::test]
async fn certificate_for_other_host_is_refused() {
    let authority = Authority::new();
    let given = json!({"ca_certificate": authority.pem});
    let tls_server = TlsServer::start(authority.issue(&["storage.example"], 2000..3000)).await;
    tls_server.refusal(given, "name_mismatch", "endpoint").await;

    let tls_server = TlsServer::start(Identity::self_signed("storage.example", false)).await;
    let given = json!({"ca_certificate": tls_server.identity.pem});
    tls_server.refusal(given, "name_mismatch", "endpoint").await;
}

#[tokio::test]
async fn certificate_expired_or_not_yet_valid_is_refused() {
    let authority = Authority::new();
    for (years, reason) in [(2000..2001, "expired"), (2900..3000, "not_yet_valid")] {
        let tls_server = TlsServer::start(authority.issue(&[HOST], years)).await;
        let given = json!({"ca_certificate": authority.pem});
        tls_server.refusal(given, reason, "ca_certificate").await;
    }
}

#[tokio::test]
async fn certificate_problem_of_known_issuer_is_named() {
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
        let tls_server = TlsServer::start(identity).await;
        let given = json!({"ca_certificate": authority.pem});
        let error = tls_server.refusal(given, "invalid", "ca_certificate").await;
        assert!(error.message.contains(words), "{}", error.message);
        assert!(!error.message.contains("set the CA"), "{}", error.message);
    }
}

#[tokio::test]
async fn given_certificate_that_expired_is_refused_with_its_date() {
    for (years, reason, words) in [
        (2000..2001, "expired", "expired on 2001-01-01"),
        (2900..3000, "not_yet_valid", "not valid before 2900-01-01"),
    ] {
        let authority = Authority::with(|params| set_years(params, years.clone()));
        let issued = authority.issue(&[HOST], 2000..3000);
        let own = Identity::self_signed_with(HOST, |params| set_years(params, years));
        for (identity, pem) in [(issued, authority.pem.clone()), (own.clone(), own.pem.clone())] {
            let tls_server = TlsServer::start(identity).await;
            let error = list_error(&tls_server.open(json!({"ca_certificate": pem})).await).await;
            assert_eq!(error.data.code, "tls_untrusted", "{error:?}");
            assert_eq!(detail(&error, "reason"), reason, "{error:?}");
            assert!(error.message.contains(words), "{}", error.message);
            assert!(error.message.contains("in the settings"), "{}", error.message);
            // A valid one helps, whatever other certificates are in the file.
            let both = format!("{pem}\n{}", tls_server.identity.pem);
            if tls_server.identity.pem != pem {
                let host = tls_server.open(json!({"ca_certificate": both})).await;
                assert_eq!(crate::e2e::ids(&host).await, Vec::<String>::new());
            }
        }
        // When it is not given, the agent does not ask for an expired self-signed certificate.
        let own = Identity::self_signed_with(HOST, |params| set_years(params, 2000..2001));
        let tls_server = TlsServer::start(own).await;
        let error = tls_server.refusal(json!({}), "expired", "ca_certificate").await;
        assert!(!error.message.contains("set the CA"), "{}", error.message);
    }
}

#[tokio::test]
async fn given_certificate_without_ca_flag_trusts_only_itself() {
    let authority = Authority::with(|params| params.is_ca = rcgen::IsCa::ExplicitNoCa);
    let tls_server = TlsServer::start(authority.issue(&[HOST], 2000..3000)).await;
    let given = json!({"ca_certificate": authority.pem});
    let error = list_error(&tls_server.open(given).await).await;
    assert_eq!(detail(&error, "reason"), "invalid", "{error:?}");
    assert!(error.message.contains("no CA flag"), "{}", error.message);
    let given = json!({"ca_certificate": tls_server.identity.pem});
    round_trip(&tls_server.open(given).await).await;
}

#[tokio::test]
async fn verify_tls_off_accepts_any_certificate_and_warns() {
    let tls_server = TlsServer::start(Authority::new().issue(&["other"], 2000..2001)).await;
    let host = tls_server.open(json!({"verify_tls": false})).await;
    round_trip(&host).await;
    let log = host.stderr_lines();
    let warned = |line: &String| line.contains("\"warning\"") && line.contains("not verified");
    assert!(log.iter().any(warned), "{log:?}");
}

#[tokio::test]
async fn invalid_ca_certificate_is_refused_at_once() {
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
async fn https_on_plain_http_port_suggests_http() {
    let server = TestServer::embedded().await;
    let nginx = b"HTTP/1.1 400 Bad Request\r\n\r\n<h1>The plain HTTP request was sent</h1>";
    for address in [
        address(&server),
        always_sending(nginx).await,
        always_sending(b"HTTP/1.0 400\r\n\r\n").await,
    ] {
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
        // Looks like TLS only in its first bytes.
        b"\x16\x03\x03\xff\xff garbage",
        b"\x16HTTP/1.1 200 OK\r\n\r\n",
    ] {
        let https = format!("https://{}", always_sending(words).await);
        let host = open(&server, &https, json!({}), &[]).await.unwrap();
        let error = list_error(&host).await;
        assert_eq!(error.data.code, "tls_failed", "{} {error:?}", words.escape_ascii());
        assert_eq!(error.data.field.as_deref(), Some("endpoint"));
        assert!(!error.message.contains("HTTP"), "{}", error.message);
        assert_no_downgrade(&host, &error).await;
    }
    // A server that closes the connection without an answer may be starting.
    let https = format!("https://{}", always_sending(b"").await);
    let host = open(&server, &https, json!({}), &[]).await.unwrap();
    let error = list_error(&host).await;
    assert_eq!(error.data.code, "cannot_connect", "{error:?}");
    assert_no_downgrade(&host, &error).await;
}

/// Neither the error nor the result of `validate` suggests changing https to http.
async fn assert_no_downgrade(host: &Host, error: &ErrorObject) {
    let validated = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
    assert_eq!(validated["ok"], false);
    for text in [serde_json::to_string(error).unwrap(), validated.to_string()] {
        assert!(!text.contains("http://"), "{text}");
    }
}

#[tokio::test]
async fn certificate_too_large_has_its_own_message() {
    let tls_server = TlsServer::start(Identity::self_signed_before(HOST, vec![4; 600_000])).await;
    let host = tls_server.open(json!({})).await;
    let error = list_error(&host).await;
    assert_eq!(error.data.code, "tls_failed", "{error:?}");
    assert!(error.message.contains("larger than 64 KiB"), "{}", error.message);
    assert_no_downgrade(&host, &error).await;
}

#[tokio::test]
async fn tls_handshake_refused_is_explained() {
    let server = TestServer::embedded().await;
    let handshake_failure = always_sending(b"\x15\x03\x03\x00\x02\x02\x28").await;
    let https = format!("https://{handshake_failure}");
    let error = list_error(&open(&server, &https, json!({}), &[]).await.unwrap()).await;
    assert_eq!(error.data.code, "tls_failed", "{error:?}");
    assert_eq!(error.data.field.as_deref(), Some("endpoint"));
}

/// A server that sends the same bytes to every client.
pub(super) async fn always_sending(words: &'static [u8]) -> SocketAddr {
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
async fn http_on_tls_port_is_explained() {
    let server = TestServer::embedded().await;
    let tls_server = TlsServer::start(Authority::new().issue(&[HOST], 2000..3000)).await;
    let in_text =
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let alert = b"\x15\x03\x01\x00\x02\x02\x46";
    for address in
        [always_sending(in_text).await, always_sending(alert).await, tls_server.wire.address]
    {
        let http = format!("http://{address}");
        let error = list_error(&open(&server, &http, json!({}), &[]).await.unwrap()).await;
        assert_eq!(error.data.code, "invalid_endpoint", "{error:?}");
        assert_eq!(detail(&error, "reason"), "plain_http_on_tls");
        assert_eq!(error.data.field.as_deref(), Some("endpoint"));
        assert!(error.message.contains("https://"), "{}", error.message);
    }
    // The ports of gRPC, and of protocols in which the server speaks first.
    for words in [&b"\0\0\x12\x04\0\0\0\0\0"[..], b"SSH-2.0-OpenSSH_9.9\r\n", b"HT", b"ok"] {
        let http = format!("http://{}", always_sending(words).await);
        let error = list_error(&open(&server, &http, json!({}), &[]).await.unwrap()).await;
        if words == b"HT" {
            assert_ne!(error.data.code, "internal", "{error:?}");
            continue;
        }
        assert_eq!(error.data.code, "invalid_endpoint", "{error:?}");
        assert_eq!(detail(&error, "reason"), "not_http");
        assert!(!error.message.contains("https"), "{}", error.message);
    }
    // Some servers close the connection without an answer; it may also be a server that is
    // starting.
    let http = format!("http://{}", always_sending(b"").await);
    let error = list_error(&open(&server, &http, json!({}), &[]).await.unwrap()).await;
    assert_eq!(error.data.code, "network_lost", "{error:?}");
    assert!(error.data.retryable && error.message.contains("https://"), "{}", error.message);
}

#[tokio::test]
async fn parallel_parts_use_separate_connections() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST], 2000..3000);
    let server = TestServer::embedded().await;
    let all_there = Arc::new(Barrier::new(4));
    let wire = Wire::with_tls(address(&server), Arc::clone(&identity), move |head| {
        let is_part = super::recorded_request::part(&head.uri).is_some();
        if is_part { Act::AtBarrier(Arc::clone(&all_there)) } else { Act::Pass }
    });
    let wire = wire.await;
    let given = json!({"ca_certificate": authority.pem});
    let host = open(&server, &wire.https(), given, &[]).await.unwrap();
    crate::e2e::store(&host, "parts", 1, 4 * DEFAULT_PART_SIZE).await;
    let seen = wire.take_requests();
    let parts = seen.iter().filter(|seen| super::recorded_request::part(&seen.uri).is_some());
    let connections: std::collections::BTreeSet<_> = parts.map(|seen| seen.connection).collect();
    assert_eq!(connections.len(), 4, "{connections:?}");
    let protocols = identity.protocols();
    assert!(protocols.iter().all(|name| name == "http/1.1"), "{protocols:?}");
}

/// A proxy to `upstream` that damages one byte in each direction, once.
async fn damaging_proxy(upstream: SocketAddr) -> SocketAddr {
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

/// Copies bytes, and damages one after the first mebibyte unless that has happened.
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
async fn tls_damaged_byte_is_detected_and_resent() {
    let tls_server = TlsServer::start(Identity::self_signed(HOST, false)).await;
    let https = format!("https://{}", damaging_proxy(tls_server.wire.address).await);
    let given = json!({"ca_certificate": tls_server.identity.pem});
    round_trip(&open(&tls_server.server, &https, given, &[]).await.unwrap()).await;
    // A small backup and eight parts in each direction, plus the damaged ones.
    let seen = tls_server.wire.take_requests();
    let gets = seen.iter().filter(|seen| !seen.header("range").is_empty()).count();
    assert_eq!(gets, 1 + 8 + 1);
}
