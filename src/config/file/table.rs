//! A table of the config file: takes members by name and type, and says where a wrong one is.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expand::{Fault, expand, is_from_variables};
use super::secret::Origin;
use crate::config::Secret;
use crate::config::size::{rate, size};
use crate::config::suspect::looks_secret;
use crate::error::{Code, Error, Result};

/// Similarity from which on a name is suggested for another, 0 to 1.
const SIMILAR: f64 = 0.75;

/// The file that tables come from.
pub(super) struct Document<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    /// The home directory, for `~/`.
    pub(super) home: Option<&'a Path>,
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
}

/// A position in the file: line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    line: usize,
    column: usize,
}

impl Position {
    /// The line, from 1.
    pub(super) fn line(self) -> u64 {
        self.line as u64
    }

    /// An error about `member` at this position. `what` holds no value of the file: it may be a secret.
    pub(super) fn error(self, path: &Path, member: &str, what: &str) -> Error {
        let Self { line, column } = self;
        let of = if member.is_empty() { String::new() } else { format!(" ({member})") };
        let message = format!("{}:{line}:{column}: {what}{of}", path.display());
        let error = Error::new(Code::InvalidConfig, message)
            .detail("file", path.display().to_string())
            .detail("line", line as u64)
            .detail("column", column as u64);
        if member.is_empty() { error } else { error.field(member.to_owned()) }
    }
}

impl Document<'_> {
    pub(super) fn position(&self, offset: usize) -> Position {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Position { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }

    /// The path in a text: `~/` is the home directory, and a relative path is one of the file's folder.
    fn path_of(&self, text: &str) -> PathBuf {
        if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), self.home) {
            return home.join(rest);
        }
        self.path.parent().unwrap_or(Path::new("")).join(text)
    }
}

/// A table whose members are taken one after the other.
pub(super) struct Table<'a> {
    document: &'a Document<'a>,
    /// Dotted path of the table; empty for the whole file.
    path: String,
    /// Where the table begins.
    start: usize,
    members: DeTable<'a>,
    /// Every name that was asked for, with its place if it is there.
    known: Vec<(&'static str, Option<Position>)>,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        document: &'a Document<'a>,
        path: String,
        start: usize,
        members: DeTable<'a>,
    ) -> Self {
        Self { document, path, start, members, known: Vec::new() }
    }

    /// A text with its variables replaced.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        let Some((value, at)) = self.take(name) else {
            return Ok(None);
        };
        self.expanded(name, &value, at, "a text in quotes").map(Some)
    }

    /// A text that is one of these.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>> {
        let Some((value, at)) = self.take(name) else {
            return Ok(None);
        };
        let all: Vec<_> = choices.iter().map(|(text, _)| format!("\"{text}\"")).collect();
        let all = all.join(" or ");
        let text = self.expanded(name, &value, at, &all)?;
        let found = choices.iter().find(|(known, _)| *known == text);
        found.map(|(_, choice)| Some(*choice)).ok_or_else(|| self.wrong(name, at, &all))
    }

    /// A number of bytes: an integer, or a text with a unit.
    pub(super) fn size(&mut self, name: &'static str) -> Result<Option<u64>> {
        self.bytes(name, size, "a size such as \"16MiB\" or 16777216")
    }

    /// A number of bytes per second: an integer, or a text with a unit.
    pub(super) fn rate(&mut self, name: &'static str) -> Result<Option<u64>> {
        self.bytes(name, rate, "a rate such as \"10MiB\" or 10485760, for each second")
    }

    fn bytes(
        &mut self,
        name: &'static str,
        parse: fn(&str) -> Result<u64, String>,
        expected: &str,
    ) -> Result<Option<u64>> {
        let Some((value, at)) = self.take(name) else {
            return Ok(None);
        };
        if let Some(number) = whole(&value) {
            return Ok(Some(number));
        }
        let text = self.expanded(name, &value, at, expected)?;
        parse(&text).map(Some).map_err(|_| self.wrong(name, at, expected))
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &'static str) -> Result<Option<u64>> {
        let Some((value, at)) = self.take(name) else {
            return Ok(None);
        };
        whole(&value).map(Some).ok_or_else(|| self.wrong(name, at, "a whole number"))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some((DeValue::Boolean(value), _)) => Ok(Some(value)),
            Some((_, at)) => Err(self.wrong(name, at, "true or false")),
        }
    }

    /// The path of a file.
    pub(super) fn path(&mut self, name: &'static str) -> Result<Option<PathBuf>> {
        Ok(self.text(name)?.map(|text| self.document.path_of(&text)))
    }

    /// A secret, or where it comes from.
    pub(super) fn secret(&mut self, name: &'static str) -> Result<Option<Origin>> {
        const EXPECTED: &str = "a text, or one of { file = \"…\" }, { credential = \"…\" }, { env = \"…\" } and \
             { command = [\"…\"] }";
        let Some((value, at)) = self.take(name) else {
            return Ok(None);
        };
        if let DeValue::String(text) = &value {
            let is_inline = !is_from_variables(text);
            let secret = Secret::from(self.expanded(name, &value, at, EXPECTED)?);
            return Ok(Some(Origin::Text { secret, is_inline }));
        }
        let DeValue::Table(table) = value else {
            return Err(self.wrong(name, at, EXPECTED));
        };
        let path = self.dotted(name);
        let mut inner = Self::new(self.document, path, at, table);
        let file = inner.path("file")?.map(Origin::File);
        let credential = inner.text("credential")?.map(Origin::Credential);
        let env = inner.text("env")?.map(Origin::Env);
        let command = inner.words("command")?.map(Origin::Command);
        inner.finish()?;
        let given: Vec<_> = [file, credential, env, command].into_iter().flatten().collect();
        match <[Origin; 1]>::try_from(given) {
            Ok([origin]) => Ok(Some(origin)),
            Err(_) => Err(self.wrong(name, at, EXPECTED)),
        }
    }

    /// Whether one of these members is a secret that the file itself holds.
    pub(super) fn holds_secret(&self, names: &[&str]) -> bool {
        names.iter().any(|name| match self.members.get(*name).map(Spanned::get_ref) {
            Some(DeValue::String(text)) => !is_from_variables(text),
            _ => false,
        })
    }

    /// A list of texts with at least one.
    fn words(&mut self, name: &'static str) -> Result<Option<Vec<String>>> {
        const EXPECTED: &str = "a list of texts: the program, then its arguments";
        let Some((value, at)) = self.take(name) else {
            return Ok(None);
        };
        let DeValue::Array(items) = value else {
            return Err(self.wrong(name, at, EXPECTED));
        };
        let words = items
            .iter()
            .map(|item| self.expanded(name, item.get_ref(), item.span().start, EXPECTED));
        let words = words.collect::<Result<Vec<_>>>()?;
        match words.first().is_some_and(|program| !program.is_empty()) {
            true => Ok(Some(words)),
            false => Err(self.wrong(name, at, EXPECTED)),
        }
    }

    /// The tables below a name, in the order of the file, with the place of each name.
    pub(super) fn tables(&mut self, name: &'static str) -> Result<Vec<(String, Table<'a>)>> {
        let Some((value, at)) = self.take(name) else {
            return Ok(Vec::new());
        };
        let DeValue::Table(tables) = value else {
            return Err(self.wrong(name, at, "tables, each with a name"));
        };
        let tables = tables.into_iter().map(|(key, value)| {
            let start = key.span().start;
            let key = key.into_inner().into_owned();
            let DeValue::Table(members) = value.into_inner() else {
                return Err(self.wrong(name, start, "tables, each with a name"));
            };
            let path = format!("{}.{key}", self.dotted(name));
            Ok((key, Table::new(self.document, path, start, members)))
        });
        tables.collect()
    }

    /// Refuses members that nothing asked for. Returns where the others are.
    pub(super) fn finish(self) -> Result<Places> {
        if let Some((key, _)) = self.members.iter().next() {
            return Err(self.unknown(key));
        }
        Ok(Places {
            path: self.path,
            start: self.document.position(self.start),
            members: self.known,
        })
    }

    fn unknown(&self, key: &Spanned<std::borrow::Cow<'a, str>>) -> Error {
        let name = key.get_ref();
        let owner = if self.path.is_empty() { "this file" } else { &self.path };
        let what = match looks_secret(name) {
            // It may be a value at a wrong place.
            true => format!("a name here is no setting of {owner}"),
            false => format!("\"{name}\" is no setting of {owner}"),
        };
        let error = self.document.position(key.span().start).error(self.document.path, "", &what);
        let similar =
            self.known.iter().map(|(known, _)| (strsim::jaro_winkler(known, name), *known));
        let nearest = similar.max_by(|(one, _), (other, _)| one.total_cmp(other));
        match nearest {
            _ if name == "memory" => error
                .hint("the memory is that of the whole command: write it above the first table"),
            Some((similarity, known)) if similarity >= SIMILAR => {
                error.hint(format!("write \"{known}\""))
            }
            _ => {
                let all: Vec<_> = self.known.iter().map(|(known, _)| *known).collect();
                error.hint(format!("the settings here are {}", all.join(", ")))
            }
        }
    }

    fn take(&mut self, name: &'static str) -> Option<(DeValue<'a>, usize)> {
        let found = self.members.remove(name);
        let at = found.as_ref().map(|value| value.span().start);
        self.known.push((name, at.map(|at| self.document.position(at))));
        Some((found?.into_inner(), at?))
    }

    fn dotted(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn expanded(
        &self,
        name: &str,
        value: &DeValue<'_>,
        at: usize,
        expected: &str,
    ) -> Result<String> {
        let DeValue::String(text) = value else {
            return Err(self.wrong(name, at, expected));
        };
        expand(text, self.document.variable).map_err(|fault| {
            let (what, hint) = match fault {
                Fault::Unset(variable) => (
                    format!("the variable {variable} is not set"),
                    format!("set it, or write ${{{variable}:-…}} with a default"),
                ),
                Fault::Unclosed => {
                    ("there is no } after ${".to_owned(), "write $${ for a plain ${".to_owned())
                }
                Fault::Name => (
                    "the text between ${ and } is no name of a variable".to_owned(),
                    "write ${NAME}, or $${ for a plain ${".to_owned(),
                ),
            };
            self.error(name, at, &what).hint(hint)
        })
    }

    fn wrong(&self, name: &str, at: usize, expected: &str) -> Error {
        self.error(name, at, &format!("{name} has a wrong value")).hint(format!("write {expected}"))
    }

    /// An error about the name of this table.
    pub(super) fn error_of_name(&self, what: &str) -> Error {
        self.document.position(self.start).error(self.document.path, "", what)
    }

    /// An error about a member of this table.
    pub(super) fn error(&self, name: &str, at: usize, what: &str) -> Error {
        self.document.position(at).error(self.document.path, &self.dotted(name), what)
    }
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    let DeValue::Integer(number) = value else { return None };
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Where the members of a table are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    path: String,
    start: Position,
    /// Every member that the table can have, and its place if it is there.
    members: Vec<(&'static str, Option<Position>)>,
}

impl Places {
    /// Whether the table can have this member.
    pub(super) fn has(&self, member: &str) -> bool {
        self.members.iter().any(|(name, _)| *name == member)
    }

    /// The place of a member, or that of its table, and its dotted path.
    pub(super) fn of(&self, member: &str) -> (Position, String) {
        let found = self.members.iter().find(|(name, _)| *name == member);
        (found.and_then(|(_, at)| *at).unwrap_or(self.start), format!("{}.{member}", self.path))
    }
}
