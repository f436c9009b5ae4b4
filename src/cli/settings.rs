//! Settings of a target: flags, our variables, then those of AWS tools. The secret is no flag, because other
//! users can read flags.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum, builder::BoolishValueParser};

use super::environment::{endpoint_of, named, notice, readable};
use super::given::Given;
use super::keys::{Keys, ask, missing};
use crate::config::size::{rate, size};
use crate::config::{
    AddressingStyle, Algorithm, LONGEST_CA_FILE, S3Config, Secret, SecretSource, TargetConfig,
};
use crate::error::{Code, Error, Result};
use crate::journal::Journal;
use crate::ops::{Budget, Target};
use crate::platform::read_small;

/// The server, the bucket, the keys and the limits.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Storage options")]
pub struct TargetOptions {
    /// URL of the S3 service, for example `https://s3.example.org`. Default: AWS in the region.
    #[arg(
        long,
        value_name = "URL",
        env = "S3_BACKUP_AGENT_ENDPOINT",
        hide_env_values = true,
        hide_short_help = true
    )]
    endpoint: Option<String>,

    /// Region of the bucket. Default: what the server says.
    #[arg(long, env = "S3_BACKUP_AGENT_REGION", hide_env_values = true, hide_short_help = true)]
    region: Option<String>,

    /// Name of the bucket.
    #[arg(long, env = "S3_BACKUP_AGENT_BUCKET", hide_env_values = true, hide_short_help = true)]
    bucket: Option<String>,

    /// Prefix of the backups in the bucket, for example `ha`. Default: none.
    #[arg(long, env = "S3_BACKUP_AGENT_PREFIX", hide_env_values = true, hide_short_help = true)]
    prefix: Option<String>,

    /// Folder under the prefix, for backups in another layout. Empty: none. Default: `backups`.
    #[arg(long, env = "S3_BACKUP_AGENT_FOLDER", hide_env_values = true, hide_short_help = true)]
    folder: Option<String>,

    /// Access key ID. The secret comes from a variable or a file, or you are asked.
    #[arg(
        long,
        value_name = "ID",
        env = "S3_BACKUP_AGENT_ACCESS_KEY_ID",
        hide_env_values = true,
        hide_short_help = true
    )]
    access_key_id: Option<String>,

    /// File that holds the secret access key. Default: `S3_BACKUP_AGENT_SECRET_ACCESS_KEY`, otherwise
    /// you are asked.
    #[arg(
        long,
        value_name = "PATH",
        env = "S3_BACKUP_AGENT_SECRET_ACCESS_KEY_FILE",
        hide_env_values = true,
        hide_short_help = true
    )]
    secret_access_key_file: Option<PathBuf>,

    /// File that holds the session token of temporary keys. Default: `S3_BACKUP_AGENT_SESSION_TOKEN`,
    /// otherwise none.
    #[arg(
        long,
        value_name = "PATH",
        env = "S3_BACKUP_AGENT_SESSION_TOKEN_FILE",
        hide_env_values = true,
        hide_short_help = true
    )]
    session_token_file: Option<PathBuf>,

    /// Path-style (`path`) or virtual-hosted-style (`virtual`) requests. Default: what fits the
    /// endpoint.
    #[arg(
        long,
        value_name = "STYLE",
        value_enum,
        env = "S3_BACKUP_AGENT_ADDRESSING_STYLE",
        hide_env_values = true,
        hide_short_help = true
    )]
    addressing_style: Option<Style>,

    /// File with certificates (PEM) to trust in addition to the system's.
    #[arg(
        long,
        value_name = "PATH",
        env = "S3_BACKUP_AGENT_CA_FILE",
        hide_env_values = true,
        hide_short_help = true
    )]
    ca_file: Option<PathBuf>,

    /// Accept any certificate. Others on the network can then read and change your backups.
    #[arg(
        long,
        value_parser = BoolishValueParser::new(),
        env = "S3_BACKUP_AGENT_INSECURE_SKIP_TLS_VERIFY",
        hide_env_values = true,
        hide_short_help = true
    )]
    insecure_skip_tls_verify: bool,

    /// Storage class of the archives, for example `STANDARD_IA`. Default: the bucket's.
    #[arg(
        long,
        value_name = "CLASS",
        env = "S3_BACKUP_AGENT_STORAGE_CLASS",
        hide_env_values = true,
        hide_short_help = true
    )]
    storage_class: Option<String>,

    /// Encryption that the server applies to the objects. Default: the bucket's.
    #[arg(
        long,
        value_name = "ALGORITHM",
        value_enum,
        env = "S3_BACKUP_AGENT_SERVER_SIDE_ENCRYPTION",
        hide_env_values = true,
        hide_short_help = true
    )]
    server_side_encryption: Option<Cipher>,

    /// ID, ARN or alias of the key for `aws:kms`. Default: the key of the bucket or the account.
    #[arg(
        long,
        value_name = "KEY",
        env = "S3_BACKUP_AGENT_SERVER_SIDE_ENCRYPTION_KEY_ID",
        hide_env_values = true,
        hide_short_help = true
    )]
    server_side_encryption_key_id: Option<String>,

    /// Size of the parts of an upload, at least 5MiB. Default: 5MiB.
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = size,
        env = "S3_BACKUP_AGENT_PART_SIZE",
        hide_env_values = true,
        hide_short_help = true
    )]
    part_size: Option<u64>,

    /// Memory for transfers, at least 32MiB. Default: 96MiB.
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = size,
        env = "S3_BACKUP_AGENT_MEMORY",
        hide_env_values = true,
        hide_short_help = true
    )]
    memory: Option<u64>,

    /// Parts of a transfer that are sent at the same time, 1 to 64, if the memory allows it. Default:
    /// 16.
    #[arg(
        long,
        value_name = "COUNT",
        env = "S3_BACKUP_AGENT_CONCURRENCY",
        hide_env_values = true,
        hide_short_help = true
    )]
    concurrency: Option<u64>,

    /// Bytes per second in each direction, over all transfers, at least 64KiB. Default: no limit.
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = rate,
        env = "S3_BACKUP_AGENT_BANDWIDTH_LIMIT",
        hide_env_values = true,
        hide_short_help = true
    )]
    bandwidth_limit: Option<u64>,
}

/// [`AddressingStyle`] as a flag.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Style {
    Auto,
    Path,
    Virtual,
}

impl From<Style> for AddressingStyle {
    fn from(style: Style) -> Self {
        match style {
            Style::Auto => Self::Auto,
            Style::Path => Self::Path,
            Style::Virtual => Self::Virtual,
        }
    }
}

/// [`Algorithm`] as a flag.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Cipher {
    /// With keys of the server.
    #[value(name = "AES256")]
    Aes256,
    /// With a key of a key management service.
    #[value(name = "aws:kms")]
    Kms,
}

impl TargetOptions {
    /// Opens the target, asking for the secret on a terminal. Does not use the network. The second
    /// result is a line about the server that is used, if the settings do not name it.
    ///
    /// # Errors
    /// Every code of a wrong setting.
    pub fn open(self, journal: Option<Journal>) -> Result<(Arc<Target>, Option<String>)> {
        readable(|name| std::env::var(name))?;
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let from = self.endpoint.is_none().then(|| endpoint_of(&environment)).flatten();
        let config = self.config(&environment).map_err(|error| named(error, from.as_ref()))?;
        let notice = notice(&config, from.as_ref(), &environment);
        let budget = Budget::new(config.limits.get().memory_budget);
        Ok((Target::open(config, budget, journal)?, notice))
    }

    /// Whether these options say which storage it is. A variable without a value says nothing.
    pub(super) fn name_a_target(&self) -> bool {
        [&self.endpoint, &self.bucket, &self.access_key_id]
            .into_iter()
            .any(|setting| setting.as_ref().is_some_and(|value| !value.is_empty()))
    }

    /// Whether these options and the environment describe a whole target.
    pub(super) fn is_whole(&self, environment: &dyn Fn(&str) -> Option<String>) -> bool {
        let settings = self.clone().settings(environment);
        settings.is_ok_and(|settings| settings.check().is_ok())
    }

    /// Memory in bytes.
    pub(super) fn memory(&self) -> Option<u64> {
        self.memory
    }

    /// Replaces what flags may change in the settings of a named target.
    ///
    /// # Errors
    /// `invalid_config` for a file of certificates that cannot be read.
    pub(super) fn override_with(self, given: &Given, settings: &mut S3Config) -> Result<()> {
        let mut flags = self;
        if !given.has("ca_file") {
            flags.ca_file = None;
        }
        let flags = flags.settings(&|_| None)?;
        macro_rules! replace {
            ($($flag:literal => $setting:ident,)+) => {
                $( if given.has($flag) { settings.$setting = flags.$setting; } )+
            };
        }
        replace! {
            "region" => region,
            "addressing_style" => addressing_style,
            "ca_file" => ca_certificate,
            "insecure_skip_tls_verify" => verify_tls,
            "storage_class" => storage_class,
            "server_side_encryption" => server_side_encryption,
            "server_side_encryption_key_id" => server_side_encryption_key_id,
            "part_size" => part_size,
            "concurrency" => concurrency,
            "bandwidth_limit" => bandwidth_limit,
        }
        Ok(())
    }

    pub(super) fn config(
        self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<TargetConfig> {
        let mut settings = self.settings(environment)?;
        missing(&settings)?;
        if settings.secret_access_key.is_none() {
            // Asked last, when everything else is right.
            let mut probe = settings.clone();
            probe.secret_access_key = Some(SecretSource::Inline(Secret::from("-".to_owned())));
            probe.check()?;
            settings.secret_access_key = Some(ask(environment)?);
        }
        settings.check()
    }

    fn settings(self, environment: &dyn Fn(&str) -> Option<String>) -> Result<S3Config> {
        let first = |names: &[&str]| names.iter().find_map(|name| environment(name));
        let keys = Keys::of(
            self.access_key_id,
            self.secret_access_key_file,
            self.session_token_file,
            environment,
        );
        let ca_file = self.ca_file.or_else(|| environment("AWS_CA_BUNDLE").map(PathBuf::from));
        let ca_certificate = ca_file.map(|path| {
            let read = read_small(&path, LONGEST_CA_FILE).map_err(|error| {
                let message = format!("cannot read the file of certificates: {error}");
                Error::new(Code::InvalidConfig, message).field("ca_file").source(error)
            });
            read.map(|pem| pem.as_str().to_owned())
        });
        Ok(S3Config {
            kind: None,
            endpoint: self.endpoint.or_else(|| endpoint_of(environment).map(|(_, value)| value)),
            region: self.region.or_else(|| first(&["AWS_REGION", "AWS_DEFAULT_REGION"])),
            bucket: self.bucket,
            prefix: self.prefix,
            folder: self.folder,
            access_key_id: keys.access_key_id,
            secret_access_key: keys.secret,
            session_token: keys.token,
            addressing_style: self.addressing_style.map(Style::into),
            ca_certificate: ca_certificate.transpose()?,
            verify_tls: Some(!self.insecure_skip_tls_verify),
            storage_class: self.storage_class,
            server_side_encryption: self.server_side_encryption.map(|cipher| match cipher {
                Cipher::Aes256 => Algorithm::Aes256,
                Cipher::Kms => Algorithm::Kms,
            }),
            server_side_encryption_key_id: self.server_side_encryption_key_id,
            part_size: self.part_size,
            memory: self.memory,
            concurrency: self.concurrency,
            bandwidth_limit: self.bandwidth_limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl TargetOptions {
        /// Nothing but the name of the bucket.
        pub(in crate::cli) fn of_bucket(name: &str) -> Self {
            Self { bucket: Some(name.to_owned()), ..Self::default() }
        }
    }

    #[test]
    fn own_variables_take_precedence_over_aws_ones() {
        let environment = |name: &str| Some(format!("value of {name}"));
        let options = TargetOptions {
            region: Some("ours".to_owned()),
            ca_file: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/LICENSE").into()),
            ..TargetOptions::default()
        };
        let settings = options.settings(&environment).unwrap();
        assert_eq!(settings.region.as_deref(), Some("ours"));
        assert_eq!(settings.endpoint.as_deref(), Some("value of AWS_ENDPOINT_URL_S3"));
    }
}
