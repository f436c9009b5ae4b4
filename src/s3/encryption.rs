//! Server-side encryption: what the agent asks of the server with each object it writes, and what
//! the server makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::types::ServerSideEncryption;

use super::Bucket;
use crate::config::{Algorithm, Encryption};
use crate::error::{Code, Error, Result};

const FIELD: &str = "server_side_encryption";

/// The header, as errors name what a server lacks.
const HEADER: &str = "x-amz-server-side-encryption";

/// The wish of the settings, shared by all copies of a bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    wish: Option<Encryption>,
    /// Whether an answer has named the algorithm.
    confirmed: Arc<AtomicBool>,
}

impl Asked {
    pub(super) fn new(wish: Option<Encryption>) -> Self {
        Self { wish, confirmed: Arc::default() }
    }

    pub(super) fn algorithm(&self) -> Option<ServerSideEncryption> {
        let wish = self.wish.as_ref()?;
        Some(match wish.algorithm {
            Algorithm::Aes256 => ServerSideEncryption::Aes256,
            Algorithm::Kms => ServerSideEncryption::AwsKms,
        })
    }

    pub(super) fn key_id(&self) -> Option<String> {
        self.wish.as_ref()?.key_id.clone()
    }

    /// Reads the algorithm that the answer to a write names. Some servers name none.
    ///
    /// # Errors
    /// `unsupported_feature` for another algorithm.
    pub(super) fn check(&self, said: Option<&ServerSideEncryption>) -> Result<()> {
        let (Some(wish), Some(said)) = (&self.wish, said) else { return Ok(()) };
        self.confirmed.store(true, Ordering::Relaxed);
        let asked = wish.algorithm.as_str();
        if said.as_str() == asked {
            return Ok(());
        }
        Err(unsupported(format!(
            "the server encrypts with {} instead of {asked}: set server_side_encryption to that, or \
             leave it out",
            crate::error::shortened(said.as_str(), 40)
        )))
    }

    /// A refusal of a write, with the setting that it is about.
    pub(super) fn explain(&self, error: Error) -> Error {
        let Some(wish) = &self.wish else { return error };
        let Some(answer) = error.upstream_answer().cloned() else { return error };
        if error.code() != Code::UnsupportedFeature {
            return error;
        }
        let said = answer.code.as_deref().unwrap_or_default();
        let algorithm = wish.algorithm.as_str();
        let explained = if said.starts_with("KMS.") && wish.key_id.is_some() {
            let field = "server_side_encryption_key_id";
            let message = format!("the server cannot use this key of KMS ({said}): check the key");
            Error::new(Code::InvalidConfig, message).field(field).detail("field", field)
        } else {
            unsupported(format!(
                "the server refuses server-side encryption with {algorithm} ({}): set another \
                 server_side_encryption, or leave it out",
                answer.message.as_deref().filter(|words| !words.is_empty()).unwrap_or(said)
            ))
        };
        explained.upstream(answer).source(error)
    }
}

fn unsupported(message: String) -> Error {
    Error::new(Code::UnsupportedFeature, message).field(FIELD).detail("feature", HEADER)
}

impl Bucket {
    /// Whether the settings ask for an encryption that no answer has named yet.
    #[must_use]
    pub fn lacks_confirmed_encryption(&self) -> bool {
        self.encryption.wish.is_some() && !self.encryption.confirmed.load(Ordering::Relaxed)
    }

    /// The same bucket without a wish for encryption.
    #[must_use]
    pub fn without_encryption(&self) -> Self {
        Self { encryption: Asked::default(), ..self.clone() }
    }

    /// The error for a server that takes the wish for encryption and ignores it.
    #[must_use]
    pub fn encryption_ignored(&self) -> Error {
        unsupported(
            "the server does not confirm the encryption it was asked for, and stores objects without \
             it as well: leave server_side_encryption out, and encrypt the bucket or the backups"
                .to_owned(),
        )
    }
}
