//! Storages with names in a config file.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{CommandResult, Shell};
use crate::support::TestServer;

/// What a secret looks like that may be in no output.
pub(super) const CANARY: &str = "canary-1f2e3d4c5b6a";

/// A user whose config file names servers.
pub(super) struct Storages {
    pub(super) shell: Shell,
}

impl Storages {
    /// A config file with a table for each server. `PATH` is that of the tests.
    pub(super) fn of(servers: &[(&str, &TestServer)]) -> Self {
        let storages = Self::with(&tables(servers));
        for (name, server) in servers {
            storages.shell.write(&format!("{name}.key"), secret_of(server));
        }
        storages
    }

    /// A config file with this text.
    pub(super) fn with(text: &str) -> Self {
        let shell = Shell::with(Vec::new());
        let path = shell.write("config.toml", text);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let mut storages = Self { shell };
        let path = path.to_str().unwrap().to_owned();
        storages.set("S3_BACKUP_AGENT_CONFIG", &path);
        storages.set("S3_BACKUP_AGENT_STATE_DIR", storages.shell.path("state").to_str().unwrap());
        storages.set("PATH", &std::env::var("PATH").unwrap());
        storages
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.shell.env.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn unset(&mut self, name: &str) {
        self.shell.env.retain(|(other, _)| other != name);
    }

    /// Appends a line to the table of the last target.
    pub(super) fn append(&self, line: &str) {
        let text = std::fs::read_to_string(self.shell.path("config.toml")).unwrap();
        self.shell.write("config.toml", format!("{text}{line}\n"));
    }

    /// Runs a command line without blanks in its words. The canary is nowhere in the output.
    pub(super) async fn run(&self, line: &str) -> CommandResult {
        let words: Vec<_> = line.split(' ').collect();
        let words: Vec<_> = words.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>).collect();
        let ran = self.shell.run(&words).await;
        assert!(!ran.stdout.contains(CANARY) && !ran.stderr.contains(CANARY), "{ran:?}");
        ran
    }

    /// The entries of `targets` in the JSON on stdout.
    pub(super) async fn targets(&self, line: &str, code: i32) -> Vec<Value> {
        let json = self.run(line).await.json(code);
        json["targets"].as_array().unwrap_or_else(|| panic!("{json}")).clone()
    }
}

/// A table for each server, whose secret is in a file with the name of the target.
pub(super) fn tables(servers: &[(&str, &TestServer)]) -> String {
    let tables = servers.iter().map(|(name, server)| {
        let config = server.config();
        let members = ["endpoint", "region", "bucket", "prefix", "access_key_id", "ca_certificate"];
        let members = members.iter().filter_map(|member| {
            let value = config[*member].as_str().filter(|value| !value.is_empty())?;
            Some(format!("{member} = {}\n", serde_json::to_string(value).unwrap()))
        });
        let members: String = members.collect();
        format!("[targets.{name}]\n{members}secret_access_key = {{ file = \"{name}.key\" }}\n")
    });
    tables.collect::<Vec<_>>().join("\n")
}

pub(super) fn secret_of(server: &TestServer) -> String {
    server.config()["secret_access_key"].as_str().unwrap().to_owned()
}
