//! What a command works with: its targets, and how to speak about each.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use serde::Serialize;

use super::exit::Exit;
use super::output::{report, say_json};
use super::targets::{Named, Targets};
use crate::config::NamedTarget;
use crate::error::{Code, Error, Result};
use crate::ops::{Cancel, Target};
use crate::protocol::ErrorObject;

/// The open targets of a command, and how to speak about them.
pub(super) struct Context {
    pub(super) targets: Targets,
    pub(super) cancel: Cancel,
    pub(super) json: bool,
    pub(super) verbose: bool,
    /// Name of the command.
    pub(super) command: String,
}

/// What a command did on a target.
pub(super) struct Done<'a, T> {
    pub(super) on: &'a Named,
    pub(super) result: Result<T>,
}

/// What `--json` prints of a target, if there are several.
#[derive(Serialize)]
pub(super) struct OfTarget<'a, T> {
    pub(super) target: &'a str,
    #[serde(flatten)]
    pub(super) result: Outcome<'a, T>,
}

/// Either what a command says of one target, or its error.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Outcome<'a, T> {
    Done(&'a T),
    Failed { error: Box<ErrorObject> },
}

#[derive(Serialize)]
struct All<'a, T> {
    targets: Vec<OfTarget<'a, T>>,
}

impl Context {
    /// The first target with its name.
    ///
    /// # Errors
    /// `internal`: there is always one.
    pub(super) fn first(&self) -> Result<&Named> {
        let first = self.targets.all.first();
        first.ok_or_else(|| Error::new(Code::Internal, "the command has no target"))
    }

    /// The target of a command that works on one.
    ///
    /// # Errors
    /// That of opening it.
    pub(super) fn only(&self) -> Result<&Arc<Target>> {
        self.first()?.target.as_ref().map_err(Clone::clone)
    }

    /// Whether output says which target it is about.
    pub(super) fn are_several(&self) -> bool {
        self.targets.are_several
    }

    /// Refuses two names for one place: two uploads of one backup would replace each other there.
    ///
    /// # Errors
    /// `invalid_config`, naming both.
    pub(super) fn refuse_one_place_twice(&self) -> Result<()> {
        let mut seen = HashMap::new();
        for on in &self.targets.all {
            let (Ok(target), Some(name)) = (&on.target, on.name()) else { continue };
            let config = target.config();
            let place = (config.endpoint.as_str(), config.bucket.as_str(), target.folder());
            if let Some(other) = seen.insert(place, name) {
                let message = format!("the targets {other} and {name} are the same place");
                return Err(Error::new(Code::InvalidConfig, message)
                    .field("target")
                    .hint("name one of them, or give them different prefixes"));
            }
        }
        Ok(())
    }

    /// Works on all targets at the same time.
    pub(super) async fn each<T>(
        &self,
        work: impl AsyncFn(&Arc<Target>) -> Result<T>,
    ) -> Vec<Done<'_, T>> {
        let all = self.targets.all.iter().map(|on| {
            let work = &work;
            async move {
                let result = match &on.target {
                    Ok(target) => work(target).await.map_err(|error| self.explained(on, error)),
                    Err(error) => Err(error.clone()),
                };
                Done { on, result }
            }
        });
        join_all(all).await
    }

    /// The error of a target in the words of the config file. That of the only target is explained at the
    /// end of the command.
    pub(super) fn explained(&self, on: &Named, error: Error) -> Error {
        if self.are_several() { on.explained(error) } else { error }
    }

    /// The table in the config file of a target that [`tell`](Self::tell) shows.
    pub(super) fn table(&self, target: Option<&str>) -> Option<&NamedTarget> {
        let mut all = self.targets.all.iter();
        all.find(|on| target.is_none() || on.name() == target)?.table()
    }

    /// Says what was done on each target, and what failed.
    ///
    /// # Errors
    /// That of the only target; `local_io`.
    pub(super) fn tell<T: Serialize>(
        &self,
        done: Vec<Done<'_, T>>,
        exit: impl Fn(&T) -> Exit,
        show: impl FnOnce(&[(Option<&str>, &T)]) -> Result<()>,
    ) -> Result<Exit> {
        if let (false, [Done { result, .. }]) = (self.are_several(), done.as_slice()) {
            let only = result.as_ref().map_err(Clone::clone)?;
            match self.json {
                true => say_json(only)?,
                false => show(&[(None, only)])?,
            }
            return Ok(exit(only));
        }
        if self.json {
            let targets = done.iter().map(of_target).collect();
            say_json(&All { targets })?;
        } else {
            let whole: Vec<_> = done
                .iter()
                .filter_map(|done| Some((done.on.name(), done.result.as_ref().ok()?)))
                .collect();
            show(&whole)?;
            for done in &done {
                if let Err(error) = &done.result {
                    self.report(done.on, error);
                }
            }
        }
        Ok(Exit::of_all(done.iter().map(|done| done.result.as_ref().map(&exit))))
    }

    /// Reports an error of one of several targets, for people.
    pub(super) fn report(&self, on: &Named, error: &Error) {
        report(error, on.name(), &self.command, false, self.verbose);
    }
}

/// What `--json` prints of a target.
pub(super) fn of_target<'a, T>(done: &'a Done<'_, T>) -> OfTarget<'a, T> {
    let result = match &done.result {
        Ok(result) => Outcome::Done(result),
        Err(error) => Outcome::Failed { error: Box::new(ErrorObject::from(error)) },
    };
    OfTarget { target: done.on.name().unwrap_or_default(), result }
}
