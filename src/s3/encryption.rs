//! Server-side encryption: requests it with each write, and checks the server's response.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::types::ServerSideEncryption;

use super::Bucket;
use crate::config::{Algorithm, Encryption};
use crate::error::{Code, Error, Result};

const FIELD: &str = "server_side_encryption";

/// The header that errors name as the unsupported feature.
const HEADER: &str = "x-amz-server-side-encryption";

/// The encryption from the settings, shared by all copies of a bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestedEncryption {
    requested: Option<Encryption>,
    /// Whether a response has named the algorithm.
    confirmed: Arc<AtomicBool>,
}

impl RequestedEncryption {
    pub(super) fn new(requested: Option<Encryption>) -> Self {
        Self { requested, confirmed: Arc::default() }
    }

    pub(super) fn algorithm(&self) -> Option<ServerSideEncryption> {
        let requested = self.requested.as_ref()?;
        Some(match requested.algorithm {
            Algorithm::Aes256 => ServerSideEncryption::Aes256,
            Algorithm::Kms => ServerSideEncryption::AwsKms,
        })
    }

    pub(super) fn key_id(&self) -> Option<String> {
        self.requested.as_ref()?.key_id.clone()
    }

    /// Checks the algorithm that the response to a write names. Some servers name none.
    ///
    /// # Errors
    /// `unsupported_feature` for a different algorithm.
    pub(super) fn check(&self, named: Option<&ServerSideEncryption>) -> Result<()> {
        let (Some(requested), Some(named)) = (&self.requested, named) else { return Ok(()) };
        self.confirmed.store(true, Ordering::Relaxed);
        let algorithm = requested.algorithm.as_str();
        if named.as_str() == algorithm {
            return Ok(());
        }
        Err(unsupported(format!(
            "the server encrypts with {} instead of {algorithm}",
            crate::error::shortened(named.as_str(), 40)
        ))
        .hint("set server_side_encryption to that, or leave it out"))
    }

    /// Adds the setting at fault to the error of a refused write.
    pub(super) fn explain(&self, error: Error) -> Error {
        let Some(requested) = &self.requested else { return error };
        let Some(answer) = error.upstream_answer().cloned() else { return error };
        if error.code() != Code::UnsupportedFeature {
            return error;
        }
        let named = answer.code.as_deref().unwrap_or_default();
        let algorithm = requested.algorithm.as_str();
        let explained = if named.starts_with("KMS.") && requested.key_id.is_some() {
            let field = "server_side_encryption_key_id";
            let message = format!("the server cannot use the KMS key ({named})");
            Error::new(Code::InvalidConfig, message)
                .hint("check the key")
                .field(field)
                .detail("field", field)
        } else {
            unsupported(format!(
                "the server refuses server-side encryption with {algorithm} ({})",
                answer.message.as_deref().filter(|words| !words.is_empty()).unwrap_or(named)
            ))
            .hint("set another server_side_encryption, or leave it out")
        };
        explained.upstream(answer).source(error)
    }
}

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(Code::UnsupportedFeature, message).field(FIELD).detail("feature", HEADER)
}

impl Bucket {
    /// Whether the settings request encryption, and no response has confirmed it yet.
    #[must_use]
    pub fn lacks_confirmed_encryption(&self) -> bool {
        self.encryption.requested.is_some() && !self.encryption.confirmed.load(Ordering::Relaxed)
    }

    /// The same bucket without requesting encryption.
    #[must_use]
    pub fn without_encryption(&self) -> Self {
        Self { encryption: RequestedEncryption::default(), ..self.clone() }
    }

    /// The error for a server that ignores the request for encryption.
    #[must_use]
    pub fn encryption_ignored(&self) -> Error {
        unsupported(
            "the server does not confirm the requested encryption, and stores objects without it",
        )
        .hint("leave server_side_encryption out, and encrypt the bucket or the backups")
    }
}
