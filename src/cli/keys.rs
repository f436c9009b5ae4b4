//! The keys of a target that flags and variables describe: all from one place, so that an access key ID is
//! never used with another tool's secret.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::environment::{SECRET, TOKEN};
use crate::config::{S3Config, Secret, SecretSource};
use crate::error::{Code, Error, Result};

/// The secret and what goes with it, all from one place.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) access_key_id: Option<String>,
    pub(super) secret: Option<SecretSource>,
    pub(super) token: Option<SecretSource>,
}

impl Keys {
    /// The first place that has one of them: an access key ID and files that were given together with our
    /// variables, or the variables of AWS tools.
    pub(super) fn of(
        access_key_id: Option<String>,
        secret_file: Option<PathBuf>,
        token_file: Option<PathBuf>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let inline = |name: &str| environment(name).map(|text| SecretSource::Inline(text.into()));
        let file = |path: Option<PathBuf>| path.map(|file| SecretSource::File { file });
        let ours = Self {
            access_key_id,
            secret: file(secret_file).or_else(|| inline(SECRET)),
            token: file(token_file).or_else(|| inline(TOKEN)),
        };
        if ours.access_key_id.is_some() || ours.secret.is_some() || ours.token.is_some() {
            return ours;
        }
        Self {
            access_key_id: environment("AWS_ACCESS_KEY_ID"),
            secret: inline("AWS_SECRET_ACCESS_KEY"),
            token: inline("AWS_SESSION_TOKEN"),
        }
    }
}

/// Fails if several settings are missing, and names all of them. A single one is named where it is read.
pub(super) fn missing(settings: &S3Config) -> Result<()> {
    let has_key = settings.access_key_id.as_ref().is_some_and(|id| !id.trim().is_empty());
    let mut probe = settings.clone();
    probe.access_key_id = Some("-".to_owned());
    probe.secret_access_key = Some(SecretSource::Inline(Secret::from("-".to_owned())));
    probe.session_token = None;
    // The endpoint may hold the bucket.
    let has_bucket = settings.bucket.as_ref().is_some_and(|name| !name.trim().is_empty())
        || probe.check().is_ok();
    let has_secret = settings.secret_access_key.is_some() || std::io::stderr().is_terminal();
    let all = [
        (has_bucket, "bucket", "bucket", "S3_BACKUP_AGENT_BUCKET"),
        (has_key, "access_key_id", "access key ID", "S3_BACKUP_AGENT_ACCESS_KEY_ID"),
        (has_secret, "secret_access_key", "secret access key", SECRET),
    ];
    let missing: Vec<_> = all.iter().filter(|(is_there, ..)| !is_there).collect();
    let ([(_, field, ..), _, ..], names, variables) = (
        missing.as_slice(),
        missing.iter().map(|(_, _, name, _)| *name).collect::<Vec<_>>().join(", "),
        missing.iter().map(|(.., variable)| *variable).collect::<Vec<_>>().join(", "),
    ) else {
        return Ok(());
    };
    let endpoint = match &settings.endpoint {
        Some(_) => "",
        None => "; no endpoint is set, so the server is AWS",
    };
    Err(Error::new(Code::InvalidConfig, format!("settings are missing: {names}"))
        .hint(format!(
            "set {variables}{endpoint}; `s3-backup-agent help storage` shows all --flags"
        ))
        .field(*field)
        .detail("field", *field))
}

/// Asks for the secret access key on a terminal.
///
/// # Errors
/// `invalid_config` when there is none.
pub(super) fn ask(environment: &dyn Fn(&str) -> Option<String>) -> Result<SecretSource> {
    let missing = || {
        let unused = match environment("AWS_SECRET_ACCESS_KEY") {
            Some(_) => "; AWS_SECRET_ACCESS_KEY is read together with AWS_ACCESS_KEY_ID only",
            None => "",
        };
        Error::new(Code::InvalidConfig, "the secret access key is missing")
            .hint(format!(
                "set {SECRET}, or name a file that holds it with --secret-access-key-file{unused}"
            ))
            .field("secret_access_key")
    };
    if !std::io::stderr().is_terminal() {
        return Err(missing());
    }
    match super::ask::secret("Secret access key") {
        Ok(secret) => Ok(SecretSource::Inline(secret)),
        Err(error) if error.code() == Code::Cancelled => Err(error),
        Err(error) => Err(missing().source(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of(
        access_key_id: Option<&str>,
        secret_file: Option<&str>,
        environment: &[(&str, &str)],
    ) -> (String, String) {
        let id = access_key_id.map(str::to_owned);
        let keys = Keys::of(id, secret_file.map(PathBuf::from), None, &|name| {
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
    fn account_keys_come_from_one_source() {
        let pair = |id: &str, secret: &str| (id.to_owned(), secret.to_owned());
        let aws = [("AWS_ACCESS_KEY_ID", "aws"), ("AWS_SECRET_ACCESS_KEY", "aws secret")];
        assert_eq!(keys_of(None, None, &aws), pair("aws", "aws secret"));
        assert_eq!(keys_of(Some("own"), None, &aws), pair("own", ""));
        let both = [&aws[..], &[(SECRET, "own secret")]].concat();
        assert_eq!(keys_of(Some("own"), None, &both), pair("own", "own secret"));
        assert_eq!(keys_of(None, None, &both), pair("", "own secret"));
        assert_eq!(keys_of(None, Some("/run/secret"), &both).1, "/run/secret");
    }
}
