//! Variables of other tools that name an endpoint, and what the command line says of them.

use std::env::VarError;

use crate::config::TargetConfig;
use crate::error::{Code, Error, Result};

/// Our secret's place in the environment.
pub(super) const SECRET: &str = "S3_BACKUP_AGENT_SECRET_ACCESS_KEY";
pub(super) const TOKEN: &str = "S3_BACKUP_AGENT_SESSION_TOKEN";

/// Variables that name the endpoint for AWS tools, the first that is set counts. The last two are
/// those of older tools and libraries.
const ENDPOINTS: [&str; 4] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", OLDER[0], OLDER[1]];
const OLDER: [&str; 2] = ["AWS_S3_ENDPOINT", "AWS_ENDPOINT"];

/// Variables of AWS tools, none of which counts for a target of the config file.
pub(super) const OF_AWS: [&str; 11] = [
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CA_BUNDLE",
    ENDPOINTS[0],
    ENDPOINTS[1],
    ENDPOINTS[2],
    ENDPOINTS[3],
];

/// Variables of other programs that name an endpoint. They may belong to other keys, so they do not
/// count.
const OTHERS: [&str; 5] =
    ["S3_ENDPOINT", "S3_ENDPOINT_URL", "MINIO_ENDPOINT", "MINIO_SERVER_URL", "RCLONE_S3_ENDPOINT"];

/// The other variables that are read here, with the setting that each is for.
const READ: [(&str, &str); 9] = [
    (SECRET, "secret_access_key"),
    (TOKEN, "session_token"),
    ("AWS_ACCESS_KEY_ID", "access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "secret_access_key"),
    ("AWS_SESSION_TOKEN", "session_token"),
    ("AWS_REGION", "region"),
    ("AWS_DEFAULT_REGION", "region"),
    ("AWS_CA_BUNDLE", "ca_certificate"),
    ("S3_BACKUP_AGENT_CA_FILE", "ca_certificate"),
];

/// The endpoint that AWS tools would use, with the name of its variable.
pub(super) fn endpoint_of(
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<(&'static str, String)> {
    ENDPOINTS.iter().find_map(|name| Some((*name, environment(name)?)))
}

/// Refuses variables that are set and cannot be read, which would count as not set otherwise.
pub(super) fn readable(read: impl Fn(&str) -> std::result::Result<String, VarError>) -> Result<()> {
    for (name, field) in
        READ.iter().copied().chain(ENDPOINTS.iter().map(|name| (*name, "endpoint")))
    {
        if matches!(read(name), Err(VarError::NotUnicode(_))) {
            let message = format!("the variable {name} is not UTF-8");
            return Err(Error::new(Code::InvalidConfig, message)
                .hint("set it again, or remove it")
                .field(field)
                .detail("field", field));
        }
    }
    Ok(())
}

/// An error about the endpoint, with the variable that holds it.
pub(super) fn named(error: Error, from: Option<&(&'static str, String)>) -> Error {
    let is_about_it = error.data().field.as_deref() == Some("endpoint");
    match from {
        Some((name, _)) if is_about_it => error.and(&format!(" (the endpoint comes from {name})")),
        _ => error,
    }
}

/// Where requests go, if the settings do not say so literally.
pub(super) fn notice(
    config: &TargetConfig,
    from: Option<&(&'static str, String)>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let endpoint = config.endpoint.as_str().trim_end_matches('/');
    if config.split {
        let prefix = match config.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!(" and the prefix \"{prefix}\""),
        };
        return Some(format!(
            "The endpoint holds the bucket: using {endpoint} with the bucket \"{}\"{prefix}.",
            config.bucket
        ));
    }
    if let Some((name, _)) = from.filter(|(name, _)| OLDER.contains(name)) {
        return Some(format!("Using {endpoint}, the endpoint in {name}."));
    }
    let unused = OTHERS.iter().find(|name| environment(name).is_some())?;
    (!config.endpoint_given).then(|| {
        format!(
            "Using AWS itself ({endpoint}), because no endpoint is set. {unused} does not count: give \
             its address with --endpoint to use it."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::settings::TargetOptions;
    use super::*;

    fn config_of(set: &[(&str, &str)]) -> (Result<TargetConfig>, Option<String>) {
        let keys = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "SK")];
        let all: Vec<_> = keys.iter().chain(set).copied().collect();
        let environment = |name: &str| {
            let found = all.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let from = endpoint_of(&environment);
        let options = TargetOptions::of_bucket("backups");
        let config = options.config(&environment).map_err(|error| named(error, from.as_ref()));
        let notice =
            config.as_ref().ok().and_then(|config| notice(config, from.as_ref(), &environment));
        (config, notice)
    }

    #[test]
    fn endpoint_variables_have_an_order_of_precedence() {
        const ALL: [&str; 4] =
            ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_S3_ENDPOINT", "AWS_ENDPOINT"];
        for (index, first) in ALL.iter().enumerate() {
            let address = |name: &str| format!("http://{}:9000", name.replace('_', "-"));
            let values: Vec<_> = ALL[index..].iter().map(|name| (*name, address(name))).collect();
            let set: Vec<_> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let (config, notice) = config_of(&set);
            let host = first.replace('_', "-").to_ascii_lowercase();
            assert_eq!(config.unwrap().endpoint.host_str(), Some(host.as_str()));
            assert_eq!(notice.is_some_and(|line| line.contains(first)), index >= 2);
        }
        let (config, _) = config_of(&[("AWS_S3_ENDPOINT", "nas:9000")]);
        let error = config.unwrap_err();
        assert!(error.message().contains("AWS_S3_ENDPOINT"), "{error}");
    }

    #[test]
    fn endpoint_variables_of_other_programs_are_named_but_ignored() {
        for name in ["S3_ENDPOINT", "MINIO_ENDPOINT", "RCLONE_S3_ENDPOINT"] {
            let (config, notice) = config_of(&[(name, "http://nas:9000")]);
            assert!(!config.unwrap().endpoint_given);
            let notice = notice.unwrap();
            assert!(notice.contains(name) && notice.contains("amazonaws.com"), "{notice}");
            let both = [(name, "http://nas:9000"), ("AWS_ENDPOINT_URL", "http://own:9000")];
            assert_eq!(config_of(&both).1, None);
        }
        assert_eq!(config_of(&[]).1, None);
    }

    #[test]
    fn variable_that_is_not_utf8_is_refused_by_name() {
        for name in ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY", SECRET] {
            let refused = readable(|asked| {
                if asked == name {
                    Err(VarError::NotUnicode("secret".into()))
                } else {
                    Err(VarError::NotPresent)
                }
            });
            let error = refused.unwrap_err();
            assert!(
                error.message().contains(name) && !error.message().contains("\"secret"),
                "{error}"
            );
        }
    }
}
