//! Where the program keeps what the next run has to know.

use std::path::PathBuf;

use clap::Args;

use crate::journal::Journal;

/// The folder of the state.
#[derive(Args, Clone, Debug, Default)]
pub struct StateOptions {
    /// Folder for notes of what is being stored, by which the next run takes back what a killed one
    /// has left, and for metadata that was read before. Default: `s3-backup-agent` in
    /// `$XDG_STATE_HOME` or `~/.local/state`, on Windows in `%LOCALAPPDATA%`.
    #[arg(long, value_name = "PATH", env = "S3_BACKUP_AGENT_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
}

impl StateOptions {
    /// The journal, if there is a place for it. Nothing is read or written yet.
    #[must_use]
    pub fn journal(&self) -> Option<Journal> {
        self.state_dir.clone().or_else(Journal::usual_folder).map(Journal::new)
    }
}
