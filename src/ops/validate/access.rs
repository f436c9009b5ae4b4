//! The lower half of the checks: from the settings to a listing that the storage grants.

use std::collections::HashSet;
use std::time::Instant;

use super::checks::{CheckName, Checks, Outcome};
use super::warnings::{Warnings, warnings};
use crate::archives::Layout;
use crate::archives::layout::Half;
use crate::config::{AddressingStyle, TargetConfig};
use crate::error::{Code, Error, Result};
use crate::net::{Probe, ServerInfo};
use crate::ops::Cancel;
use crate::ops::elsewhere::look_around;
use crate::s3::{Bucket, Operation, Page, Pagination, clock_skew, listing_address};

/// Difference of the clocks that is worth a word, in seconds.
const NOTABLE_SKEW: i64 = 60;

/// How far some settings lead.
pub(super) struct Access {
    pub(super) config: TargetConfig,
    pub(super) bucket: Bucket,
    pub(super) server_info: Option<ServerInfo>,
    pub(super) checks: Checks,
    warnings: Warnings,
    failure: Option<(CheckName, Error)>,
}

impl Access {
    /// Climbs until something fails.
    ///
    /// # Errors
    /// Only those of settings that cannot be used at all.
    pub(super) async fn gain(
        config: TargetConfig,
        layout: &Layout,
        cancel: &Cancel,
    ) -> Result<Self> {
        let probe = Probe::new(&config, &listing_address(&config, layout.folder()))?;
        let mut access = Self {
            bucket: Bucket::for_probing(&config)?,
            warnings: warnings(&config),
            config,
            server_info: None,
            checks: Checks::default(),
            failure: None,
        };
        // Dropped at once when somebody cancels: nothing down here changes anything.
        let arrived = tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(()),
            arrived = access.run(&probe, layout) => arrived,
        };
        access.failure = arrived.err();
        access.checks.skip_to(CheckName::List);
        Ok(access)
    }

    /// Where it ended, and why.
    pub(super) fn failure(&self) -> Option<(CheckName, &Error)> {
        self.failure.as_ref().map(|(name, error)| (*name, error))
    }

    /// Whether these settings are the better ones.
    pub(super) fn leads_further_than(&self, other: &Self) -> bool {
        match (&self.failure, &other.failure) {
            (Some((here, _)), Some((there, _))) => here > there,
            (None, there) => there.is_some(),
            (Some(_), None) => false,
        }
    }

    async fn run(&mut self, probe: &Probe, layout: &Layout) -> Result<(), (CheckName, Error)> {
        let checks = &mut self.checks;
        let settings = self.warnings.found(&self.config);
        let start = Instant::now();
        checks.record(CheckName::Config, Ok(settings), start).map_err(at(CheckName::Config))?;
        checks
            .run(CheckName::Dns, async { probe.resolve().await.map(Outcome::that) })
            .await
            .map_err(at(CheckName::Dns))?;
        let connected = async {
            probe.connect().await?;
            Ok(match probe.proxy() {
                Some(proxy) => Outcome::that(format!("through the proxy {proxy}")),
                None => Outcome::nothing(),
            })
        };
        checks.run(CheckName::Tcp, connected).await.map_err(at(CheckName::Tcp))?;
        let secured = async {
            if self.config.endpoint.scheme() != "https" {
                return Ok(Outcome::no_matter("http: whoever is on the way can read along"));
            }
            probe.connect_tls().await?;
            Ok(match self.config.verify_tls {
                true => Outcome::nothing(),
                false => Outcome::warning("the certificate is not checked"),
            })
        };
        checks.run(CheckName::Tls, secured).await.map_err(at(CheckName::Tls))?;
        let start = Instant::now();
        match probe.server_info().await {
            Ok(server_info) => self.server_info = Some(server_info),
            // What the signed request meets counts; a service may have no words for strangers.
            Err(error) => tracing::debug!(%error, "no answer to a first question"),
        }
        let greeted = Instant::now();
        let (listed, refusal) = match patiently!(self.first_page(layout)).await {
            Ok(page) => (self.backups(layout, &page).await, None),
            Err(error) => (Outcome::nothing(), Some(error)),
        };
        self.classify(refusal, listed, start, greeted)
    }

    /// The first page of the folder, behind which another one can be read if there is more.
    async fn first_page(&self, layout: &Layout) -> Result<Page> {
        let mut pagination = Pagination::new(Operation::ListObjectsV2);
        let page = self.bucket.list(layout.folder(), None).await?;
        if let Some(next) = page.next.clone() {
            pagination.advance(next.marker(), true)?;
            let second = self.bucket.list(layout.folder(), Some(next)).await?;
            if let Some(next) = second.next {
                pagination.advance(next.marker(), true)?;
            }
        }
        Ok(page)
    }

    /// How many backups a page of the folder shows and, where it shows none, where there are some.
    async fn backups(&self, layout: &Layout, page: &Page) -> Outcome {
        let halves: HashSet<Half<'_>> =
            page.objects.iter().filter_map(|object| layout.half(&object.key)).collect();
        let archived = |half: &&Half<'_>| match half {
            Half::Metadata(name) => halves.contains(&Half::Archive(name)),
            Half::Archive(_) => false,
        };
        let count = halves.iter().filter(archived).count() as u64;
        let folder = layout.folder();
        let more = if page.next.is_some() { "at least " } else { "" };
        let here = format!("{more}{} in {}", backups(count), place(folder));
        let elsewhere = match count {
            0 => look_around(&self.bucket, &self.config, layout).await,
            _ => None,
        };
        let found = match elsewhere {
            None => Outcome::that(here),
            Some(other) => {
                let there = format!(
                    "{here}, but {} in {}: to use those, set prefix to \"{}\" and folder to \"{}\"",
                    backups(other.backups),
                    place(&other.place),
                    other.prefix,
                    other.folder
                );
                // Other machines may have folders beside this one.
                let found =
                    if other.is_near { Outcome::warning(there) } else { Outcome::that(there) };
                found.detail("elsewhere", other.place).detail("elsewhere_backups", other.backups)
            }
        };
        found.detail("folder", folder).detail("backups", count)
    }

    /// Finds the name that the answer to the first signed request belongs to.
    fn classify(
        &mut self,
        refusal: Option<Error>,
        listed: Outcome,
        start: Instant,
        greeted: Instant,
    ) -> Result<(), (CheckName, Error)> {
        let failed = refusal.map(|error| (rung_of(&error), self.warnings.explain(error)));
        // One answer tells about all of these, so most took no time of their own.
        let judged = Instant::now();
        let rungs = [
            (CheckName::Service, self.service(), start),
            (CheckName::Clock, self.clock(), judged),
            (CheckName::Credentials, Outcome::nothing(), judged),
            (CheckName::Bucket, Outcome::nothing(), judged),
            (CheckName::Region, self.region(), judged),
            (CheckName::AddressingStyle, self.addressing_style(), judged),
            (CheckName::List, listed, greeted),
        ];
        for (name, found, since) in rungs {
            if let Some((at_fault, error)) = &failed
                && *at_fault == name
            {
                // Reported below as well; the checks keeps it.
                let _ = self.checks.record(name, Err(error.clone()), greeted);
                return Err((name, error.clone()));
            }
            self.checks.record(name, Ok(found), since).map_err(at(name))?;
        }
        Ok(())
    }

    fn service(&self) -> Outcome {
        let server =
            self.server_info.as_ref().and_then(|server_info| server_info.server.as_deref());
        server.map_or_else(Outcome::nothing, Outcome::that)
    }

    fn clock(&self) -> Outcome {
        let Some(ahead) = self.server_info.as_ref().and_then(|server_info| server_info.ahead_s)
        else {
            return Outcome::that("the storage does not say its time");
        };
        if ahead.abs() <= NOTABLE_SKEW {
            return Outcome::nothing();
        }
        let concern = Outcome::concern(clock_skew(ahead));
        concern.and("until then requests are signed with the storage's time")
    }

    fn region(&self) -> Outcome {
        let (region, set) = (self.bucket.region(), &self.config.region);
        if region == *set {
            return Outcome::that(region);
        }
        Outcome::that(format!("{region}, as the storage says")).detail("region", region)
    }

    fn addressing_style(&self) -> Outcome {
        let addressing_style = AddressingStyle::of(self.bucket.path_style());
        match addressing_style {
            AddressingStyle::Virtual => Outcome::that("the bucket in the host name"),
            AddressingStyle::Auto | AddressingStyle::Path => {
                Outcome::that("the bucket in the path")
            }
        }
    }
}

fn backups(count: u64) -> String {
    match count {
        0 => "no backups".to_owned(),
        1 => "1 backup".to_owned(),
        count => format!("{count} backups"),
    }
}

fn place(folder: &str) -> String {
    if folder.is_empty() { "the top of the bucket".to_owned() } else { format!("\"{folder}\"") }
}

fn at(name: CheckName) -> impl Fn(Error) -> (CheckName, Error) {
    move |error| (name, error)
}

/// What a refusal of the first signed request is about.
fn rung_of(error: &Error) -> CheckName {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are about the listing itself")]
    match error.code() {
        // The storage is there, and the bucket is elsewhere.
        Code::InvalidEndpoint if error.details().contains_key("expected") => CheckName::Region,
        Code::InvalidEndpoint
        | Code::CannotConnect
        | Code::TlsFailed
        | Code::TlsUntrusted
        | Code::NetworkLost
        | Code::Timeout => CheckName::Service,
        // It was not the storage itself that answered.
        Code::RemoteError | Code::Throttled
            if error.upstream_answer().is_some_and(|answer| answer.code.is_none()) =>
        {
            CheckName::Service
        }
        Code::ClockSkew => CheckName::Clock,
        Code::InvalidCredentials | Code::CredentialsExpired => CheckName::Credentials,
        Code::AccessDenied if error.data().field.as_deref() == Some("access_key_id") => {
            CheckName::Credentials
        }
        Code::BucketNotFound | Code::InvalidBucketName => CheckName::Bucket,
        Code::WrongRegion => CheckName::Region,
        Code::WrongAddressingStyle => CheckName::AddressingStyle,
        _ => CheckName::List,
    }
}
