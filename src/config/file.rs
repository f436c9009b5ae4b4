//! The config file: named targets, in TOML.
//!
//! The command line reads it, `serve` does not: hosts give their settings. Nothing here writes it.

mod command;
mod expand;
mod secret;
mod table;
mod target;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use self::secret::{Origin, Shown};
use self::table::{Document, Table};
pub use self::target::{LONGEST_CA_FILE, NamedTarget, is_target_name};
use crate::config::check::check_memory_budget;
use crate::error::{Code, Error, Result};
use crate::platform::{config_dir, home_dir, host_name, others_can_read, read_small};

/// Longest file, in bytes.
const LONGEST: u64 = 1 << 20;

/// What the file is called in its folder.
const NAME: &str = "s3-backup-agent/config.toml";

/// The file of the whole machine.
const OF_MACHINE: &str = "/etc/s3-backup-agent/config.toml";

/// Path that means that no file is read.
const NO_FILE: &str = "none";

/// What the config file says.
#[derive(Debug)]
pub struct ConfigFile {
    /// Its path.
    pub path: PathBuf,
    /// Whose backups these are. Default: the name of the machine.
    pub host: String,
    /// Name of the target for commands that name none.
    pub default_target: Option<String>,
    /// Memory in bytes for all targets of a command together.
    pub memory: Option<u64>,
    /// The targets by name, in the order of the file. One with an error does not keep others from being
    /// used.
    pub targets: Vec<(String, Result<NamedTarget>)>,
    /// Whether a secret is in the file itself.
    holds_secret: bool,
}

impl ConfigFile {
    /// The path of the file that counts: `wanted`, or the first that exists of the usual ones. `None` if
    /// there is none, or `wanted` is `none`.
    #[must_use]
    pub fn find(wanted: Option<&Path>) -> Option<PathBuf> {
        match wanted {
            Some(path) if path == Path::new(NO_FILE) => None,
            Some(path) => Some(path.to_owned()),
            None => Self::usual_paths().into_iter().find(|path| path.exists()),
        }
    }

    /// Where the file is looked for, the first one counts: that of the user, then that of the machine.
    #[must_use]
    pub fn usual_paths() -> Vec<PathBuf> {
        let own = config_dir().map(|folder| folder.join(NAME));
        let machine = (!cfg!(windows)).then(|| PathBuf::from(OF_MACHINE));
        own.into_iter().chain(machine).collect()
    }

    /// Reads a file with the variables of this process. Reads no secret outside of it. Blocks.
    ///
    /// # Errors
    /// `invalid_config`, with line and column; also when others can read a secret in it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_small(path, LONGEST).map_err(|error| {
            let message = format!("cannot read the config file {}: {error}", path.display());
            Error::new(Code::InvalidConfig, message).field("config").source(error)
        })?;
        let file = Self::parse_text(path, &text)?;
        if file.holds_secret && others_can_read(path).unwrap_or_default() {
            let path = path.display();
            let message = format!("{path} holds a secret, and other users can read the file");
            return Err(Error::new(Code::InvalidConfig, message)
                .field("config")
                .hint(format!("chmod 600 {path}")));
        }
        Ok(file)
    }

    /// Reads the text of a file that is not written yet.
    ///
    /// # Errors
    /// As [`Self::read`], except for the permissions.
    pub fn parse_text(path: &Path, text: &str) -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let home = home_dir();
        Self::parse(&Document { path, text, home: home.as_deref(), variable: &variable })
    }

    fn parse(document: &Document<'_>) -> Result<Self> {
        let root = DeTable::parse(document.text).map_err(|error| {
            // The message of the parser quotes nothing of the file.
            let at = error.span().map_or(0, |span| span.start);
            document.position(at).error(document.path, "", error.message())
        })?;
        let mut table = Table::new(document, String::new(), 0, root.into_inner());
        let host = table.text("host")?;
        let default_target = table.text("default_target")?;
        let memory = table.size("memory")?;
        let targets = table.tables("targets")?;
        let places = table.finish()?;
        let error = |member: &str, what: &str| {
            let (at, path) = places.of(member);
            at.error(document.path, path.trim_start_matches('.'), what)
        };
        let names: Vec<_> = targets.iter().map(|(name, _)| name.clone()).collect();
        if memory.is_some() {
            check_memory_budget(memory).map_err(|wrong| error("memory", wrong.fact()))?;
        }
        if let Some(name) = default_target.as_ref().filter(|name| !names.contains(name)) {
            let what = format!("there is no target \"{name}\"");
            return Err(error("default_target", &what).hint(known(&names)));
        }
        let (mut read, mut holds_secret) = (Vec::new(), false);
        for (name, table) in targets {
            if !is_target_name(&name) {
                let what = "the name of a target has a letter that is not allowed, or more than 64";
                return Err(table
                    .error_of_name(what)
                    .hint("use a-z, 0-9, - and _, and begin with a letter or a digit"));
            }
            // Also in a table with an error, whose other members are not read.
            holds_secret |= table.holds_secret(&["secret_access_key", "session_token"]);
            let target = NamedTarget::read(&name, table, document.path);
            read.push((name, target));
        }
        Ok(Self {
            path: document.path.to_owned(),
            host: host.or_else(host_name).unwrap_or_else(|| "localhost".to_owned()),
            default_target,
            memory,
            targets: read,
            holds_secret,
        })
    }

    /// The target with this name.
    ///
    /// # Errors
    /// `invalid_config` when there is none, or something in its table is wrong.
    pub fn target(&self, name: &str) -> Result<&NamedTarget> {
        self.known(name)?.as_ref().map_err(Clone::clone)
    }

    /// What the file says of the target with this name.
    ///
    /// # Errors
    /// `invalid_config` when there is none.
    pub fn known(&self, name: &str) -> Result<&Result<NamedTarget>> {
        let found = self.targets.iter().find(|(known, _)| known == name);
        found.map(|(_, target)| target).ok_or_else(|| {
            let message = format!("there is no target \"{name}\" in {}", self.path.display());
            let names: Vec<_> = self.targets.iter().map(|(name, _)| name.clone()).collect();
            Error::new(Code::InvalidConfig, message).field("target").hint(known(&names))
        })
    }

    /// The name of the target for a command that names none: the default, or the only one.
    ///
    /// # Errors
    /// `invalid_config` when there are several, or none.
    pub fn usual_target(&self) -> Result<&str> {
        match (&self.default_target, self.targets.as_slice()) {
            (Some(name), _) => Ok(name),
            (None, [(name, _)]) => Ok(name),
            (None, all) => {
                let names: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
                let message = match all {
                    [] => format!("there are no targets in {}", self.path.display()),
                    _ => format!("no target was named, and {} has several", self.path.display()),
                };
                Err(Error::new(Code::InvalidConfig, message).field("target").hint(match all {
                    [] => "add one with `s3-backup-agent config add NAME`".to_owned(),
                    _ => format!("name one with -t, or set default_target: {}", known(&names)),
                }))
            }
        }
    }
}

fn known(names: &[String]) -> String {
    match names {
        [] => "there are no targets in the file".to_owned(),
        [name] => format!("the only target is {name}"),
        _ => format!("the targets are {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests;
