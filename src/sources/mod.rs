//! Sources of an upload: a file, a stream, a folder that is packed into a tar, or the output of a
//! program.
//!
//! Files are read in a separate thread, because reading blocks; the output of a program is read in
//! a task. Blocks are passed through a bounded channel that ends with an explicit end message: a
//! thread that dies is never taken for the end of the data.

mod command;
mod file;
mod folder;
mod home_assistant;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) use self::command::CommandLine;
use self::file::changed;
pub(crate) use self::file::{Opened, open, unreadable};
pub(crate) use self::folder::{LeftOut, name_of};
pub(crate) use self::home_assistant::{Content, moment, suggested_name};
use crate::buffer_pool::{BLOCK, Block, Pool};
use crate::error::{Code, Error, Result, no_memory};
use crate::ops::{Cancel, Source};

/// Blocks that may wait. Together with the block being read and the one being sent they fit into
/// the window of the memory budget.
pub(crate) const WAITING: usize = (2 << 20) / BLOCK;

/// How long a cancellation may arrive after the end of a program that it ended.
const CANCEL_DELAY: Duration = Duration::from_millis(100);

/// Input of an upload.
#[derive(Debug)]
pub(crate) enum Input {
    /// Data on this machine.
    Local(Local),
    /// The output of a program.
    Command(CommandLine),
}

/// Input that a thread reads.
#[derive(Debug)]
pub(crate) enum Local {
    /// A file that must have exactly this many bytes: another program is writing one that shrinks
    /// or grows, and the bytes read so far are not a backup.
    File {
        /// The open file.
        file: File,
        /// For messages.
        path: PathBuf,
        /// Its length in bytes when it was opened.
        size: u64,
    },
    /// A pipe or device, to its end.
    Stream {
        /// The open pipe or device.
        file: File,
        /// For messages.
        path: PathBuf,
    },
    /// Standard input, to its end.
    Stdin,
    /// A folder, packed into a tar.
    Folder(PathBuf),
}

impl Input {
    /// Length in bytes, if it is known.
    #[must_use]
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Self::Local(Local::File { size, .. }) => Some(*size),
            Self::Local(_) | Self::Command(_) => None,
        }
    }
}

/// Sends the output of a program until it has ended.
async fn run(command: CommandLine, pieces: Sender<Result<Piece>>, cancel: Cancel) {
    let mut running = match command.start() {
        Ok(running) => running,
        Err(error) => {
            // Fails when the upload was canceled.
            let _ = pieces.send(Err(error)).await;
            return;
        }
    };
    let sending = async {
        loop {
            let piece = match running.next().await {
                Ok(Some(bytes)) => Ok(Piece::Data(bytes)),
                Ok(None) => Ok(Piece::End(None)),
                Err(error) => {
                    // Ctrl-C ends the program as well, and may reach it first.
                    let _ = timeout(CANCEL_DELAY, cancel.cancelled()).await;
                    Err(error)
                }
            };
            let is_last = !matches!(piece, Ok(Piece::Data(_)));
            // Fails when the upload was canceled.
            if pieces.send(piece).await.is_err() || is_last {
                return;
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = cancel.cancelled() => {}
        // A program that writes nothing does not notice.
        () = pieces.closed() => {}
    }
    running.stop().await;
}

impl Local {
    fn read(self, pipe: &mut Pipe) -> Result<Option<LeftOut>> {
        match self {
            Self::File { mut file, path, size } => {
                let read = pipe.copy(&mut Read::by_ref(&mut file).take(size), &path)?;
                let more = file.read(&mut [0]).map_err(|error| unreadable(&path, error))?;
                match (read < size, more > 0) {
                    (true, _) => Err(changed(&path, "shrank", size, read)),
                    (_, true) => Err(changed(&path, "grew", size, size + 1)),
                    (false, false) => Ok(None),
                }
            }
            Self::Stream { mut file, path } => pipe.copy(&mut file, &path).map(|_| None),
            Self::Stdin => {
                let path = Path::new("standard input");
                pipe.copy(&mut io::stdin().lock(), path).map(|_| None)
            }
            Self::Folder(path) => folder::pack(&path, pipe).map(Some),
        }
    }
}

/// A message of the reading side.
enum Piece {
    Data(Bytes),
    /// The end; for a folder, with the entries that were left out.
    End(Option<LeftOut>),
}

/// An [`Input`] as the source of an upload. Reads nothing before the first call.
pub(crate) struct Feed {
    input: Option<(Input, Sender<Result<Piece>>)>,
    pieces: Receiver<Result<Piece>>,
    cancel: Cancel,
    /// The task of a program.
    program: Option<JoinHandle<()>>,
    left_out: Option<LeftOut>,
}

impl Feed {
    pub(crate) fn new(input: Input, cancel: Cancel) -> Self {
        let (sender, pieces) = channel(WAITING);
        Self { input: Some((input, sender)), pieces, cancel, program: None, left_out: None }
    }

    fn start(&mut self, input: Input, pieces: Sender<Result<Piece>>) -> Result<()> {
        let local = match input {
            Input::Command(command) => {
                self.program = Some(tokio::spawn(run(command, pieces, self.cancel.clone())));
                return Ok(());
            }
            Input::Local(local) => local,
        };
        // Not a thread of the runtime: a read from a terminal may never end.
        let thread = std::thread::Builder::new().name("source".to_owned());
        let started = thread.spawn(move || {
            let pool = Pool::of_process();
            let mut pipe = Pipe { pieces: pieces.clone(), pool, filling: None };
            let read = local.read(&mut pipe);
            let last = read.and_then(|left_out| pipe.flush().map(|()| Piece::End(left_out)));
            // Fails when the upload was canceled.
            let _ = pieces.blocking_send(last);
        });
        started.map(drop).map_err(|error| {
            Error::new(Code::Internal, "cannot start reading the backup").source(error)
        })
    }

    /// Waits until a program has ended. Returns the entries of a folder that were left out.
    pub(crate) async fn end(mut self) -> Option<LeftOut> {
        self.pieces.close();
        if let Some(program) = self.program {
            // Fails when the task panicked, which has ended the program as well.
            let _ = program.await;
        }
        self.left_out
    }
}

impl Source for Feed {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some((input, pieces)) = self.input.take() {
            self.start(input, pieces)?;
        }
        match self.pieces.recv().await {
            Some(Ok(Piece::Data(bytes))) => Ok(Some(bytes)),
            Some(Ok(Piece::End(left_out))) => {
                self.left_out = left_out;
                self.pieces.close();
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::new(Code::Internal, "reading the backup failed inside the agent")),
        }
    }
}

/// The sending end of the channel.
pub(crate) struct Pipe {
    pieces: Sender<Result<Piece>>,
    pool: Pool,
    filling: Option<Block>,
}

impl Pipe {
    /// Sends everything in `from`; returns the number of bytes.
    ///
    /// # Errors
    /// `local_io`, naming `path`.
    fn copy(&mut self, from: &mut impl Read, path: &Path) -> Result<u64> {
        let mut copied = 0;
        loop {
            let block = self.block()?;
            match from.read(block.rest()) {
                Ok(0) => return Ok(copied),
                Ok(read) => {
                    block.advance(read);
                    copied += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(path, error)),
            }
            self.flush_full()?;
        }
    }

    /// A block with free space.
    fn block(&mut self) -> Result<&mut Block> {
        match &mut self.filling {
            Some(block) => Ok(block),
            filling => Ok(filling.insert(self.pool.take().map_err(no_memory)?)),
        }
    }

    fn flush_full(&mut self) -> Result<()> {
        match &self.filling {
            Some(block) if block.len() == BLOCK => self.flush(),
            _ => Ok(()),
        }
    }

    /// Sends the collected bytes.
    fn flush(&mut self) -> Result<()> {
        let Some(block) = self.filling.take().filter(|block| !block.is_empty()) else {
            return Ok(());
        };
        self.pieces
            .blocking_send(Ok(Piece::Data(block.freeze())))
            .map_err(|_| Error::new(Code::Cancelled, "the upload was canceled"))
    }
}

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.block().map_err(io::Error::other)?.fill(bytes);
        self.flush_full().map_err(io::Error::other)?;
        Ok(taken)
    }

    /// Does nothing: a block is sent when it is full or the last one.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn drain(input: Local) -> Result<Vec<u8>> {
        let mut feed = Feed::new(Input::Local(input), Cancel::default());
        let mut all = Vec::new();
        while let Some(bytes) = feed.next().await? {
            assert!(bytes.len() <= BLOCK);
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    fn file(content: &[u8], size: u64) -> (tempfile::TempDir, Local) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.tar");
        std::fs::write(&path, content).unwrap();
        let input = Local::File { file: File::open(&path).unwrap(), path, size };
        (folder, input)
    }

    #[tokio::test]
    async fn file_is_read_completely() {
        let content: Vec<u8> =
            (0..3 * BLOCK + 5).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
        let (_folder, input) = file(&content, content.len() as u64);
        assert!(drain(input).await.unwrap() == content);
    }

    #[tokio::test]
    async fn file_that_changes_while_read_is_refused() {
        for (size, how) in [(4, "grew"), (6, "shrank")] {
            let (_folder, input) = file(b"12345", size);
            let error = drain(input).await.unwrap_err();
            assert_eq!(error.code(), Code::LengthMismatch);
            assert!(error.message().contains(how), "{}", error.message());
        }
    }
}
