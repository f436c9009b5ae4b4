//! `config add`: a new target at the end of the file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::ask;
use super::super::exit::Exit;
use super::super::output::{note, say_done, toml_text};
use super::super::settings::Style;
use super::replace::{create, refuse_existing, replace};
use super::table::Table;
use super::{Tester, invalid, place, read_secret, with_line_end, without_secrets};
use crate::config::{ConfigFile, S3Config, Secret, SecretSource, is_target_name};
use crate::error::{Code, Error, Result};
use crate::platform::{create_private, read_small};

/// Longest config file that is extended, in bytes.
const LONGEST: u64 = 1 << 20;

/// Shown below the options of this command in its long help.
const LONG_HELP: &str = "\
You are asked for what is missing. The settings are tested before anything is
written. The secret access key goes into a file of its own, which only you can
read. Lines that are in the config file already are not changed.

Examples:
  s3-backup-agent config add nas http://nas.lan:9000/backups
  s3-backup-agent config add cloud s3:s3.eu-central-003.backblazeb2.com/anna-backups/ha";

/// Shown below the options of this command.
const HELP: &str = "\
Examples:
  s3-backup-agent config add nas http://nas.lan:9000/backups
  s3-backup-agent config add cloud s3:s3.eu-central-003.backblazeb2.com/anna-backups/ha";

/// Adds a target to the config file.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP, after_long_help = LONG_HELP)]
pub(super) struct Add {
    /// Name of the target: a-z, 0-9, - and _.
    name: String,

    /// Its address, for example `https://s3.example.org/bucket/prefix`.
    #[arg(value_name = "URL", conflicts_with = "endpoint")]
    address: Option<String>,

    /// URL of the S3 service, in place of the address.
    #[arg(long, value_name = "URL", hide_short_help = true)]
    endpoint: Option<String>,

    /// Region of the bucket. Default: what the server says.
    #[arg(long, hide_short_help = true)]
    region: Option<String>,

    /// Name of the bucket, if the address does not hold it.
    #[arg(long, hide_short_help = true)]
    bucket: Option<String>,

    /// Prefix of the backups in the bucket, if the address does not hold it. Default: none.
    #[arg(long, hide_short_help = true)]
    prefix: Option<String>,

    /// Path-style (`path`) or virtual-hosted-style (`virtual`) requests. Default: what fits the
    /// endpoint.
    #[arg(long, value_name = "STYLE", value_enum, hide_short_help = true)]
    addressing_style: Option<Style>,

    /// Access key ID.
    #[arg(long, value_name = "ID")]
    access_key_id: Option<String>,

    /// File that holds the secret access key; it stays where it is.
    #[arg(long, value_name = "PATH")]
    secret_access_key_file: Option<PathBuf>,

    /// A line for people.
    #[arg(long, value_name = "TEXT", hide_short_help = true)]
    description: Option<String>,

    /// Do not test the settings first.
    #[arg(long)]
    no_validate: bool,
}

/// Asks, tests, and appends.
///
/// # Errors
/// `invalid_config`; `invalid_params`; `local_io`; every code of the test.
pub(super) fn run(path: &Path, options: &Add, tester: &Tester<'_>) -> Result<Exit> {
    if !is_target_name(&options.name) {
        return Err(invalid("name", "the name of a target has a letter that is not allowed")
            .hint("use a-z, 0-9, - and _, at most 64, and begin with a letter or a digit"));
    }
    // Whatever cannot be written in the end is refused before questions are asked.
    options.read(path)?;
    let key_file = KeyFile::of(path, options)?;
    let Answers { settings, secret, description } = options.answers()?;
    let config = settings.clone().check()?;
    let place = (config.endpoint.clone(), config.bucket.clone(), config.prefix.clone());
    if let Some(exit) = tester.test(config, options.no_validate)? {
        note("Nothing was written.");
        return Ok(exit);
    }
    create_private(folder_of(path)).map_err(|error| unusable(folder_of(path), error))?;
    let (endpoint, bucket, prefix) = place;
    let table = Table {
        name: &options.name,
        members: vec![
            ("description", description),
            ("endpoint", Some(endpoint.as_str().trim_end_matches('/').to_owned())),
            ("region", settings.region),
            ("bucket", Some(bucket)),
            ("prefix", Some(prefix)),
            ("addressing_style", settings.addressing_style.map(|it| it.as_str().to_owned())),
            ("access_key_id", settings.access_key_id),
        ],
        key_file: &key_file.written,
    };
    // It may have changed since then.
    let (before, others) = options.read(path)?;
    let after = table.appended_to(&before);
    ConfigFile::parse_text(path, &after)?.target(&options.name)?;
    if key_file.is_own {
        create(&key_file.path, with_line_end(&secret).as_bytes())?;
    }
    replace(path, after.as_bytes()).inspect_err(|_| {
        if key_file.is_own {
            let _ = fs::remove_file(&key_file.path);
        }
    })?;
    say_done(format!(
        "Added {} to {}.\n  secret access key  {}",
        options.name,
        path.display(),
        key_file.path.display()
    ))?;
    if let Some(only) = others.as_ref().and_then(only_target) {
        note(format!(
            "{only} is no longer the only target. For commands without -t, write this above the first \
             table: default_target = {}",
            toml_text(only)
        ));
    }
    note(format!("Try it: s3-backup-agent list -t {}", options.name));
    Ok(Exit::Done)
}

/// The target that commands without a name used so far, because there was no other.
fn only_target(file: &ConfigFile) -> Option<&str> {
    match (&file.default_target, file.targets.as_slice()) {
        (None, [(name, _)]) => Some(name),
        _ => None,
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// The file with the secret access key.
struct KeyFile {
    path: PathBuf,
    /// As the config file names it.
    written: String,
    /// Whether this command creates it.
    is_own: bool,
}

impl KeyFile {
    fn of(config: &Path, options: &Add) -> Result<Self> {
        let Some(file) = &options.secret_access_key_file else {
            let written = format!("{}.key", options.name);
            let path = folder_of(config).join(&written);
            refuse_existing(&path)?;
            return Ok(Self { path, written, is_own: true });
        };
        let path = std::path::absolute(file).map_err(|error| unusable(file, error))?;
        let Some(written) = path.to_str().map(str::to_owned) else {
            let message = "the path of the file with the secret access key is not UTF-8";
            return Err(invalid("secret_access_key_file", message).hint("rename the file"));
        };
        Ok(Self { path, written, is_own: false })
    }
}

struct Answers {
    settings: S3Config,
    secret: Secret,
    description: Option<String>,
}

impl Add {
    /// The text of the config file, and what it says; none for one that is not there.
    fn read(&self, path: &Path) -> Result<(String, Option<ConfigFile>)> {
        let found = fs::symlink_metadata(path);
        if found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok((String::new(), None));
        }
        let file = ConfigFile::read(path)?;
        if file.known(&self.name).is_ok() {
            let message = format!("there is a target {} in {}", self.name, path.display());
            return Err(invalid("name", message).hint("choose another name"));
        }
        let text = read_small(path, LONGEST).map_err(|error| unusable(path, error))?;
        Ok((text.as_str().to_owned(), Some(file)))
    }

    /// What was given, and what the answers add to it.
    fn answers(&self) -> Result<Answers> {
        let address = self.address.as_deref().or(self.endpoint.as_deref());
        let mut settings = S3Config {
            endpoint: address.map(place::as_url),
            region: self.region.clone(),
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            addressing_style: self.addressing_style.map(Style::into),
            access_key_id: self.access_key_id.clone(),
            ..S3Config::default()
        };
        let missing = self.missing(&settings);
        let asks = !missing.is_empty();
        if asks && !ask::can_ask() {
            let message = "settings are missing, and there is no terminal to ask for them";
            return Err(invalid("address", message).hint(format!("give {}", missing.join(", "))));
        }
        if settings.endpoint.is_none() {
            let (endpoint, region) = place::asked(settings.region)?;
            (settings.endpoint, settings.region) = (Some(endpoint), region);
        }
        if lacks_bucket(&settings) {
            settings.bucket = Some(ask::needed("Bucket name")?);
            if settings.prefix.is_none() {
                settings.prefix = given(ask::line("Prefix, Enter for none", None)?);
            }
        }
        // A wrong address is refused before keys are asked for.
        without_secrets(&with_key_id(&settings))?;
        if settings.access_key_id.is_none() {
            settings.access_key_id = Some(ask::needed("Access key ID")?);
        }
        let secret = match &self.secret_access_key_file {
            Some(file) => read_secret(file)?,
            None => ask::secret("Secret access key")?,
        };
        settings.secret_access_key = Some(SecretSource::Inline(secret.clone()));
        let description = match &self.description {
            None if asks => given(ask::line("Description, Enter for none", None)?),
            description => description.clone(),
        };
        Ok(Answers { settings, secret, description })
    }

    /// What has to be asked for, as arguments.
    fn missing(&self, settings: &S3Config) -> Vec<&'static str> {
        let place = match (&settings.endpoint, lacks_bucket(settings)) {
            (None, true) => Some("URL"),
            (None, false) => Some("--endpoint"),
            (Some(_), true) => Some("--bucket"),
            (Some(_), false) => None,
        };
        let id = self.access_key_id.is_none().then_some("--access-key-id");
        let file = self.secret_access_key_file.is_none().then_some("--secret-access-key-file");
        [place, id, file].into_iter().flatten().collect()
    }
}

fn given(answer: String) -> Option<String> {
    Some(answer).filter(|answer| !answer.is_empty())
}

fn with_key_id(settings: &S3Config) -> S3Config {
    let id = settings.access_key_id.clone().unwrap_or_else(|| "-".to_owned());
    S3Config { access_key_id: Some(id), ..settings.clone() }
}

/// Whether neither the address nor another setting names a bucket.
fn lacks_bucket(settings: &S3Config) -> bool {
    let checked = without_secrets(&with_key_id(settings));
    let is_about_it = checked.is_err_and(|error| error.data().field.as_deref() == Some("bucket"));
    // An address with a bucket that has a wrong name contradicts another one.
    let other = S3Config { bucket: Some("backups".to_owned()), ..with_key_id(settings) };
    settings.bucket.is_none() && is_about_it && without_secrets(&other).is_ok()
}

fn unusable(path: &Path, error: io::Error) -> Error {
    let message = format!("cannot use {}: {error}", path.display());
    Error::new(Code::LocalIo, message).source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_is_missing_only_where_the_address_has_none() {
        for (endpoint, is_missing) in [
            (None, true),
            (Some("https://s3.example.org"), true),
            (Some("https://s3.example.org/backups"), false),
            (Some("https://s3.eu-central-1.amazonaws.com"), true),
            // These are wrong in another way, which is said later.
            (Some("https://s3.eu-central-1.amazonaws.com/Wrong_Name"), false),
            (Some("ftp://s3.example.org"), false),
        ] {
            let endpoint = endpoint.map(str::to_owned);
            let settings = S3Config { endpoint, ..S3Config::default() };
            assert_eq!(lacks_bucket(&settings), is_missing, "{:?}", settings.endpoint);
            let settings = S3Config { bucket: Some("x".to_owned()), ..settings };
            assert!(!lacks_bucket(&settings), "{:?}", settings.endpoint);
        }
    }
}
