//! The directory of the upload journal and the metadata cache.

use std::path::PathBuf;

use clap::Args;

use crate::journal::Journal;

/// The directory of the state.
#[derive(Args, Clone, Debug, Default)]
pub struct StateOptions {
    /// Directory for the upload journal and the metadata cache. Default: `s3-backup-agent` in
    /// `$XDG_STATE_HOME` or `~/.local/state`, on Windows in `%LOCALAPPDATA%`.
    #[arg(
        long,
        value_name = "PATH",
        env = "S3_BACKUP_AGENT_STATE_DIR",
        hide_env_values = true,
        hide_short_help = true,
        help_heading = "Storage options"
    )]
    state_dir: Option<PathBuf>,
}

impl StateOptions {
    /// The journal, if there is a directory for it. Nothing is read or written yet.
    #[must_use]
    pub fn journal(&self) -> Option<Journal> {
        self.state_dir.clone().or_else(Journal::usual_folder).map(Journal::new)
    }
}
