//! `delete`: one backup, after a question.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use super::exit::Exit;
use super::output::{bytes, date, note, say, say_json, text};
use super::{Common, Context, bar, find};
use crate::error::{Code, Error, Result, clean};
use crate::ops;
use crate::protocol::DeleteResult;

/// Deletes a backup.
#[derive(Args, Clone, Debug)]
pub struct Delete {
    /// Id or name of the backup.
    id: String,

    /// Do not ask.
    #[arg(long, short)]
    yes: bool,

    #[command(flatten)]
    pub(super) common: Common,
}

impl Delete {
    /// Whether somebody is there to be asked, if that is needed.
    ///
    /// # Errors
    /// `invalid_params`.
    pub(super) fn prepare(&self) -> Result<()> {
        let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
        if self.yes || can_ask {
            return Ok(());
        }
        let message = "there is nobody to ask whether to delete the backup: give --yes";
        Err(Error::new(Code::InvalidParams, message).field("yes").detail("member", "yes"))
    }
}

/// Deletes what was asked for.
///
/// # Errors
/// As [`ops::delete`].
pub(super) async fn run(context: &Context, options: &Delete) -> Result<Exit> {
    let (id, what) = match bar::waiting(find::backup(context, &options.id)).await {
        Ok(backup) => {
            let name =
                text(&backup.metadata.values(), "name").unwrap_or_else(|| clean(&backup.name));
            let (date, size) = (date(&backup.metadata.values()), bytes(backup.stored_size));
            (backup.id.clone(), format!("{name} ({date}, {size}, id {})", clean(&backup.id)))
        }
        Err(error) => {
            // What is left of a broken backup can be deleted by its id.
            let listing = Box::pin(ops::list(context.only(), false, &context.cancel)).await?;
            listing.find(&options.id).ok_or(error)?;
            (options.id.clone(), format!("what is left of the backup {}", clean(&options.id)))
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
        say(format!("Deleted {what}."))?;
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
