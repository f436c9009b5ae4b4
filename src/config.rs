//! Settings of a target.
//!
//! [`S3Config`] is the form that users and hosts give, with the names of the protocol;
//! [`TargetConfig`] is the complete and checked form. The agent does not read `~/.aws`, profiles or
//! instance metadata. Secrets are kept in [`Secret`], which cannot be printed.

mod address;
mod check;
mod file;
mod keys;
mod limits;
mod provider;
mod secret;
pub mod size;
mod suspect;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use url::Url;

pub use self::address::Location;
#[cfg(test)]
use self::check::LONGEST_BUCKET;
use self::check::{
    aws_endpoint, check_bucket, check_encryption, check_key, check_memory_budget, check_not_secret,
    check_parallel_parts, check_part_size, check_rate, check_region, fits_host, invalid,
};
pub use self::file::{ConfigFile, LONGEST_CA_FILE, NamedTarget, Origin, Shown, is_target_name};
pub use self::limits::{Limits, LimitsUpdate, LiveLimits};
pub use self::provider::{Provider, wrong_host};
pub use self::secret::{Secret, SecretSource};
pub use self::suspect::looks_secret;
use crate::error::Result;
use crate::error::secrets::Known;

/// One mebibyte in bytes.
pub const MIB: u64 = 1 << 20;

/// Default of `part_size`: more small parts fit into the memory budget at the same time, and many
/// parts in parallel fill a long-distance link.
pub const DEFAULT_PART_SIZE: u64 = MIN_PART_SIZE;

/// Smallest part that S3 accepts, except for the last of an upload.
pub const MIN_PART_SIZE: u64 = 5 * MIB;

/// Largest part that S3 accepts.
pub const MAX_PART_SIZE: u64 = 5 * 1024 * MIB;

/// Number of parts that S3 allows in one upload; a few providers allow fewer.
pub const MAX_PARTS: u64 = 10_000;

/// Default of `memory`, sized for a Raspberry Pi that also runs Home Assistant.
pub const DEFAULT_MEMORY_BUDGET: u64 = 96 * MIB;

/// Smallest budget with memory for one part of the smallest size.
pub const MIN_MEMORY_BUDGET: u64 = 32 * MIB;

/// Default of `concurrency`: enough to fill a fast long-distance link.
pub const DEFAULT_PARALLEL_PARTS: usize = 16;

/// Maximum of `concurrency`; more would only overload a server.
pub const MOST_PARALLEL_PARTS: usize = 64;

/// Minimum of `bandwidth_limit`: many servers drop slower connections.
pub const MIN_BYTES_PER_SECOND: u64 = 64 << 10;

/// Longest `prefix` in bytes, and longest `folder` in bytes.
pub const MAX_FOLDER: usize = 700;

/// Region if neither a setting nor the host name contains one; most servers accept any.
const DEFAULT_REGION: &str = "us-east-1";

/// Default of `folder`.
pub const DEFAULT_FOLDER: &str = "backups";

/// How the bucket is named in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AddressingStyle {
    /// The provider's preference, if the host name is known; otherwise `path`.
    #[default]
    Auto,
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    Virtual,
}

impl AddressingStyle {
    /// The addressing style of requests.
    #[must_use]
    pub fn of(path_style: bool) -> Self {
        if path_style { Self::Path } else { Self::Virtual }
    }

    /// The value in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Path => "path",
            Self::Virtual => "virtual",
        }
    }
}

/// How the server encrypts what it stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "ServerSideEncryption"))]
pub enum Algorithm {
    /// With keys of the server (SSE-S3).
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key of a key management service (SSE-KMS).
    #[serde(rename = "aws:kms")]
    Kms,
}

impl Algorithm {
    /// The value in settings and headers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms => "aws:kms",
        }
    }
}

/// Server-side encryption that the agent requests for each object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// ID of the key; None for the server's default key.
    pub key_id: Option<String>,
}

/// Settings as given; all members except the bucket and the access keys have a default.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct S3Config {
    /// Type of the target: `s3`. Default: `s3`.
    #[cfg_attr(test, schemars(extend("enum" = ["s3", null])))]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `https://host[:port]` of the service, with its base path if it has one. The agent splits an
    /// address that also holds the bucket, such as `https://host/bucket` or `s3://bucket/prefix`.
    /// Default: AWS in the given region.
    #[cfg_attr(test, schemars(regex(pattern = r"^([Hh][Tt][Tt][Pp][Ss]?|[Ss]3)://[^?#@\s]+$")))]
    pub endpoint: Option<String>,
    /// Region for signatures. Default: the region in the host name of a known provider, otherwise
    /// `us-east-1`; corrected when the server names another region.
    #[cfg_attr(test, schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]+$")))]
    pub region: Option<String>,
    /// Name of the bucket. Optional if the endpoint contains it. On AWS, 3 to 63 of `a-z0-9.-`.
    #[cfg_attr(test, schemars(length(max = LONGEST_BUCKET)))]
    pub bucket: Option<String>,
    /// Path in the bucket above `folder`. Default: none.
    #[cfg_attr(test, schemars(length(max = MAX_FOLDER)))]
    pub prefix: Option<String>,
    /// Folder below `prefix` that holds the backups; empty: they are directly below `prefix`.
    /// Default: `backups`.
    #[cfg_attr(test, schemars(length(max = MAX_FOLDER)))]
    pub folder: Option<String>,
    /// Access key ID.
    #[cfg_attr(test, schemars(required, length(min = 1)))]
    pub access_key_id: Option<String>,
    /// Secret access key.
    #[cfg_attr(test, schemars(with = "SecretSource", extend("writeOnly" = true)))]
    pub secret_access_key: Option<SecretSource>,
    /// Session token of temporary credentials.
    #[cfg_attr(test, schemars(extend("writeOnly" = true)))]
    pub session_token: Option<SecretSource>,
    /// Default: `auto`.
    pub addressing_style: Option<AddressingStyle>,
    /// PEM text of CA certificates to trust in addition to those of the system.
    pub ca_certificate: Option<String>,
    /// `false` accepts any certificate. Default: `true`.
    pub verify_tls: Option<bool>,
    /// Storage class of the archives; metadata always uses the bucket's default.
    pub storage_class: Option<String>,
    /// Encryption that the server applies to all objects the agent writes. Default: the bucket's.
    pub server_side_encryption: Option<Algorithm>,
    /// ID, ARN or alias of the key for `aws:kms`. Default: the key of the bucket or of the account.
    pub server_side_encryption_key_id: Option<String>,
    /// Minimum size of the parts of an upload, in bytes; larger if the backup needs more than the
    /// maximum number of parts. Default: 5 MiB.
    #[cfg_attr(test, schemars(range(min = MIN_PART_SIZE, max = MAX_PART_SIZE)))]
    pub part_size: Option<u64>,
    /// Memory in bytes that the process may use while it works on this target. Default: 96 MiB.
    #[cfg_attr(test, schemars(range(min = MIN_MEMORY_BUDGET)))]
    pub memory: Option<u64>,
    /// Maximum number of parts of one transfer in flight. Default: 16.
    #[cfg_attr(test, schemars(range(min = 1, max = MOST_PARALLEL_PARTS)))]
    pub concurrency: Option<u64>,
    /// Bandwidth limit in bytes per second, for uploads and downloads separately. Default: no
    /// limit.
    #[cfg_attr(test, schemars(range(min = MIN_BYTES_PER_SECOND)))]
    pub bandwidth_limit: Option<u64>,
}

/// Complete, checked settings.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// Scheme, host, port and base path of the service.
    pub endpoint: Url,
    /// Whether the settings contain an endpoint; otherwise it is that of AWS.
    pub endpoint_given: bool,
    /// Whether the bucket was taken from the endpoint.
    pub split: bool,
    /// Alternative interpretations of the endpoint, the more likely first.
    pub other_interpretations: Vec<Location>,
    /// The provider, if its host name is known.
    pub provider: Option<&'static Provider>,
    /// Region for signatures.
    pub region: String,
    /// Whether the settings contain the region, so that no other is used.
    pub region_given: bool,
    /// Name of the bucket.
    pub bucket: String,
    /// Prefix as given; the store checks it.
    pub prefix: String,
    /// Folder below the prefix as given; the store checks it.
    pub folder: String,
    /// Access key ID.
    pub access_key_id: String,
    /// Removes the access key ID from server messages, while these settings exist.
    pub hidden_access_key_id: Known,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// Session token of temporary credentials.
    pub session_token: Option<Secret>,
    /// Whether requests contain the bucket in the path (`true`) or in the host name.
    pub path_style: bool,
    /// Whether the settings contain the addressing style, so that no other is used.
    pub addressing_given: bool,
    /// PEM text of CA certificates to trust in addition to those of the system.
    pub ca_certificate: Option<String>,
    /// Whether certificates are checked.
    pub verify_tls: bool,
    /// Storage class of the archives.
    pub storage_class: Option<String>,
    /// Encryption that the agent requests for each object.
    pub encryption: Option<Encryption>,
    /// Minimum size of the parts, in bytes.
    pub part_size: u64,
    /// Limits, which may change; clones of these settings share them.
    pub limits: LiveLimits,
}

impl S3Config {
    /// Fills in defaults, and checks everything that needs no network.
    ///
    /// # Errors
    /// `invalid_config`, `invalid_endpoint` or `invalid_bucket_name`, each naming the field.
    pub fn check(self) -> Result<TargetConfig> {
        if self.kind.is_some_and(|kind| kind != "s3") {
            return Err(invalid("type", "the type is unknown").hint("use \"s3\""));
        }
        let secret_access_key = match self.secret_access_key {
            Some(source) => source.read("secret_access_key")?,
            None => Secret::from(String::new()),
        };
        let session_token =
            self.session_token.map(|source| source.read("session_token")).transpose()?;
        let secrets: Vec<_> = std::iter::once(&secret_access_key).chain(&session_token).collect();
        for (field, value) in [
            ("endpoint", &self.endpoint),
            ("region", &self.region),
            ("bucket", &self.bucket),
            ("prefix", &self.prefix),
            ("folder", &self.folder),
            ("storage_class", &self.storage_class),
        ] {
            check_not_secret(field, value.as_deref(), &secrets)?;
        }
        let aws = || aws_endpoint(self.region.as_deref().unwrap_or(DEFAULT_REGION));
        let address::Interpretation { location, split, others } = address::read(
            self.endpoint.as_deref(),
            self.bucket.as_deref().unwrap_or_default(),
            self.prefix.as_deref().unwrap_or_default(),
            aws,
        )?;
        let Location { endpoint, bucket, prefix } = location;
        check_bucket(&bucket, endpoint.host_str().unwrap_or_default())?;
        let known = provider::of_host(endpoint.host_str().unwrap_or_default());
        let provider = known.as_ref().map(|(provider, _)| *provider);
        let region_given = self.region.is_some();
        let region = match (self.region, known) {
            (Some(region), _) => check_region(region)?,
            (None, Some((_, Some(region)))) => region,
            (None, Some((provider, None))) => provider.default_region().to_owned(),
            (None, None) => DEFAULT_REGION.to_owned(),
        };
        let addressing_style = self.addressing_style.unwrap_or_default();
        let preferred = provider.map(|provider| provider.addressing_style);
        let access_key_id = self.access_key_id.unwrap_or_default();
        check_key("access_key_id", "access key ID", &access_key_id)?;
        check_key("secret_access_key", "secret access key", secret_access_key.expose())?;
        // Swapped keys: the value given as ID is the secret.
        let hidden_access_key_id = if keys::are_swapped(&access_key_id, secret_access_key.expose())
        {
            Known::secret(access_key_id.clone())
        } else {
            Known::name(access_key_id.clone())
        };
        if let Some(token) = &session_token {
            check_key("session_token", "session token", token.expose())?;
        }
        let limits = Limits {
            memory_budget: check_memory_budget(self.memory)?,
            concurrency: check_parallel_parts(self.concurrency)?,
            bandwidth_limit: check_rate(self.bandwidth_limit)?,
        };
        Ok(TargetConfig {
            path_style: wants_path(&endpoint, &bucket)
                || match addressing_style {
                    AddressingStyle::Auto => preferred != Some(AddressingStyle::Virtual),
                    AddressingStyle::Path => true,
                    AddressingStyle::Virtual => false,
                },
            addressing_given: addressing_style != AddressingStyle::Auto,
            provider,
            region,
            region_given,
            endpoint_given: self.endpoint.is_some(),
            split,
            other_interpretations: others,
            bucket,
            prefix,
            folder: self.folder.unwrap_or_else(|| DEFAULT_FOLDER.to_owned()),
            hidden_access_key_id,
            access_key_id,
            secret_access_key,
            session_token,
            ca_certificate: self.ca_certificate.filter(|pem| !pem.trim().is_empty()),
            verify_tls: self.verify_tls.unwrap_or(true),
            storage_class: self.storage_class.filter(|class| !class.is_empty()),
            encryption: check_encryption(
                self.server_side_encryption,
                self.server_side_encryption_key_id,
            )?,
            part_size: check_part_size(self.part_size)?,
            limits: LiveLimits::new(limits),
            endpoint,
        })
    }
}

/// Whether the host name cannot contain the bucket: the host is an IP address, the endpoint has a
/// base path, or the bucket name is not a valid host label.
fn wants_path(endpoint: &Url, bucket: &str) -> bool {
    endpoint.domain().is_none() || endpoint.path() != "/" || !fits_host(bucket)
}

impl TargetConfig {
    /// Most parts of one upload.
    #[must_use]
    pub fn max_parts(&self) -> u64 {
        self.provider.map_or(MAX_PARTS, |provider| provider.parts.max_count)
    }

    /// Whether the access key ID looks like a secret, and the secret like an access key ID.
    #[must_use]
    pub fn keys_look_swapped(&self) -> bool {
        keys::are_swapped(&self.access_key_id, self.secret_access_key.expose())
    }

    /// The location of the backups.
    #[must_use]
    pub fn location(&self) -> Location {
        let Self { endpoint, bucket, prefix, .. } = self.clone();
        Location { endpoint, bucket, prefix }
    }

    /// The settings with another interpretation of the endpoint.
    #[must_use]
    pub fn at(&self, location: &Location) -> Self {
        let Location { endpoint, bucket, prefix } = location.clone();
        let path_style = self.path_style || wants_path(&endpoint, &bucket);
        Self { endpoint, bucket, prefix, path_style, ..self.clone() }
    }

    /// The settings with another endpoint, and the region in its host name.
    #[must_use]
    pub fn moved_to(&self, endpoint: Url) -> Self {
        let known = provider::of_host(endpoint.host_str().unwrap_or_default());
        let provider = known.as_ref().map(|(provider, _)| *provider);
        let region = known.and_then(|(_, region)| region).unwrap_or_else(|| self.region.clone());
        Self { endpoint, provider, region, ..self.clone() }
    }
}
