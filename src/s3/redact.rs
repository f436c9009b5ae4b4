//! Removes secrets from responses before anything of them is used.
//!
//! A server that repeats request headers may put them anywhere: into the ETag, the ID of an upload, a key.
//! Members of a response end up in results, in the journal and in the cache.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use std::borrow::Cow;

use crate::error::secrets::redact_data;

/// Redacts the headers of responses, and bodies that were read as a whole.
#[derive(Debug)]
pub(super) struct RedactSecrets;

impl Intercept for RedactSecrets {
    fn name(&self) -> &'static str {
        "RedactSecrets"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        redact_headers(response);
        // A body that is streamed is the content of an object.
        let body = response.body().bytes().and_then(|bytes| std::str::from_utf8(bytes).ok());
        if let Some(Cow::Owned(redacted)) = body.map(redact_data) {
            response.headers_mut().remove("content-length");
            *response.body_mut() = SdkBody::from(redacted);
        }
        Ok(())
    }
}

fn redact_headers(response: &mut HttpResponse) {
    let headers = response.headers().iter();
    let changed: Vec<(String, String)> = headers
        .filter_map(|(name, value)| match redact_data(value) {
            Cow::Owned(redacted) => Some((name.to_owned(), redacted)),
            Cow::Borrowed(_) => None,
        })
        .collect();
    for (name, value) in changed {
        response.headers_mut().insert(name, value);
    }
}
