//! Secrets that cannot be printed, and their sources.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::check::invalid;
use crate::error::Result;
use crate::error::secrets::Known;
use crate::platform::read_small;

/// Longest file with a secret, in bytes. Session tokens have a few thousand.
const LONGEST: u64 = 64 << 10;

/// A secret text. While it exists, it is removed from every text that leaves the process. Wiped
/// from memory when dropped.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Known);

impl Secret {
    /// The text, for signing.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Known::secret(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
#[cfg_attr(test, schemars(rename = "Secret"))]
pub enum SecretSource {
    /// The secret itself.
    Inline(#[cfg_attr(test, schemars(with = "String", length(min = 1)))] Secret),
    /// A file that contains the secret; a final line break is ignored.
    File {
        /// Path of the file.
        file: PathBuf,
    },
    /// A file with this name in `$CREDENTIALS_DIRECTORY`, as provided by systemd.
    Credential {
        /// Name of the credential.
        credential: String,
    },
}

impl SecretSource {
    /// Reads the secret.
    ///
    /// # Errors
    /// `invalid_config` when it cannot be read.
    pub(super) fn read(self, field: &'static str) -> Result<Secret> {
        let path = match self {
            Self::Inline(secret) => return Ok(secret),
            Self::File { file } => file,
            Self::Credential { credential } => {
                let mut parts = Path::new(&credential).components();
                let plain =
                    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
                match directory {
                    Some(directory) if plain => PathBuf::from(directory).join(credential),
                    Some(_) => {
                        return Err(invalid(field, "the credential must be a plain file name"));
                    }
                    None => {
                        return Err(invalid(field, "CREDENTIALS_DIRECTORY is not set")
                            .hint("use \"file\" instead of \"credential\""));
                    }
                }
            }
        };
        let text = read_small(&path, LONGEST).map_err(|error| {
            // The path is not repeated: some users enter the secret instead.
            let name = field.replace('_', " ");
            invalid(field, format!("cannot read the file with the {name}: {error}")).source(error)
        })?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        Ok(Secret::from(text.to_owned()))
    }
}
