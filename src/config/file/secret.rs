//! Where the config file says that a secret is.

use std::fmt;
use std::path::PathBuf;

use super::command;
use crate::config::check::invalid;
use crate::config::{Secret, SecretSource};
use crate::error::Result;

/// Where a secret comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The text in the file.
    Text {
        /// The secret, with its variables replaced.
        secret: Secret,
        /// Whether the file itself holds it; otherwise variables do.
        is_inline: bool,
    },
    /// A file that holds it.
    File(PathBuf),
    /// A credential of systemd.
    Credential(String),
    /// A variable that holds it.
    Env(String),
    /// A program that prints it.
    Command(Vec<String>),
}

impl Origin {
    /// Reads the secret. Blocks, a program for up to 30 seconds.
    ///
    /// # Errors
    /// `invalid_config`.
    pub fn read(&self, field: &'static str) -> Result<Secret> {
        match self {
            Self::Text { secret, .. } => Ok(secret.clone()),
            Self::File(file) => SecretSource::File { file: file.clone() }.read(field),
            Self::Credential(credential) => {
                SecretSource::Credential { credential: credential.clone() }.read(field)
            }
            Self::Env(name) => match std::env::var(name) {
                Ok(value) => Ok(Secret::from(value)),
                Err(std::env::VarError::NotPresent) => {
                    Err(invalid(field, format!("the variable {name} is not set")))
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    Err(invalid(field, format!("the variable {name} is not UTF-8")))
                }
            },
            Self::Command(words) => command::output(words, field),
        }
    }

    /// Where it comes from; never the secret.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let (from, what) = match self {
            Self::Text { is_inline: true, .. } => ("inline", None),
            Self::Text { is_inline: false, .. } => ("variables", None),
            Self::File(path) => ("file", Some(path.display().to_string())),
            Self::Credential(name) => ("credential", Some(name.clone())),
            Self::Env(name) => ("env", Some(name.clone())),
            // Its arguments may hold a secret.
            Self::Command(words) => ("command", words.first().cloned()),
        };
        Shown { from, what }
    }
}

/// Where a secret comes from, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The kind of place: `inline` (the config file), `variables`, `file`, `credential`, `env` or `command`.
    pub from: &'static str,
    /// What it is there: a path, a name or a program.
    pub what: Option<String>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, &self.what) {
            ("inline", _) => f.write_str("the config file"),
            (from, Some(what)) => write!(f, "{from} {what}"),
            (from, None) => f.write_str(from),
        }
    }
}
