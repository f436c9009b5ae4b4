//! The command line as people and scripts use it: the real program, its output and exit code, and
//! what remains in the bucket and on the disk.

mod archives;
mod bad_input;
mod bad_output;
#[cfg(unix)]
mod config_commands;
#[cfg(unix)]
mod config_file;
#[cfg(target_os = "linux")]
mod config_questions;
mod deadline;
mod endpoint;
#[cfg(unix)]
mod fan_out;
#[cfg(unix)]
mod fan_out_kills;
#[cfg(target_os = "linux")]
mod fan_out_memory;
#[cfg(unix)]
mod from_command;
mod help_and_logs;
#[cfg(unix)]
mod interrupt;
#[cfg(unix)]
mod named_targets;
#[cfg(unix)]
mod packing;
mod round_trip;
mod secrets;
#[cfg(unix)]
mod several_targets;
#[cfg(unix)]
mod storages;
#[cfg(unix)]
mod target_hints;
#[cfg(unix)]
mod target_questions;
#[cfg(unix)]
mod target_secrets;
#[cfg(target_os = "linux")]
mod terminal;
mod untrusted_names;
mod verify;

use std::ffi::OsStr;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::{TestServer, agent_command};

/// Backups that a real Home Assistant made: file name without extension, id, name, encrypted.
pub(crate) const REAL: [(&str, &str, &str, bool); 2] = [
    (
        "Automatic_backup_2026.11.0_2026-11-20_04.32_33282898",
        "b52acd05",
        "Automatic backup 2026.11.0",
        false,
    ),
    (
        "Nächtliche_Sicherung_Büro_🏠_2026-11-20_04.32_33526654",
        "f70bff2b",
        "Nächtliche Sicherung Büro 🏠",
        true,
    ),
];

pub(crate) fn real_backup(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("{name}.tar"))
}

/// A shell of a user of the program: an environment and a folder.
struct Shell {
    env: Vec<(String, String)>,
    folder: TempDir,
}

/// Exit code and output of a command.
#[derive(Debug)]
struct CommandResult {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Shell {
    fn of(server: &TestServer) -> Self {
        Self::with(server.env())
    }

    fn with(env: Vec<(String, String)>) -> Self {
        Self { env, folder: tempfile::tempdir().unwrap() }
    }

    /// The same with another value of one of the agent's variables.
    fn set(&self, name: &str, value: &str) -> Self {
        let mut shell = self.without(name);
        shell.env.push((format!("S3_BACKUP_AGENT_{name}"), value.to_owned()));
        shell
    }

    fn without(&self, name: &str) -> Self {
        let name = format!("S3_BACKUP_AGENT_{name}");
        Self::with(self.env.iter().filter(|(other, _)| *other != name).cloned().collect())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Names of everything in the folder, hidden files as well.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    fn command(&self, arguments: &[&dyn AsRef<OsStr>]) -> Command {
        let mut command = Command::new(agent_command());
        command.env_clear().envs(self.env.iter().cloned()).current_dir(self.folder.path());
        command.args(arguments.iter().map(|argument| argument.as_ref()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&dyn AsRef<OsStr>]) -> CommandResult {
        self.end(self.command(arguments)).await
    }

    /// Runs a command and checks a rule that holds for all of them: no secret is ever shown.
    async fn end(&self, mut command: Command) -> CommandResult {
        let output = command.output().await.unwrap();
        let text = |bytes| String::from_utf8_lossy(&Vec::<u8>::clone(bytes)).into_owned();
        let ran = CommandResult {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        for (name, value) in &self.env {
            let secret = name.ends_with("SECRET_ACCESS_KEY") && value.trim().len() > 3;
            assert!(!secret || !ran.stdout.contains(value), "{ran:?}");
            assert!(!secret || !ran.stderr.contains(value), "{ran:?}");
        }
        ran
    }

    /// Runs a command as a user other than root, because root may read and write everything.
    #[cfg(unix)]
    async fn run_as_nobody(&self, arguments: &[&dyn AsRef<OsStr>]) -> CommandResult {
        let mut command = self.command(arguments);
        if rustix::process::geteuid().is_root() {
            let program = self.path("agent");
            // A separate process copies it: a file that this process wrote could be busy when a
            // thread starts it.
            let copied =
                std::process::Command::new("cp").arg(agent_command()).arg(&program).status();
            assert!(copied.unwrap().success());
            // Independent of the umask of the tests.
            for path in [program.as_path(), self.folder.path()] {
                std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
            }
            command = Command::new(&program);
            command.env_clear().envs(self.env.iter().cloned()).current_dir(self.folder.path());
            command.args(arguments.iter().map(|argument| argument.as_ref()));
            command.uid(65534).gid(65534);
        }
        self.end(command).await
    }

    async fn run_with_input(&self, arguments: &[&dyn AsRef<OsStr>], input: &[u8]) -> CommandResult {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input).await.unwrap();
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        CommandResult {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl CommandResult {
    /// The JSON on stdout of a command that ended with this exit code.
    fn json(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// The error that `--json` printed for a command that failed with this code.
    fn error(&self, exit: i32, code: &str) -> Value {
        let json = self.json(exit);
        assert_eq!(json["error"]["data"]["code"], code, "{self:?}");
        json["error"].clone()
    }
}
