//! One bucket on any S3-compatible storage: objects, listings and multipart uploads.
//!
//! Knows nothing of backups. No type of the SDK leaves this folder, every failure leaves it as
//! [`crate::Error`]. Payloads are always signed with their SHA-256, which makes the storage check
//! what it received; checksum headers, trailers and chunked signing, which many providers refuse,
//! are never used. Nor are `DeleteObjects`, `ListBuckets` and `HeadBucket`, which need more rights
//! or headers than a backup does.

mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod http;
mod list;
mod multipart;
mod object;
mod payload;
mod tls;

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::{
    BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, ConfigBag, Intercept, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::client::retries::RequestAttempts;

pub use self::error::{Answer, Context, Operation, classify};
pub use self::list::{ObjectInfo, Page};
pub use self::multipart::{MAX_PARTS, OpenUpload, Part, Upload};
pub use self::object::{Stored, Write};
pub use self::payload::{Payload, Sha256Digest};
use crate::config::TargetConfig;
use crate::error::Result;
use crate::progress::Progress;

/// How often one call is tried, the first time included.
const ATTEMPTS: u32 = 5;

/// Pause before the second try; it doubles with each further one, and a random part of it is used.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_PAUSE)
}

fn http_client(config: &TargetConfig) -> Result<SharedHttpClient> {
    #[cfg(feature = "fuzzing")]
    if let Some(client) = fuzzing::client() {
        return Ok(client);
    }
    Ok(SharedHttpClient::new(http::Pool::new(config)?))
}

/// One bucket, reached with one set of credentials. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: aws_sdk_s3::Client,
    name: String,
    context: Context,
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

    /// The same without repeating anything, to see each answer as it is.
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
        // The default budget never refills by itself: one long outage would end all retries for good.
        let budget = TokenBucket::builder().capacity(500).refill_rate(5.0).build();
        let mut builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(config.region.clone()))
            .endpoint_url(config.endpoint.as_str().trim_end_matches('/'))
            .credentials_provider(credentials)
            .force_path_style(config.path_style)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(retries)
            .retry_partition(
                RetryPartition::custom(format!("{}{}", config.endpoint, config.bucket))
                    .token_bucket(budget)
                    .build(),
            )
            .http_client(http_client(config)?);
        if let Ok(name) = AppName::new("s3-backup-agent") {
            builder = builder.app_name(name);
        }
        Ok(Self {
            client: aws_sdk_s3::Client::from_conf(builder.build()),
            name: config.bucket.clone(),
            context: Context::new(config),
        })
    }
}

impl Bucket {
    /// The same bucket, counting repeated calls on `progress`.
    #[must_use]
    pub fn reporting_to(&self, progress: &Progress) -> Self {
        let config = self.client.config().to_builder().interceptor(Repeats(progress.clone()));
        Self { client: aws_sdk_s3::Client::from_conf(config.build()), ..self.clone() }
    }
}

/// Counts the calls that the SDK makes again.
#[derive(Debug)]
struct Repeats(Progress);

impl Intercept for Repeats {
    fn name(&self) -> &'static str {
        "Repeats"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> std::result::Result<(), aws_sdk_s3::error::BoxError> {
        if config.load::<RequestAttempts>().is_some_and(|tries| tries.attempts() > 1) {
            self.0.retried();
        }
        Ok(())
    }
}

/// Hands a digest that is already known to the signer, which would otherwise leave a streamed
/// payload unsigned.
#[derive(Debug)]
struct SignedPayload(String);

impl SignedPayload {
    fn of(payload: &Payload) -> Self {
        Self(payload.sha256_hex())
    }
}

impl Intercept for SignedPayload {
    fn name(&self) -> &'static str {
        "SignedPayload"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> std::result::Result<(), aws_sdk_s3::error::BoxError> {
        config.interceptor_state().store_put(PayloadSigningOverride::Precomputed(self.0.clone()));
        Ok(())
    }
}

/// Completing a large upload may take a storage minutes in silence.
const COMPLETE_LIMIT: Duration = Duration::from_secs(300);

/// When the last bytes of an upload are written, they may still wait in buffers for a slow uplink.
const DRAIN_LIMIT: Duration = Duration::from_secs(180);

/// A longer silence than usual for one call.
fn patient(limit: Duration) -> aws_sdk_s3::config::Builder {
    let timeouts = TimeoutConfig::builder().read_timeout(limit).build();
    aws_sdk_s3::Config::builder().timeout_config(timeouts)
}
