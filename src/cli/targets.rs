//! The targets of a command: those of the config file that it names, or the one that flags and variables
//! describe.
//!
//! The table of a named target is the whole truth: half a target from the file and half from elsewhere is
//! how backups get into the wrong bucket.

use std::path::Path;
use std::sync::Arc;

use clap::{Args, Command};

use super::environment::{OF_AWS, endpoint_of};
use super::exit::is_about_the_server;
use super::given::Given;
use super::output;
use super::settings::TargetOptions;
use crate::config::{ConfigFile, DEFAULT_MEMORY_BUDGET, NamedTarget};
use crate::error::{Code, Error, Result};
use crate::journal::Journal;
use crate::ops::{self, Budget, Target};

/// Flags that say which storage it is.
const WHICH: [&str; 7] = [
    "endpoint",
    "bucket",
    "prefix",
    "folder",
    "access_key_id",
    "secret_access_key_file",
    "session_token_file",
];

/// The names of targets.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct TargetNames {
    /// Target of the config file, by its name.
    #[arg(
        long = "target",
        short = 't',
        value_name = "NAME",
        env = "S3_BACKUP_AGENT_TARGET",
        hide_env_values = true,
        value_delimiter = ','
    )]
    target: Vec<String>,
}

/// The flag of commands that work on several targets.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct AllTargets {
    /// Every target of the config file. With `-t` repeated: some of them.
    #[arg(long)]
    all_targets: bool,
}

/// What decides on the targets of a command.
pub(super) struct Choice<'a> {
    pub(super) config: Option<&'a Path>,
    pub(super) given: &'a Given,
    pub(super) names: &'a TargetNames,
    /// `None` for commands that work on one target.
    pub(super) all: Option<AllTargets>,
    pub(super) options: &'a TargetOptions,
    pub(super) journal: &'a dyn Fn() -> Option<Journal>,
    pub(super) verbose: bool,
}

/// A target of a command.
pub(super) struct Named {
    /// Its name and table, if it comes from the config file.
    table: Option<NamedTarget>,
    name: Option<String>,
    given: Given,
    /// One that cannot be opened does not keep the others from being used.
    pub(super) target: Result<Arc<Target>>,
}

impl Named {
    /// The name in the config file.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its table in the config file.
    pub(super) fn table(&self) -> Option<&NamedTarget> {
        self.table.as_ref()
    }

    /// The error in the words of the config file, if that is where the settings come from. It names AWS if
    /// that is the server because no endpoint is set.
    pub(super) fn explained(&self, error: Error) -> Error {
        let error = match &self.target {
            Ok(target) if !target.config().endpoint_given && is_about_the_server(&error) => {
                self.about_aws(error, target.config().endpoint.as_str().trim_end_matches('/'))
            }
            _ => error,
        };
        let is_flag = error.data().field.is_some_and(|field| self.given.replaces(&field));
        match &self.table {
            Some(table) if !is_flag => table.explained(error),
            _ => error,
        }
    }

    fn about_aws(&self, error: Error, endpoint: &str) -> Error {
        let other = match &self.table {
            Some(table) => format!("write an {} for another provider", table.place_of("endpoint")),
            None => "set --endpoint for another provider".to_owned(),
        };
        let hint = error.remedy().map(|hint| format!("{hint}, or {other}"));
        error
            .and(&format!(" (no endpoint is set, so this is AWS, {endpoint})"))
            .hint(hint.unwrap_or(other))
    }
}

/// The targets of a command.
pub(super) struct Targets {
    pub(super) all: Vec<Named>,
    /// Whether several were asked for, so that the output says which target it is about.
    pub(super) are_several: bool,
}

impl Choice<'_> {
    /// Opens the targets. Reads files and runs the programs of secrets; uses no network.
    ///
    /// # Errors
    /// Every code of a wrong setting or flag.
    pub(super) fn open(self) -> Result<Targets> {
        let all = self.all.is_some_and(|all| all.all_targets);
        let by_flag = self.given.has("target");
        if all && by_flag {
            return Err(usage("--all-targets and -t exclude each other", "all_targets"));
        }
        let is_any_named = self.names().next().is_some();
        if all || is_any_named {
            return self.named(all);
        }
        if self.options.name_a_target() {
            return self.ad_hoc();
        }
        let Some(path) = ConfigFile::find(self.config) else {
            return self.ad_hoc();
        };
        let file = ConfigFile::read(&path)?;
        self.refuse_aws_alone(&file)?;
        self.refuse_halves()?;
        let name = file.usual_target()?.to_owned();
        self.of_file(&file, &[name], false)
    }

    /// The names that were given. A variable without a value counts as one that is not set.
    fn names(&self) -> impl Iterator<Item = &String> {
        let by_flag = self.given.has("target");
        self.names.target.iter().filter(move |name| by_flag || !name.is_empty())
    }

    fn ad_hoc(self) -> Result<Targets> {
        let (target, notice) = self.options.clone().open((self.journal)())?;
        if let Some(line) = notice {
            output::note(line);
        }
        let given = self.given.clone();
        let only = Named { table: None, name: None, given, target: Ok(target) };
        Ok(Targets { all: vec![only], are_several: false })
    }

    fn named(&self, all: bool) -> Result<Targets> {
        self.refuse_halves()?;
        let path = ConfigFile::find(self.config).ok_or_else(|| no_file(self.config))?;
        let file = ConfigFile::read(&path)?;
        let mut names: Vec<String> = Vec::new();
        match all {
            true if file.targets.is_empty() => _ = file.usual_target()?,
            true => names.extend(file.targets.iter().map(|(name, _)| name.clone())),
            false => {
                for name in self.names() {
                    file.known(name)?;
                    if !names.contains(name) {
                        names.push(name.clone());
                    }
                }
            }
        }
        let are_several = all || names.len() > 1;
        if are_several && self.all.is_none() {
            return Err(usage("this command works on one target", "target")
                .hint(format!("name one of them with -t: {}", names.join(", "))));
        }
        self.of_file(&file, &names, are_several)
    }

    fn of_file(&self, file: &ConfigFile, names: &[String], are_several: bool) -> Result<Targets> {
        self.tell_what_is_ignored();
        let memory = match self.given.has("memory") {
            true => self.options.memory(),
            false => file.memory,
        };
        let memory = ops::share(memory.unwrap_or(DEFAULT_MEMORY_BUDGET), names.len());
        let memory = memory.map_err(|error| {
            let path = file.path.display();
            error.hint(format!("raise --memory, or memory in {path}, or name fewer targets"))
        })?;
        let all = names.iter().map(|name| {
            let table = file.target(name);
            let target = match &table {
                Ok(table) => self.open_one(table, memory),
                Err(error) => Err(error.clone()),
            };
            let table = table.ok().cloned();
            Named { table, name: Some(name.clone()), given: self.given.clone(), target }
        });
        let mut all: Vec<_> = all.collect();
        if let (false, [Named { target: target @ Err(_), .. }]) = (are_several, all.as_mut_slice())
        {
            std::mem::replace(target, Err(no_file(None)))?;
        }
        Ok(Targets { all, are_several })
    }

    fn open_one(&self, table: &NamedTarget, memory: u64) -> Result<Arc<Target>> {
        let mut settings = table.load()?;
        self.options.clone().override_with(self.given, &mut settings)?;
        settings.memory = Some(memory);
        let config = settings.check().map_err(|error| self.placed(table, error))?;
        let budget = Budget::new(memory);
        Target::open(config, budget, (self.journal)()).map_err(|error| self.placed(table, error))
    }

    /// The error with the place in the file, unless a flag is wrong.
    fn placed(&self, table: &NamedTarget, error: Error) -> Error {
        match error.data().field.is_some_and(|field| self.given.replaces(&field)) {
            true => error,
            false => table.placed(error),
        }
    }

    /// Refuses flags that would make a target of two halves.
    fn refuse_halves(&self) -> Result<()> {
        let Some(flag) = WHICH.into_iter().find(|flag| self.given.has(flag)) else {
            return Ok(());
        };
        let message = format!(
            "--{} cannot change where a target of the config file is",
            flag.replace('_', "-")
        );
        let names = if self.given.has("target") || self.all.is_some_and(|all| all.all_targets) {
            "leave the flag out, or the name of the target and give all settings as flags"
        } else if self.names().next().is_some() {
            "leave the flag out, or unset S3_BACKUP_AGENT_TARGET and give all settings as flags"
        } else {
            "leave the flag out, or give all settings as flags: --endpoint, --bucket and the keys"
        };
        Err(usage(&message, flag).hint(names))
    }

    /// Refuses to choose between the file and variables that belong to AWS tools: no script changes its
    /// bucket because a file appeared.
    fn refuse_aws_alone(&self, file: &ConfigFile) -> Result<()> {
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some((variable, _)) = endpoint_of(&environment) else {
            return Ok(());
        };
        if !self.options.is_whole(&environment) {
            return Ok(());
        }
        let message = format!(
            "{variable} and {} both name a target, and the command says neither",
            file.path.display()
        );
        Err(Error::new(Code::InvalidConfig, message)
            .field("target")
            .hint("name a target of the file with -t, or read no file with --config none"))
    }

    /// Says which variables do not count, when it is asked to say more.
    fn tell_what_is_ignored(&self) {
        if !self.verbose {
            return;
        }
        let own = TargetOptions::augment_args(Command::new(""));
        let own = own.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
        let own = own.chain([super::environment::SECRET, super::environment::TOKEN]);
        let set: Vec<_> = own
            .chain(OF_AWS)
            .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
            .collect();
        if !set.is_empty() {
            output::note(format!(
                "The config file names the target, so these variables do not count: {}.",
                set.join(", ")
            ));
        }
    }
}

fn usage(message: &str, flag: &'static str) -> Error {
    Error::new(Code::InvalidParams, message).field(flag).detail("member", flag)
}

/// There is no config file; or none is read, if one was asked for.
pub(super) fn no_file(wanted: Option<&Path>) -> Error {
    if wanted.is_some() {
        let message = "there is no config file, because --config or S3_BACKUP_AGENT_CONFIG is none";
        return Error::new(Code::InvalidConfig, message)
            .field("config")
            .hint("name a file with --config");
    }
    let places = ConfigFile::usual_paths();
    let places: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
    let message = format!("there is no config file (looked for {})", places.join(" and "));
    Error::new(Code::InvalidConfig, message)
        .field("config")
        .hint("add a target with `s3-backup-agent config add NAME`, or name a file with --config")
}
