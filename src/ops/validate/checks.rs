//! The checks of a validation and their outcomes.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::error::{Detail, Error, clean};
use crate::protocol::{Check, CheckError, Status};

/// One check. Later checks depend on earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CheckName {
    Config,
    Dns,
    Tcp,
    Tls,
    Service,
    Clock,
    Credentials,
    Bucket,
    Region,
    AddressingStyle,
    List,
    Write,
    Read,
    Multipart,
    Overwrite,
    Delete,
    Versioning,
    Lock,
}

impl CheckName {
    const ALL: [Self; 18] = [
        Self::Config,
        Self::Dns,
        Self::Tcp,
        Self::Tls,
        Self::Service,
        Self::Clock,
        Self::Credentials,
        Self::Bucket,
        Self::Region,
        Self::AddressingStyle,
        Self::List,
        Self::Write,
        Self::Read,
        Self::Multipart,
        Self::Overwrite,
        Self::Delete,
        Self::Versioning,
        Self::Lock,
    ];

    /// The name of the check in the protocol.
    fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Service => "service",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Bucket => "bucket",
            Self::Region => "region",
            Self::AddressingStyle => "addressing_style",
            Self::List => "list",
            Self::Write => "write",
            Self::Read => "read",
            Self::Multipart => "multipart",
            Self::Overwrite => "overwrite",
            Self::Delete => "delete",
            Self::Versioning => "versioning",
            Self::Lock => "lock",
        }
    }
}

/// Outcome of a check that did not fail.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    message: Option<String>,
    details: BTreeMap<String, Detail>,
    error: Option<Error>,
    status: Option<Status>,
}

impl Outcome {
    /// Passed, without a message.
    pub(super) fn passed() -> Self {
        Self::default()
    }

    /// Passed, with a message.
    pub(super) fn passed_with(message: impl AsRef<str>) -> Self {
        Self { message: Some(clean(message.as_ref())), ..Self::default() }
    }

    /// Skipped: there is nothing to check.
    pub(super) fn skipped(message: &str) -> Self {
        Self { status: Some(Status::Skipped), ..Self::passed_with(message) }
    }

    /// Passed with a warning.
    pub(super) fn warning(message: impl AsRef<str>) -> Self {
        Self { status: Some(Status::Warning), ..Self::passed_with(message) }
    }

    /// Passed with a warning that has a code, a field and details.
    pub(super) fn warning_from(error: Error) -> Self {
        Self { status: Some(Status::Warning), error: Some(error), ..Self::default() }
    }

    /// Adds a message.
    pub(super) fn with_message(self, message: &str) -> Self {
        Self { message: Some(clean(message)), ..self }
    }

    /// Failed, with an error and a message.
    pub(super) fn failure(error: Error, message: impl AsRef<str>) -> Self {
        Self { status: Some(Status::Failed), error: Some(error), ..Self::passed_with(message) }
    }

    /// Adds a detail for the texts of a host.
    pub(super) fn detail(mut self, name: &str, value: impl Into<Detail>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    fn into_check(self, name: CheckName, ms: u64) -> Check {
        Check {
            name: name.name().to_owned(),
            status: self.status.unwrap_or(Status::Passed),
            ms,
            message: self.message.filter(|message| !message.is_empty()),
            details: self.details,
            error: self.error.as_ref().map(CheckError::from),
        }
    }
}

/// The checks done so far.
#[derive(Debug, Default)]
pub(super) struct Checks {
    checks: Vec<(CheckName, Check)>,
}

impl Checks {
    /// Runs a check. Its error is recorded and returned.
    pub(super) async fn run(
        &mut self,
        name: CheckName,
        check: impl Future<Output = Result<Outcome, Error>>,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let found = check.await;
        self.record(name, found, start)
    }

    /// Records the outcome of a check that began at `start`.
    pub(super) fn record(
        &mut self,
        name: CheckName,
        found: Result<Outcome, Error>,
        start: Instant,
    ) -> Result<(), Error> {
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (found, result) = match found {
            Ok(found) => (found, Ok(())),
            Err(error) => {
                let found = Outcome {
                    status: Some(Status::Failed),
                    ..Outcome::warning_from(error.clone())
                };
                (found, Err(error))
            }
        };
        self.checks.push((name, found.into_check(name, ms)));
        result
    }

    /// Replaces the outcome of a check.
    pub(super) fn replace(&mut self, name: CheckName, found: Outcome) {
        if let Some((_, check)) = self.checks.iter_mut().find(|(other, _)| *other == name) {
            *check = found.into_check(name, check.ms);
        }
    }

    /// Marks all checks up to `last` that were not done as skipped.
    pub(super) fn skip_to(&mut self, last: CheckName) {
        for name in CheckName::ALL.into_iter().filter(|name| *name <= last) {
            if !self.checks.iter().any(|(other, _)| *other == name) {
                let skipped = Outcome { status: Some(Status::Skipped), ..Outcome::passed() };
                self.checks.push((name, skipped.into_check(name, 0)));
            }
        }
    }

    /// Marks all checks that were not done as skipped.
    pub(super) fn skip_rest(&mut self) {
        self.skip_to(CheckName::Lock);
    }

    /// Whether the check was done and did not fail.
    pub(super) fn passed(&self, name: CheckName) -> bool {
        let good = |check: &Check| matches!(check.status, Status::Passed | Status::Warning);
        self.checks.iter().any(|(other, check)| *other == name && good(check))
    }

    /// Whether no check failed.
    pub(super) fn ok(&self) -> bool {
        self.checks.iter().all(|(_, check)| check.status != Status::Failed)
    }

    /// All checks, in order.
    pub(super) fn checks(mut self) -> Vec<Check> {
        self.checks.sort_by_key(|(name, _)| *name);
        self.checks.into_iter().map(|(_, check)| check).collect()
    }
}
