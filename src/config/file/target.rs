//! A target of the config file.

use std::path::{Path, PathBuf};

use super::secret::Origin;
use super::table::{Places, Table};
use crate::config::check::invalid;
use crate::config::{AddressingStyle, Algorithm, S3Config, SecretSource};
use crate::error::{Code, Error, Result};
use crate::platform::read_small;

/// Longest file of certificates, in bytes: several times what all that a system trusts take.
pub const LONGEST_CA_FILE: u64 = 4 << 20;

/// Longest name of a target, in bytes.
const LONGEST_NAME: usize = 64;

/// A target with its name. Its secrets are not read yet.
#[derive(Clone, Debug)]
pub struct NamedTarget {
    /// The name.
    pub name: String,
    /// A line for people.
    pub description: Option<String>,
    /// The settings, except the secrets and the certificates.
    pub settings: S3Config,
    /// Where the secret access key is.
    pub secret_access_key: Option<Origin>,
    /// Where the session token is.
    pub session_token: Option<Origin>,
    /// File with certificates to trust.
    pub ca_file: Option<PathBuf>,
    file: PathBuf,
    places: Places,
}

/// Whether a target can have this name: lower-case letters, digits, `_` and `-`.
#[must_use]
pub fn is_target_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= LONGEST_NAME
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || matches!(byte, b'_' | b'-'))
}

fn no_secret() -> Error {
    invalid("secret_access_key", "the secret access key is missing")
        .hint("write secret_access_key = { file = \"…\" }")
}

impl NamedTarget {
    pub(super) fn read(name: &str, mut table: Table<'_>, file: &Path) -> Result<Self> {
        let styles = [AddressingStyle::Auto, AddressingStyle::Path, AddressingStyle::Virtual];
        let styles = styles.map(|style| (style.as_str(), style));
        let algorithms = [Algorithm::Aes256, Algorithm::Kms];
        let algorithms = algorithms.map(|algorithm| (algorithm.as_str(), algorithm));
        let description = table.text("description")?;
        let settings = S3Config {
            kind: None,
            endpoint: table.text("endpoint")?,
            region: table.text("region")?,
            bucket: table.text("bucket")?,
            prefix: table.text("prefix")?,
            folder: table.text("folder")?,
            access_key_id: table.text("access_key_id")?,
            secret_access_key: None,
            session_token: None,
            addressing_style: table.choice("addressing_style", &styles)?,
            ca_certificate: table.text("ca_certificate")?,
            verify_tls: table.boolean("verify_tls")?,
            storage_class: table.text("storage_class")?,
            server_side_encryption: table.choice("server_side_encryption", &algorithms)?,
            server_side_encryption_key_id: table.text("server_side_encryption_key_id")?,
            part_size: table.size("part_size")?,
            memory: None,
            concurrency: table.number("concurrency")?,
            bandwidth_limit: table.rate("bandwidth_limit")?,
        };
        Ok(Self {
            name: name.to_owned(),
            description,
            settings,
            secret_access_key: table.secret("secret_access_key")?,
            session_token: table.secret("session_token")?,
            ca_file: table.path("ca_file")?,
            file: file.to_owned(),
            places: table.finish()?,
        })
    }

    /// The settings with the secrets and certificates, which are read now. Blocks.
    ///
    /// # Errors
    /// `invalid_config` with the place in the file.
    pub fn load(&self) -> Result<S3Config> {
        self.complete().map_err(|error| self.placed(error))
    }

    /// The settings with the certificates, which are read now, and without the secrets.
    ///
    /// # Errors
    /// `invalid_config` with the place in the file, also when no secret is named.
    pub fn without_secrets(&self) -> Result<S3Config> {
        let settings = self.with_certificates().map_err(|error| self.placed(error))?;
        match self.secret_access_key {
            Some(_) => Ok(settings),
            None => Err(self.placed(no_secret())),
        }
    }

    /// The secrets that the table names.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &Origin)> {
        let all = [
            ("secret_access_key", &self.secret_access_key),
            ("session_token", &self.session_token),
        ];
        all.into_iter().filter_map(|(member, origin)| Some((member, origin.as_ref()?)))
    }

    /// The line of a member, or that of the table.
    #[must_use]
    pub fn line(&self, member: &str) -> u64 {
        self.places.of(member).0.line()
    }

    fn with_certificates(&self) -> Result<S3Config> {
        let mut settings = self.settings.clone();
        if let Some(path) = &self.ca_file {
            let read = read_small(path, LONGEST_CA_FILE).map_err(|error| {
                let message = format!("cannot read the file of certificates: {error}");
                invalid("ca_file", message).source(error)
            })?;
            settings.ca_certificate = Some(read.as_str().to_owned());
        }
        Ok(settings)
    }

    fn complete(&self) -> Result<S3Config> {
        let mut settings = self.with_certificates()?;
        let Some(origin) = &self.secret_access_key else {
            return Err(no_secret());
        };
        let inline = |origin: &Origin, field| origin.read(field).map(SecretSource::Inline);
        settings.secret_access_key = Some(inline(origin, "secret_access_key")?);
        settings.session_token = match &self.session_token {
            Some(origin) => Some(inline(origin, "session_token")?),
            None => None,
        };
        Ok(settings)
    }

    /// The error with the place in the file of the setting that it is about.
    #[must_use]
    pub fn placed(&self, error: Error) -> Error {
        let data = error.data();
        let is_ours = matches!(
            error.code(),
            Code::InvalidConfig | Code::InvalidEndpoint | Code::InvalidBucketName
        );
        let (Some(member), true) = (data.field, is_ours) else {
            return error;
        };
        let (at, path) = self.places.of(&member);
        let mut placed = at.error(&self.file, &path, error.fact());
        if let Some(hint) = error.remedy() {
            placed = placed.hint(hint);
        }
        placed
    }

    /// Where a setting is written, for people: `bucket in [targets.nas] of config.toml`.
    #[must_use]
    pub fn place_of(&self, member: &str) -> String {
        format!("{member} in {}", self.place())
    }

    /// The table, for people: `[targets.nas] of config.toml`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("[targets.{}] of {}", self.name, self.file.display())
    }

    /// The error in the words of the config file: it names the setting there instead of a flag.
    #[must_use]
    pub fn explained(&self, error: Error) -> Error {
        let field = error.data().field;
        match field.filter(|field| self.places.has(field)) {
            Some(member) => error
                .field(format!("targets.{}.{member}", self.name))
                .detail("file", self.file.display().to_string()),
            None => error,
        }
    }
}
