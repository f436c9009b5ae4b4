//! `upload`: a Home Assistant backup, any other file, a folder or a stream.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::archive::{self, Content};
use super::output::{bytes, note, say, say_json, text};
use super::source::{Feed, Input, unreadable};
use super::{Common, Context, bar, folder};
use crate::error::{Code, Error, Result, clean};
use crate::ops;
use crate::progress::Progress;
use crate::protocol::{IfExists, MAX_METADATA, MAX_RESUME_S, Metadata, NewBackup};

/// Stores a backup.
#[derive(Args, Clone, Debug)]
pub struct Upload {
    /// A Home Assistant backup (its metadata is read from it), any other file (give it a name), a
    /// folder (packed into a tar on the way), or `-` for standard input.
    path: PathBuf,

    /// Name of the backup. Default: as in the Home Assistant backup, else that of the folder.
    #[arg(long)]
    name: Option<String>,

    /// Identity of the backup. Default: as in the Home Assistant backup, else a new one.
    #[arg(long)]
    id: Option<String>,

    /// File with a JSON object of further metadata. Its members win over those that are read from
    /// the backup.
    #[arg(long, value_name = "PATH")]
    metadata: Option<PathBuf>,

    /// What to do when there is a backup with this id.
    #[arg(long, value_name = "ACTION", value_enum, default_value_t = Existing::Fail)]
    if_exists: Existing,

    /// How long the storage may be away in the middle, such as `15m`. At most an hour.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    outage: Duration,

    /// When the upload is interrupted, keep what is stored for a day, and send only what is missing
    /// when the same backup (`--id`) is uploaded again.
    #[arg(long)]
    resume: bool,

    #[command(flatten)]
    pub(super) common: Common,
}

/// [`IfExists`] as a flag.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Existing {
    /// End with an error.
    Fail,
    /// Store the new one, then delete the old one.
    Replace,
}

/// An upload that can begin.
#[derive(Debug)]
pub(super) struct Ready {
    input: Input,
    request: ops::Upload,
}

impl Upload {
    /// Looks at what is to be stored. Does not use the network.
    ///
    /// # Errors
    /// `local_io` when it cannot be read; `length_mismatch` when it is empty or cut off;
    /// `invalid_params` when something has to be given.
    pub(super) fn prepare(&self) -> Result<Ready> {
        let (input, read) = self.open()?;
        let mut metadata = read.unwrap_or_default();
        if let Some(path) = &self.metadata {
            metadata.extend(read_metadata(path)?);
        }
        if let Some(name) = &self.name {
            metadata.insert("name".to_owned(), json!(name));
        }
        if let (Input::Folder(path), None) = (&input, metadata.get("name")) {
            let name = folder::name_of(path).unwrap_or_default();
            metadata.insert("name".to_owned(), json!(name.to_string_lossy()));
        }
        let given = |member: &str| metadata.get(member).and_then(Value::as_str).map(str::to_owned);
        let name = given("name").filter(|name| !name.trim().is_empty());
        let name = name.ok_or_else(|| self.nameless(&input))?;
        let id = self.id.clone().or_else(|| given("backup_id"));
        let id = id.unwrap_or_else(|| {
            let new = format!("{:08x}", fastrand::u32(..));
            if self.resume {
                // Said at once, because it has to be known after a kill as well.
                note(format!("The id of this backup is {new}: give --id {new} to go on with it."));
            }
            new
        });
        let date = given("date");
        metadata.insert("backup_id".to_owned(), json!(id));
        let request = ops::Upload {
            backup: NewBackup {
                id,
                name: match (&self.name, date) {
                    (None, Some(date)) => archive::suggested_name(&name, Some(&date)),
                    (Some(_), _) | (None, None) => name,
                },
                metadata,
            },
            size: input.size(),
            exact: true,
            if_exists: match self.if_exists {
                Existing::Fail => IfExists::Fail,
                Existing::Replace => IfExists::Replace,
            },
            outage: self.outage,
            resume: Duration::from_secs(if self.resume { MAX_RESUME_S } else { 0 }),
        };
        Ok(Ready { input, request })
    }

    /// Opens the path, and reads the metadata of a Home Assistant backup.
    fn open(&self) -> Result<(Input, Option<Metadata>)> {
        let path = &self.path;
        if path.as_os_str() == "-" {
            return Ok((Input::Stdin, None));
        }
        let kind = path.metadata().map_err(|error| unreadable(path, error))?;
        if kind.is_dir() {
            // One that cannot be read is told before anything begins.
            path.read_dir().map_err(|error| unreadable(path, error))?;
            return Ok((Input::Folder(path.clone()), None));
        }
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        if !kind.is_file() {
            return Ok((Input::Stream { file, path: path.clone() }, None));
        }
        let size = file.metadata().map_err(|error| unreadable(path, error))?.len();
        if size == 0 {
            let message = format!("{} is empty: there is nothing to store", path.display());
            return Err(Error::new(Code::LengthMismatch, message)
                .fact("expected", 1_u64)
                .fact("actual", 0_u64));
        }
        let read = match archive::look_at(&file, path, size)? {
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
        Ok((Input::File { file, path: path.clone(), size }, read))
    }

    fn is_nameless(&self) -> bool {
        self.name.is_none() && self.metadata.is_none()
    }

    fn nameless(&self, input: &Input) -> Error {
        let message = match input {
            Input::Stdin => {
                "what comes from standard input needs a name: give it with --name".to_owned()
            }
            Input::File { .. } | Input::Stream { .. } | Input::Folder(_) => format!(
                "{} is not a backup of Home Assistant: give it a name with --name to store it all \
                 the same",
                self.path.display()
            ),
        };
        Error::new(Code::InvalidParams, message).field("name").fact("member", "backup.name")
    }
}

fn read_metadata(path: &Path) -> Result<Metadata> {
    let length = path.metadata().map_err(|error| unreadable(path, error))?.len();
    if length > 4 * MAX_METADATA as u64 {
        return Err(bad_metadata(path, "is too large: 32 KiB are the limit"));
    }
    let content = std::fs::read(path).map_err(|error| unreadable(path, error))?;
    let parsed = serde_json::from_slice::<Metadata>(&content);
    parsed.map_err(|error| bad_metadata(path, "is no JSON object").source(error))
}

fn bad_metadata(path: &Path, what: &str) -> Error {
    let message = format!("the metadata file {} {what}", path.display());
    Error::new(Code::InvalidParams, message).field("metadata").fact("member", "backup.metadata")
}

/// Stores what is ready.
///
/// # Errors
/// As [`ops::upload`].
pub(super) async fn run(context: &Context, ready: Ready) -> Result<()> {
    let started = Instant::now();
    let progress = Progress::default();
    let mut feed = Feed::new(ready.input);
    let work = ops::upload(&context.target, ready.request, &mut feed, &progress, &context.cancel);
    let uploaded = bar::during(&progress, "Uploading", Box::pin(work)).await?;
    if context.json {
        return say_json(&uploaded);
    }
    if let Some(resumed) = uploaded.resumed_bytes {
        say(format!("{} had been stored before.", bytes(resumed)))?;
    }
    let backup = &uploaded.backup;
    let name = text(&backup.metadata.values(), "name").unwrap_or_else(|| clean(&backup.name));
    say(format!(
        "Stored {name} ({}) in {:.1} s.\n  id    {}\n  file  {}.tar",
        bytes(backup.stored_size),
        started.elapsed().as_secs_f64(),
        clean(&backup.id),
        clean(&backup.name),
    ))
}
