//! The shipped rules and the example of Alertmanager, as files and with all durations shortened.
//!
//! [`Scale`] is the one place that knows how the drills make minutes pass in seconds.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result, repository};

/// The rule files in `alerts/`, those first that others read from.
pub const FILES: [&str; 5] = [
    "recording.rules.yml",
    "base.rules.yml",
    "persistence.rules.yml",
    "exporter.rules.yml",
    "extra.rules.yml",
];

/// What a rule file holds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The groups, evaluated each for itself.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated one after another.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The name.
    pub name: String,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A recording rule or an alert.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// The name of the recorded series; nothing for an alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The name of the alert; nothing for a recording rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    /// The expression.
    pub expr: String,
    /// How long the expression must hold before the alert fires.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// How long the alert goes on after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<String>,
    /// Labels that the rule adds.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Text for people.
    pub annotations: std::collections::BTreeMap<String, String>,
}

impl Rule {
    /// The name of the alert or of the recorded series.
    #[must_use]
    pub fn name(&self) -> &str {
        self.alert.as_deref().or(self.record.as_deref()).unwrap_or_default()
    }
}

/// Where the shipped file of this name lies.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    repository().join("alerts").join(name)
}

/// Reads one of [`FILES`].
pub fn read(name: &str) -> Result<File> {
    parse(&path(name))
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(Error::file("cannot read", path))?;
    serde_saphyr::from_str(&text)
        .map_err(|error| Error::Rules { path: path.to_owned(), reason: error.to_string() })
}

/// How durations are shortened: each becomes `least` and a part of itself.
///
/// NATS takes its 20 seconds to elect, to call a replica stale and to notice that a peer is gone, however
/// short the rules are. So what is kept long enough for these in minutes has to stay so in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// What every duration keeps.
    pub least: Duration,
    /// By what the rest is divided.
    pub divisor: u32,
}

impl Default for Scale {
    fn default() -> Self {
        Self { least: Duration::from_secs(20), divisor: 20 }
    }
}

/// A duration of `PromQL` behind the sign that makes it one, and seconds written as a product.
static RANGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(\[|\boffset )(\d+)([smhd])\b").expect("it is a pattern"));
static PRODUCT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(\d+) \* (60|3600|86400)\b").expect("it is a pattern"));

impl Scale {
    /// The shortened duration. None stays none.
    #[must_use]
    pub fn apply(&self, duration: Duration) -> Duration {
        if duration.is_zero() { duration } else { self.least + duration / self.divisor }
    }

    fn text(&self, text: &str) -> Option<String> {
        let duration = parse_duration(text)?;
        Some(format!("{}s", self.apply(duration).as_secs()))
    }

    /// Shortens ranges, offsets, and seconds that are written as a product such as `5 * 60`.
    #[must_use]
    pub fn expression(&self, expr: &str) -> String {
        let ranges = RANGE.replace_all(expr, |found: &Captures<'_>| {
            let duration = format!("{}{}", &found[2], &found[3]);
            format!("{}{}", &found[1], self.text(&duration).unwrap_or(duration))
        });
        let products = PRODUCT.replace_all(&ranges, |found: &Captures<'_>| {
            let [count, unit] = [1, 2].map(|part| found[part].parse::<u64>().unwrap_or_default());
            self.apply(Duration::from_secs(count * unit)).as_secs().to_string()
        });
        products.into_owned()
    }

    fn rule(&self, rule: &mut Rule) {
        rule.expr = self.expression(&rule.expr);
        for duration in [&mut rule.hold, &mut rule.keep_firing_for].into_iter().flatten() {
            if let Some(short) = self.text(duration) {
                *duration = short;
            }
        }
    }

    /// Writes [`FILES`] with short durations into a directory, as JSON, which is YAML too.
    pub fn write_rules(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let write = |name: &&str| {
            let mut file = read(name)?;
            let rules = file.groups.iter_mut().flat_map(|group| &mut group.rules);
            rules.for_each(|rule| self.rule(rule));
            let target = dir.join(name);
            write_json(&target, &file)?;
            Ok(target)
        };
        FILES.iter().map(write).collect()
    }

    /// Writes the example of Alertmanager with short durations, and with `base` in place of the
    /// address of its webhooks.
    pub fn write_alertmanager(&self, base: &str, target: &Path) -> Result<()> {
        let mut config: Value = parse(&path("alertmanager.example.yml"))?;
        self.walk(&mut config, base);
        write_json(target, &config)
    }

    fn walk(&self, value: &mut Value, base: &str) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item, base)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value.as_str()) {
                        ("group_wait" | "group_interval" | "repeat_interval", Some(text)) => {
                            if let Some(short) = self.text(text) {
                                *value = short.into();
                            }
                        }
                        ("url", Some(url)) => {
                            let name = url.rsplit('/').next().unwrap_or_default();
                            *value = format!("{base}/{name}").into();
                        }
                        _ => self.walk(value, base),
                    }
                }
            }
            _ => {}
        }
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::Rules { path: path.to_owned(), reason: error.to_string() })?;
    std::fs::write(path, text).map_err(Error::file("cannot write", path))
}

/// A duration of Prometheus with one unit, such as `90s` or `1h`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (count, unit) = text.split_at(text.len().checked_sub(1)?);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return None,
    };
    Some(Duration::from_secs(count.parse::<u64>().ok()? * unit))
}

/// The rule files as `PrometheusRule` objects of the Prometheus operator: the name of the file, and its text.
///
/// The rules are taken as text, so that their comments stay.
pub fn kubernetes() -> Result<Vec<(&'static str, String)>> {
    let core = &FILES[..4];
    let extra = &FILES[4..];
    [
        ("prometheusrule.yaml", "nats-exporter", core),
        ("prometheusrule-extra.yaml", "nats-exporter-extra", extra),
    ]
    .into_iter()
    .map(|(file, name, sources)| Ok((file, kubernetes_object(name, sources)?)))
    .collect()
}

fn kubernetes_object(name: &str, sources: &[&str]) -> Result<String> {
    let mut text = format!(
        "# Written by `make alerts` from {}; do not edit.\n\
         apiVersion: monitoring.coreos.com/v1\n\
         kind: PrometheusRule\n\
         metadata:\n\
         \x20 name: {name}\n\
         \x20 labels:\n\
         \x20   app.kubernetes.io/name: nats-exporter\n\
         spec:\n\
         \x20 groups:\n",
        sources.join(", ")
    );
    for source in sources {
        let path = path(source);
        let rules = std::fs::read_to_string(&path).map_err(Error::file("cannot read", &path))?;
        let Some((_, groups)) = rules.split_once("\ngroups:\n") else {
            return Err(Error::Rules { path, reason: "there is no line \"groups:\"".to_owned() });
        };
        for line in groups.lines() {
            if !line.is_empty() {
                text.push_str("  ");
            }
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_durations_of_an_expression_are_shortened_and_nothing_else() {
        let scale = Scale::default();
        for (expression, expected) in [
            ("rate(a[5m]) > 5", "rate(a[35s]) > 5"),
            ("max_over_time(a[1d]) and b offset 1h", "max_over_time(a[4340s]) and b offset 200s"),
            ("time() - a < bool 5 * 60", "time() - a < bool 35"),
            ("a > 16 * 1024 * 1024", "a > 16 * 1024 * 1024"),
            ("nats:slow_consumers:increase5m > 0", "nats:slow_consumers:increase5m > 0"),
        ] {
            assert_eq!(scale.expression(expression), expected);
        }
    }

    #[test]
    fn durations_keep_their_order_and_none_stays_none() {
        let scale = Scale::default();
        assert_eq!(scale.text("0s").as_deref(), Some("0s"));
        assert_eq!(scale.text("1m").as_deref(), Some("23s"));
        assert!(scale.text("5m") < scale.text("10m"));
        assert_eq!(scale.text("a while"), None);
    }
}
