//! `demo`: the flags of the show in [`crate::demo::run`].

use clap::Args;

use crate::config::size::size;
use crate::demo::run::{self, Show};
use crate::error::Result;
use crate::ops::Cancel;

/// Shown below the options of this command.
const HELP: &str = "\
Examples:
  s3-backup-agent demo
  s3-backup-agent demo --size 200MiB
  s3-backup-agent demo --serve";

/// Shows the agent at work, with a storage of its own.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Demo {
    /// Upload this many random bytes instead of a small backup, for example `200MiB`.
    #[arg(long, value_parser = size)]
    size: Option<u64>,

    /// Only start the storage, and keep it until Ctrl-C.
    #[arg(long, conflicts_with = "size")]
    serve: bool,
}

/// Runs the show.
///
/// # Errors
/// What went wrong in it.
pub(super) async fn run(options: &Demo, cancel: &Cancel) -> Result<()> {
    let show = match (options.serve, options.size) {
        (true, _) => Show::Storage,
        (false, Some(size)) => Show::Random(size),
        (false, None) => Show::Backup,
    };
    run::run(show, cancel).await
}
