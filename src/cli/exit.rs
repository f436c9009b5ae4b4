//! Exit codes. Scripts rely on them: they are added, never changed.

use crate::error::{Code, Error, Kind};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for is done.
    Done = 0,
    /// Nothing was done, because the question was not answered with yes.
    Declined = 1,
    /// There is no such backup or bucket.
    NotFound = 3,
    /// The backup exists, or was modified meanwhile.
    Conflict = 4,
    /// A setting is wrong.
    Settings = 5,
    /// The server cannot be reached or trusted.
    Connect = 6,
    /// The keys are refused or lack a permission.
    Access = 7,
    /// Bytes are missing or damaged.
    Integrity = 8,
    /// The server fails, or a limit is reached.
    Storage = 9,
    /// Done in part: something of the folder is not in the backup, or one of several targets failed.
    Incomplete = 10,
    /// The command line is wrong.
    Usage = 64,
    /// A bug in the agent.
    Internal = 70,
    /// A local file or folder cannot be read or written, or a command that makes the backup failed.
    LocalIo = 74,
    /// The host broke the protocol.
    Protocol = 76,
    /// Stopped by a signal.
    Interrupted = 130,
}

/// Every number with its meaning, for people.
pub const TABLE: &[(Exit, &str)] = &[
    (Exit::Done, "done"),
    (Exit::Declined, "nothing was done: the question was not answered with yes"),
    (Exit::NotFound, "the backup or the bucket does not exist"),
    (Exit::Conflict, "the backup exists already, or was modified meanwhile"),
    (Exit::Settings, "a setting is wrong"),
    (Exit::Connect, "the server cannot be reached, or its certificate is not trusted"),
    (Exit::Access, "the keys are refused, or lack a permission"),
    (Exit::Integrity, "bytes are missing or damaged"),
    (Exit::Storage, "the server fails or is full, or a limit is reached: try again later"),
    (Exit::Incomplete, "done in part: something was left out, or one of the targets failed"),
    (Exit::Usage, "the command line is wrong"),
    (Exit::Internal, "a bug in this program"),
    (Exit::LocalIo, "a local file or folder cannot be read or written, or the command failed"),
    (Exit::Protocol, "the host broke the protocol (`serve` only)"),
    (Exit::Interrupted, "interrupted, and cleaned up"),
];

/// Whether a server, or its absence, caused the error.
pub(super) fn is_about_the_server(error: &Error) -> bool {
    error.upstream_answer().is_some() || matches!(error.code().kind(), Kind::Connect | Kind::Auth)
}

impl Exit {
    /// The end of a command that failed.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        let code = error.code();
        let is_local = matches!(code, Code::LocalIo | Code::SourceFailed);
        if is_local { Self::LocalIo } else { Self::of_kind(code.kind()) }
    }

    /// The end of a command that failed for this cause.
    #[must_use]
    pub fn of_kind(kind: Kind) -> Self {
        match kind {
            Kind::NotFound => Self::NotFound,
            Kind::Conflict => Self::Conflict,
            Kind::Config => Self::Settings,
            Kind::Connect => Self::Connect,
            Kind::Auth | Kind::Permission => Self::Access,
            Kind::Integrity => Self::Integrity,
            Kind::Transient | Kind::Limit => Self::Storage,
            Kind::Protocol => Self::Usage,
            Kind::Internal => Self::Internal,
            Kind::Cancelled => Self::Interrupted,
        }
    }

    /// The end of a command on several targets.
    #[must_use]
    pub fn of_all<'a>(ends: impl Iterator<Item = std::result::Result<Self, &'a Error>>) -> Self {
        let (mut worst, mut failed, mut is_any_done) = (Self::Done, None, false);
        for end in ends {
            match end {
                // What was found is a result, such as damage.
                Ok(exit @ (Self::Done | Self::Incomplete | Self::Integrity)) => {
                    is_any_done = true;
                    worst =
                        if worst == Self::Done || exit == Self::Integrity { exit } else { worst };
                }
                Ok(exit) => failed = failed.or(Some(exit)),
                // A command that was stopped says so.
                Err(error) if Self::of(error) == Self::Interrupted => return Self::Interrupted,
                Err(error) => failed = failed.or(Some(Self::of(error))),
            }
        }
        match failed {
            None => worst,
            Some(_) if is_any_done => Self::Incomplete,
            Some(exit) => exit,
        }
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}
