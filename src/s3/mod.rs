//! Access to one bucket on any S3-compatible server: objects, listings and multipart uploads.
//!
//! Independent of backups. No type of the SDK leaves this module, and every failure is a [`crate::Error`].
//! Payloads are always signed with their SHA-256, so that the server verifies the bytes it receives.
//! Checksum headers, trailers and chunked signing are never used, because many providers reject them; nor
//! are `DeleteObjects`, `ListBuckets` and `HeadBucket`, which need more permissions or headers than a
//! backup does.

mod answers;
mod bounds;
mod checksum;
mod content_range;
mod encryption;
mod error;
mod etag;
mod first_keys;
mod intercept;
mod list;
mod listing_address;
mod lock;
mod member;
mod multipart;
mod object;
mod pagination;
mod payload;
mod quirks;
mod redact;
mod types;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::config::retry::{ReconnectMode, RetryConfig};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::SdkError;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures_util::future::BoxFuture;
use url::Url;

use self::answers::Bounded;
use self::bounds::MAX_SKEW;
pub use self::checksum::{PartChecksums, Sha256Digest};
use self::encryption::RequestedEncryption;
use self::error::translate;
pub use self::error::{Answer, Context, Operation, classify, clock_skew};
pub use self::etag::same_etag;
use self::intercept::{CountRetries, ReadServerTime, RemoveXId, RetryTransient};
pub use self::list::{Next, Page, Unreadable};
pub use self::listing_address::listing_address;
pub use self::lock::Retention;
pub use self::multipart::{ListedPart, Part, Upload};
pub use self::object::{Conditional, Deleted};
pub use self::pagination::Pagination;
pub use self::payload::Payload;
use self::quirks::{InForce, Quirks};
use self::redact::RedactSecrets;
pub use self::types::{ObjectInfo, OpenUpload, Stored, Write};
use crate::config::TargetConfig;
use crate::error::{Code, Detail, Result};
use crate::net::Pool;
use crate::progress::Progress;

/// Number of attempts of a request, the first included.
const ATTEMPTS: u32 = 5;

/// Pause before the second attempt. It doubles with each further attempt, and a random part of it
/// is used.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

fn retries() -> RetryConfig {
    let pause = FIRST_PAUSE;
    #[cfg(feature = "demo")]
    let pause = crate::fault_injection::hurried(pause);
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(pause)
        // The connection pool closes connections after failures.
        .with_reconnect_mode(ReconnectMode::ReuseAllConnections)
}

fn http_client(config: &TargetConfig) -> Result<SharedHttpClient> {
    #[cfg(feature = "fuzzing")]
    if let Some(client) = crate::net::fuzzing::client() {
        return Ok(SharedHttpClient::new(Bounded::new(client)));
    }
    Ok(SharedHttpClient::new(Bounded::new(SharedHttpClient::new(Pool::new(config)?))))
}

/// The endpoint in the form that the SDK needs: it appends the bucket to a base path without a
/// separator, so the path must end in a slash.
fn endpoint_of(endpoint: &Url) -> String {
    let text = endpoint.as_str().trim_end_matches('/');
    if endpoint.path() == "/" { text.to_owned() } else { format!("{text}/") }
}

/// A bucket with its credentials. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: aws_sdk_s3::Client,
    name: String,
    endpoint: String,
    encryption: RequestedEncryption,
    quirks: Arc<Quirks>,
    keys_look_swapped: bool,
    /// Counts retried requests.
    progress: Progress,
}

impl Bucket {
    /// Prepares access to the bucket of `config`. Does not use the network.
    ///
    /// # Errors
    /// `invalid_config` for an unusable CA certificate, `tls_untrusted` when there are no trusted
    /// certificates at all.
    pub fn new(config: &TargetConfig) -> Result<Self> {
        Self::with_retries(config, retries())
    }

    /// A bucket that does not retry requests, to see each response as it is.
    ///
    /// # Errors
    /// As [`Bucket::new`].
    pub fn for_probing(config: &TargetConfig) -> Result<Self> {
        Self::with_retries(config, RetryConfig::disabled())
    }

    fn with_retries(config: &TargetConfig, retries: RetryConfig) -> Result<Self> {
        let credentials = Credentials::new(
            &config.access_key_id,
            config.secret_access_key.expose(),
            config.session_token.as_ref().map(|token| token.expose().to_owned()),
            None,
            "target",
        );
        // The SDK's default retry budget never refills: one long failure would end all retries.
        let budget = TokenBucket::builder().capacity(500).refill_rate(5.0).build();
        let mut builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(config.region.clone()))
            .endpoint_url(endpoint_of(&config.endpoint))
            .credentials_provider(credentials)
            .force_path_style(config.path_style)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(retries)
            .retry_classifier(RetryTransient)
            .retry_partition(
                RetryPartition::custom(format!("{}{}", config.endpoint, config.bucket))
                    .token_bucket(budget)
                    .build(),
            )
            .http_client(http_client(config)?);
        if let Ok(name) = AppName::new("s3-backup-agent") {
            builder = builder.app_name(name);
        }
        if config.provider.is_some_and(|provider| provider.drop_x_id) {
            builder = builder.interceptor(RemoveXId);
        }
        let quirks = Arc::new(Quirks::new(config));
        builder =
            builder.interceptor(ReadServerTime(Arc::clone(&quirks))).interceptor(RedactSecrets);
        Ok(Self {
            client: aws_sdk_s3::Client::from_conf(builder.build()),
            name: config.bucket.clone(),
            endpoint: config.endpoint.as_str().trim_end_matches('/').to_owned(),
            encryption: RequestedEncryption::new(config.encryption.clone()),
            quirks,
            keys_look_swapped: config.keys_look_swapped(),
            progress: Progress::default(),
        })
    }

    /// The region that requests are signed for now: from the settings, or as the server named it.
    #[must_use]
    pub fn region(&self) -> String {
        self.quirks.in_force().region
    }

    /// Whether requests use path-style addressing now, and not virtual-hosted-style.
    #[must_use]
    pub fn path_style(&self) -> bool {
        self.quirks.in_force().path_style
    }

    /// The server's time from its responses, in seconds since 1970. The server sets the timestamps
    /// of objects by this clock.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.quirks.now()
    }

    fn context(&self, in_force: &InForce, clock_corrected: bool) -> Context {
        Context {
            endpoint: self.endpoint.clone(),
            bucket: self.name.clone(),
            region: in_force.region.clone(),
            keys_look_swapped: self.keys_look_swapped,
            clock_corrected,
        }
    }

    /// Sends a request. When the error tells how to send it differently, it is sent again that way.
    /// The server may be silent for `silence`, or for the default time.
    async fn call<'a, T, E>(
        &self,
        operation: Operation,
        silence: Option<Duration>,
        attempt: impl Fn(RequestOptions) -> Attempt<'a, T, E>,
    ) -> Result<T>
    where
        E: StdError + Send + Sync + 'static,
    {
        let mut corrections = 0;
        loop {
            let in_force = self.quirks.in_force();
            let mut config = aws_sdk_s3::Config::builder()
                .region(Region::new(in_force.region.clone()))
                .force_path_style(in_force.path_style);
            if let Some(limit) = silence {
                config =
                    config.timeout_config(TimeoutConfig::builder().read_timeout(limit).build());
            }
            let options = RequestOptions {
                config,
                content_md5: in_force.content_md5,
                conditional_writes: in_force.conditional_writes,
            };
            let error = match attempt(options).await {
                Ok(output) => return Ok(output),
                Err(error) => translate(
                    operation,
                    &self.context(&in_force, corrections == MAX_CORRECTIONS),
                    error,
                ),
            };
            // The SDK measures the clock difference on every response with a plausible date, and
            // signs with the server's time from the next request on.
            let corrected = error.code() == Code::ClockSkew
                && matches!(error.details().get("skew_s"), Some(Detail::Number(skew))
                    if skew.unsigned_abs() <= MAX_SKEW.as_secs())
                && corrections < MAX_CORRECTIONS;
            corrections += u8::from(corrected);
            if !corrected && !self.quirks.learn(operation, &in_force, &error) {
                return Err(error);
            }
        }
    }
}

/// Maximum number of repetitions with a corrected time: two, because the SDK learns nothing from a
/// response during which the clock was set.
const MAX_CORRECTIONS: u8 = 2;

/// One attempt of a request.
type Attempt<'a, T, E> = BoxFuture<'a, std::result::Result<T, SdkError<E, HttpResponse>>>;

/// How a request is sent.
struct RequestOptions {
    /// Overrides of the client's settings.
    config: aws_sdk_s3::config::Builder,
    /// Whether a write carries the header Content-MD5.
    content_md5: bool,
    /// Whether a write may be conditional (`If-None-Match`).
    conditional_writes: bool,
}

impl RequestOptions {
    async fn content_md5(&self, payload: &Payload) -> Option<String> {
        if self.content_md5 { Some(payload.md5_base64().await) } else { None }
    }

    /// The value of If-None-Match for a write that must not replace an object.
    fn if_none_match(&self, may_replace: bool) -> Option<String> {
        (self.conditional_writes && !may_replace).then(|| "*".to_owned())
    }
}

impl Bucket {
    /// The same bucket, but retried requests are counted on `progress`.
    #[must_use]
    pub fn reporting_to(&self, progress: &Progress) -> Self {
        let config = self.client.config().to_builder().interceptor(CountRetries(progress.clone()));
        Self {
            client: aws_sdk_s3::Client::from_conf(config.build()),
            progress: progress.clone(),
            ..self.clone()
        }
    }
}

/// Time limit for completing an upload: the server may be silent for minutes when it is large.
const COMPLETE_LIMIT: Duration = Duration::from_secs(300);

/// Time limit for a response after the last bytes were written, which may still wait in buffers for
/// a slow uplink.
const DRAIN_LIMIT: Duration = Duration::from_secs(180);
