//! The lower half of the ladder: from the settings to a listing that the storage grants.

use std::collections::HashSet;
use std::time::Instant;

use super::doubts::{Doubts, doubts};
use super::ladder::{Found, Ladder, Rung};
use crate::archives::Layout;
use crate::archives::layout::Half;
use crate::config::{AddressingStyle, TargetConfig};
use crate::error::{Code, Error, Result};
use crate::net::{Probe, ServerInfo};
use crate::ops::Cancel;
use crate::ops::elsewhere::look_around;
use crate::s3::{Bucket, Onward, Operation, Page, clock_skew, listing_address};

/// Difference of the clocks that is worth a word, in seconds.
const NOTABLE_SKEW: i64 = 60;

/// How far some settings lead.
pub(super) struct Access {
    pub(super) config: TargetConfig,
    pub(super) bucket: Bucket,
    pub(super) greeting: Option<ServerInfo>,
    pub(super) ladder: Ladder,
    doubts: Doubts,
    failure: Option<(Rung, Error)>,
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
            doubts: doubts(&config),
            config,
            greeting: None,
            ladder: Ladder::default(),
            failure: None,
        };
        // Dropped at once when somebody cancels: nothing down here changes anything.
        let arrived = tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(()),
            arrived = access.climb(&probe, layout) => arrived,
        };
        access.failure = arrived.err();
        access.ladder.skip_to(Rung::List);
        Ok(access)
    }

    /// Where it ended, and why.
    pub(super) fn failure(&self) -> Option<(Rung, &Error)> {
        self.failure.as_ref().map(|(rung, error)| (*rung, error))
    }

    /// Whether these settings are the better ones.
    pub(super) fn leads_further_than(&self, other: &Self) -> bool {
        match (&self.failure, &other.failure) {
            (Some((here, _)), Some((there, _))) => here > there,
            (None, there) => there.is_some(),
            (Some(_), None) => false,
        }
    }

    async fn climb(&mut self, probe: &Probe, layout: &Layout) -> Result<(), (Rung, Error)> {
        let ladder = &mut self.ladder;
        let settings = self.doubts.found(&self.config);
        let start = Instant::now();
        ladder.note(Rung::Config, Ok(settings), start).map_err(at(Rung::Config))?;
        ladder
            .climb(Rung::Dns, async { probe.resolve().await.map(Found::that) })
            .await
            .map_err(at(Rung::Dns))?;
        let connected = async {
            probe.connect().await?;
            Ok(match probe.proxy() {
                Some(proxy) => Found::that(format!("through the proxy {proxy}")),
                None => Found::nothing(),
            })
        };
        ladder.climb(Rung::Tcp, connected).await.map_err(at(Rung::Tcp))?;
        let secured = async {
            if self.config.endpoint.scheme() != "https" {
                return Ok(Found::no_matter("http: whoever is on the way can read along"));
            }
            probe.secure().await?;
            Ok(match self.config.verify_tls {
                true => Found::nothing(),
                false => Found::warning("the certificate is not checked"),
            })
        };
        ladder.climb(Rung::Tls, secured).await.map_err(at(Rung::Tls))?;
        let start = Instant::now();
        match probe.greet().await {
            Ok(greeting) => self.greeting = Some(greeting),
            // What the signed request meets counts; a service may have no words for strangers.
            Err(error) => tracing::debug!(%error, "no answer to a first question"),
        }
        let greeted = Instant::now();
        let (listed, refusal) = match patiently!(self.first_page(layout)).await {
            Ok(page) => (self.backups(layout, &page).await, None),
            Err(error) => (Found::nothing(), Some(error)),
        };
        self.judge(refusal, listed, start, greeted)
    }

    /// The first page of the folder, behind which another one can be read if there is more.
    async fn first_page(&self, layout: &Layout) -> Result<Page> {
        let mut onward = Onward::new(Operation::ListObjectsV2);
        let page = self.bucket.list(layout.folder(), None).await?;
        if let Some(next) = page.next.clone() {
            onward.step(next.marker(), true)?;
            let second = self.bucket.list(layout.folder(), Some(next)).await?;
            if let Some(next) = second.next {
                onward.step(next.marker(), true)?;
            }
        }
        Ok(page)
    }

    /// How many backups a page of the folder shows and, where it shows none, where there are some.
    async fn backups(&self, layout: &Layout, page: &Page) -> Found {
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
            None => Found::that(here),
            Some(other) => {
                let there = format!(
                    "{here}, but {} in {}: to use those, set prefix to \"{}\" and folder to \"{}\"",
                    backups(other.backups),
                    place(&other.place),
                    other.prefix,
                    other.folder
                );
                // Other machines may have folders beside this one.
                let found = if other.is_near { Found::warning(there) } else { Found::that(there) };
                found.detail("elsewhere", other.place).detail("elsewhere_backups", other.backups)
            }
        };
        found.detail("folder", folder).detail("backups", count)
    }

    /// Finds the rung that the answer to the first signed request belongs to.
    fn judge(
        &mut self,
        refusal: Option<Error>,
        listed: Found,
        start: Instant,
        greeted: Instant,
    ) -> Result<(), (Rung, Error)> {
        let failed = refusal.map(|error| (rung_of(&error), self.doubts.explain(error)));
        // One answer tells about all of these, so most took no time of their own.
        let judged = Instant::now();
        let rungs = [
            (Rung::Service, self.service(), start),
            (Rung::Clock, self.clock(), judged),
            (Rung::Credentials, Found::nothing(), judged),
            (Rung::Bucket, Found::nothing(), judged),
            (Rung::Region, self.region(), judged),
            (Rung::AddressingStyle, self.addressing_style(), judged),
            (Rung::List, listed, greeted),
        ];
        for (rung, found, since) in rungs {
            if let Some((at_fault, error)) = &failed
                && *at_fault == rung
            {
                // Reported below as well; the ladder keeps it.
                let _ = self.ladder.note(rung, Err(error.clone()), greeted);
                return Err((rung, error.clone()));
            }
            self.ladder.note(rung, Ok(found), since).map_err(at(rung))?;
        }
        Ok(())
    }

    fn service(&self) -> Found {
        let server = self.greeting.as_ref().and_then(|greeting| greeting.server.as_deref());
        server.map_or_else(Found::nothing, Found::that)
    }

    fn clock(&self) -> Found {
        let Some(ahead) = self.greeting.as_ref().and_then(|greeting| greeting.ahead_s) else {
            return Found::that("the storage does not say its time");
        };
        if ahead.abs() <= NOTABLE_SKEW {
            return Found::nothing();
        }
        let concern = Found::concern(clock_skew(ahead));
        concern.and("until then requests are signed with the storage's time")
    }

    fn region(&self) -> Found {
        let (region, set) = (self.bucket.region(), &self.config.region);
        if region == *set {
            return Found::that(region);
        }
        Found::that(format!("{region}, as the storage says")).detail("region", region)
    }

    fn addressing_style(&self) -> Found {
        let addressing_style = AddressingStyle::of(self.bucket.path_style());
        match addressing_style {
            AddressingStyle::Virtual => Found::that("the bucket in the host name"),
            AddressingStyle::Auto | AddressingStyle::Path => Found::that("the bucket in the path"),
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

fn at(rung: Rung) -> impl Fn(Error) -> (Rung, Error) {
    move |error| (rung, error)
}

/// What a refusal of the first signed request is about.
fn rung_of(error: &Error) -> Rung {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are about the listing itself")]
    match error.code() {
        // The storage is there, and the bucket is elsewhere.
        Code::InvalidEndpoint if error.details().contains_key("expected") => Rung::Region,
        Code::InvalidEndpoint
        | Code::CannotConnect
        | Code::TlsFailed
        | Code::TlsUntrusted
        | Code::NetworkLost
        | Code::Timeout => Rung::Service,
        // It was not the storage itself that answered.
        Code::RemoteError | Code::Throttled
            if error.upstream_answer().is_some_and(|answer| answer.code.is_none()) =>
        {
            Rung::Service
        }
        Code::ClockSkew => Rung::Clock,
        Code::InvalidCredentials | Code::CredentialsExpired => Rung::Credentials,
        Code::AccessDenied if error.data().field.as_deref() == Some("access_key_id") => {
            Rung::Credentials
        }
        Code::BucketNotFound | Code::InvalidBucketName => Rung::Bucket,
        Code::WrongRegion => Rung::Region,
        Code::WrongAddressingStyle => Rung::AddressingStyle,
        _ => Rung::List,
    }
}
