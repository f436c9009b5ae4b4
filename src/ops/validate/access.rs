//! Checks from the settings to a granted listing.

use std::collections::HashSet;
use std::time::Instant;

use super::checks::{CheckName, Checks, Outcome};
use super::warnings::{Warnings, warnings};
use crate::archives::Layout;
use crate::archives::layout::PairKey;
use crate::config::{AddressingStyle, TargetConfig};
use crate::error::{Code, Error, Result};
use crate::net::{Probe, ServerInfo};
use crate::ops::Cancel;
use crate::ops::elsewhere::search;
use crate::s3::{Bucket, Operation, Page, Pagination, clock_skew, listing_address};

/// Clock difference, in seconds, that is reported.
const NOTABLE_SKEW: i64 = 60;

/// Result of the access checks with some settings.
pub(super) struct Access {
    pub(super) config: TargetConfig,
    pub(super) bucket: Bucket,
    pub(super) server_info: Option<ServerInfo>,
    pub(super) checks: Checks,
    warnings: Warnings,
    failure: Option<(CheckName, Error)>,
}

impl Access {
    /// Runs the checks until one fails.
    ///
    /// # Errors
    /// Only for settings that cannot be used at all.
    pub(super) async fn check(
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
        // Dropped at once on cancellation: these checks change nothing.
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(()),
            result = access.run(&probe, layout) => result,
        };
        access.failure = result.err();
        access.checks.skip_to(CheckName::List);
        Ok(access)
    }

    /// The check that failed, and its error.
    pub(super) fn failure(&self) -> Option<(CheckName, &Error)> {
        self.failure.as_ref().map(|(name, error)| (*name, error))
    }

    /// Whether these settings got further.
    pub(super) fn got_further_than(&self, other: &Self) -> bool {
        match (&self.failure, &other.failure) {
            (Some((here, _)), Some((there, _))) => here > there,
            (None, there) => there.is_some(),
            (Some(_), None) => false,
        }
    }

    async fn run(&mut self, probe: &Probe, layout: &Layout) -> Result<(), (CheckName, Error)> {
        let checks = &mut self.checks;
        let settings = self.warnings.outcome(&self.config);
        let start = Instant::now();
        checks.record(CheckName::Config, Ok(settings), start).map_err(at(CheckName::Config))?;
        checks
            .run(CheckName::Dns, async { probe.resolve().await.map(Outcome::passed_with) })
            .await
            .map_err(at(CheckName::Dns))?;
        let connected = async {
            probe.connect().await?;
            Ok(match probe.proxy() {
                Some(proxy) => Outcome::passed_with(format!("through the proxy {proxy}")),
                None => Outcome::passed(),
            })
        };
        checks.run(CheckName::Tcp, connected).await.map_err(at(CheckName::Tcp))?;
        let secured = async {
            if self.config.endpoint.scheme() != "https" {
                return Ok(Outcome::skipped("plain HTTP: traffic is not encrypted"));
            }
            probe.connect_tls().await?;
            Ok(match self.config.verify_tls {
                true => Outcome::passed(),
                false => Outcome::warning("the certificate is not verified"),
            })
        };
        checks.run(CheckName::Tls, secured).await.map_err(at(CheckName::Tls))?;
        let start = Instant::now();
        match probe.server_info().await {
            Ok(server_info) => self.server_info = Some(server_info),
            // The signed request counts; some servers do not answer an unsigned one.
            Err(error) => tracing::debug!(%error, "no response to the first request"),
        }
        let listed_at = Instant::now();
        let (listed, refusal) = match patiently!(self.first_page(layout)).await {
            Ok(page) => (self.backups(layout, &page).await, None),
            Err(error) => (Outcome::passed(), Some(error)),
        };
        self.classify(refusal, listed, start, listed_at)
    }

    /// The first page of the folder; a second one can be read if there is more.
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

    /// How many backups a page of the folder shows and, if it shows none, which other folder has
    /// some.
    async fn backups(&self, layout: &Layout, page: &Page) -> Outcome {
        let pair_keys: HashSet<PairKey<'_>> =
            page.objects.iter().filter_map(|object| layout.pair_key(&object.key)).collect();
        let archived = |pair_key: &&PairKey<'_>| match pair_key {
            PairKey::Metadata(name) => pair_keys.contains(&PairKey::Archive(name)),
            PairKey::Archive(_) => false,
        };
        let count = pair_keys.iter().filter(archived).count() as u64;
        let folder = layout.folder();
        let more = if page.next.is_some() { "at least " } else { "" };
        let here = format!("{more}{} in {}", backups(count), place(folder));
        let elsewhere = match count {
            0 => search(&self.bucket, &self.config, layout).await,
            _ => None,
        };
        let found = match elsewhere {
            None => Outcome::passed_with(here),
            Some(other) => {
                let there = format!(
                    "{here}, but {} in {}: to use those, set prefix to \"{}\" and folder to \"{}\"",
                    backups(other.backups),
                    place(&other.place),
                    other.prefix,
                    other.folder
                );
                // Other machines may have folders beside this one.
                let found = if other.is_near {
                    Outcome::warning(there)
                } else {
                    Outcome::passed_with(there)
                };
                found.detail("elsewhere", other.place).detail("elsewhere_backups", other.backups)
            }
        };
        found.detail("folder", folder).detail("backups", count)
    }

    /// Assigns the response to the first signed request to a check.
    fn classify(
        &mut self,
        refusal: Option<Error>,
        listed: Outcome,
        start: Instant,
        listed_at: Instant,
    ) -> Result<(), (CheckName, Error)> {
        let failed = refusal.map(|error| (check_of(&error), self.warnings.explain(error)));
        // One response answers all of these, so most took no time of their own.
        let now = Instant::now();
        let steps = [
            (CheckName::Service, self.service(), start),
            (CheckName::Clock, self.clock(), now),
            (CheckName::Credentials, Outcome::passed(), now),
            (CheckName::Bucket, Outcome::passed(), now),
            (CheckName::Region, self.region(), now),
            (CheckName::AddressingStyle, self.addressing_style(), now),
            (CheckName::List, listed, listed_at),
        ];
        for (name, found, since) in steps {
            if let Some((at_fault, error)) = &failed
                && *at_fault == name
            {
                // Returned below as well.
                let _ = self.checks.record(name, Err(error.clone()), listed_at);
                return Err((name, error.clone()));
            }
            self.checks.record(name, Ok(found), since).map_err(at(name))?;
        }
        Ok(())
    }

    fn service(&self) -> Outcome {
        let server =
            self.server_info.as_ref().and_then(|server_info| server_info.server.as_deref());
        server.map_or_else(Outcome::passed, Outcome::passed_with)
    }

    fn clock(&self) -> Outcome {
        let Some(ahead) = self.server_info.as_ref().and_then(|server_info| server_info.ahead_s)
        else {
            return Outcome::passed_with("the server does not send its time");
        };
        if ahead.abs() <= NOTABLE_SKEW {
            return Outcome::passed();
        }
        let warning = Outcome::warning_from(clock_skew(ahead));
        warning.with_message("until then requests are signed with the server's time")
    }

    fn region(&self) -> Outcome {
        let (region, set) = (self.bucket.region(), &self.config.region);
        if region == *set {
            return Outcome::passed_with(region);
        }
        Outcome::passed_with(format!("{region}, from the server")).detail("region", region)
    }

    fn addressing_style(&self) -> Outcome {
        let addressing_style = AddressingStyle::of(self.bucket.path_style());
        match addressing_style {
            AddressingStyle::Virtual => Outcome::passed_with("virtual-hosted-style requests"),
            AddressingStyle::Auto | AddressingStyle::Path => {
                Outcome::passed_with("path-style requests")
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
    if folder.is_empty() { "the root of the bucket".to_owned() } else { format!("\"{folder}\"") }
}

fn at(name: CheckName) -> impl Fn(Error) -> (CheckName, Error) {
    move |error| (name, error)
}

/// The check that a refusal of the first signed request belongs to.
fn check_of(error: &Error) -> CheckName {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are about the listing itself")]
    match error.code() {
        // The service answers, and the bucket is in another region.
        Code::InvalidEndpoint if error.details().contains_key("expected") => CheckName::Region,
        Code::InvalidEndpoint
        | Code::CannotConnect
        | Code::TlsFailed
        | Code::TlsUntrusted
        | Code::NetworkLost
        | Code::Timeout => CheckName::Service,
        // A proxy or gateway answered, not the service.
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
