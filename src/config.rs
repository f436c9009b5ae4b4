//! The settings of one storage target.
//!
//! [`TargetSettings`] is what a person or a host gives, with the names of the protocol;
//! [`TargetConfig`] is the same, complete and checked. Nothing is read from `~/.aws`, profiles or
//! instance metadata. Secrets live in [`Secret`], which cannot be printed.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::error::{Code, Error, Result};

/// One mebibyte in bytes.
pub const MIB: u64 = 1 << 20;

/// Default of `part_size_bytes`: few requests, yet several parts fit into the memory budget.
pub const DEFAULT_PART_SIZE: u64 = 16 * MIB;

/// Smallest part that S3 accepts, except for the last of an upload.
pub const MIN_PART_SIZE: u64 = 5 * MIB;

/// Largest part that S3 accepts.
pub const MAX_PART_SIZE: u64 = 5 * 1024 * MIB;

/// Default of `memory_budget_bytes`, sized for a Raspberry Pi that also runs Home Assistant.
pub const DEFAULT_MEMORY_BUDGET: u64 = 96 * MIB;

/// Smallest budget that leaves room for one part of the smallest size.
pub const MIN_MEMORY_BUDGET: u64 = 32 * MIB;

/// A text that must never be shown. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text itself, for signing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum SecretSource {
    /// The secret itself.
    Inline(Secret),
    /// A file whose content, without the final line break, is the secret.
    File {
        /// Path of the file.
        file: PathBuf,
    },
    /// A file of this name in `$CREDENTIALS_DIRECTORY`, as systemd provides it.
    Credential {
        /// Name of the credential.
        credential: String,
    },
}

impl SecretSource {
    fn read(self, field: &'static str) -> Result<Secret> {
        let path = match self {
            Self::Inline(secret) => return Ok(secret),
            Self::File { file } => file,
            Self::Credential { credential } => {
                let mut parts = Path::new(&credential).components();
                let plain = matches!(
                    (parts.next(), parts.next()),
                    (Some(std::path::Component::Normal(_)), None)
                );
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
                match directory {
                    Some(directory) if plain => PathBuf::from(directory).join(credential),
                    Some(_) => {
                        return Err(invalid(field, "the credential must be a plain file name"));
                    }
                    None => {
                        return Err(invalid(
                            field,
                            "no CREDENTIALS_DIRECTORY is set: give a \"file\" instead of a \"credential\"",
                        ));
                    }
                }
            }
        };
        let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(|error| {
            invalid(field, format!("cannot read {}: {error}", path.display())).source(error)
        })?);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        Ok(Secret::from(text.to_owned()))
    }
}

/// How the bucket is named in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addressing {
    /// `virtual` for amazonaws.com, `path` for every other endpoint.
    #[default]
    Auto,
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    Virtual,
}

/// Settings as given; every member but the bucket and the keys has a default.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TargetSettings {
    /// Kind of storage; only `s3` exists.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `https://host[:port]` of the service. Default: AWS in the given region.
    pub endpoint: Option<String>,
    /// Region that signatures name. Default: read from an AWS endpoint, else `us-east-1`.
    pub region: Option<String>,
    /// Name of the bucket.
    pub bucket: Option<String>,
    /// Folder in the bucket under which `backups/` lies. Default: none.
    pub prefix: Option<String>,
    /// Access key id.
    pub access_key_id: Option<String>,
    /// Secret access key.
    pub secret_access_key: Option<SecretSource>,
    /// Session token of temporary credentials.
    pub session_token: Option<SecretSource>,
    /// Default: `auto`.
    pub addressing: Option<Addressing>,
    /// PEM text of certificates to trust besides those of the system.
    pub ca_certificate: Option<String>,
    /// `false` accepts any certificate. Default: `true`.
    pub verify_tls: Option<bool>,
    /// Storage class of the archives; metadata always takes the bucket's default.
    pub storage_class: Option<String>,
    /// Size of the parts of an upload. Default: [`DEFAULT_PART_SIZE`], or what the budget allows.
    pub part_size_bytes: Option<u64>,
    /// Memory the whole process may take. Default: [`DEFAULT_MEMORY_BUDGET`].
    pub memory_budget_bytes: Option<u64>,
}

/// Complete, checked settings.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// Scheme, host and port of the service.
    pub endpoint: Url,
    /// Region that signatures name.
    pub region: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Prefix as given; the store checks it.
    pub prefix: String,
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// Session token of temporary credentials.
    pub session_token: Option<Secret>,
    /// Whether requests name the bucket in the path (`true`) or in the host.
    pub path_style: bool,
    /// PEM text of certificates to trust besides those of the system.
    pub ca_certificate: Option<String>,
    /// Whether certificates are checked.
    pub verify_tls: bool,
    /// Storage class of the archives.
    pub storage_class: Option<String>,
    /// Preferred size of the parts, in bytes.
    pub part_size: u64,
    /// Memory the whole process may take, in bytes.
    pub memory_budget: u64,
}

impl TargetSettings {
    /// Fills in the defaults and checks what can be checked without the network.
    ///
    /// # Errors
    /// `invalid_config`, `invalid_endpoint` or `invalid_bucket_name`, each naming the field.
    pub fn check(self) -> Result<TargetConfig> {
        if let Some(kind) = self.kind.filter(|kind| kind != "s3") {
            return Err(invalid("type", format!("the type \"{kind}\" is unknown: use \"s3\"")));
        }
        let bucket = self.bucket.unwrap_or_default();
        check_bucket(&bucket)?;
        let endpoint = match &self.endpoint {
            Some(endpoint) => parse_endpoint(endpoint, &bucket)?,
            None => aws_endpoint(self.region.as_deref())?,
        };
        let region = match self.region {
            Some(region) => check_region(region)?,
            None => region_of(&endpoint).unwrap_or_else(|| "us-east-1".to_owned()),
        };
        let access_key_id = self.access_key_id.unwrap_or_default();
        check_key("access_key_id", "access key id", &access_key_id)?;
        let secret_access_key = match self.secret_access_key {
            Some(source) => source.read("secret_access_key")?,
            None => Secret::from(String::new()),
        };
        check_key("secret_access_key", "secret access key", secret_access_key.expose())?;
        let session_token =
            self.session_token.map(|source| source.read("session_token")).transpose()?;
        if let Some(token) = &session_token {
            check_key("session_token", "session token", token.expose())?;
        }
        let memory_budget = self.memory_budget_bytes.unwrap_or(DEFAULT_MEMORY_BUDGET);
        if memory_budget < MIN_MEMORY_BUDGET {
            return Err(invalid(
                "memory_budget_bytes",
                format!("the memory budget must be at least {MIN_MEMORY_BUDGET} bytes (32 MiB)"),
            ));
        }
        Ok(TargetConfig {
            path_style: match self.addressing.unwrap_or_default() {
                Addressing::Auto => !is_aws(&endpoint),
                Addressing::Path => true,
                Addressing::Virtual => false,
            },
            region,
            bucket,
            prefix: self.prefix.unwrap_or_default(),
            access_key_id,
            secret_access_key,
            session_token,
            ca_certificate: self.ca_certificate.filter(|pem| !pem.trim().is_empty()),
            verify_tls: self.verify_tls.unwrap_or(true),
            storage_class: self.storage_class.filter(|class| !class.is_empty()),
            part_size: check_part_size(self.part_size_bytes, memory_budget)?,
            memory_budget,
            endpoint,
        })
    }
}

fn invalid(field: &'static str, message: impl Into<String>) -> Error {
    Error::new(Code::InvalidConfig, message).field(field).fact("field", field)
}

fn invalid_endpoint(reason: &'static str, message: impl Into<String>) -> Error {
    Error::new(Code::InvalidEndpoint, message).field("endpoint").fact("reason", reason)
}

fn parse_endpoint(text: &str, bucket: &str) -> Result<Url> {
    let text = text.trim();
    if text.is_empty() {
        return Err(invalid_endpoint(
            "scheme",
            "the endpoint is empty: enter https:// and the host",
        ));
    }
    if !text.contains("://") {
        return Err(invalid_endpoint(
            "scheme",
            format!("the endpoint \"{text}\" has no scheme: write https://{text}"),
        ));
    }
    let url = Url::parse(text).map_err(|error| {
        invalid_endpoint("scheme", format!("the endpoint \"{text}\" is not a URL: {error}"))
    })?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(invalid_endpoint(
            "scheme",
            format!("the endpoint starts with {}://: use https:// (or http://)", url.scheme()),
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid_endpoint(
            "credentials_in_url",
            "the endpoint holds a user name or password: remove it and use the keys instead",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid_endpoint(
            "query",
            "the endpoint has something behind a ? or #: enter the scheme and the host only",
        ));
    }
    let path = url.path().trim_matches('/');
    if !path.is_empty() {
        return Err(invalid_endpoint(
            "bucket_in_url",
            format!(
                "the endpoint has a path (/{path}): enter the scheme and the host only; the bucket \
                 and the prefix have fields of their own"
            ),
        ));
    }
    let host = url.host_str().unwrap_or_default();
    // A bucket may itself be called "s3", so only "<bucket>.s3…" is taken for a mistake.
    if let Some(rest) = host.strip_prefix(bucket).and_then(|rest| rest.strip_prefix('.'))
        && rest.starts_with("s3")
        && rest.contains('.')
    {
        return Err(invalid_endpoint(
            "bucket_in_url",
            format!("the endpoint already holds the bucket: write {}://{rest}", url.scheme()),
        ));
    }
    Ok(url)
}

fn aws_endpoint(region: Option<&str>) -> Result<Url> {
    let region = check_region(region.unwrap_or("us-east-1").to_owned())?;
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    Url::parse(&format!("https://s3.{region}.{suffix}"))
        .map_err(|error| invalid("region", format!("\"{region}\" is not a region")).source(error))
}

fn is_aws(endpoint: &Url) -> bool {
    endpoint
        .host_str()
        .is_some_and(|host| host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
}

/// The region in `s3.REGION.amazonaws.com`.
fn region_of(endpoint: &Url) -> Option<String> {
    if !is_aws(endpoint) {
        return None;
    }
    let mut labels = endpoint.host_str()?.split('.');
    labels.find(|label| *label == "s3" || *label == "dualstack")?;
    labels
        .find(|label| *label != "dualstack")
        .filter(|label| *label != "amazonaws")
        .map(str::to_owned)
}

fn check_region(region: String) -> Result<String> {
    let region = region.trim();
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if region.is_empty() || region.len() > 64 || !region.chars().all(plain) {
        return Err(invalid(
            "region",
            "the region must be letters, digits and hyphens, such as eu-central-1, auto or garage; \
             leave it out if your storage has none",
        ));
    }
    Ok(region.to_owned())
}

fn check_bucket(bucket: &str) -> Result<()> {
    let wrong = |message: String| {
        Err(Error::new(Code::InvalidBucketName, message).field("bucket").fact("bucket", bucket))
    };
    if bucket.is_empty() {
        return wrong("the bucket name is missing".to_owned());
    }
    if !(3..=63).contains(&bucket.len()) {
        return wrong(format!("the bucket name \"{bucket}\" must have 3 to 63 characters"));
    }
    let plain = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || "-.".contains(character)
    };
    if let Some(character) = bucket.chars().find(|character| !plain(*character)) {
        return wrong(format!(
            "the bucket name \"{bucket}\" holds {character:?}: only lower-case letters, digits, \
             hyphens and dots are allowed, and folders go into the prefix"
        ));
    }
    let edge = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric());
    if !edge(bucket.chars().next()) || !edge(bucket.chars().next_back()) || bucket.contains("..") {
        return wrong(format!(
            "the bucket name \"{bucket}\" must begin and end with a letter or digit and have no \
             two dots in a row"
        ));
    }
    if matches!(Host::parse(bucket), Ok(Host::Ipv4(_))) {
        return wrong(format!("the bucket name \"{bucket}\" looks like an IP address"));
    }
    Ok(())
}

fn check_key(field: &'static str, what: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(invalid(field, format!("the {what} is missing")));
    }
    if value.trim().is_empty() {
        return Err(invalid(field, format!("the {what} is blank: enter it")));
    }
    if value.trim() != value {
        return Err(invalid(
            field,
            format!("the {what} has a blank or line break before or after it: remove that"),
        ));
    }
    if value.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err(invalid(
            field,
            format!("the {what} holds a blank or control character: copy it again"),
        ));
    }
    Ok(())
}

fn check_part_size(wanted: Option<u64>, memory_budget: u64) -> Result<u64> {
    let Some(size) = wanted else {
        let fitting = memory_budget / 6 / MIB * MIB;
        return Ok(DEFAULT_PART_SIZE.min(fitting.max(MIN_PART_SIZE)));
    };
    if !(MIN_PART_SIZE..=MAX_PART_SIZE).contains(&size) {
        return Err(invalid(
            "part_size_bytes",
            "the part size must be between 5 MiB (5242880) and 5 GiB (5368709120)",
        ));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> TargetSettings {
        TargetSettings {
            endpoint: Some("https://s3.example.org".to_owned()),
            bucket: Some("backups".to_owned()),
            access_key_id: Some("AK".to_owned()),
            secret_access_key: Some(SecretSource::Inline(Secret::from("SK".to_owned()))),
            ..TargetSettings::default()
        }
    }

    fn code_and_field(settings: TargetSettings) -> (Code, String) {
        let error = settings.check().unwrap_err();
        (error.code(), error.data().field.unwrap_or_default())
    }

    #[test]
    fn defaults_fit_any_provider() {
        let config = settings().check().unwrap();
        assert!(config.path_style && config.verify_tls);
        assert_eq!(config.region, "us-east-1");
        assert_eq!(config.part_size, DEFAULT_PART_SIZE);
    }

    #[test]
    fn aws_is_virtual_hosted_and_knows_its_region() {
        let mut given = settings();
        given.endpoint = Some("https://s3.eu-central-1.amazonaws.com".to_owned());
        let config = given.check().unwrap();
        assert!(!config.path_style);
        assert_eq!(config.region, "eu-central-1");

        let mut given = settings();
        given.endpoint = None;
        given.region = Some("ap-south-1".to_owned());
        let config = given.check().unwrap();
        assert_eq!(config.endpoint.as_str(), "https://s3.ap-south-1.amazonaws.com/");

        let mut given = settings();
        given.endpoint = Some("https://s3.dualstack.eu-west-1.amazonaws.com".to_owned());
        given.addressing = Some(Addressing::Path);
        let config = given.check().unwrap();
        assert!(config.path_style);
        assert_eq!(config.region, "eu-west-1");
    }

    #[test]
    fn endpoints_that_cannot_work_are_explained() {
        for (endpoint, reason) in [
            ("s3.example.org", "scheme"),
            ("", "scheme"),
            ("ftp://s3.example.org", "scheme"),
            ("https://", "scheme"),
            ("https://s3.example.org/backups", "bucket_in_url"),
            ("https://backups.s3.example.org", "bucket_in_url"),
            ("https://me:pw@s3.example.org", "credentials_in_url"),
            ("https://s3.example.org/?x=1", "query"),
        ] {
            let mut given = settings();
            given.endpoint = Some(endpoint.to_owned());
            let error = given.check().unwrap_err();
            assert_eq!(error.code(), Code::InvalidEndpoint, "{endpoint}");
            assert_eq!(error.facts().get("reason"), Some(&reason.into()), "{endpoint}");
        }
    }

    #[test]
    fn bucket_names_are_checked() {
        for bucket in ["", "ab", "My-Bucket", "a/b/c", "-abc", "abc.", "a..b", "10.0.0.1", "bück"]
        {
            let mut given = settings();
            given.bucket = Some(bucket.to_owned());
            assert_eq!(
                code_and_field(given),
                (Code::InvalidBucketName, "bucket".to_owned()),
                "{bucket}"
            );
        }
    }

    #[test]
    fn blank_and_padded_keys_name_their_field() {
        for key in ["", "  ", " AK", "AK\n", "A K"] {
            let mut given = settings();
            given.access_key_id = Some(key.to_owned());
            assert_eq!(
                code_and_field(given),
                (Code::InvalidConfig, "access_key_id".to_owned()),
                "{key:?}"
            );
            let mut given = settings();
            given.secret_access_key = Some(SecretSource::Inline(Secret::from(key.to_owned())));
            assert_eq!(
                code_and_field(given),
                (Code::InvalidConfig, "secret_access_key".to_owned()),
                "{key:?}"
            );
        }
    }

    #[test]
    fn a_secret_file_may_end_with_a_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "s3cr3t\r\n").unwrap();
        let mut given = settings();
        given.secret_access_key = Some(SecretSource::File { file });
        assert_eq!(given.check().unwrap().secret_access_key.expose(), "s3cr3t");
    }

    #[test]
    fn small_budgets_get_small_parts() {
        let mut given = settings();
        given.memory_budget_bytes = Some(32 * MIB);
        assert_eq!(given.check().unwrap().part_size, 5 * MIB);
        let mut given = settings();
        given.memory_budget_bytes = Some(MIB);
        assert_eq!(code_and_field(given).1, "memory_budget_bytes");
        let mut given = settings();
        given.part_size_bytes = Some(MIB);
        assert_eq!(code_and_field(given).1, "part_size_bytes");
    }

    #[test]
    fn secrets_do_not_print() {
        let config = settings().check().unwrap();
        assert!(!format!("{config:?}").contains("SK"));
    }
}
