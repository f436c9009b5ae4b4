//! `config add`: a new target at the end of the file.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::ask;
use super::super::exit::Exit;
use super::super::output::{note, say_done, toml_text};
use super::replace::{create, replace};
use super::secret::with_line_end;
use super::{Tester, invalid};
use crate::config::{ConfigFile, Origin, Provider, S3Config, Secret, SecretSource, is_target_name};
use crate::error::{Error, Result};
use crate::platform::{create_private, read_small};

/// Longest config file that is extended, in bytes.
const LONGEST: u64 = 1 << 20;

/// Shown below the options of this command.
const HELP: &str = "\
You are asked for what is missing. The settings are tested before anything is
written. The secret access key goes into a file of its own, which only you can
read.

Examples:
  s3-backup-agent config add nas http://nas.lan:9000/backups
  s3-backup-agent config add cloud s3:s3.eu-central-003.backblazeb2.com/anna-backups/ha";

/// Adds a target to the config file.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub(super) struct Add {
    /// Name of the target: a-z, 0-9, - and _.
    name: String,

    /// Its address with the bucket and the prefix, for example `https://s3.example.org/bucket/prefix`.
    #[arg(value_name = "URL")]
    address: Option<String>,

    /// Region of the bucket. Default: what the server says.
    #[arg(long)]
    region: Option<String>,

    /// Access key ID.
    #[arg(long, value_name = "ID")]
    access_key_id: Option<String>,

    /// File that holds the secret access key; it stays where it is.
    #[arg(long, value_name = "PATH")]
    secret_access_key_file: Option<PathBuf>,

    /// A line for people.
    #[arg(long, value_name = "TEXT")]
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
    let before = match path.exists() {
        true => {
            let file = ConfigFile::read(path)?;
            if file.known(&options.name).is_ok() {
                let message = format!("there is a target {} in {}", options.name, path.display());
                return Err(invalid("name", message).hint("choose another name"));
            }
            let text = read_small(path, LONGEST).map_err(|error| unreadable(path, error))?;
            text.as_str().to_owned()
        }
        false => String::new(),
    };
    let Answers { settings, secret, description } = options.answers()?;
    let config = settings.clone().check()?;
    let place = (config.endpoint.clone(), config.bucket.clone(), config.prefix.clone());
    if !options.no_validate
        && let Some(exit) = tester.test(config)?
    {
        note("Nothing was written.");
        return Ok(exit);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    create_private(folder).map_err(|error| unreadable(folder, error))?;
    let key_file = match (&secret, &options.secret_access_key_file) {
        (_, Some(file)) => std::path::absolute(file).map_err(|error| unreadable(file, error))?,
        (_, None) => PathBuf::from(format!("{}.key", options.name)),
    };
    let (endpoint, bucket, prefix) = &place;
    let table = Table {
        name: &options.name,
        members: vec![
            ("description", description.clone()),
            ("endpoint", Some(endpoint.as_str().trim_end_matches('/').to_owned())),
            ("region", settings.region.clone()),
            ("bucket", Some(bucket.clone())),
            ("prefix", Some(prefix.clone())),
            ("access_key_id", settings.access_key_id.clone()),
        ],
        key_file: &key_file,
    };
    let after = table.appended_to(&before);
    ConfigFile::parse_text(path, &after)?.target(&options.name)?;
    let is_own = options.secret_access_key_file.is_none();
    let key_path = folder.join(&key_file);
    if is_own {
        create(&key_path, with_line_end(&secret).as_bytes())?;
    }
    replace(path, after.as_bytes()).inspect_err(|_| {
        if is_own {
            let _ = fs::remove_file(&key_path);
        }
    })?;
    say_done(format!(
        "Added {} to {}.\n  secret access key  {}",
        options.name,
        path.display(),
        key_path.display()
    ))?;
    note(format!("Try it: s3-backup-agent list -t {}", options.name));
    Ok(Exit::Done)
}

struct Answers {
    settings: S3Config,
    secret: Secret,
    description: Option<String>,
}

impl Add {
    /// What was given, and what the answers add to it.
    fn answers(&self) -> Result<Answers> {
        let can_ask = ask::can_ask();
        let mut settings = S3Config {
            endpoint: self.address.as_deref().map(as_url),
            region: self.region.clone(),
            access_key_id: self.access_key_id.clone(),
            ..S3Config::default()
        };
        if !can_ask {
            self.refuse_missing()?;
        } else {
            if settings.endpoint.is_none() {
                (settings.endpoint, settings.region) = ask_place(settings.region)?;
            }
            if super::without_secrets(&with_key_id(&settings))
                .is_err_and(|error| is_about_bucket(&error))
            {
                settings.bucket = Some(ask::needed("Bucket name")?);
                settings.prefix = given(ask::line("Prefix, Enter for none", None)?);
            }
            // A wrong address is refused before keys are asked for.
            super::without_secrets(&with_key_id(&settings))?;
            if settings.access_key_id.is_none() {
                settings.access_key_id = Some(ask::needed("Access key ID")?);
            }
        }
        let secret = match &self.secret_access_key_file {
            Some(file) => Origin::File(file.clone()).read("secret_access_key")?,
            None => ask::secret("Secret access key")?,
        };
        settings.secret_access_key = Some(SecretSource::Inline(secret.clone()));
        let description = match &self.description {
            None if can_ask => given(ask::line("Description, Enter for none", None)?),
            description => description.clone(),
        };
        Ok(Answers { settings, secret, description })
    }

    /// Without a terminal everything has to be given.
    fn refuse_missing(&self) -> Result<()> {
        let all = [
            (self.address.is_some(), "URL"),
            (self.access_key_id.is_some(), "--access-key-id"),
            (self.secret_access_key_file.is_some(), "--secret-access-key-file"),
        ];
        let missing: Vec<_> = all.iter().filter(|(is_there, _)| !is_there).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = missing.iter().map(|(_, name)| *name).collect();
        Err(invalid("address", "cannot ask for the settings: there is no terminal")
            .hint(format!("give {}", names.join(", "))))
    }
}

fn given(answer: String) -> Option<String> {
    Some(answer).filter(|answer| !answer.is_empty())
}

fn with_key_id(settings: &S3Config) -> S3Config {
    let id = settings.access_key_id.clone().unwrap_or_else(|| "-".to_owned());
    S3Config { access_key_id: Some(id), ..settings.clone() }
}

fn is_about_bucket(error: &Error) -> bool {
    error.data().field.as_deref() == Some("bucket")
}

/// An address as an endpoint that may hold the bucket: the forms of other tools, `s3:host/bucket/path`,
/// `s3:https://host/bucket/path` and `s3://host/bucket/prefix`, mean `https://host/bucket/path`. The form of AWS
/// tools, `s3://bucket/prefix`, stays.
fn as_url(address: &str) -> String {
    let address = address.trim();
    if let Some(rest) = address.strip_prefix("s3://") {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let has_host = host.contains(['.', ':']) && !path.is_empty();
        return if has_host { format!("https://{rest}") } else { address.to_owned() };
    }
    match address.strip_prefix("s3:") {
        Some(rest) if rest.contains("://") => rest.to_owned(),
        Some(rest) => format!("https://{rest}"),
        None => address.to_owned(),
    }
}

/// The endpoint and the region of the provider that is chosen.
fn ask_place(region: Option<String>) -> Result<(Option<String>, Option<String>)> {
    let all = Provider::all();
    for (index, provider) in all.iter().enumerate() {
        note(format!("{:>4}  {}", index + 1, provider.name));
    }
    let provider = loop {
        let answer = ask::needed("Provider, by number or name")?;
        match chosen(all, &answer) {
            Some(provider) => break provider,
            None => note("There is no such provider; the last one stands for all others."),
        }
    };
    let region = match provider.endpoint.contains("{region}") {
        true => given(match region {
            Some(region) => region,
            None => ask::line("Region", Some(provider.default_region()))?,
        }),
        false => region,
    };
    let endpoint = provider.endpoint_in(region.as_deref().unwrap_or(provider.default_region()));
    let is_whole = !endpoint.contains(|letter: char| letter.is_ascii_uppercase());
    let endpoint = match is_whole {
        true => endpoint,
        false => ask::needed(&format!("Endpoint URL, such as {endpoint}"))?,
    };
    // The address says the region where it can.
    Ok((Some(endpoint), region.filter(|_| !is_whole || !provider.has_region_in_host())))
}

fn chosen<'a>(all: &'a [Provider], answer: &str) -> Option<&'a Provider> {
    if let Ok(number) = answer.parse::<usize>() {
        return all.get(number.checked_sub(1)?);
    }
    let wanted = answer.to_lowercase();
    let mut named = all.iter();
    named.find(|it| it.name.to_lowercase().starts_with(&wanted) || it.key == wanted)
}

/// A table of the config file.
struct Table<'a> {
    name: &'a str,
    members: Vec<(&'a str, Option<String>)>,
    key_file: &'a Path,
}

impl Table<'_> {
    fn appended_to(&self, before: &str) -> String {
        let mut text = before.to_owned();
        if !text.is_empty() {
            text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
        }
        text.push_str(&format!("[targets.{}]\n", self.name));
        for (member, value) in &self.members {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                text.push_str(&format!("{member} = {}\n", toml_text(value)));
            }
        }
        let file = toml_text(&self.key_file.to_string_lossy());
        text.push_str(&format!("secret_access_key = {{ file = {file} }}\n"));
        text
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let message = format!("cannot use {}: {error}", path.display());
    Error::new(crate::error::Code::LocalIo, message).source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_other_tools_is_understood() {
        for (address, endpoint, bucket, prefix) in [
            ("https://s3.example.org/bucket/ha/x", "https://s3.example.org/", "bucket", "ha/x"),
            ("s3:s3.example.org/bucket/ha", "https://s3.example.org/", "bucket", "ha"),
            ("s3:https://s3.example.org:9000/bucket", "https://s3.example.org:9000/", "bucket", ""),
            ("s3:http://nas.lan:9000/bucket/x", "http://nas.lan:9000/", "bucket", "x"),
            ("s3://s3.example.org/bucket/ha", "https://s3.example.org/", "bucket", "ha"),
            ("s3://bucket/ha", "https://s3.us-east-1.amazonaws.com/", "bucket", "ha"),
        ] {
            let settings = S3Config { endpoint: Some(as_url(address)), ..S3Config::default() };
            let config = super::super::without_secrets(&with_key_id(&settings)).unwrap();
            let found = (config.endpoint.as_str(), config.bucket.as_str(), config.prefix.as_str());
            assert_eq!(found, (endpoint, bucket, prefix), "{address}");
        }
    }

    #[test]
    fn appended_table_is_read_back_and_leaves_the_rest() {
        let mut random = fastrand::Rng::with_seed(3);
        let letters = ['"', '\\', '$', '{', '}', '\n', '\t', '\u{7f}', '#', 'ä', 'x', '\'', ' '];
        for _ in 0..500 {
            let length = random.usize(1..12);
            let value: String = (0..length).filter_map(|_| random.choice(letters)).collect();
            let before =
                random.choice(["", "# end", "[targets.x]\nbucket = \"b\"\n"]).unwrap_or("");
            let key_file = Path::new("nas.key");
            let members = vec![("description", Some(value.clone())), ("prefix", None)];
            let text = Table { name: "nas", members, key_file }.appended_to(before);
            assert!(text.starts_with(before));
            let file = ConfigFile::parse_text(Path::new("/x/config.toml"), &text).unwrap();
            assert_eq!(file.target("nas").unwrap().description.as_deref(), Some(value.as_str()));
        }
    }

    #[test]
    fn provider_is_chosen_by_number_or_name() {
        let all = Provider::all();
        assert_eq!(chosen(all, "1").unwrap().key, "aws");
        assert_eq!(chosen(all, "back").unwrap().key, "backblaze");
        assert_eq!(chosen(all, "MINIO").unwrap().key, "minio");
        for wrong in ["0", "99", "nobody"] {
            assert!(chosen(all, wrong).is_none(), "{wrong}");
        }
    }
}
