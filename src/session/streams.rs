//! Standard input and output of `serve`.
//!
//! One thread reads and one writes, with blocking calls, because asynchronous standard streams
//! cannot be canceled. The writer sends responses before stream data. Except on Windows, standard
//! output is redirected to standard error for the rest of the process, so that a stray print does
//! not end up between two frames.

use std::fs::File;
use std::io::{self, BufReader};

use tokio::sync::{mpsc, oneshot};

use super::frame::{Input, Outgoing, Reader};
use crate::platform;

/// Responses and notifications that may wait to be written.
const CONTROL_QUEUE: usize = 256;

/// Data frames that may wait to be written.
const DATA_QUEUE: usize = 4;

/// Frames that are read ahead.
const INPUT_QUEUE: usize = 2;

/// The two queues to the writer. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Queues {
    /// Written first.
    pub(super) control: mpsc::Sender<Outgoing>,
    /// Stream data, and messages that must not overtake it.
    pub(super) data: mpsc::Sender<Outgoing>,
}

/// The standard streams with their threads.
#[derive(Debug)]
pub(super) struct Streams {
    /// Frames of the host.
    pub(super) input: mpsc::Receiver<Input>,
    /// Queues for frames to the host.
    pub(super) queues: Queues,
    /// Completes when everything is written and all queues are dropped, or when the host is gone.
    pub(super) written: oneshot::Receiver<io::Result<()>>,
}

/// The counterparts of [`Streams`], for the code that reads and writes.
#[derive(Debug)]
pub(super) struct Counterparts {
    /// Receives frames of the host.
    pub(super) input: mpsc::Sender<Input>,
    /// Frames to write.
    pub(super) waiting: Waiting,
    /// Receives the result of writing.
    pub(super) written: oneshot::Sender<io::Result<()>>,
}

/// Frames that wait to be written.
#[derive(Debug)]
pub(super) struct Waiting {
    control: mpsc::Receiver<Outgoing>,
    data: mpsc::Receiver<Outgoing>,
}

impl Waiting {
    /// The next frame; None when all queues are dropped.
    pub(super) async fn next(&mut self) -> Option<Outgoing> {
        tokio::select! {
            biased;
            Some(frame) = self.control.recv() => Some(frame),
            Some(frame) = self.data.recv() => Some(frame),
            else => None,
        }
    }
}

/// Streams without threads.
pub(super) fn pair() -> (Streams, Counterparts) {
    let (input_sender, input) = mpsc::channel(INPUT_QUEUE);
    let (control, control_receiver) = mpsc::channel(CONTROL_QUEUE);
    let (data, data_receiver) = mpsc::channel(DATA_QUEUE);
    let (written_sender, written) = oneshot::channel();
    let waiting = Waiting { control: control_receiver, data: data_receiver };
    let far = Counterparts { input: input_sender, waiting, written: written_sender };
    (Streams { input, queues: Queues { control, data }, written }, far)
}

/// Opens the standard streams and starts their threads.
///
/// # Errors
/// When they are closed.
pub(super) fn open() -> io::Result<Streams> {
    let (stdin, mut stdout) = private_streams()?;
    let (streams, far) = pair();
    let Counterparts { input, mut waiting, written } = far;
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut reader = Reader::new(BufReader::with_capacity(64 << 10, stdin));
        loop {
            let next = reader.read();
            let last = matches!(next, Input::End | Input::Broken(_));
            if input.blocking_send(next).is_err() || last {
                return;
            }
        }
    })?;
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
        let result = loop {
            let Some(frame) = runtime.block_on(waiting.next()) else { break Ok(()) };
            if let Err(error) = frame.write(&mut stdout) {
                break Err(error);
            }
        };
        // Fails when the session has stopped waiting.
        let _ = written.send(result);
    })?;
    Ok(streams)
}

/// Private copies of standard input and output, with enlarged pipes. Except on Windows, later
/// writes to standard output go to standard error.
fn private_streams() -> io::Result<(File, File)> {
    let (stdin, stdout) = (platform::stdin()?, platform::stdout()?);
    #[cfg(unix)]
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    #[cfg(target_os = "linux")]
    for end in [&stdin, &stdout] {
        // Fails if they are not pipes or the user's pipe memory is used up; it only improves the
        // speed.
        let _ = rustix::pipe::fcntl_setpipe_size(end, 1 << 20);
    }
    Ok((stdin, stdout))
}
