//! `upload`: a Home Assistant backup, any other file, a folder, a stream or the output of a program.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::context::Done;
use super::exit::Exit;
use super::output::{bytes, note, say_done, shell_word, text};
use super::{AllTargets, Common, Context, TargetCommand, Work, bar, retry_for};
use crate::error::{Code, Error, Result, clean};
use crate::jobs;
use crate::ops;
use crate::platform::read_small;
use crate::progress::Progress;
use crate::protocol::{IfExists, MAX_METADATA, MAX_RESUME_S, Metadata, NewBackup, UploadResult};
use crate::sources::{
    CommandLine, Content, Feed, Input, LeftOut, Local, Opened, name_of, open, suggested_name,
    unreadable,
};

/// Shown below the options of this command.
const HELP: &str = "\
A file must keep its length while it is read: one that shrinks or grows is
refused.

A folder is stored as a tar. A file that cannot be read, or that vanishes
meanwhile, is left out and named on standard error, and the exit code is 10.
Unpack the folder with:
  s3-backup-agent download NAME -o - | tar -x

With --from-command, the backup is stored only if the command ends with exit
code 0. The command does not get the environment variables S3_BACKUP_AGENT_*,
AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.

Examples:
  s3-backup-agent upload /backup/1a2b3c4d.tar
  s3-backup-agent upload photos.zip
  s3-backup-agent upload /config --name config --id config --replace
  s3-backup-agent upload --from-command --name home.sql -- pg_dump home
  s3-backup-agent upload large.tar --id large --resume";

/// Stores a backup.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Upload {
    /// A Home Assistant backup, any other file, a folder (stored as a tar), or `-` for standard input. A
    /// pipe hides whether the program that writes into it has failed: use `--from-command` for that.
    path: Option<PathBuf>,

    /// Upload what a command writes to standard output, if it ends with exit code 0. The command follows
    /// after `--` and runs without a shell. Needs `--name`.
    #[arg(long)]
    from_command: bool,

    /// The command of `--from-command`, and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    /// Name of the backup. Default: as in the Home Assistant backup, else that of the file or folder.
    #[arg(long)]
    name: Option<String>,

    /// ID of the backup. Default: as in the Home Assistant backup, else a new one.
    #[arg(long)]
    id: Option<String>,

    /// File with a JSON object of further metadata. Its members replace those of the backup.
    #[arg(long, value_name = "PATH")]
    metadata: Option<PathBuf>,

    /// Replace the backup with this ID: store the new one, then delete the old one. Default: fail if
    /// the ID is in use.
    #[arg(long)]
    replace: bool,

    /// Keep retrying for this long if the server becomes unreachable during the transfer, for example
    /// `15m`. At most an hour.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = retry_for)]
    retry_for: Duration,

    /// If the upload is interrupted, keep its parts for a day; the same command then sends only the rest.
    /// Needs `--id`, unless the file is a Home Assistant backup.
    #[arg(long)]
    resume: bool,

    #[command(flatten)]
    all: AllTargets,

    #[command(flatten)]
    common: Common,
}

/// The member of the metadata that names the uploaded file, if it was not a tar of ours: a download gives it
/// the same name.
pub(super) const FILE_NAME: &str = "file_name";

/// An upload that can begin.
#[derive(Debug)]
struct Ready {
    input: Input,
    /// The name, for people.
    title: String,
    request: ops::Upload,
}

impl Upload {
    /// Looks at what is to be stored. Does not use the network.
    ///
    /// # Errors
    /// `local_io` when it cannot be read; `length_mismatch` when it is empty or cut off;
    /// `invalid_params` when something has to be given.
    fn ready(&self) -> Result<Ready> {
        let (input, read) = self.open()?;
        let is_home_assistant = read.is_some();
        let mut metadata = read.unwrap_or_default();
        if let Some(path) = &self.metadata {
            metadata.extend(read_metadata(path)?);
        }
        if let Some(name) = &self.name {
            metadata.insert("name".to_owned(), json!(name));
        }
        match &input {
            Input::Local(Local::Folder(path)) if !metadata.contains_key("name") => {
                let name = name_of(path).unwrap_or_default();
                metadata.insert("name".to_owned(), json!(name.to_string_lossy()));
            }
            Input::Local(Local::File { path, .. }) if !is_home_assistant => {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let name = file.strip_suffix(".tar").unwrap_or(&file).to_owned();
                metadata.entry("name").or_insert_with(|| json!(name));
                metadata.entry(FILE_NAME).or_insert_with(|| json!(file));
            }
            Input::Local(Local::Stream { .. } | Local::Stdin) | Input::Command(_) => {
                if let Some(name) = metadata.get("name").cloned() {
                    metadata.entry(FILE_NAME).or_insert(name);
                }
            }
            Input::Local(_) => {}
        }
        let given = |member: &str| metadata.get(member).and_then(Value::as_str).map(str::to_owned);
        let name = given("name").filter(|name| !name.trim().is_empty());
        let name = name.ok_or_else(|| nameless(&input))?;
        let title = name.clone();
        let id = self.id.clone().or_else(|| given("backup_id"));
        let id = match id {
            Some(id) => id,
            // A new one would be unknown to the repetition. One that follows from the name would take
            // two backups of one name for the same.
            None if self.resume => return Err(resume_without_id()),
            None => format!("{:08x}", fastrand::u32(..)),
        };
        let date = given("date");
        metadata.insert("backup_id".to_owned(), json!(id));
        let request = ops::Upload {
            backup: NewBackup {
                id,
                name: match (&self.name, date) {
                    (None, Some(date)) => suggested_name(&name, Some(&date)),
                    (Some(_), _) | (None, None) => name,
                },
                metadata,
            },
            size: input.size(),
            exact: true,
            if_exists: if self.replace { IfExists::Replace } else { IfExists::Fail },
            retry_for: self.retry_for,
            resume: Duration::from_secs(if self.resume { MAX_RESUME_S } else { 0 }),
            beside: Vec::new(),
        };
        Ok(Ready { input, title, request })
    }

    /// Opens the path, and reads the metadata of a Home Assistant backup.
    fn open(&self) -> Result<(Input, Option<Metadata>)> {
        let path = match (self.from_command, &self.path, self.command.as_slice()) {
            (true, None, words) => return self.open_command(words),
            (false, Some(path), []) => path,
            // After `--` a path may begin with a hyphen.
            (false, None, [path]) => Path::new(path),
            (true, Some(_), _) => {
                return Err(usage("--from-command stores the output of a command, not a file")
                    .hint("leave the path out"));
            }
            (false, None, []) => {
                return Err(usage(
                    "nothing to store was given: a file, a folder, - or --from-command",
                ));
            }
            (false, ..) => {
                return Err(usage("a command after -- goes with --from-command only"));
            }
        };
        let Opened { input, content } = open(path)?;
        let read = match content {
            Content::Backup(metadata) => Some(metadata),
            Content::DamagedBackup(error) if error.code() != Code::CorruptMetadata => {
                return Err(error);
            }
            // With a name they are files like any other.
            Content::DamagedBackup(error) | Content::DamagedTar(error) if self.is_nameless() => {
                return Err(error);
            }
            Content::DamagedBackup(_) | Content::DamagedTar(_) | Content::Other => None,
        };
        Ok((input, read))
    }

    /// Does not start the command: that waits until its output can be stored.
    fn open_command(&self, words: &[OsString]) -> Result<(Input, Option<Metadata>)> {
        match CommandLine::new(words) {
            Some(command) => Ok((Input::Command(command), None)),
            None => Err(usage(
                "--from-command needs a command: s3-backup-agent upload --from-command --name NAME -- COMMAND",
            )),
        }
    }

    fn is_nameless(&self) -> bool {
        self.name.is_none() && self.metadata.is_none()
    }
}

fn nameless(input: &Input) -> Error {
    let message = match input {
        Input::Command(_) => "the output of a command has no name",
        Input::Local(_) => "a stream has no name",
    };
    Error::new(Code::InvalidParams, message)
        .hint("give it one with --name")
        .field("name")
        .detail("member", "backup.name")
}

fn usage(message: &str) -> Error {
    Error::new(Code::InvalidParams, message).field("path").detail("member", "path")
}

fn resume_without_id() -> Error {
    let message = "--resume needs the ID of the backup, so that a repetition finds what is stored";
    Error::new(Code::InvalidParams, message)
        .hint("give one with --id, and the same one when you repeat the upload")
        .field("id")
        .detail("member", "backup.id")
}

fn read_metadata(path: &Path) -> Result<Metadata> {
    let read = read_small(path, 4 * MAX_METADATA as u64);
    let content = read.map_err(|error| {
        if error.kind() == io::ErrorKind::FileTooLarge {
            bad_metadata(path, "is too large: 32 KiB are the limit")
        } else {
            unreadable(path, error)
        }
    })?;
    let parsed = serde_json::from_str::<Metadata>(&content);
    parsed.map_err(|error| bad_metadata(path, "is no JSON object").source(error))
}

fn bad_metadata(path: &Path, what: &str) -> Error {
    let message = format!("the metadata file {} {what}", path.display());
    Error::new(Code::InvalidParams, message).field("metadata").detail("member", "backup.metadata")
}

impl TargetCommand for Upload {
    fn common(&self) -> &Common {
        &self.common
    }

    fn all_targets(&self) -> Option<AllTargets> {
        Some(self.all)
    }

    fn prepare(&self) -> Result<Work<'_>> {
        let ready = self.ready()?;
        Ok(Box::new(move |context| Box::pin(run(context, ready))))
    }
}

/// Stores what is ready.
///
/// # Errors
/// As [`ops::upload`].
async fn run(context: &Context, ready: Ready) -> Result<Exit> {
    let started = Instant::now();
    context.refuse_one_place_twice()?;
    let title = clean(&ready.title);
    let mut feed = Feed::new(ready.input, context.cancel.clone());
    let uploaded = match context.are_several() {
        true => to_several(context, &ready.request, &title, &mut feed).await,
        false => vec![to_one(context, ready.request, &title, &mut feed).await?],
    };
    let left_out = feed.end().await;
    let is_folder = left_out.is_some();
    let is_incomplete = left_out.as_ref().is_some_and(LeftOut::is_incomplete);
    let done = uploaded.into_iter().map(|Done { on, result }| {
        let left_out = left_out.clone();
        Done { on, result: result.map(|uploaded| Stored { uploaded, left_out }) }
    });
    let exit = if is_incomplete { Exit::Incomplete } else { Exit::Done };
    context.tell(
        done.collect(),
        |_| exit,
        |all| {
            let Some((_, Stored { uploaded: first, .. })) = all.first() else {
                return Ok(());
            };
            say_done(summary(all, first, started.elapsed()))?;
            if is_folder {
                let id = shell_word(&first.backup.id);
                let on = all.first().and_then(|(target, _)| *target);
                let on = on.map(|name| format!(" -t {name}")).unwrap_or_default();
                note(format!("Unpack it with: s3-backup-agent download {id}{on} -o - | tar -x"));
            }
            if let Some(summary) = left_out.as_ref().and_then(LeftOut::summary) {
                note(format!("Not everything in the folder is in the backup: {summary}."));
            }
            Ok(())
        },
    )
}

async fn to_one<'a>(
    context: &'a Context,
    request: ops::Upload,
    title: &str,
    feed: &mut Feed,
) -> Result<Done<'a, UploadResult>> {
    let progress = Progress::default();
    let (on, target) = (context.first()?, context.only()?);
    let work = ops::upload(target, request, feed, &progress, &context.cancel);
    let result = bar::during(&progress, &format!("Uploading {title}"), Box::pin(work)).await;
    Ok(Done { on, result })
}

/// Reads once, and stores on all targets that could be opened.
async fn to_several<'a>(
    context: &'a Context,
    request: &ops::Upload,
    title: &str,
    feed: &mut Feed,
) -> Vec<Done<'a, UploadResult>> {
    let open: Vec<_> =
        context.targets.all.iter().filter_map(|on| on.target.as_ref().ok()).cloned().collect();
    let progress: Vec<_> = open.iter().map(|_| Progress::default()).collect();
    let names = context.targets.all.iter().filter(|on| on.target.is_ok());
    let bars: Vec<_> = names
        .zip(&progress)
        .map(|(on, progress)| {
            (progress, format!("{}: uploading {title}", on.name().unwrap_or_default()))
        })
        .collect();
    let work = jobs::fan_out(&open, request, feed, &progress, &context.cancel);
    let mut results = bar::during_all(&bars, Box::pin(work)).await.into_iter();
    let done = context.targets.all.iter().map(|on| {
        let result = match &on.target {
            Ok(_) => results.next().unwrap_or_else(|| Err(lost())),
            Err(error) => Err(error.clone()),
        };
        Done { on, result: result.map_err(|error| context.explained(on, error)) }
    });
    done.collect()
}

fn lost() -> Error {
    Error::new(Code::Internal, "the upload was lost inside the agent").hint("see its log")
}

/// What was uploaded, and where it is.
fn summary(all: &[(Option<&str>, &Stored)], first: &UploadResult, took: Duration) -> String {
    let backup = &first.backup;
    let name = text(&backup.metadata.values(), "name").unwrap_or_else(|| clean(&backup.name));
    let mut lines = Vec::new();
    for (target, Stored { uploaded, .. }) in all {
        if let Some(resumed) = uploaded.resumed_bytes {
            let to = target.map(|name| format!("{name}: ")).unwrap_or_default();
            lines.push(format!("{to}{} were uploaded before.", bytes(resumed)));
        }
    }
    let size = bytes(backup.stored_size);
    lines.push(format!("Uploaded {name} ({size}) in {:.1} s.", took.as_secs_f64()));
    lines.push(format!("  ID      {}", clean(&backup.id)));
    for (target, Stored { uploaded, .. }) in all {
        let label = target.unwrap_or("object");
        lines.push(format!("  {label:<6}  {}.tar", clean(&uploaded.backup.name)));
    }
    lines.join("\n")
}

/// What `--json` prints: the members of the protocol, and of a folder what is not in the backup.
#[derive(Serialize)]
struct Stored {
    #[serde(flatten)]
    uploaded: UploadResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<LeftOut>,
}
