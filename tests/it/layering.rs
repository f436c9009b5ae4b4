//! The modules of the program and which of them may use which: no module uses one above it or
//! beside it.
//!
//! Reads the sources. `MODULES` lists the modules and `CRATES` the other crates that a module may
//! use; everything else is refused. Unit tests inside the sources are not checked.

use std::collections::BTreeSet;
use std::path::Path;

/// Modules that all others may use, and that use only what the table lists.
const LEAVES: [&str; 8] = [
    "error",
    "config",
    "progress",
    "logging",
    "buffer_pool",
    "journal",
    "fault_injection",
    "platform",
];

/// A module and the modules that it may use, besides itself and the leaves.
const MODULES: &[(&str, &[&str])] = &[
    ("main", &["cli", "session", "protocol", "demo"]),
    ("cli", &["jobs", "sources", "ops", "net", "protocol", "demo"]),
    ("jobs", &["sources", "ops", "protocol"]),
    ("cli/serve", &["cli", "session", "protocol"]),
    ("session", &["ops", "protocol"]),
    ("sources", &["ops", "protocol"]),
    ("ops", &["archives", "s3", "net", "protocol"]),
    ("archives", &["s3", "protocol"]),
    ("s3", &["net"]),
    ("net", &[]),
    ("protocol", &[]),
    ("demo", &["cli", "session", "ops", "archives", "s3", "net", "protocol"]),
];

/// A leaf and the modules that it may use.
const LEAF_MODULES: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("config", &["error", "platform"]),
    ("progress", &[]),
    ("buffer_pool", &["error"]),
    ("journal", &["platform"]),
    ("fault_injection", &[]),
    ("platform", &["error"]),
    ("logging", &["config", "error", "protocol", "platform"]),
];

/// Other crates, by the start of their name, and the only modules that may use them.
const CRATES: &[(&str, &[&str])] = &[
    ("anyhow", &["main", "cli", "cli/serve", "demo"]),
    ("aws_", &["s3", "net"]),
    ("clap", &["main", "cli", "cli/serve"]),
    ("hyper", &["net", "demo"]),
    ("indicatif", &["cli", "cli/serve"]),
    ("rpassword", &["cli", "cli/serve"]),
    ("rustls", &["net"]),
    ("strsim", &["config"]),
    ("s3s", &["demo"]),
    ("toml", &["config"]),
    ("schemars", &["protocol", "config", "error", "progress"]),
];

/// The only modules that carry or build JSON of any shape.
const JSON: &[&str] = &[
    "protocol",
    "session",
    "sources",
    "cli",
    "cli/serve",
    "demo",
    "journal",
    "logging",
    "archives/metadata_cache",
    "archives/metadata",
    "archives/backup_json",
];

#[test]
fn modules_use_only_what_the_table_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    assert!(files.len() > 20, "only {} files in {}", files.len(), root.display());
    let violations: Vec<_> = files.iter().flat_map(|(file, text)| violations(file, text)).collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn deletions_happen_in_one_module_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut places: Vec<_> = sources(&root)
        .into_iter()
        .filter(|(file, _)| !["s3/", "demo/"].iter().any(|module| file.starts_with(module)))
        .filter(|(_, source)| {
            let code = code_of(source);
            [".delete_version(", "bucket.delete(", "bucket().delete("]
                .iter()
                .any(|it| code.contains(it))
        })
        .map(|(file, _)| file)
        .collect();
    places.sort();
    assert_eq!(places, ["archives/deletion.rs"]);
}

#[test]
fn forbidden_dependency_is_reported() {
    for (file, line) in [
        ("s3/list.rs", "use crate::archives::Layout;"),
        ("net/client.rs", "use crate::s3::Bucket;"),
        ("s3/error/rules.rs", "let it = crate::protocol::NAME;"),
        ("archives/mod.rs", "use crate::{error::Code, ops::Target};"),
        ("archives/mod.rs", "use crate::{\n    error::Code,\n    session,\n};"),
        ("ops/list.rs", "use crate::session::frame::Frame;"),
        ("ops/list.rs", "use super::super::session::frame::Frame;"),
        ("session/mod.rs", "use crate::cli::Options;"),
        ("session/handle.rs", "use crate::archives::Store;"),
        ("cli/list.rs", "use crate::session;"),
        ("cli/list.rs", "use crate::s3::Bucket;"),
        ("protocol/messages.rs", "use crate::ops::Context;"),
        ("error.rs", "use crate::config::Secret;"),
        ("progress.rs", "use crate::ops::Context;"),
        ("ops/upload.rs", "use crate::demo::host::Host;"),
        ("main.rs", "use s3_backup_agent::archives::Store;"),
        ("attic.rs", "fn nothing() {}"),
        ("ops/upload.rs", "use anyhow::Result;"),
        ("archives/mod.rs", "let key = aws_sdk_s3::primitives::Blob::new(b\"\");"),
        ("session/mod.rs", "use clap::Parser;"),
        ("ops/mod.rs", "use hyper_util::rt::TokioIo;"),
        ("s3/mod.rs", "use s3s::S3;"),
        ("ops/mod.rs", "#[cfg_attr(test, derive(schemars::JsonSchema))]"),
        ("ops/list.rs", "use serde_json::{Map, Value};"),
        ("archives/layout.rs", "fn of(it: &serde_json::Value) {}"),
    ] {
        assert_eq!(violations(file, line).len(), 1, "{file}: {line}: {:?}", violations(file, line));
    }
}

#[test]
fn allowed_dependency_is_not_reported() {
    for (file, line) in [
        ("main.rs", "use s3_backup_agent::{cli, session::serve};"),
        ("cli/serve.rs", "use crate::session::serve;"),
        ("cli/mod.rs", "use crate::demo::server::EmbeddedServer;\nuse crate::ops::Target;"),
        ("ops/upload.rs", "use crate::{Code, Error, Result};\nuse crate::archives::Store;"),
        ("s3/object.rs", "use super::error::translate;\nuse crate::error::Code;"),
        ("s3/error/rules.rs", "use super::super::answers::AnswerFault;"),
        ("archives/mod.rs", "// As crate::session says.\nuse crate::s3::Bucket;"),
        ("ops/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::demo::host::Host;\n}"),
        ("archives/metadata.rs", "use serde_json::{Map, Value};"),
        ("ops/mod.rs", "let text = serde_json::to_string(&it);"),
    ] {
        assert_eq!(violations(file, line), Vec::<String>::new(), "{file}: {line}");
    }
}

/// Every file below the folder, by its path in that folder, with its text.
pub(crate) fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/");
                found.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.retain(|(name, _)| name != "lib.rs");
    found
}

fn violations(file: &str, source: &str) -> Vec<String> {
    let modules = file.trim_end_matches(".rs").trim_end_matches("/mod");
    let top = modules.split('/').next().unwrap_or_default();
    let module = if modules.starts_with("cli/serve") { "cli/serve" } else { top };
    let mut rules = MODULES.iter().chain(LEAF_MODULES);
    let Some((_, allowed_modules)) = rules.find(|(name, _)| *name == module) else {
        return vec![format!("{file}: the module \"{module}\" is not in the table")];
    };
    let code = code_of(source);
    let mut found = Vec::new();
    for used in modules_used(&code, modules.split('/').count()) {
        let leaf = LEAVES.contains(&used.as_str()) && !LEAVES.contains(&module);
        if used != top && !leaf && !allowed_modules.contains(&used.as_str()) {
            found.push(format!("{file}: {module} must not use {used}"));
        }
    }
    for (name, allowed) in CRATES {
        if !allowed.contains(&module) && uses_crate(&code, name) {
            found.push(format!("{file}: {module} must not use the crate {name}"));
        }
    }
    if !JSON.contains(&module) && !JSON.contains(&modules) && uses_json_value(&code) {
        found.push(format!("{file}: serde_json::Value does not belong here"));
    }
    found
}

/// The source without comments and unit tests.
pub(crate) fn code_of(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that the code of a file `depth` modules below the root uses.
fn modules_used(code: &str, depth: usize) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let up = "super::".repeat(depth);
    for start in ["crate::", "s3_backup_agent::", up.as_str()] {
        for (at, _) in code.match_indices(start) {
            if !code[..at]
                .ends_with(|letter: char| letter.is_alphanumeric() || "_:$".contains(letter))
            {
                used.extend(first_names(&code[at + start.len()..]));
            }
        }
    }
    // The root re-exports these types from `error`.
    used.into_iter().map(|name| if is_type(&name) { "error".to_owned() } else { name }).collect()
}

fn is_type(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_uppercase())
}

/// `a` of `a::b`, `a` and `c` of `{a::b, c}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| {
        let text = text.trim_start();
        let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut depth, mut item) = (Vec::new(), 0, String::new());
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&std::mem::take(&mut item))),
            letter => item.push(letter),
        }
    }
    names.push(name(&item));
    names.retain(|name| !name.is_empty());
    names
}

/// Whether the code uses a crate whose name starts like this.
fn uses_crate(code: &str, start: &str) -> bool {
    code.match_indices(start).any(|(at, _)| {
        let rest = &code[at..];
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let exact = start.ends_with('_') || rest[start.len()..].starts_with(['_', ':', ';', ' ']);
        let free = !code[..at]
            .ends_with(|letter: char| letter.is_alphanumeric() || "_:.\"".contains(letter));
        free && exact
            && end.is_some_and(|end| rest[end..].starts_with("::") || rest[end..].starts_with(';'))
    })
}

fn uses_json_value(code: &str) -> bool {
    code.match_indices("serde_json::").any(|(at, start)| {
        let rest = &code[at + start.len()..];
        let names = first_names(rest);
        names.iter().any(|name| name == "Value") || rest.starts_with("value::Value")
    })
}
