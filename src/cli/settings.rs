//! Where a target's settings come from: flags, our environment, then the names that AWS tools use.
//!
//! The keys are one set from one place, so that a key of ours is never tried with a secret meant
//! for somebody else. The secret itself is no flag, because others can read those.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum, builder::BoolishValueParser};

use super::environment::{SECRET, TOKEN};
use super::environment::{endpoint_of, named, notice, readable};
use crate::config::{AddressingStyle, Algorithm, S3Config, Secret, SecretSource, TargetConfig};
use crate::error::{Code, Error, Result};
use crate::journal::Journal;
use crate::ops::{Budget, Target};
use crate::platform::read_small;

/// Longest file of certificates, in bytes: several times what all that a system trusts take.
const LONGEST_CA_FILE: u64 = 4 << 20;

/// Where the backups are, and how to get in.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Storage")]
pub struct TargetOptions {
    /// Address of the S3 service, such as `https://s3.example.org`, with its base path if it has one.
    /// Default: AWS in the region.
    #[arg(long, value_name = "URL", env = "S3_BACKUP_AGENT_ENDPOINT", hide_env_values = true)]
    endpoint: Option<String>,

    /// Region of the bucket. Default: what the storage says.
    #[arg(long, env = "S3_BACKUP_AGENT_REGION", hide_env_values = true)]
    region: Option<String>,

    /// Name of the bucket.
    #[arg(long, env = "S3_BACKUP_AGENT_BUCKET", hide_env_values = true)]
    bucket: Option<String>,

    /// Folder in the bucket in which the folder of the backups lies. Default: none.
    #[arg(long, env = "S3_BACKUP_AGENT_PREFIX", hide_env_values = true)]
    prefix: Option<String>,

    /// Folder under the prefix that holds the backups; empty: none, they lie directly under the
    /// prefix. Default: `backups`.
    #[arg(long, env = "S3_BACKUP_AGENT_FOLDER", hide_env_values = true)]
    folder: Option<String>,

    /// Access key id. Its secret comes from the environment or a file, or is asked for.
    #[arg(long, value_name = "ID", env = "S3_BACKUP_AGENT_ACCESS_KEY_ID", hide_env_values = true)]
    access_key_id: Option<String>,

    /// File that holds the secret access key. Default: `S3_BACKUP_AGENT_SECRET_ACCESS_KEY`, else you
    /// are asked.
    #[arg(
        long,
        value_name = "PATH",
        env = "S3_BACKUP_AGENT_SECRET_ACCESS_KEY_FILE",
        hide_env_values = true
    )]
    secret_access_key_file: Option<PathBuf>,

    /// File that holds the session token of temporary keys. Default:
    /// `S3_BACKUP_AGENT_SESSION_TOKEN`, else none.
    #[arg(
        long,
        value_name = "PATH",
        env = "S3_BACKUP_AGENT_SESSION_TOKEN_FILE",
        hide_env_values = true
    )]
    session_token_file: Option<PathBuf>,

    /// Whether the bucket is named in the path or in the host name. Default: what fits the
    /// endpoint.
    #[arg(
        long,
        value_name = "STYLE",
        value_enum,
        env = "S3_BACKUP_AGENT_ADDRESSING_STYLE",
        hide_env_values = true
    )]
    addressing_style: Option<Style>,

    /// File with certificates (PEM) to trust besides those of the system.
    #[arg(long, value_name = "PATH", env = "S3_BACKUP_AGENT_CA_FILE", hide_env_values = true)]
    ca_file: Option<PathBuf>,

    /// Accept any certificate. Anybody on the way can then read and change your backups.
    #[arg(
        long,
        env = "S3_BACKUP_AGENT_INSECURE_SKIP_TLS_VERIFY",
        hide_env_values = true,
        value_parser = BoolishValueParser::new()
    )]
    insecure_skip_tls_verify: bool,

    /// Storage class of the archives, such as `STANDARD_IA`. Default: the bucket's.
    #[arg(
        long,
        value_name = "CLASS",
        env = "S3_BACKUP_AGENT_STORAGE_CLASS",
        hide_env_values = true
    )]
    storage_class: Option<String>,

    /// Encryption that the server applies to all objects the agent writes. Default: the bucket's.
    #[arg(
        long,
        value_name = "ALGORITHM",
        value_enum,
        env = "S3_BACKUP_AGENT_SERVER_SIDE_ENCRYPTION",
        hide_env_values = true
    )]
    server_side_encryption: Option<Cipher>,

    /// ID, ARN or alias of the key for `aws:kms`. Default: the key of the bucket or of the account.
    #[arg(
        long,
        value_name = "KEY",
        env = "S3_BACKUP_AGENT_SERVER_SIDE_ENCRYPTION_KEY_ID",
        hide_env_values = true
    )]
    server_side_encryption_key_id: Option<String>,

    /// Size of the parts of an upload. Default: 5242880 (5 MiB).
    #[arg(long, value_name = "BYTES", env = "S3_BACKUP_AGENT_PART_SIZE", hide_env_values = true)]
    part_size: Option<u64>,

    /// Memory that the program may take. Default: 100663296 (96 MiB).
    #[arg(long, value_name = "BYTES", env = "S3_BACKUP_AGENT_MEMORY", hide_env_values = true)]
    memory: Option<u64>,

    /// Parts of one transfer that are on their way at the same time, memory permitting: 1 to 64.
    /// Default: 16.
    #[arg(long, value_name = "COUNT", env = "S3_BACKUP_AGENT_CONCURRENCY", hide_env_values = true)]
    concurrency: Option<u64>,

    /// Most bytes per second in each direction, all transfers together; at least 65536. Default:
    /// no limit.
    #[arg(
        long,
        value_name = "BYTES",
        env = "S3_BACKUP_AGENT_BANDWIDTH_LIMIT",
        hide_env_values = true
    )]
    bandwidth_limit: Option<u64>,
}

/// [`Addressing`] as a flag.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Style {
    Auto,
    Path,
    Virtual,
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

/// The secret and what goes with it, all from one place.
#[derive(Debug, Default)]
struct Keys {
    access_key_id: Option<String>,
    secret: Option<SecretSource>,
    token: Option<SecretSource>,
}

impl TargetOptions {
    /// Opens the target, asking for the secret on a terminal. Does not use the network. The second
    /// result is a line about where requests go, if that is not what the settings say literally.
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

    pub(super) fn config(
        self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<TargetConfig> {
        let mut settings = self.settings(environment)?;
        if settings.secret_access_key.is_none() {
            // Asked last: nobody should type a secret to hear that the bucket is missing.
            let mut probe = settings.clone();
            probe.secret_access_key = Some(SecretSource::Inline(Secret::from("-".to_owned())));
            probe.check()?;
            settings.secret_access_key = Some(ask(environment)?);
        }
        settings.check()
    }

    fn settings(self, environment: &dyn Fn(&str) -> Option<String>) -> Result<S3Config> {
        let first = |names: &[&str]| names.iter().find_map(|name| environment(name));
        let keys = self.keys(environment);
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
            addressing_style: self.addressing_style.map(|style| match style {
                Style::Auto => AddressingStyle::Auto,
                Style::Path => AddressingStyle::Path,
                Style::Virtual => AddressingStyle::Virtual,
            }),
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

    fn keys(&self, environment: &dyn Fn(&str) -> Option<String>) -> Keys {
        let inline = |name: &str| environment(name).map(|text| SecretSource::Inline(text.into()));
        let file = |path: &Option<PathBuf>| path.clone().map(|file| SecretSource::File { file });
        let ours = Keys {
            access_key_id: self.access_key_id.clone(),
            secret: file(&self.secret_access_key_file).or_else(|| inline(SECRET)),
            token: file(&self.session_token_file).or_else(|| inline(TOKEN)),
        };
        if ours.access_key_id.is_some() || ours.secret.is_some() || ours.token.is_some() {
            return ours;
        }
        Keys {
            access_key_id: environment("AWS_ACCESS_KEY_ID"),
            secret: inline("AWS_SECRET_ACCESS_KEY"),
            token: inline("AWS_SESSION_TOKEN"),
        }
    }
}

fn ask(environment: &dyn Fn(&str) -> Option<String>) -> Result<SecretSource> {
    let missing = || {
        let unused = match environment("AWS_SECRET_ACCESS_KEY") {
            Some(_) => "; AWS_SECRET_ACCESS_KEY only goes with AWS_ACCESS_KEY_ID",
            None => "",
        };
        let message = format!(
            "the secret access key is missing: set {SECRET}, or name a file that holds it with \
             --secret-access-key-file{unused}"
        );
        Error::new(Code::InvalidConfig, message).field("secret_access_key")
    };
    if !std::io::stderr().is_terminal() {
        return Err(missing());
    }
    let answer = rpassword::prompt_password("Secret access key: ")
        .map_err(|error| missing().source(error))?;
    Ok(SecretSource::Inline(Secret::from(answer)))
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

    fn keys_of(options: &TargetOptions, environment: &[(&str, &str)]) -> (String, String) {
        let keys = options.keys(&|name| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let secret = match keys.secret {
            Some(SecretSource::Inline(secret)) => secret.expose().to_owned(),
            Some(SecretSource::File { file }) => file.display().to_string(),
            Some(SecretSource::Credential { .. }) | None => String::new(),
        };
        (keys.access_key_id.unwrap_or_default(), secret)
    }

    #[test]
    fn keys_come_from_one_place() {
        let aws = [("AWS_ACCESS_KEY_ID", "aws"), ("AWS_SECRET_ACCESS_KEY", "aws secret")];
        let own =
            TargetOptions { access_key_id: Some("own".to_owned()), ..TargetOptions::default() };
        let none = TargetOptions::default();
        assert_eq!(keys_of(&none, &aws), ("aws".to_owned(), "aws secret".to_owned()));
        assert_eq!(keys_of(&own, &aws), ("own".to_owned(), String::new()));
        let both = [&aws[..], &[(SECRET, "own secret")]].concat();
        assert_eq!(keys_of(&own, &both), ("own".to_owned(), "own secret".to_owned()));
        assert_eq!(keys_of(&none, &both), (String::new(), "own secret".to_owned()));
        let file = TargetOptions {
            secret_access_key_file: Some("/run/secret".into()),
            ..TargetOptions::default()
        };
        assert_eq!(keys_of(&file, &both).1, "/run/secret");
    }

    #[test]
    fn our_names_come_before_those_of_aws() {
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
