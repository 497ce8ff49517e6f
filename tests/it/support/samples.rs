//! Reads both text formats, strictly, and by nothing that the program uses.

use std::collections::{BTreeMap, BTreeSet};

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// As it was written, because 64 bits do not fit a float.
    pub(crate) text: String,
}

impl Sample {
    /// The value as Prometheus reads it.
    pub(crate) fn value(&self) -> f64 {
        self.text.parse().unwrap_or_else(|_| panic!("{self:?} has no number"))
    }
}

/// All samples of an exposition.
#[derive(Debug, Clone)]
pub(crate) struct Samples(pub(crate) Vec<Sample>);

impl Samples {
    /// Reads an exposition; panics on anything that is not well formed, on a family that comes
    /// twice, and on a series that comes twice.
    pub(crate) fn parse(text: &str) -> Self {
        let mut samples = Vec::new();
        let mut series = BTreeSet::new();
        let mut families = BTreeSet::new();
        let mut lines = text.lines();
        for line in lines.by_ref() {
            if line == "# EOF" {
                break;
            }
            if let Some(comment) = line.strip_prefix("# ") {
                let (keyword, rest) = comment.split_once(' ').expect("a keyword and a name");
                assert!(["HELP", "TYPE"].contains(&keyword), "{line}");
                let family = rest.split(' ').next().expect("a name").to_owned();
                assert!(families.insert((keyword.to_owned(), family)), "twice: {line}");
                continue;
            }
            let sample = parse_line(line);
            assert!(series.insert(format!("{}{:?}", sample.name, sample.labels)), "twice: {line}");
            samples.push(sample);
        }
        assert_eq!(lines.next(), None, "nothing may follow # EOF");
        Self(samples)
    }

    /// The samples called `name` whose labels contain `labels`.
    pub(crate) fn find<'s>(
        &'s self,
        name: &'s str,
        labels: &'s [(&'s str, &'s str)],
    ) -> impl Iterator<Item = &'s Sample> {
        self.0.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| {
                    sample.labels.get(*label).is_some_and(|found| found == value)
                })
        })
    }

    /// The value of the one sample called `name` whose labels contain `labels`; nothing when there
    /// is none. Panics when there are several.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.find(name, labels);
        let sample = found.next()?;
        assert_eq!(found.next(), None, "{name} {labels:?} has several samples");
        Some(sample.value())
    }

    /// Names of the metrics.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|sample| sample.name.as_str()).collect()
    }

    /// The state of `tier` on `server`.
    pub(crate) fn state(&self, server: &str, tier: &str) -> Option<String> {
        let labels = [("server", server), ("tier", tier)];
        let mut states = self.find("nats_tier_state", &labels).filter(|s| s.text == "1");
        let state = states.next()?.labels["state"].clone();
        assert_eq!(states.next(), None, "one state at a time");
        Some(state)
    }

    /// The reasons that hold for `tier` on `server`.
    pub(crate) fn reasons(&self, server: &str, tier: &str) -> BTreeSet<String> {
        let labels = [("server", server), ("tier", tier)];
        let held = self.find("nats_tier_reason", &labels).filter(|sample| sample.text == "1");
        held.map(|sample| sample.labels["reason"].clone()).collect()
    }
}

fn parse_line(line: &str) -> Sample {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !legal(c)).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(!name.is_empty(), "no name: {line}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = parse_labels(inside, &mut labels);
    }
    let text = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no space: {line}"));
    let sample = Sample { name: name.to_owned(), labels, text: text.to_owned() };
    assert!(sample.value().is_finite(), "{line}");
    sample
}

/// Reads labels up to the closing brace, and returns what follows.
fn parse_labels<'l>(mut rest: &'l str, labels: &mut BTreeMap<String, String>) -> &'l str {
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return after;
        }
        rest = rest.strip_prefix(',').unwrap_or(rest);
        let (name, after) = rest.split_once("=\"").expect("a name and a value");
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => match characters.next().expect("something after a backslash").1 {
                    'n' => value.push('\n'),
                    escaped @ ('\\' | '"') => value.push(escaped),
                    other => panic!("\\{other} is no escape"),
                },
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} comes twice");
        rest = &after[end + 1..];
    }
}
