//! Interceptors and a retry classifier for the SDK.

use std::sync::Arc;

use super::answers::ServerDate;
use super::payload::Payload;
use super::quirks::Quirks;
use crate::progress::Progress;
use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
    BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

/// Counts the requests that the SDK retries.
#[derive(Debug)]
pub(super) struct CountRetries(pub(super) Progress);

impl Intercept for CountRetries {
    fn name(&self) -> &'static str {
        "CountRetries"
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

/// Reads the server's time from its responses.
#[derive(Debug)]
pub(super) struct ReadServerTime(pub(super) Arc<Quirks>);

impl Intercept for ReadServerTime {
    fn name(&self) -> &'static str {
        "ReadServerTime"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), aws_sdk_s3::error::BoxError> {
        if let Some(ServerDate(date)) = context.response().extension() {
            self.0.set_server_time(*date);
        }
        Ok(())
    }
}

/// Passes a known SHA-256 to the signer, which would otherwise leave a streamed payload unsigned.
#[derive(Debug)]
pub(super) struct SignedPayload(String);

impl SignedPayload {
    pub(super) fn of(payload: &Payload) -> Self {
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

/// Makes the SDK retry requests that the server throttles or received damaged. The SDK knows only
/// some of these error codes, and not the status 429.
#[derive(Debug)]
pub(super) struct RetryTransient;

impl ClassifyRetry for RetryTransient {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if response.status().as_u16() == 429 => RetryAction::throttling_error(),
            Some(response) if arrived_damaged(response) => RetryAction::transient_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "RetryTransient"
    }
}

fn arrived_damaged(response: &HttpResponse) -> bool {
    let document = response.body().bytes().unwrap_or_default();
    let says = |code: &str| document.windows(code.len()).any(|window| window == code.as_bytes());
    response.status().as_u16() == 400
        && (says("<Code>XAmzContentSHA256Mismatch<") || says("<Code>BadDigest<"))
}

/// Removes the query parameter `x-id`, which the SDK adds for its own logs.
#[derive(Debug)]
pub(super) struct RemoveXId;

impl Intercept for RemoveXId {
    fn name(&self) -> &'static str {
        "RemoveXId"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), aws_sdk_s3::error::BoxError> {
        let request = context.request_mut();
        let Some((path, query)) = request.uri().split_once('?') else { return Ok(()) };
        let kept: Vec<_> = query.split('&').filter(|pair| !pair.starts_with("x-id=")).collect();
        let separator = if kept.is_empty() { "" } else { "?" };
        let uri = format!("{path}{separator}{}", kept.join("&"));
        request.set_uri(uri)?;
        Ok(())
    }
}
