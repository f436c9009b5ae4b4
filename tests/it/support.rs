//! The basis of the tests: a server, and a view of it that does not use the agent's S3 code.
//!
//! The server is the embedded one, with `TEST_S3_SERVER=emulation:NAME` one that emulates the
//! provider of this name, or with `TEST_S3_SERVER=external` the one that `TEST_S3_ENDPOINT`,
//! `TEST_S3_REGION`, `TEST_S3_ACCESS_KEY_ID` and `TEST_S3_SECRET_ACCESS_KEY` name; it is trusted by
//! the file `TEST_S3_CA_CERTIFICATE`, if that is set. Each test has its own bucket, or with
//! `TEST_S3_CREATE_BUCKETS=0` its own prefix in `TEST_S3_BUCKET`, and deletes its objects there at
//! the end.

mod intercept;
#[cfg(unix)]
mod signals;

use std::mem::ManuallyDrop;
use std::ops::Range;
use std::path::PathBuf;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use s3_backup_agent::config::{S3Config, TargetConfig};
use s3_backup_agent::demo::server::EmbeddedServer;
use serde_json::{Value, json};
use tempfile::TempDir;

use intercept::AnyRoot;
pub(crate) use intercept::SignedForOther;

use crate::provider_emulation::{EmulatedProvider, PLAIN, Traits, named};

/// The start of the names of the tests' buckets.
pub(crate) const BUCKET_NAME_START: &str = "test-";

/// The program under test. It starts with the default signals, whatever the tests inherited.
pub(crate) fn agent_command() -> PathBuf {
    #[cfg(unix)]
    signals::give_defaults();
    env!("CARGO_BIN_EXE_s3-backup-agent").into()
}

/// A server with a bucket or a prefix for one test.
#[derive(Debug)]
pub(crate) struct TestServer {
    pub(crate) bucket: String,
    /// Empty, or the prefix of the test, without slash.
    pub(crate) prefix: String,
    /// The settings that the agent gets.
    access: ServerAccess,
    /// Sees the server directly, not through the emulated provider.
    client: Client,
    emulation: Option<EmulatedProvider>,
    embedded: Option<(EmbeddedServer, TempDir)>,
}

/// A server and the account keys for it.
#[derive(Clone, Debug)]
struct ServerAccess {
    endpoint: String,
    region: String,
    access_key_id: String,
    secret_access_key: String,
    ca_file: Option<String>,
}

impl ServerAccess {
    fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The server that these variables name.
    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let needed = |name| variable(name).unwrap_or_else(|| panic!("{name} is needed"));
        Self {
            endpoint: needed("TEST_S3_ENDPOINT"),
            region: needed("TEST_S3_REGION"),
            access_key_id: needed("TEST_S3_ACCESS_KEY_ID"),
            secret_access_key: needed("TEST_S3_SECRET_ACCESS_KEY"),
            ca_file: variable("TEST_S3_CA_CERTIFICATE"),
        }
    }

    fn ca_certificate(&self) -> Option<String> {
        self.ca_file.as_ref().map(|path| std::fs::read_to_string(path).unwrap())
    }

    fn client(&self) -> Client {
        Client::from_conf(self.config().build())
    }

    fn config(&self) -> aws_sdk_s3::config::Builder {
        let trust = match self.ca_certificate() {
            Some(pem) => TrustStore::empty().with_pem_certificate(pem),
            None => TrustStore::default(),
        };
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(TlsContext::builder().with_trust_store(trust).build().unwrap())
            .build_https();
        let keys =
            Credentials::new(&self.access_key_id, &self.secret_access_key, None, None, "tests");
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(&self.endpoint)
            .region(Region::new(self.region.clone()))
            .credentials_provider(keys)
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .http_client(http)
            .interceptor(AnyRoot)
    }

    async fn create_bucket(&self, client: &Client, bucket: &str) {
        let constraint = self.endpoint.contains("amazonaws.com").then(|| {
            let region = BucketLocationConstraint::from(self.region.as_str());
            CreateBucketConfiguration::builder().location_constraint(region).build()
        });
        let create = client.create_bucket().bucket(bucket);
        let created = create.set_create_bucket_configuration(constraint).send().await;
        created.unwrap_or_else(|error| panic!("{}", DisplayErrorContext(error)));
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        let wanted = std::env::var("TEST_S3_SERVER").unwrap_or_default();
        if let Some(provider) = wanted.strip_prefix("emulation:") {
            return Self::emulating(named(provider)).await;
        }
        if wanted != "external" {
            return Self::embedded().await;
        }
        let own = unused_name();
        let access = ServerAccess::from_environment();
        let client = access.client();
        let shared = std::env::var("TEST_S3_BUCKET").ok();
        let (bucket, prefix) = match shared {
            Some(shared) if std::env::var("TEST_S3_CREATE_BUCKETS").as_deref() == Ok("0") => {
                (shared, own)
            }
            _ => {
                access.create_bucket(&client, &own).await;
                (own, String::new())
            }
        };
        Self { bucket, prefix, access, client, emulation: None, embedded: None }
    }

    /// On the server that these variables name, as an environment would.
    pub(crate) async fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let (access, bucket) = (ServerAccess::from_variables(variable), unused_name());
        let client = access.client();
        access.create_bucket(&client, &bucket).await;
        let prefix = String::new();
        Self { bucket, prefix, access, client, emulation: None, embedded: None }
    }

    /// On the embedded server, which emulates a provider, whatever the environment says.
    pub(crate) async fn emulating(traits: Traits) -> Self {
        let mut server = Self::with_keys(traits.access_key_id, traits.region).await;
        let (embedded, _) = server.embedded.as_ref().unwrap();
        let upstream = embedded.endpoint().trim_start_matches("http://").parse().unwrap();
        let secret = &server.access.secret_access_key;
        let emulation = EmulatedProvider::start(upstream, traits, secret).await;
        server.access.endpoint = emulation.endpoint();
        server.emulation = Some(emulation);
        server
    }

    /// On the embedded server, whatever the environment says.
    pub(crate) async fn embedded() -> Self {
        Self::with_keys(PLAIN.access_key_id, PLAIN.region).await
    }

    async fn with_keys(access_key_id: &str, region: &str) -> Self {
        let bucket = unused_name();
        let folder = tempfile::tempdir().unwrap();
        let access = ServerAccess {
            endpoint: String::new(),
            region: region.to_owned(),
            access_key_id: access_key_id.to_owned(),
            secret_access_key: format!("{:032x}", fastrand::u128(..)),
            ca_file: None,
        };
        let server =
            EmbeddedServer::start(folder.path(), &access.access_key_id, &access.secret_access_key);
        let server = server.await.unwrap();
        server.create_bucket(&bucket).unwrap();
        let access = ServerAccess { endpoint: server.endpoint(), ..access };
        let (prefix, client) = (String::new(), access.client());
        let embedded = Some((server, folder));
        Self { bucket, prefix, access, client, emulation: None, embedded }
    }

    /// The provider that is emulated.
    pub(crate) fn emulation(&self) -> &EmulatedProvider {
        self.emulation.as_ref().unwrap()
    }

    /// Whether incomplete uploads can be listed by a prefix of their keys.
    pub(crate) fn lists_uploads(&self) -> bool {
        self.emulation.as_ref().is_none_or(EmulatedProvider::lists_uploads)
    }

    /// The settings of another client that sees the same as the agent, and never retries.
    pub(crate) fn sdk(&self) -> aws_sdk_s3::config::Builder {
        self.access.config().retry_config(RetryConfig::disabled())
    }

    /// The `config` of `target.open`.
    pub(crate) fn config(&self) -> Value {
        json!({
            "type": "s3", "endpoint": self.access.endpoint, "region": self.access.region,
            "bucket": self.bucket, "prefix": self.prefix,
            "access_key_id": self.access.access_key_id,
            "secret_access_key": self.access.secret_access_key,
            "ca_certificate": self.access.ca_certificate(),
        })
    }

    /// The same as the agent's own code reads it, with changes.
    pub(crate) fn target(&self, changes: Value) -> TargetConfig {
        let mut config = self.config();
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value::<S3Config>(config).unwrap().check().unwrap()
    }

    /// The same for the command line.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let mut pairs = vec![
            ("ENDPOINT", &self.access.endpoint),
            ("REGION", &self.access.region),
            ("BUCKET", &self.bucket),
            ("PREFIX", &self.prefix),
            ("ACCESS_KEY_ID", &self.access.access_key_id),
            ("SECRET_ACCESS_KEY", &self.access.secret_access_key),
        ];
        pairs.extend(self.access.ca_file.as_ref().map(|path| ("CA_FILE", path)));
        let named =
            |(name, value): (_, &String)| (format!("S3_BACKUP_AGENT_{name}"), value.clone());
        pairs.into_iter().map(named).collect()
    }

    /// Key and size of all objects of the test, in the order of the keys.
    pub(crate) async fn objects(&self) -> Vec<(String, u64)> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(&self.prefix);
        let mut pages = list.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.unwrap_or_else(|error| panic!("{}", DisplayErrorContext(error)));
            found.extend(page.contents().iter().map(|object| {
                let size = u64::try_from(object.size().unwrap()).unwrap();
                (object.key().unwrap().to_owned(), size)
            }));
        }
        // Servers that store files may show their folders for a while.
        found.retain(|(key, size)| *size > 0 || !key.ends_with('/'));
        found
    }

    /// Key and id of every incomplete upload of the test, in the order of the keys.
    pub(crate) async fn open_uploads(&self) -> Vec<(String, String)> {
        let list = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(&self.prefix);
        let uploads = match list.send().await {
            Ok(uploads) => uploads,
            // The answer of rclone when there was no upload yet.
            Err(error) if error.code() == Some("NoSuchUpload") => return Vec::new(),
            Err(error) => panic!("{}", DisplayErrorContext(error)),
        };
        let named = uploads.uploads().iter();
        let named =
            named.map(|it| (it.key().unwrap().to_owned(), it.upload_id().unwrap().to_owned()));
        let mut named: Vec<_> = named.collect();
        named.sort(); // not every server sorts them
        named
    }

    /// Opens an upload that is never completed, with one part if `filled`.
    pub(crate) async fn abandon_upload(&self, key: &str, filled: bool) {
        let create = self.client.create_multipart_upload().bucket(&self.bucket).key(key);
        let id = create.send().await.unwrap().upload_id.unwrap();
        if filled {
            let part = self.client.upload_part().bucket(&self.bucket).key(key).upload_id(id);
            part.part_number(1).body(b"x".to_vec().into()).send().await.unwrap();
        }
    }

    /// Aborts all incomplete uploads without their agents' knowledge.
    pub(crate) async fn abort_uploads(&self) {
        for (key, id) in self.open_uploads().await {
            let abort = self.client.abort_multipart_upload().bucket(&self.bucket);
            abort.key(key).upload_id(id).send().await.unwrap();
        }
    }

    /// Sends another part with this number to the only incomplete upload.
    pub(crate) async fn replace_part(&self, number: i32, content: Vec<u8>) {
        let (key, id) = self.open_uploads().await.remove(0);
        let part = self.client.upload_part().bucket(&self.bucket).key(key).upload_id(id);
        part.part_number(number).body(content.into()).send().await.unwrap();
    }

    pub(crate) async fn put(&self, key: &str, content: impl Into<Vec<u8>>) {
        let put = self.client.put_object().bucket(&self.bucket).key(key);
        put.body(content.into().into()).send().await.unwrap();
    }

    #[cfg(unix)]
    /// An object of six bytes with this upload marker.
    pub(crate) async fn put_with_marker(&self, key: &str, mark: &str) {
        let put = self.client.put_object().bucket(&self.bucket).key(key);
        let put = put.metadata("s3-backup-agent", mark).body(b"marked".to_vec().into());
        put.send().await.unwrap();
    }

    pub(crate) async fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(object) => Some(object.body.collect().await.unwrap().to_vec()),
            Err(error) if error.code() == Some("NoSuchKey") => None,
            Err(error) => panic!("{}", DisplayErrorContext(error)),
        }
    }

    /// A range of an object as long as it has this ETag, or the code of the refusal.
    pub(crate) async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
        etag: &str,
    ) -> Result<Vec<u8>, String> {
        let get = self.client.get_object().bucket(&self.bucket).key(key).if_match(etag);
        match get.range(format!("bytes={}-{}", range.start, range.end - 1)).send().await {
            Ok(object) => Ok(object.body.collect().await.unwrap().to_vec()),
            Err(error) => Err(error.code().unwrap_or_default().to_owned()),
        }
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.client.delete_object().bucket(&self.bucket).key(key).send().await.unwrap();
    }

    /// Sends an object and a part that differ from their signatures; returns the codes of the
    /// answers.
    pub(crate) async fn put_damaged(&self, key: &str) -> [String; 2] {
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(b"x".to_vec().into());
        let put = put.customize().interceptor(SignedForOther).send().await.unwrap_err();
        let create = self.client.create_multipart_upload().bucket(&self.bucket).key(key);
        let id = create.send().await.unwrap().upload_id.unwrap();
        let part = self.client.upload_part().bucket(&self.bucket).key(key).upload_id(&id);
        let part = part.part_number(1).body(b"x".to_vec().into()).customize();
        let part = part.interceptor(SignedForOther).send().await.unwrap_err();
        [put.code(), part.code()].map(|code| code.unwrap_or_default().to_owned())
    }

    async fn clean(&self) {
        for (key, id) in self.open_uploads().await {
            let abort = self.client.abort_multipart_upload().bucket(&self.bucket);
            let _ = abort.key(key).upload_id(id).send().await;
        }
        for (key, _) in self.objects().await {
            self.delete(&key).await;
        }
        if self.prefix.is_empty() {
            let _ = self.client.delete_bucket().bucket(&self.bucket).send().await;
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if self.embedded.is_some() {
            return;
        }
        // The test's own runtime cannot be waited for here. A server that cleans up is not cleaned
        // up itself.
        let server = ManuallyDrop::new(Self {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            access: self.access.clone(),
            client: self.access.client(),
            emulation: None,
            embedded: None,
        });
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(server.clean());
        });
        let _ = cleaning.join();
    }
}

fn unused_name() -> String {
    format!("{BUCKET_NAME_START}{:016x}", fastrand::u64(..))
}

/// The descriptors of an agent that serves a host. It hides them from all users except root, so for
/// others this is empty.
#[cfg(target_os = "linux")]
pub(crate) fn descriptors(pid: u32) -> Vec<PathBuf> {
    match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}
