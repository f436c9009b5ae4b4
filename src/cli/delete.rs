//! `delete`: one backup, after a question.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;

use clap::Args;
use futures_util::future::join_all;
use serde::Serialize;

use super::context::Done;
use super::exit::Exit;
use super::output::{bytes, date, note, say_done, text};
use super::{AllTargets, Common, Context, TargetCommand, Work, bar, find};
use crate::error::{Code, Error, Result, clean};
use crate::ops::{self, Cancel, Target};
use crate::protocol::DeleteResult;

/// Shown below the options of this command.
const HELP: &str = "\
Examples:
  s3-backup-agent delete 1a2b3c4d
  s3-backup-agent delete \"Photos 2026\" --yes";

/// Deletes a backup.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Delete {
    /// ID or name of the backup.
    #[arg(value_name = "BACKUP")]
    id: String,

    /// Do not ask.
    #[arg(long, short)]
    yes: bool,

    #[command(flatten)]
    all: AllTargets,

    #[command(flatten)]
    common: Common,
}

impl Delete {
    /// Fails if a question is needed and there is no terminal.
    ///
    /// # Errors
    /// `invalid_params`.
    fn check_terminal(&self) -> Result<()> {
        let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
        if self.yes || can_ask {
            return Ok(());
        }
        let message = "cannot ask whether to delete the backup: there is no terminal";
        let error = Error::new(Code::InvalidParams, message).hint("confirm with --yes");
        Err(error.field("yes").detail("member", "yes"))
    }
}

impl TargetCommand for Delete {
    fn common(&self) -> &Common {
        &self.common
    }

    fn all_targets(&self) -> Option<AllTargets> {
        Some(self.all)
    }

    fn prepare(&self) -> Result<Work<'_>> {
        self.check_terminal()?;
        Ok(Box::new(move |context| Box::pin(run(context, self))))
    }
}

/// A backup that was found.
struct Found {
    id: String,
    /// For people.
    what: String,
}

/// Deletes what was asked for.
///
/// # Errors
/// As [`ops::delete`].
async fn run(context: &Context, options: &Delete) -> Result<Exit> {
    let found = context.each(async |target| find(target, &options.id, &context.cancel).await);
    let found = bar::waiting(found).await;
    if !options.yes
        && let Some(question) = question(&found)
        && !confirmed(context, question).await?
    {
        note("Nothing was deleted.");
        return Ok(Exit::Declined);
    }
    let work = found.into_iter().map(async |Done { on, result }| {
        let result = match (result, &on.target) {
            (Ok(found), Ok(target)) => {
                let deleted = Box::pin(ops::delete(target, &found.id, &context.cancel)).await;
                deleted.map(|()| Deleted { deleted: DeleteResult { deleted: true }, found })
            }
            (Ok(_), Err(error)) => Err(error.clone()),
            (Err(error), _) => Err(error),
        };
        Done { on, result: result.map_err(|error| context.explained(on, error)) }
    });
    let done = bar::waiting(join_all(work)).await;
    context.tell(
        done,
        |_| Exit::Done,
        |all| {
            for (target, Deleted { found, .. }) in all {
                let of = target.map(|name| format!("{name}: ")).unwrap_or_default();
                say_done(format!("{of}Deleted {}.", found.what))?;
            }
            Ok(())
        },
    )
}

/// What `--json` prints, and the backup.
#[derive(Serialize)]
struct Deleted {
    #[serde(flatten)]
    deleted: DeleteResult,
    #[serde(skip)]
    found: Found,
}

async fn find(target: &Arc<Target>, wanted: &str, cancel: &Cancel) -> Result<Found> {
    match find::backup(target, wanted, cancel).await {
        Ok(backup) => {
            let name =
                text(&backup.metadata.values(), "name").unwrap_or_else(|| clean(&backup.name));
            let (date, size) = (date(&backup.metadata.values()), bytes(backup.stored_size));
            let what = format!("{name} ({date}, {size}, ID {})", clean(&backup.id));
            Ok(Found { id: backup.id, what })
        }
        Err(error) => {
            // An incomplete backup can be deleted by its ID.
            let listing = Box::pin(ops::list(target, false, cancel)).await?;
            listing.find(wanted).ok_or(error)?;
            let what = format!("the incomplete backup {}", clean(wanted));
            Ok(Found { id: wanted.to_owned(), what })
        }
    }
}

/// What to ask before anything is deleted; `None` if nothing was found.
fn question(found: &[Done<'_, Found>]) -> Option<String> {
    let whats: Vec<_> = found
        .iter()
        .filter_map(|Done { on, result }| {
            let what = &result.as_ref().ok()?.what;
            Some(on.name().map_or_else(|| what.clone(), |name| format!("{what} from {name}")))
        })
        .collect();
    (!whats.is_empty()).then(|| format!("Delete {}? [y/N] ", whats.join(", and ")))
}

async fn confirmed(context: &Context, question: String) -> Result<bool> {
    let asking = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question}").and_then(|()| stderr.flush())?;
        io::stdin().lock().read_line(&mut answer)?;
        Ok::<_, io::Error>(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    });
    let unheard = |error: io::Error| {
        Error::new(Code::LocalIo, format!("cannot read the answer: {error}")).source(error)
    };
    context
        .cancel
        .cancellable(async {
            asking.await.map_err(io::Error::other).and_then(|read| read).map_err(unheard)
        })
        .await
}
