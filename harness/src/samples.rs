//! Reads both text formats of an exposition, strictly, and by nothing that the exporter uses.

use std::collections::{BTreeMap, BTreeSet};

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name of the metric.
    pub name: String,
    /// Values by names.
    pub labels: BTreeMap<String, String>,
    /// As it was written, because 64 bits do not fit a float.
    pub text: String,
}

impl Sample {
    /// The value as Prometheus reads it.
    ///
    /// # Panics
    ///
    /// When the text is no number, which [`Samples::read`] does not let pass.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.text.parse().unwrap_or_else(|_| panic!("{self:?} has no number"))
    }
}

/// All samples of an exposition.
#[derive(Debug, Clone)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// Reads an exposition. The error says what is not well formed, or which family or series comes twice.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut samples = Vec::new();
        let mut series = BTreeSet::new();
        let mut families = BTreeSet::new();
        let mut lines = text.lines();
        for line in lines.by_ref() {
            if line == "# EOF" {
                break;
            }
            let is_new = if let Some(comment) = line.strip_prefix("# ") {
                let (keyword, rest) = comment.split_once(' ').ok_or("a comment of one word")?;
                if !["HELP", "TYPE"].contains(&keyword) {
                    return Err(format!("neither HELP nor TYPE: {line}"));
                }
                let family = rest.split(' ').next().unwrap_or_default();
                families.insert((keyword.to_owned(), family.to_owned()))
            } else {
                let sample = read_line(line).map_err(|reason| format!("{reason}: {line}"))?;
                let is_new = series.insert((sample.name.clone(), sample.labels.clone()));
                samples.push(sample);
                is_new
            };
            if !is_new {
                return Err(format!("twice: {line}"));
            }
        }
        match lines.next() {
            Some(line) => Err(format!("follows # EOF: {line}")),
            None => Ok(Self(samples)),
        }
    }

    /// As [`read`](Self::read), for tests.
    ///
    /// # Panics
    ///
    /// When there is an error.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::read(text).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The samples called `name` whose labels contain `labels`.
    pub fn find<'s>(
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
    /// is none.
    ///
    /// # Panics
    ///
    /// When there are several.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.find(name, labels);
        let sample = found.next()?;
        assert_eq!(found.next(), None, "{name} {labels:?} has several samples");
        Some(sample.value())
    }

    /// Names of the metrics.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|sample| sample.name.as_str()).collect()
    }

    /// The state of `tier` on `server`.
    ///
    /// # Panics
    ///
    /// When there are several at a time.
    #[must_use]
    pub fn state(&self, server: &str, tier: &str) -> Option<String> {
        let labels = [("server", server), ("tier", tier)];
        let mut states = self.find("nats_tier_state", &labels).filter(|s| s.text == "1");
        let state = states.next()?.labels["state"].clone();
        assert_eq!(states.next(), None, "one state at a time");
        Some(state)
    }

    /// The reasons that hold for `tier` on `server`.
    #[must_use]
    pub fn reasons(&self, server: &str, tier: &str) -> BTreeSet<String> {
        let labels = [("server", server), ("tier", tier)];
        let held = self.find("nats_tier_reason", &labels).filter(|sample| sample.text == "1");
        held.map(|sample| sample.labels["reason"].clone()).collect()
    }
}

fn read_line(line: &str) -> Result<Sample, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (name, mut rest) = line.split_at(line.find(|c| !legal(c)).ok_or("no value")?);
    if name.is_empty() {
        return Err("no name".to_owned());
    }
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels)?;
    }
    let text = rest.strip_prefix(' ').ok_or("no space before the value")?;
    if !text.parse().is_ok_and(f64::is_finite) {
        return Err("no number".to_owned());
    }
    Ok(Sample { name: name.to_owned(), labels, text: text.to_owned() })
}

/// Reads labels up to the closing brace, and returns what follows.
fn read_labels<'l>(
    mut rest: &'l str,
    labels: &mut BTreeMap<String, String>,
) -> Result<&'l str, String> {
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        rest = rest.strip_prefix(',').unwrap_or(rest);
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().ok_or("no closing quote")? {
                (at, '"') => break at,
                (_, '\\') => match characters.next().ok_or("nothing behind a backslash")?.1 {
                    'n' => value.push('\n'),
                    escaped @ ('\\' | '"') => value.push(escaped),
                    other => return Err(format!("\\{other} is no escape")),
                },
                (_, other) => value.push(other),
            }
        };
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("{name} comes twice"));
        }
        rest = &after[end + 1..];
    }
}
