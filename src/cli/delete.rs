//! `delete`: one backup, after a question.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use super::exit::Exit;
use super::output::{bytes, date, note, say_done, say_json, text};
use super::{Common, Context, TargetCommand, Work, bar, find};
use crate::error::{Code, Error, Result, clean};
use crate::ops;
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

    fn prepare(&self) -> Result<Work<'_>> {
        self.check_terminal()?;
        Ok(Box::new(move |context| Box::pin(run(context, self))))
    }
}

/// Deletes what was asked for.
///
/// # Errors
/// As [`ops::delete`].
async fn run(context: &Context, options: &Delete) -> Result<Exit> {
    let (id, what) = match bar::waiting(find::backup(context, &options.id)).await {
        Ok(backup) => {
            let name =
                text(&backup.metadata.values(), "name").unwrap_or_else(|| clean(&backup.name));
            let (date, size) = (date(&backup.metadata.values()), bytes(backup.stored_size));
            (backup.id.clone(), format!("{name} ({date}, {size}, ID {})", clean(&backup.id)))
        }
        Err(error) => {
            // An incomplete backup can be deleted by its ID.
            let listing = Box::pin(ops::list(context.only(), false, &context.cancel)).await?;
            listing.find(&options.id).ok_or(error)?;
            (options.id.clone(), format!("the incomplete backup {}", clean(&options.id)))
        }
    };
    if !options.yes && !confirmed(context, format!("Delete {what}? [y/N] ")).await? {
        note("Nothing was deleted.");
        return Ok(Exit::Declined);
    }
    bar::waiting(Box::pin(ops::delete(context.only(), &id, &context.cancel))).await?;
    if context.json {
        say_json(&DeleteResult { deleted: true })?;
    } else {
        say_done(format!("Deleted {what}."))?;
    }
    Ok(Exit::Done)
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
