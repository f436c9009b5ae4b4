//! Tests of the emulation: an ordinary client observes each trait.

mod calls;
mod identity;
mod listings;
mod objects;
mod parts;
mod recorded;
mod requests;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::Traits;
use crate::support::TestServer;

/// A server that emulates a provider, and a client that sees it as the agent does.
async fn emulating(traits: Traits) -> (TestServer, Client) {
    let server = TestServer::emulating(traits).await;
    let client = Client::from_conf(server.sdk().build());
    (server, client)
}

/// Status, code and message of a refusal.
fn refusal<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> (u16, String, String)
where
    T: std::fmt::Debug,
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    let error = answer.unwrap_err();
    let status = error.raw_response().unwrap().status().as_u16();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    (status, text(error.code()), text(error.message()))
}

/// Its document.
fn document<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> String
where
    T: std::fmt::Debug,
    E: std::fmt::Debug,
{
    let error = answer.unwrap_err();
    let body = error.raw_response().unwrap().body().bytes().unwrap().to_vec();
    String::from_utf8(body).unwrap()
}

/// Asserts a refusal; of its message the start counts.
fn assert_refused(refused: &(u16, String, String), status: u16, code: &str, message: &str) {
    assert_eq!((refused.0, refused.1.as_str()), (status, code), "{refused:?}");
    assert!(refused.2.starts_with(message), "{refused:?}");
}
