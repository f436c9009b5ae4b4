//! `config show`: the targets as they are in force, without secrets.

use clap::Args;
use console::style;
use serde_json::{Map, Value, json};

use super::super::exit::Exit;
use super::super::output::{bytes, say, say_json};
use super::without_secrets;
use crate::config::{ConfigFile, DEFAULT_MEMORY_BUDGET, NamedTarget, Shown, looks_secret};
use crate::error::secrets::REDACTED;
use crate::error::{Error, Result, clean};
use crate::protocol::ErrorObject;

/// Shown below the options of this command.
const HELP: &str = "\
Examples:
  s3-backup-agent config show
  s3-backup-agent config show --json | jq -r '.targets[].target'";

/// Shows the targets as they are in force, without secrets.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub(super) struct Show {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Shows the file, with variables replaced.
///
/// # Errors
/// `local_io`.
pub(super) fn run(file: &ConfigFile, options: &Show) -> Result<Exit> {
    let memory = file.memory.unwrap_or(DEFAULT_MEMORY_BUDGET);
    let targets: Vec<_> = file
        .targets
        .iter()
        .map(|(name, target)| (name, target.as_ref().map_err(Clone::clone).and_then(members)))
        .collect();
    let is_any_wrong = targets.iter().any(|(_, members)| members.is_err());
    let exit = if is_any_wrong { Exit::Settings } else { Exit::Done };
    if options.json {
        let targets: Vec<_> =
            targets.into_iter().map(|(name, members)| of(name, members)).collect();
        say_json(&json!({
            "file": file.path.display().to_string(), "host": file.host,
            "default_target": file.default_target, "memory": memory, "targets": targets,
        }))?;
        return Ok(exit);
    }
    let mut blocks = vec![lines(&[
        ("file", clean(&file.path.display().to_string())),
        ("host", clean(&file.host)),
        ("memory", bytes(memory)),
    ])];
    for (name, members) in targets {
        let is_default = file.usual_target().is_ok_and(|usual| usual == name);
        let mark = if is_default { " (default)" } else { "" };
        let head = style(format!("[targets.{name}]{mark}")).bold();
        let members = match members {
            Ok(members) => {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| (name.as_str(), plain(value))).collect();
                lines(&members)
            }
            Err(error) => format!("error: {}", error.message()),
        };
        blocks.push(format!("{head}\n{members}"));
    }
    say(blocks.join("\n\n"))?;
    Ok(exit)
}

fn of(name: &str, members: Result<Map<String, Value>, Error>) -> Value {
    let mut all = Map::new();
    all.insert("target".to_owned(), json!(name));
    match members {
        Ok(members) => all.extend(members),
        Err(error) => _ = all.insert("error".to_owned(), json!(ErrorObject::from(&error))),
    }
    Value::Object(all)
}

/// What is in force: what the file says, and the settings that follow from it.
fn members(target: &NamedTarget) -> Result<Map<String, Value>> {
    let settings = target.without_secrets()?;
    let config = without_secrets(&settings).map_err(|error| target.placed(error))?;
    let mut all = Map::new();
    let mut add = |name: &str, value: Value| {
        if !value.is_null() {
            all.insert(name.to_owned(), value);
        }
    };
    add("description", json!(target.description));
    add("endpoint", json!(config.endpoint.as_str().trim_end_matches('/')));
    add("region", json!(config.region));
    add("bucket", json!(config.bucket));
    add("prefix", json!(Some(&config.prefix).filter(|prefix| !prefix.is_empty())));
    add("folder", json!(config.folder));
    // It may be the secret, in the wrong place.
    let is_secret = looks_secret(&config.access_key_id);
    add("access_key_id", json!(if is_secret { REDACTED } else { &config.access_key_id }));
    for (member, origin) in target.secrets() {
        let Shown { from, what } = origin.shown();
        add(
            member,
            what.map_or_else(|| json!({"from": from}), |it| json!({"from": from, "what": it})),
        );
    }
    add("addressing_style", json!(settings.addressing_style));
    add("ca_file", json!(target.ca_file.as_ref().map(|path| path.display().to_string())));
    add("verify_tls", json!(settings.verify_tls));
    add("storage_class", json!(settings.storage_class));
    add("server_side_encryption", json!(settings.server_side_encryption));
    add("server_side_encryption_key_id", json!(settings.server_side_encryption_key_id));
    add("part_size", json!(settings.part_size));
    add("concurrency", json!(settings.concurrency));
    add("bandwidth_limit", json!(settings.bandwidth_limit));
    Ok(all)
}

fn plain(value: &Value) -> String {
    if let Some(origin) = value.as_object() {
        let text = |member| origin.get(member).and_then(Value::as_str).map(clean);
        return match (text("from").as_deref(), text("what")) {
            (Some("inline"), _) => "in this file".to_owned(),
            (from, Some(what)) => format!("{} {what}", from.unwrap_or_default()),
            (from, None) => from.unwrap_or_default().to_owned(),
        };
    }
    value.as_str().map_or_else(|| value.to_string(), clean)
}

fn lines(all: &[(&str, String)]) -> String {
    let width = all.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines = all.iter().map(|(name, value)| format!("{name:<width$}  {value}"));
    lines.collect::<Vec<_>>().join("\n")
}
