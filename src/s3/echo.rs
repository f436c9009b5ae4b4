//! Takes secrets out of answers before anything of them is kept.
//!
//! A server that repeats the headers of a request may put them anywhere: into the ETag, the ID of an
//! upload, a key. What is read of an answer ends up in results, in the journal and in the cache.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use std::borrow::Cow;

use crate::error::secrets::redact_data;

/// Redacts the headers of answers, and the documents among their bodies.
#[derive(Debug)]
pub(super) struct Echoes;

impl Intercept for Echoes {
    fn name(&self) -> &'static str {
        "Echoes"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        redact_headers(response);
        // What is read piece by piece is the content of an object.
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
