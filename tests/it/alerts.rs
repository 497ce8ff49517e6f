//! The rules in `alerts/`, checked as software: what they read, which labels they give, who is told what to do.
//!
//! `UPDATE=1 cargo test` rewrites the objects for Kubernetes.

#[path = "alerts/promql.rs"]
pub(crate) mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nats_exporter::catalog::{Kind, describe};
use nats_exporter::tier::Tier;
use nats_harness::rules::{self, FILES, Rule, parse_duration};
use serde::Deserialize;

use crate::support::is_update;

/// What comes from elsewhere, with the labels that are used of it.
const FOREIGN: &[(&str, &[&str])] = &[
    ("up", &["job", "instance"]),
    ("scrape_duration_seconds", &["job", "instance"]),
    ("kubelet_volume_stats_available_bytes", &["namespace", "persistentvolumeclaim"]),
    ("kubelet_volume_stats_capacity_bytes", &["namespace", "persistentvolumeclaim"]),
];

/// The one recorded series that reads its own past, with its labels.
const READS_ITSELF: (&str, [&str; 2]) = ("nats:server_up:max", ["nats_cluster", "server"]);

/// The one rule of the base tier that reads the persistence tier: it is about what probes do to both.
const OF_BOTH: &str = "NatsProbeRestartStorm";

/// What a scrape adds to every series.
const OF_A_SCRAPE: [&str; 2] = ["job", "instance"];

fn all_rules() -> Vec<(&'static str, Rule)> {
    let rules = FILES.iter().flat_map(|file| {
        let groups = rules::read(file).unwrap().groups;
        groups.into_iter().flat_map(|group| group.rules).map(move |rule| (*file, rule))
    });
    rules.collect()
}

fn alerts() -> Vec<(&'static str, Rule)> {
    all_rules().into_iter().filter(|(_, rule)| rule.alert.is_some()).collect()
}

/// Every metric with its labels and those of a scrape, and every recorded series.
pub(crate) fn series() -> promql::Series {
    let mut series: promql::Series = FOREIGN
        .iter()
        .map(|(name, labels)| {
            ((*name).to_owned(), labels.iter().map(|l| (*l).to_owned()).collect())
        })
        .collect();
    for table in describe() {
        for family in &table.families {
            let labels =
                table.labels.iter().copied().chain(OF_A_SCRAPE).map(str::to_owned).collect();
            series.insert(family.sample_name(), labels);
        }
    }
    let (name, labels) = READS_ITSELF;
    series.insert(name.to_owned(), labels.iter().map(|label| (*label).to_owned()).collect());
    for (_, rule) in all_rules() {
        if let Some(name) = &rule.record {
            let mut labels = promql::labels(&promql::parse(&rule.expr), &series);
            labels.extend(rule.labels.keys().cloned());
            series.entry(name.clone()).or_default().extend(labels);
        }
    }
    series
}

/// The samples of counters, which mean something only as a rate.
pub(crate) fn counters() -> BTreeSet<String> {
    let tables = describe();
    let families = tables.iter().flat_map(|table| &table.families);
    let counters = families.filter(|family| family.kind == Kind::Counter);
    counters.map(nats_exporter::catalog::Family::sample_name).collect()
}

/// The tiers of the metrics that each recorded series is made of, and of each metric.
struct Tiers {
    of_metric: BTreeMap<String, BTreeSet<Tier>>,
}

impl Tiers {
    fn new() -> Self {
        let tables = describe();
        let of_metric = tables.iter().flat_map(|table| {
            let tiers: BTreeSet<Tier> = table.tiers.iter().copied().collect();
            table.families.iter().map(move |family| (family.sample_name(), tiers.clone()))
        });
        let mut tiers = Self { of_metric: of_metric.collect() };
        for (_, rule) in all_rules() {
            if let Some(name) = &rule.record {
                let read = tiers.read_by(&rule.expr);
                tiers.of_metric.entry(name.clone()).or_default().extend(read);
            }
        }
        tiers
    }

    /// The tiers that an expression reads. A series that both tiers have belongs to the one that the selector names.
    fn read_by(&self, expr: &str) -> BTreeSet<Tier> {
        let expr = promql::parse(expr);
        let selectors = promql::selectors(&expr).into_iter();
        selectors
            .flat_map(|(selector, _)| {
                let name = promql::name(selector);
                let tiers = self.of_metric.get(name).cloned().unwrap_or_default();
                let named = |name: &str| {
                    selector
                        .matchers
                        .matchers
                        .iter()
                        .find(|m| m.name == name)
                        .map(|m| m.value.as_str())
                };
                match (tiers.len(), named("tier"), named("endpoint")) {
                    (2, Some("base"), _) => [Tier::Base].into(),
                    (2, Some("persistence"), _) => [Tier::Persistence].into(),
                    (2, _, Some(endpoint)) if endpoint.contains("jsz") => {
                        [Tier::Persistence].into()
                    }
                    _ => tiers,
                }
            })
            .collect()
    }
}

fn tool(name: &str) -> PathBuf {
    nats_harness::tool(name).unwrap()
}

/// The output of a program that has to succeed.
fn run(program: &Path, arguments: &[PathBuf]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let [text, errors] =
        [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    assert!(output.status.success(), "{} {arguments:?}:\n{text}{errors}", program.display());
    text
}

#[test]
fn expressions_read_what_there_is_and_have_the_right_types() {
    let series = series();
    for (file, rule) in all_rules() {
        let expr = promql::parse(&rule.expr);
        // Panics where a metric or a label does not exist, or two sides do not match.
        let labels = promql::labels(&expr, &series);
        assert!(
            !labels.is_empty()
                || rule.name() == "NatsAlertingWatchdog"
                || rule.name() == "NatsExporterAbsent",
            "{file}: {} has no label",
            rule.name()
        );
    }
}

#[test]
fn results_do_not_depend_on_who_scraped_whom() {
    let series = series();
    for (file, rule) in all_rules() {
        let labels = promql::labels(&promql::parse(&rule.expr), &series);
        let about_exporter = rule.labels.get("scope").is_some_and(|scope| scope == "exporter");
        let of_scrape = OF_A_SCRAPE.iter().any(|label| labels.contains(*label));
        assert!(!of_scrape || about_exporter, "{file}: {} has labels {labels:?}", rule.name());
        let elsewhere = ["exporter", "watchdog", "volume"];
        let needs_cluster =
            rule.labels.get("scope").is_none_or(|scope| !elsewhere.contains(&scope.as_str()));
        assert!(
            !needs_cluster || labels.contains("nats_cluster"),
            "{file}: {} has no nats_cluster: {labels:?}",
            rule.name()
        );
    }
}

#[test]
fn no_tier_reads_from_above() {
    let tiers = Tiers::new();
    let own = |tier: &str| -> BTreeSet<Tier> {
        match tier {
            "base" => [Tier::Base].into(),
            "persistence" => [Tier::Base, Tier::Persistence].into(),
            _ => Tier::ALL.into(),
        }
    };
    let mut exceptions = 0;
    for (file, rule) in alerts() {
        let read = tiers.read_by(&rule.expr);
        if rule.name() == OF_BOTH {
            assert_eq!(read, [Tier::Base, Tier::Persistence].into());
            exceptions += 1;
            continue;
        }
        let own = own(&rule.labels["tier"]);
        assert!(read.is_subset(&own), "{file}: {} reads {read:?}", rule.name());
        if file.starts_with("persistence") {
            assert!(read.contains(&Tier::Persistence), "{} is of the base tier", rule.name());
        }
    }
    assert_eq!(exceptions, 1);
}

#[test]
fn counters_are_read_as_rates_and_denominators_are_not_zero() {
    let counters = counters();
    for (file, rule) in all_rules() {
        let expr = promql::parse(&rule.expr);
        for (selector, around) in promql::selectors(&expr) {
            let as_rate = promql::is_rate(&around);
            let name = promql::name(selector);
            assert!(!counters.contains(name) || as_rate, "{file}: {} reads {name}", rule.name());
        }
        let unguarded = promql::unguarded_denominators(&expr);
        // A count of something is at least one.
        let unguarded: Vec<_> = unguarded.iter().filter(|d| !d.starts_with("count")).collect();
        assert!(unguarded.is_empty(), "{file}: {} divides by {unguarded:?}", rule.name());
    }
}

#[test]
fn every_alert_says_who_has_to_know_and_what_to_do() {
    let values = [
        ("severity", &["critical", "warning", "info", "none"][..]),
        ("tier", &["base", "persistence", "exporter"]),
        (
            "scope",
            &[
                "cluster", "server", "route", "probe", "stream", "consumer", "volume", "exporter",
                "watchdog",
            ],
        ),
        ("restart", &["helps", "harmless", "harmful"]),
    ];
    for (file, rule) in alerts() {
        let name = rule.name();
        let labels: Vec<_> = rule.labels.keys().map(String::as_str).collect();
        assert_eq!(labels, ["restart", "scope", "severity", "tier"], "{file}: {name}");
        for (label, allowed) in values {
            assert!(allowed.contains(&&*rule.labels[label]), "{file}: {name} {label}");
        }
        let tier = &*rule.labels["tier"];
        assert!(file.starts_with(tier) || file.starts_with("extra"), "{file}: {name} is of {tier}");
        let prefixes: &[&str] = match tier {
            "base" => &["NatsBase", "NatsProbe"],
            "persistence" => &["NatsJetStream"],
            _ => &["NatsExporter", "NatsAlerting"],
        };
        assert!(
            prefixes.iter().any(|prefix| name.starts_with(prefix)),
            "{file}: {name} is of {tier}"
        );

        let annotations: Vec<_> = rule.annotations.keys().map(String::as_str).collect();
        assert_eq!(annotations, ["description", "runbook_url", "summary"], "{file}: {name}");
        let summary = &rule.annotations["summary"];
        assert!(summary.ends_with('.') && !summary.contains("{{"), "{file}: {name}: {summary}");
        let page = format!("/blob/main/docs/runbooks/{name}.md");
        let url = concat!(env!("CARGO_PKG_REPOSITORY")).to_owned() + &page;
        assert_eq!(rule.annotations["runbook_url"], url, "{file}: {name}");
    }
}

#[test]
fn descriptions_use_only_labels_that_are_there() {
    let series = series();
    let mut used = 0;
    for (file, rule) in alerts() {
        let mut labels = promql::labels(&promql::parse(&rule.expr), &series);
        labels.extend(rule.labels.keys().cloned());
        let description = &rule.annotations["description"];
        for rest in description.split("$labels.").skip(1) {
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            assert!(
                labels.contains(&rest[..end]),
                "{file}: {} has no {}",
                rule.name(),
                &rest[..end]
            );
            used += 1;
        }
    }
    assert!(used > 100, "{used}");
}

#[test]
fn alerts_are_conditions_that_have_to_last() {
    for (file, rule) in alerts() {
        let name = rule.name();
        if name == "NatsAlertingWatchdog" {
            continue;
        }
        let expr = promql::parse(&rule.expr);
        assert!(promql::is_condition(&expr), "{file}: {name} has no condition");
        for duration in [&rule.hold, &rule.keep_firing_for].into_iter().flatten() {
            assert!(parse_duration(duration).is_some(), "{file}: {name}: {duration}");
        }
        // What looks back over a window has its time in there, and ends as suddenly.
        let looks_back = rule.expr.contains("changes(") || rule.expr.contains("increase");
        match &rule.hold {
            Some(hold) => assert!(parse_duration(hold).unwrap().as_secs() >= 60, "{file}: {name}"),
            None => assert!(looks_back && rule.keep_firing_for.is_some(), "{file}: {name}"),
        }
    }
}

/// Two thresholds of one condition share a name, and nothing else does.
#[test]
fn alerts_of_one_name_differ_in_severity() {
    let mut seen = BTreeMap::new();
    for (_, rule) in alerts() {
        let severity = rule.labels["severity"].clone();
        let key = (rule.name().to_owned(), severity);
        assert!(seen.insert(key, rule.labels["tier"].clone()).is_none(), "{}", rule.name());
    }
    let mut recorded = BTreeSet::new();
    for (_, rule) in all_rules() {
        if let Some(name) = &rule.record {
            let levels: Vec<_> = name.split(':').collect();
            assert!(levels.len() == 3 && levels[0] == "nats", "{name}");
            assert!(recorded.insert((name.clone(), rule.labels.get("reason").cloned())), "{name}");
        }
    }
}

const HEADINGS: [&str; 6] =
    ["What it means", "What users see", "Confirm", "Do", "Do not", "Over when"];

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let wanted: BTreeSet<String> =
        alerts().iter().map(|(_, rule)| rule.name().to_owned()).collect();
    let pages = fs::read_dir("docs/runbooks").unwrap();
    let pages = pages.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<String> = pages
        .filter(|name| name != "README.md")
        .map(|name| name.strip_suffix(".md").expect("pages are Markdown").to_owned())
        .collect();
    assert_eq!(wanted, pages);
    let index = fs::read_to_string("docs/runbooks/README.md").unwrap();
    let series = series();
    for name in pages {
        let text = fs::read_to_string(format!("docs/runbooks/{name}.md")).unwrap();
        assert!(text.starts_with(&format!("# {name}\n")), "{name}");
        let headings: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, HEADINGS, "{name}");
        let parts =
            text.split("\n## ").skip(1).map(|part| part.split_once('\n').unwrap_or_default().1);
        assert!(parts.into_iter().all(|part| part.trim().len() > 5), "{name} has an empty part");
        let rules: Vec<_> = alerts().into_iter().filter(|(_, rule)| rule.name() == name).collect();
        for (_, rule) in &rules {
            for label in ["severity", "tier", "restart"] {
                let value = &rule.labels[label];
                assert!(
                    text.lines().take(4).any(|line| line.contains(value)),
                    "{name}: {label} {value}"
                );
            }
        }
        assert!(index.contains(&format!("[{name}]({name}.md)")), "{name} is not in the index");
        names_are_known(&name, &text, &series);
    }
    names_are_known("README", &index, &series);
}

/// What looks like a metric is one.
fn names_are_known(page: &str, text: &str, series: &promql::Series) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    for word in text.split(|c| !is_part(c)) {
        let word = word.trim_end_matches(':');
        let looks =
            (word.starts_with("nats_") || word.starts_with("nats:")) && !word.ends_with('_');
        let known = series.contains_key(word) || ["nats_cluster", "nats_exporter"].contains(&word);
        assert!(!looks || known, "{page} names {word}, which does not exist");
    }
}

#[test]
fn links_between_runbooks_lead_somewhere() {
    for entry in fs::read_dir("docs/runbooks").unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.contains("://") && !file.is_empty() {
                assert!(path.with_file_name(file).exists(), "{} links {link}", path.display());
            }
        }
    }
}

#[test]
fn the_objects_for_kubernetes_are_the_rule_files() {
    #[derive(Deserialize)]
    struct Object {
        kind: String,
        spec: rules::File,
    }
    let mut groups = 0;
    for (name, expected) in rules::kubernetes().unwrap() {
        let path = rules::path(name);
        if is_update() {
            fs::write(&path, &expected).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expected, "alerts/{name} is old; `make alerts` writes it");
        let object: Object = serde_saphyr::from_str(&found).unwrap();
        assert_eq!(object.kind, "PrometheusRule");
        groups += object.spec.groups.len();
    }
    let files = FILES.iter().map(|file| rules::read(file).unwrap().groups.len());
    assert_eq!(groups, files.sum::<usize>());
}

#[test]
fn prometheus_and_alertmanager_take_the_files() {
    let files: Vec<PathBuf> = FILES.iter().map(|file| rules::path(file)).collect();
    let arguments: Vec<PathBuf> =
        ["check", "rules"].iter().map(PathBuf::from).chain(files).collect();
    run(&tool("promtool"), &arguments);
    let example = rules::path("alertmanager.example.yml");
    run(&tool("amtool"), &["check-config".into(), example]);
}

/// Which alerts go where, and that each has a way.
#[test]
fn alerts_are_routed_by_tier_and_severity() {
    let amtool = tool("amtool");
    let config = rules::path("alertmanager.example.yml");
    let mut ways = BTreeMap::new();
    for (_, rule) in alerts() {
        let label = |name: &str| format!("{name}={}", rule.labels[name]);
        let alert = format!("alertname={}", rule.name());
        let key = (rule.labels["tier"].clone(), rule.labels["severity"].clone());
        let way = ways.entry(key.clone()).or_insert_with(|| {
            let arguments = ["config", "routes", "test", "--config.file"].map(PathBuf::from);
            let labels = [label("tier"), label("severity"), alert].map(PathBuf::from);
            let arguments: Vec<_> =
                arguments.into_iter().chain([config.clone()]).chain(labels).collect();
            run(&amtool, &arguments).trim().to_owned()
        });
        let team = if key.0 == "persistence" { "data" } else { "platform" };
        let expected = match key.1.as_str() {
            "critical" => format!("page-{team}"),
            "warning" => format!("ticket-{team}"),
            "none" => "watchdog".to_owned(),
            _ => "nobody".to_owned(),
        };
        assert_eq!(*way, expected, "{key:?}");
    }
    assert_eq!(ways.len(), 8, "{ways:?}");
}

/// What of a unit test of promtool is looked at here.
#[derive(Deserialize)]
struct TestFile {
    rule_files: Vec<String>,
    tests: Vec<TestGroup>,
}

#[derive(Deserialize)]
struct TestGroup {
    name: String,
    #[serde(default)]
    promql_expr_test: Vec<ExprTest>,
}

#[derive(Deserialize)]
struct ExprTest {
    expr: String,
    #[serde(default)]
    exp_samples: Vec<ExpectedSample>,
}

#[derive(Deserialize)]
struct ExpectedSample {
    labels: String,
}

fn unit_tests() -> Vec<(PathBuf, TestFile)> {
    let entries = fs::read_dir("tests/alerts").unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let file =
            serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path, file)
    };
    entries.map(read).collect()
}

#[test]
fn unit_tests_of_the_rules_pass() {
    let files: Vec<PathBuf> = unit_tests().into_iter().map(|(path, _)| path).collect();
    let arguments: Vec<PathBuf> =
        ["test", "rules"].iter().map(PathBuf::from).chain(files).collect();
    run(&tool("promtool"), &arguments);
}

/// Whether an expression of a unit test asks for this alert, or for all.
fn is_about(expr: &str, alert: &str) -> bool {
    expr.contains("ALERTS") && (expr.contains(alert) || !expr.contains("alertname"))
}

/// Each alert fires with its severity and ends, and each is silent in a case that is nearly one.
#[test]
fn every_alert_has_unit_tests() {
    let mut fires = BTreeSet::new();
    let mut silent = BTreeSet::new();
    for (path, file) in unit_tests() {
        assert_eq!(file.rule_files.len(), FILES.len(), "{}", path.display());
        for group in file.tests {
            let Some((alert, what)) = group.name.split_once(' ') else { continue };
            let about: Vec<_> =
                group.promql_expr_test.iter().filter(|test| is_about(&test.expr, alert)).collect();
            if what.starts_with("is silent") {
                assert!(!about.is_empty(), "{}: asks nothing", group.name);
                assert!(about.iter().all(|test| test.exp_samples.is_empty()), "{}", group.name);
                silent.insert(alert.to_owned());
            } else if what.starts_with("fires") && !about.is_empty() {
                let first = about.first().unwrap();
                let last = about.last().unwrap();
                let ends = first.exp_samples.is_empty() && last.exp_samples.is_empty();
                assert!(ends || alert == "NatsAlertingWatchdog", "{} does not end", group.name);
                let samples = about.iter().flat_map(|test| &test.exp_samples);
                for severity in ["critical", "warning", "info", "none"] {
                    let label = format!("severity=\"{severity}\"");
                    if samples.clone().any(|sample| sample.labels.contains(&label)) {
                        fires.insert((alert.to_owned(), severity));
                    }
                }
            }
        }
    }
    for (_, rule) in alerts() {
        let name = rule.name().to_owned();
        let severity = rule.labels["severity"].as_str();
        assert!(
            fires.iter().any(|(a, s)| *a == name && *s == severity),
            "{name} {severity} never fires"
        );
        let always = name == "NatsAlertingWatchdog";
        assert!(always || silent.contains(&name), "{name} has no near miss");
    }
}
