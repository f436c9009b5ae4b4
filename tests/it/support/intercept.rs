//! Differences between the test client and the SDK.

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;

/// Signs the digest of other bytes than those that are sent.
#[derive(Debug)]
pub(crate) struct SignedForOther;

impl Intercept for SignedForOther {
    fn name(&self) -> &'static str {
        "SignedForOther"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let digest = PayloadSigningOverride::Precomputed("0".repeat(64));
        config.interceptor_state().store_put(digest);
        Ok(())
    }
}

/// Accepts an answer whose root element has another name, which the SDK alone does not.
#[derive(Debug)]
pub(super) struct AnyRoot;

impl Intercept for AnyRoot {
    fn name(&self) -> &'static str {
        "AnyRoot"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if !response.headers().get("content-type").is_some_and(|kind| kind.contains("xml")) {
            return Ok(());
        }
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        let renamed = body.map_frame(|frame| {
            frame.map_data(|data| {
                let text = String::from_utf8_lossy(&data);
                text.replace("InitiateMultipartUpload ", "InitiateMultipartUploadResult ")
                    .replace("InitiateMultipartUpload>", "InitiateMultipartUploadResult>")
                    .into()
            })
        });
        *response.body_mut() = SdkBody::from_body_1_x(renamed);
        Ok(())
    }
}
