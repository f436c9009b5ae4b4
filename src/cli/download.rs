//! `download`: writes a backup into a file or stream.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::output::{bytes, note, say_done, say_json, text};
use super::part_file::{self, PartFile, unwritable};
use super::upload::FILE_NAME;
use super::{Common, Context, TargetCommand, Work, bar, find, retry_for};
use crate::error::{Code, Error, Result, clean};
use crate::ops::{self, Sink};
use crate::platform;
use crate::progress::Progress;
use crate::protocol::{Backup, DownloadResult};

/// Shown below the options of this command.
const HELP: &str = "\
The file appears under its name when every byte is written and checked, not
before.

Examples:
  s3-backup-agent download 1a2b3c4d
  s3-backup-agent download \"Photos 2026\" -o /restore/photos.zip --force
  s3-backup-agent download 1a2b3c4d -o - | tar -tv";

/// Downloads a backup.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Download {
    /// ID or name of the backup.
    #[arg(value_name = "BACKUP")]
    id: String,

    /// File or directory to write to, or `-` for standard output. Default: the current directory.
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Overwrite an existing file.
    #[arg(long, short)]
    force: bool,

    /// Keep retrying for this long if the server becomes unreachable during the transfer, for example
    /// `15m`. At most an hour.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = retry_for)]
    retry_for: Duration,

    #[command(flatten)]
    common: Common,
}

/// The name of a backup, for people.
fn title(backup: &Backup) -> String {
    text(&backup.metadata.values(), "name").unwrap_or_else(|| clean(&backup.name))
}

/// The name of the file: that of the file that was uploaded, else the one of the object.
fn usual_name(backup: &Backup) -> String {
    let uploaded = text(&backup.metadata.values(), FILE_NAME).filter(|name| is_plain(name));
    platform::file_name(&uploaded.unwrap_or_else(|| format!("{}.tar", backup.name)))
}

/// Whether a name from the bucket names a visible file, and no directory.
fn is_plain(name: &str) -> bool {
    name.len() <= 200 && !name.starts_with('.') && !name.contains(['/', '\\'])
}

/// Where the bytes go.
#[derive(Debug)]
enum Destination {
    /// Standard output.
    Stdout,
    /// Something that is written to as it is, such as a device or a pipe.
    Device(PathBuf),
    /// A file of this name, or of the backup's, that appears when it is complete.
    File {
        /// The folder it appears in.
        folder: PathBuf,
        /// Its name, if it was given.
        name: Option<PathBuf>,
    },
}

impl Download {
    /// Finds out where to write to. Does not use the network, changes nothing.
    ///
    /// # Errors
    /// `local_io` when that cannot work, `invalid_params` when the request contradicts itself.
    fn destination(&self) -> Result<Destination> {
        let Some(output) = &self.output else {
            return Ok(Destination::File { folder: PathBuf::from("."), name: None });
        };
        if output.as_os_str() == "-" {
            return self.prepare_stdout();
        }
        let last = output.as_os_str().as_encoded_bytes().last();
        let ends_in_slash = last.is_some_and(|byte| std::path::is_separator(char::from(*byte)));
        match output.metadata() {
            Ok(there) if there.is_dir() => {
                Ok(Destination::File { folder: output.clone(), name: None })
            }
            Ok(there) if !there.is_file() => Ok(Destination::Device(output.clone())),
            Ok(_) if ends_in_slash => Err(unwritable(output, io::ErrorKind::NotADirectory.into())),
            Ok(_) | Err(_) => {
                let (folder, name) = match (ends_in_slash, output.parent(), output.file_name()) {
                    (false, Some(folder), Some(name)) => (folder, Some(PathBuf::from(name))),
                    _ => (output.as_path(), None),
                };
                let here = folder.as_os_str().is_empty();
                let folder = if here { Path::new(".") } else { folder };
                let kind = folder.metadata().map_err(|error| unwritable(folder, error))?;
                if !kind.is_dir() {
                    return Err(unwritable(folder, io::ErrorKind::NotADirectory.into()));
                }
                self.check_free(output)?;
                Ok(Destination::File { folder: folder.to_owned(), name })
            }
        }
    }

    fn prepare_stdout(&self) -> Result<Destination> {
        let refuse = |message: &str, hint: &str| {
            let error = Error::new(Code::InvalidParams, message).hint(hint);
            Err(error.field("output").detail("member", "output"))
        };
        if self.common.json {
            return refuse(
                "--json prints to standard output, where the backup goes",
                "leave one of them out",
            );
        }
        if platform::stdout_was_closed() {
            let message = "standard output is closed";
            return Err(Error::new(Code::LocalIo, message)
                .hint("open it, or write to a file with -o")
                .field("output"));
        }
        if io::stdout().is_terminal() && !self.force {
            return refuse("standard output is a terminal", "redirect it to a file or a program");
        }
        Ok(Destination::Stdout)
    }

    fn check_free(&self, path: &Path) -> Result<()> {
        if self.force || !path.try_exists().unwrap_or(false) {
            return Ok(());
        }
        let message = format!("{} exists", path.display());
        Err(Error::new(Code::LocalIo, message)
            .hint("choose another name, or overwrite it with --force")
            .field("output"))
    }

    /// Opens the destination, so that what cannot be written is known before the transfer begins.
    fn open(&self, destination: Destination, backup: &Backup) -> Result<Landing> {
        let (folder, name) = match destination {
            Destination::Stdout => {
                let path = PathBuf::from("standard output");
                let stdout = platform::stdout().map_err(|error| unwritable(&path, error))?;
                return Ok(Landing::Stream(stdout.into(), path));
            }
            Destination::Device(path) => {
                let device = std::fs::OpenOptions::new().write(true).open(&path);
                let device = device.map_err(|error| unwritable(&path, error))?;
                return Ok(Landing::Stream(device.into(), path));
            }
            Destination::File { folder, name } => (folder, name),
        };
        let name = name.unwrap_or_else(|| usual_name(backup).into());
        let path = folder.join(name);
        self.check_free(&path)?;
        Ok(Landing::File(PartFile::create(path)?))
    }
}

/// An open destination.
enum Landing {
    Stream(Arc<File>, PathBuf),
    File(PartFile),
}

impl Sink for Landing {
    async fn begin(&mut self, _: &Backup, _: u64, length: u64) -> Result<()> {
        match self {
            Self::Stream(..) => Ok(()),
            Self::File(file) => file.check_room(length),
        }
    }

    async fn write(&mut self, bytes: Vec<Bytes>) -> Result<()> {
        match self {
            Self::Stream(stream, path) => {
                part_file::write(stream, bytes).await.map_err(|error| unwritable(path, error))
            }
            Self::File(file) => file.write(bytes).await,
        }
    }
}

impl Landing {
    /// Makes sure that everything is where it belongs. Says where that is.
    async fn finish(self, overwrite: bool) -> Result<Option<PathBuf>> {
        match self {
            Self::Stream(stream, path) => {
                let synced = part_file::sync(&stream).await;
                synced.map(|()| None).map_err(|error| unwritable(&path, error))
            }
            Self::File(file) => file.finish(overwrite).await.map(Some),
        }
    }
}

impl TargetCommand for Download {
    fn common(&self) -> &Common {
        &self.common
    }

    fn prepare(&self) -> Result<Work<'_>> {
        let destination = self.destination()?;
        Ok(Box::new(move |context| Box::pin(run(context, self, destination))))
    }
}

/// Downloads what was asked for.
///
/// # Errors
/// As [`ops::download`]; `local_io`.
async fn run(context: &Context, options: &Download, destination: Destination) -> Result<Exit> {
    let started = Instant::now();
    let target = context.only()?;
    let backup = bar::waiting(find::backup(target, &options.id, &context.cancel)).await?;
    let mut landing = options.open(destination, &backup)?;
    let name = title(&backup);
    let progress = Progress::default();
    let request = ops::Download { id: backup.id.clone(), offset: 0, retry_for: options.retry_for };
    let work = async {
        let transfer = ops::download(target, request, &mut landing, &progress, &context.cancel);
        let done = Box::pin(transfer).await?;
        let path = context.cancel.cancellable(landing.finish(options.force)).await?;
        Ok::<_, Error>((done, path))
    };
    let (done, path) = bar::during(&progress, &format!("Downloading {name}"), work).await?;
    let DownloadResult { length, verified } = done;
    if context.json {
        say_json(&json!({"length": length, "verified": verified, "path": path}))?;
        return Ok(Exit::Done);
    }
    let checked = match verified {
        true => "all checksums match",
        false => "length checked (no checksums were stored with it)",
    };
    let done = format!(
        "Downloaded {name} ({}) in {:.1} s, {checked}.",
        bytes(length),
        started.elapsed().as_secs_f64()
    );
    match path {
        Some(path) => say_done(format!("{done}\n  file  {}", path.display()))?,
        None => note(done),
    }
    Ok(Exit::Done)
}
