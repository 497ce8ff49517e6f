//! Taking values out of the raw configuration.
//!
//! A reader notes every problem and goes on, so that all of them are told at
//! once. What a section was not asked for is unknown to it, and a problem too.

use std::cell::RefCell;
use std::path::PathBuf;

use config::{Map, Value, ValueKind};
use strsim::damerau_levenshtein as distance;

use super::entry::{Entry, Reason};
use super::error::{ConfigError, Place, Problem};
use super::layers::{self, Environment};
use crate::settings::{Fallback, Setting};

/// What readers share.
pub(super) struct Context<'a> {
    /// What the file is called in messages.
    pub(super) file: String,
    /// Where relative paths in the file start from.
    pub(super) directory: PathBuf,
    pub(super) environment: &'a Environment,
    pub(super) problems: RefCell<Vec<Problem>>,
    /// Variables that the configuration names as the source of a secret.
    pub(super) named_variables: RefCell<Vec<String>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(file: String, directory: PathBuf, environment: &'a Environment) -> Self {
        let (problems, named_variables) = (RefCell::default(), RefCell::default());
        Self { file, directory, environment, problems, named_variables }
    }

    /// What was read, if no problem was noted.
    pub(super) fn result<T>(self, read: T) -> Result<T, ConfigError> {
        let problems = self.problems.into_inner();
        if problems.is_empty() { Ok(read) } else { Err(ConfigError::Invalid(problems)) }
    }

    pub(super) fn report(&self, place: Place, reason: impl Into<Reason>) {
        self.problems.borrow_mut().push(Problem { place, reason: reason.into() });
    }

    fn origin(&self, value: &Value) -> String {
        value.origin().map_or_else(|| self.file.clone(), str::to_owned)
    }
}

/// A value and where it was written; a default was written nowhere.
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) place: Option<Place>,
}

/// A table of the raw configuration that is being read.
pub(super) struct Section<'a> {
    pub(super) context: &'a Context<'a>,
    path: String,
    entries: Map<String, Value>,
    known: Vec<&'static str>,
    target: Option<String>,
}

impl<'a> Section<'a> {
    /// The whole configuration.
    pub(super) fn root(context: &'a Context<'a>, entries: Map<String, Value>) -> Self {
        Self { context, path: String::new(), entries, known: Vec::new(), target: None }
    }

    /// The section that `entry` is; an empty one if it is something else, which is noted.
    pub(super) fn of_entry(context: &'a Context<'a>, entry: Entry) -> Self {
        let found = entry.shown();
        let Entry { place, kind } = entry;
        let (path, target) = (place.key.clone(), place.target.clone());
        let entries = if let ValueKind::Table(entries) = kind {
            entries
        } else {
            context.report(
                place,
                format!("{found} is not a section; write keys with values below it"),
            );
            Map::new()
        };
        Self { context, path, entries, known: Vec::new(), target }
    }

    /// Names the target that problems from here on belong to.
    pub(super) fn belongs_to(&mut self, target: &str) {
        self.target = Some(target.to_owned());
    }

    /// Where `key` is, for a problem with a value that is missing or at odds with another.
    pub(super) fn place(&self, key: &str) -> Place {
        let key = if self.path.is_empty() || key.is_empty() {
            format!("{}{key}", self.path)
        } else {
            format!("{}.{key}", self.path)
        };
        Place { origin: self.context.file.clone(), key, target: self.target.clone() }
    }

    /// Notes a problem with `key`; with an empty one, with the section.
    pub(super) fn report(&self, key: &str, reason: impl Into<Reason>) {
        self.context.report(self.place(key), reason);
    }

    /// Whether `key` is set.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| value.kind != ValueKind::Nil)
    }

    /// The value of `key`, not yet looked at.
    pub(super) fn entry(&mut self, key: &'static str) -> Option<Entry> {
        self.known.push(key);
        let value = self.entries.remove(key).filter(|value| value.kind != ValueKind::Nil)?;
        let place = Place { origin: self.context.origin(&value), ..self.place(key) };
        Some(Entry { place, kind: value.kind })
    }

    /// All values, for a table whose keys are free.
    pub(super) fn into_entries(mut self) -> Vec<(String, Entry)> {
        let entries = std::mem::take(&mut self.entries);
        let with_place = |(key, value): (String, Value)| {
            let entry = Entry { place: self.place(&key), kind: value.kind };
            (key, entry)
        };
        let mut entries: Vec<_> = entries.into_iter().map(with_place).collect();
        // The order of the raw table is random; messages should not be.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries
    }

    /// The value of `key`; nothing if it is not set, or if it is wrong, which is noted.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Entry) -> Result<T, Reason>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        parse(&entry).map_err(|reason| self.context.report(entry.place, reason)).ok()
    }

    /// The value of `key` or its default from the list of settings.
    ///
    /// The default also stands in for a wrong value, which is noted, so that reading can go on.
    pub(super) fn setting<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Entry) -> Result<T, Reason>,
    ) -> Given<T> {
        let place = self
            .entries
            .get(key)
            .filter(|_| self.has(key))
            .map(|value| Place { origin: self.context.origin(value), ..self.place(key) });
        match self.take(key, &parse) {
            Some(value) => Given { value, place },
            None => Given { value: self.default(key, parse), place: None },
        }
    }

    fn default<T>(&self, key: &str, parse: impl Fn(&Entry) -> Result<T, Reason>) -> T {
        let place = self.place(key);
        let Some(Setting { fallback: Fallback::Value(text), .. }) = Setting::find(&place.key)
        else {
            unreachable!("{place} has a default");
        };
        parse(&Entry { place, kind: ValueKind::from(*text) }).expect("defaults are valid")
    }

    /// The items of a list, or its default from the list of settings; wrong items are noted.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&Entry) -> Result<T, Reason>,
    ) -> Vec<T> {
        let items = self.items(key);
        let parse = |item: Entry| {
            parse(&item).map_err(|reason| self.context.report(item.place, reason)).ok()
        };
        items.into_iter().filter_map(parse).collect()
    }

    /// The items of a list, or its default from the list of settings, not yet looked at.
    pub(super) fn items(&mut self, key: &'static str) -> Vec<Entry> {
        let entry = match self.entry(key) {
            Some(entry) => entry,
            None => match self.default_list(key) {
                Some(entry) => entry,
                None => return Vec::new(),
            },
        };
        let Entry { place, kind } = entry;
        let ValueKind::Array(values) = kind else {
            let found = Entry { place: place.clone(), kind }.shown();
            let text = "write a list, with each item on a line of its own after a dash, or between [ and ]";
            self.context.report(place, format!("{found} is not a list; {text}"));
            return Vec::new();
        };
        if values.is_empty() && self.default_list(key).is_some() {
            let text = "this list is empty; write at least one item, or leave the key out";
            self.context.report(place.clone(), text);
        }
        let item = |(index, value): (usize, Value)| Entry {
            place: Place { key: format!("{}[{index}]", place.key), ..place.clone() },
            kind: value.kind,
        };
        values.into_iter().enumerate().map(item).collect()
    }

    fn default_list(&self, key: &str) -> Option<Entry> {
        let place = self.place(key);
        let setting = Setting::find(&place.key)?;
        let Fallback::Value(text) = setting.fallback else {
            return None;
        };
        let origin = "default";
        let kind = layers::value(setting.shape, text, origin).kind;
        Some(Entry { place: Place { origin: origin.to_owned(), ..place }, kind })
    }

    /// A section within this one; an empty one if it is not there.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let place = self.place(key);
        let absent = || Entry { place, kind: ValueKind::Table(Map::new()) };
        Self::of_entry(self.context, self.entry(key).unwrap_or_else(absent))
    }

    /// Whether nothing is set here.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Notes what is left as unknown. Called when everything that is known was taken.
    pub(super) fn finish(self) {
        let mut unknown: Vec<&String> = self.entries.keys().collect();
        unknown.sort();
        for key in unknown {
            let known = self.known.join(", ");
            let closest = self.known.iter().min_by_key(|known| distance(known, key));
            let reason =
                match closest.filter(|known| distance(known, key) <= 3.min(known.len() / 2)) {
                    Some(closest) => {
                        format!("unknown key; did you mean {closest}? Known here: {known}")
                    }
                    None => format!("unknown key; known here: {known}"),
                };
            self.report(key, reason);
        }
    }
}
