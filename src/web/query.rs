//! From the query string of `/metrics` and `/probe` to what is wanted.
//!
//! Strict on purpose: a misspelt parameter that is passed over would quietly
//! turn a narrow scrape into a full one, or a filtered dashboard into a lie.

use crate::catalog::Topic;
use crate::scrape::Selection;
use crate::tier::{Tier, TierSet};

/// A query that asks for something that does not exist; the message says what to write instead.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// A parameter that the path does not have.
    #[error("there is no parameter \"{name}\"; write {known}")]
    Parameter {
        /// What was written.
        name: String,
        /// What could be written.
        known: &'static str,
    },
    /// `target` on `/metrics`.
    #[error("/metrics asks every target; to ask only one, write /probe?target=NAME")]
    MisplacedTarget,
    /// A tier or a topic that does not exist.
    #[error("{0}")]
    Value(String),
    /// `/probe` with no target, or with several.
    #[error("/probe asks one target: write target=NAME exactly once, not {0} times")]
    TargetCount(usize),
}

/// Reads the query of `/metrics`.
///
/// # Errors
/// When it names what `/metrics` does not have.
pub fn metrics(query: &str) -> Result<Selection, QueryError> {
    let raw = Raw::read(query, "tier= or collect[]=")?;
    if raw.targets.is_empty() { Ok(raw.selection()) } else { Err(QueryError::MisplacedTarget) }
}

/// Reads the query of `/probe`: the name of the target, and what is wanted of it.
///
/// # Errors
/// When it does not name one target, or names what `/probe` does not have.
pub fn probe(query: &str) -> Result<(String, Selection), QueryError> {
    let mut raw = Raw::read(query, "target=, tier= or collect[]=")?;
    let count = raw.targets.len();
    match raw.targets.pop() {
        Some(target) if count == 1 => Ok((target, raw.selection())),
        _ => Err(QueryError::TargetCount(count)),
    }
}

/// The parameters as they stand, each value checked on its own.
#[derive(Default)]
struct Raw {
    tiers: Vec<Tier>,
    topics: Vec<Topic>,
    targets: Vec<String>,
}

impl Raw {
    fn read(query: &str, known: &'static str) -> Result<Self, QueryError> {
        let mut raw = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "tier" => raw.tiers.push(value.parse().map_err(unknown_value)?),
                "collect[]" => {
                    let topic = value.parse().map_err(unknown_value)?;
                    if !raw.topics.contains(&topic) {
                        raw.topics.push(topic);
                    }
                }
                // `target=` left empty, as a form or a template does, is no target.
                "target" if value.is_empty() => {}
                "target" => raw.targets.push(value.into_owned()),
                _ => {
                    return Err(QueryError::Parameter { name: name.into_owned(), known });
                }
            }
        }
        Ok(raw)
    }

    fn selection(self) -> Selection {
        let tiers =
            if self.tiers.is_empty() { TierSet::ALL } else { self.tiers.into_iter().collect() };
        let topics = if self.topics.is_empty() { None } else { Some(self.topics) };
        Selection { tiers, topics }
    }
}

/// The errors of tiers and topics name what exists, so their text is all that is kept.
fn unknown_value(error: impl std::fmt::Display) -> QueryError {
    QueryError::Value(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(selection: &Selection) -> String {
        let tiers: Vec<_> = Tier::ALL
            .into_iter()
            .filter(|tier| selection.tiers.contains(*tier))
            .map(Tier::as_str)
            .collect();
        let topics = selection.topics.as_ref().map_or_else(
            || "every topic".to_owned(),
            |topics| topics.iter().map(|topic| topic.as_str()).collect::<Vec<_>>().join("+"),
        );
        format!("{} {topics}", tiers.join("+"))
    }

    #[test]
    fn metrics_narrows_by_tier_and_topic() {
        let [first, second] = [Topic::ALL[1].as_str(), Topic::ALL[2].as_str()];
        let all = "base+persistence+exporter";
        let cases = [
            (String::new(), format!("{all} every topic")),
            ("&".to_owned(), format!("{all} every topic")),
            ("tier=base".to_owned(), "base every topic".to_owned()),
            ("tier=exporter&tier=base".to_owned(), "base+exporter every topic".to_owned()),
            ("tier=base&tier=base".to_owned(), "base every topic".to_owned()),
            ("t%69er=b%61se".to_owned(), "base every topic".to_owned()),
            (format!("collect[]={first}"), format!("{all} {first}")),
            (format!("collect%5B%5D={first}"), format!("{all} {first}")),
            (
                format!("collect%5b%5d={second}&collect[]={first}"),
                format!("{all} {second}+{first}"),
            ),
            (format!("collect[]={first}&collect[]={first}"), format!("{all} {first}")),
            (format!("collect[]={first}&tier=base"), format!("base {first}")),
        ];
        for (query, expected) in cases {
            let selection = metrics(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
            assert_eq!(shown(&selection), expected, "{query}");
        }
    }

    #[test]
    fn mistakes_in_metrics_are_explained() {
        let cases = [
            ("tier=core", "there is no tier \"core\"; write base, persistence or exporter"),
            ("tier=", "there is no tier \"\"; write base, persistence or exporter"),
            ("tier", "there is no tier \"\"; write base, persistence or exporter"),
            ("tier=Base", "there is no tier \"Base\"; write base, persistence or exporter"),
            ("teir=base", "there is no parameter \"teir\"; write tier= or collect[]="),
            ("collect=server", "there is no parameter \"collect\"; write tier= or collect[]="),
            ("target=a", "/metrics asks every target; to ask only one, write /probe?target=NAME"),
        ];
        for (query, expected) in cases {
            let error = metrics(query).err().unwrap_or_else(|| panic!("{query} is accepted"));
            assert_eq!(error.to_string(), expected, "{query}");
        }
        let error = metrics("collect[]=nothing").err().unwrap().to_string();
        assert!(error.contains("nothing") && error.contains(Topic::ALL[0].as_str()), "{error}");
    }

    #[test]
    fn probe_wants_one_target() {
        let cases = [
            ("target=n1", Ok("n1")),
            ("target=n1%3A8222", Ok("n1:8222")),
            ("target=n1:8222", Ok("n1:8222")),
            ("target=a+b", Ok("a b")),
            ("tier=base&target=n1", Ok("n1")),
            ("target=&target=n1", Ok("n1")),
            ("", Err("/probe asks one target: write target=NAME exactly once, not 0 times")),
            ("target", Err("/probe asks one target: write target=NAME exactly once, not 0 times")),
            ("target=", Err("/probe asks one target: write target=NAME exactly once, not 0 times")),
            (
                "target=a&target=a",
                Err("/probe asks one target: write target=NAME exactly once, not 2 times"),
            ),
            (
                "target=a&module=x",
                Err("there is no parameter \"module\"; write target=, tier= or collect[]="),
            ),
            ("target=a&tier=x", Err("there is no tier \"x\"; write base, persistence or exporter")),
        ];
        for (query, expected) in cases {
            let result = probe(query).map(|(target, _)| target).map_err(|error| error.to_string());
            assert_eq!(result.as_deref().map_err(String::as_str), expected, "{query}");
        }
    }
}
