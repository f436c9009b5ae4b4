//! One bucket on any S3-compatible storage: objects, listings and multipart uploads.
//!
//! Knows nothing of backups. No type of the SDK leaves this folder, every failure leaves it as
//! [`crate::Error`]. Payloads are always signed with their SHA-256, which makes the storage check
//! what it received; checksum headers, trailers and chunked signing, which many providers refuse,
//! are never used. Nor are `DeleteObjects`, `ListBuckets` and `HeadBucket`, which need more rights
//! or headers than a backup does.

mod answers;
mod bounds;
mod content_range;
mod digest;
mod echo;
mod encryption;
mod error;
mod etag;
mod intercept;
mod list;
mod listing_address;
mod lock;
mod member;
mod multipart;
mod object;
mod onward;
mod payload;
mod quirks;
mod survey;
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
use self::bounds::SKEW;
pub use self::digest::{PartDigest, Sha256Digest};
use self::echo::Echoes;
use self::encryption::Asked;
use self::error::translate;
pub use self::error::{Answer, Context, Operation, classify, clock_skew};
pub use self::etag::same_tag;
use self::intercept::{Clock, Passing, Repeats, WithoutXId};
pub use self::list::{Next, Page, Unreadable};
pub use self::listing_address::listing_address;
pub use self::lock::Retention;
pub use self::multipart::{ListedPart, Part, Upload};
pub use self::object::{Conditional, Deleted};
pub use self::onward::Onward;
pub use self::payload::Payload;
use self::quirks::{InForce, Quirks};
pub use self::types::{ObjectInfo, OpenUpload, Stored, Write};
use crate::config::TargetConfig;
use crate::error::{Code, Detail, Result};
use crate::net::Pool;
use crate::progress::Progress;

/// How often one call is tried, the first time included.
const ATTEMPTS: u32 = 5;

/// Pause before the second try; it doubles with each further one, and a random part of it is used.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

fn retries() -> RetryConfig {
    let pause = FIRST_PAUSE;
    #[cfg(feature = "demo")]
    let pause = crate::fault_injection::hurried(pause);
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(pause)
        // Closing connections after failures is the pool's own business.
        .with_reconnect_mode(ReconnectMode::ReuseAllConnections)
}

fn http_client(config: &TargetConfig) -> Result<SharedHttpClient> {
    #[cfg(feature = "fuzzing")]
    if let Some(client) = crate::net::fuzzing::client() {
        return Ok(SharedHttpClient::new(Bounded::new(client)));
    }
    Ok(SharedHttpClient::new(Bounded::new(SharedHttpClient::new(Pool::new(config)?))))
}

/// An endpoint as the SDK needs it: it puts the bucket right behind a base path, so that the path has
/// to end in a slash.
fn endpoint_of(endpoint: &Url) -> String {
    let text = endpoint.as_str().trim_end_matches('/');
    if endpoint.path() == "/" { text.to_owned() } else { format!("{text}/") }
}

/// One bucket, reached with one set of credentials. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: aws_sdk_s3::Client,
    name: String,
    endpoint: String,
    encryption: Asked,
    quirks: Arc<Quirks>,
    keys_look_swapped: bool,
    /// Where calls that are made again are counted.
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

    /// The same without repeating anything by itself, to see each answer as it is.
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
        // The default budget never refills by itself: one long retry would end all retries for good.
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
            .retry_classifier(Passing)
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
            builder = builder.interceptor(WithoutXId);
        }
        let quirks = Arc::new(Quirks::new(config));
        builder = builder.interceptor(Clock(Arc::clone(&quirks))).interceptor(Echoes);
        Ok(Self {
            client: aws_sdk_s3::Client::from_conf(builder.build()),
            name: config.bucket.clone(),
            endpoint: config.endpoint.as_str().trim_end_matches('/').to_owned(),
            encryption: Asked::new(config.encryption.clone()),
            quirks,
            keys_look_swapped: config.keys_look_swapped(),
            progress: Progress::default(),
        })
    }

    /// Region that signatures name by now: the one that was set, or that the storage named.
    #[must_use]
    pub fn region(&self) -> String {
        self.quirks.in_force().region
    }

    /// Whether requests name the bucket in the path by now, and not in the host.
    #[must_use]
    pub fn path_style(&self) -> bool {
        self.quirks.in_force().path_style
    }

    /// The time of the storage as its answers have it, in seconds since 1970: the clock by which it
    /// says when something was stored.
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

    /// Makes a call, and makes it anew in another way when its refusal says how. A storage may be
    /// silent for as long as `silence`, or as usual.
    async fn call<'a, T, E>(
        &self,
        operation: Operation,
        silence: Option<Duration>,
        attempt: impl Fn(Way) -> Attempt<'a, T, E>,
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
            let way =
                Way { config, content_md5: in_force.content_md5, conditions: in_force.conditions };
            let error = match attempt(way).await {
                Ok(output) => return Ok(output),
                Err(error) => translate(
                    operation,
                    &self.context(&in_force, corrections == CORRECTIONS),
                    error,
                ),
            };
            // The SDK measures the difference of the clocks on every answer that has a believable date,
            // and signs with the server's time from the next request on.
            let corrected = error.code() == Code::ClockSkew
                && matches!(error.details().get("skew_s"), Some(Detail::Number(skew))
                    if skew.unsigned_abs() <= SKEW.as_secs())
                && corrections < CORRECTIONS;
            corrections += u8::from(corrected);
            if !corrected && !self.quirks.learn(operation, &in_force, &error) {
                return Err(error);
            }
        }
    }
}

/// How often a call is made again with another time: twice, because the SDK learns nothing from an answer
/// while which the clock was set.
const CORRECTIONS: u8 = 2;

/// One try of a call.
type Attempt<'a, T, E> = BoxFuture<'a, std::result::Result<T, SdkError<E, HttpResponse>>>;

/// How a call is to be made.
struct Way {
    /// What is different from the client's own settings.
    config: aws_sdk_s3::config::Builder,
    /// Whether a write carries the header Content-MD5.
    content_md5: bool,
    /// Whether a write may say that it is to replace nothing.
    conditions: bool,
}

impl Way {
    async fn content_md5(&self, payload: &Payload) -> Option<String> {
        if self.content_md5 { Some(payload.md5_base64().await) } else { None }
    }

    /// The value of If-None-Match for a write that is to replace nothing.
    fn none_match(&self, replaces: bool) -> Option<String> {
        (self.conditions && !replaces).then(|| "*".to_owned())
    }
}

impl Bucket {
    /// The same bucket, counting repeated calls on `progress`.
    #[must_use]
    pub fn reporting_to(&self, progress: &Progress) -> Self {
        let config = self.client.config().to_builder().interceptor(Repeats(progress.clone()));
        Self {
            client: aws_sdk_s3::Client::from_conf(config.build()),
            progress: progress.clone(),
            ..self.clone()
        }
    }
}

/// Completing a large upload may take a storage minutes in silence.
const COMPLETE_LIMIT: Duration = Duration::from_secs(300);

/// When the last bytes of an upload are written, they may still wait in buffers for a slow uplink.
const DRAIN_LIMIT: Duration = Duration::from_secs(180);
