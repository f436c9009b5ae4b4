//! Providers at their own addresses: the agent's built-in knowledge matches how they behave.
//!
//! The settings contain only an endpoint and account keys. A proxy leads to an emulated provider
//! with the name and the certificate of the real one.

use serde_json::{Value, json};

use super::certificates::Authority;
use super::recorded_request::{RecordedRequest, part};
use super::wire::{Act, Wire};
use super::{address, open, round_trip};
use crate::provider_emulation::{PLAIN, Traits, named};
use crate::random_data::RandomData;
use crate::support::TestServer;
use s3_backup_agent::demo::host::Host;

/// An emulated provider at an endpoint.
struct EmulatedEndpoint {
    server: TestServer,
    wire: Wire,
    /// The proxy to it.
    _proxy: Wire,
    host: Host,
}

impl EmulatedEndpoint {
    async fn of(traits: Traits, endpoint: &str) -> Self {
        let server = TestServer::emulating(traits).await;
        let name = endpoint.trim_start_matches("https://");
        let authority = Authority::new();
        let identity = authority.issue(&[name, &format!("*.{name}")], 2000..3000);
        let wire = Wire::with_tls(address(&server), identity, |_| Act::Pass).await;
        let proxy = Wire::start(wire.address, |_| Act::Pass).await;
        let given = json!({"region": null, "ca_certificate": authority.pem});
        let environment = [("HTTPS_PROXY", proxy.http()), ("NO_PROXY", String::new())];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let host = open(&server, endpoint, given, &environment).await.unwrap();
        Self { server, wire, _proxy: proxy, host }
    }

    async fn validated(&self) -> Value {
        self.host.call("target.validate", json!({"target": "t1"})).await.unwrap()
    }
}

#[tokio::test]
async fn known_provider_needs_only_endpoint_and_keys() {
    for (name, endpoint, region, addressing_style) in [
        ("aws-locked", "https://s3.eu-central-1.amazonaws.com", "eu-central-1", "virtual"),
        ("backblaze", "https://s3.us-west-004.backblazeb2.com", "us-west-004", "path"),
        ("cloudflare", "https://0123456789abcdef.r2.cloudflarestorage.com", "auto", "path"),
        ("mega", "https://s3.eu-central-1.s4.mega.io", "eu-central-1", "path"),
        ("scaleway", "https://s3.fr-par.scw.cloud", "fr-par", "virtual"),
    ] {
        let emulated = EmulatedEndpoint::of(named(name), endpoint).await;
        let result = emulated.validated().await;
        assert_eq!(result["ok"], true, "{name}: {result}");
        assert_eq!(result.get("suggestion"), None, "{name}");
        // Nothing of the test remains, even where nothing is ever overwritten.
        assert_eq!(emulated.server.emulation().versions(|_| true), 0, "{name}");
        let details = &result["details"];
        assert_eq!(details["provider"], name.split('-').next().unwrap(), "{details}");
        assert_eq!(
            (&details["region"], &details["addressing_style"]),
            (&region.into(), &addressing_style.into())
        );
        round_trip(&emulated.host).await;
        assert_eq!(emulated.server.objects().await.len(), 4);
        let seen = emulated.wire.take_requests();
        let signed: Vec<_> =
            seen.iter().filter(|seen| !seen.header("authorization").is_empty()).collect();
        assert!(signed.len() > 10);
        for seen in signed {
            assert_eq!(seen.header("host").starts_with("test-"), addressing_style == "virtual");
            assert!(seen.header("authorization").contains(&format!("/{region}/s3/")), "{seen:?}");
        }
    }
}

/// Sizes of the first parts of an upload of this length.
async fn first_parts(emulated: &EmulatedEndpoint, length: u64) -> Vec<usize> {
    let size = json!({"size": length});
    let source = RandomData::new(1, 80 << 20);
    let cut =
        emulated.host.upload("t1", crate::e2e::backup("cut"), size, source).await.unwrap_err();
    assert_eq!(cut.data.code, "length_mismatch");
    let seen = emulated.wire.take_requests();
    seen.iter().filter(|seen| part(&seen.uri).is_some()).map(|seen| seen.length).collect()
}

#[tokio::test]
async fn part_size_grows_where_provider_allows_1000_parts() {
    const LENGTH: u64 = 30 << 30;
    for (name, endpoint, most) in [
        ("scaleway", "https://s3.nl-ams.scw.cloud", 1000),
        ("backblaze", "https://s3.us-west-004.backblazeb2.com", 10_000),
    ] {
        let emulated = EmulatedEndpoint::of(named(name), endpoint).await;
        let parts = first_parts(&emulated, LENGTH).await;
        assert!(!parts.is_empty(), "{name}");
        for size in parts {
            assert!(u64::try_from(size).unwrap() * most >= LENGTH, "{name}: {size}");
        }
    }
}

#[tokio::test]
async fn google_requests_omit_x_id_which_breaks_signatures() {
    let told = |seen: &RecordedRequest| seen.uri.query().unwrap_or_default().contains("x-id");
    for (endpoint, expected) in
        [("https://storage.googleapis.com", false), ("https://s3.example.org", true)]
    {
        let traits = Traits { access_key_id: "GOOGTS7C7FUP3AIRVJTE", ..PLAIN };
        let emulated = EmulatedEndpoint::of(traits, endpoint).await;
        assert_eq!(emulated.validated().await["ok"], true);
        round_trip(&emulated.host).await;
        assert_eq!(emulated.wire.take_requests().iter().any(told), expected, "{endpoint}");
    }
}
