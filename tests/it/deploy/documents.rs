//! The documents for people who come from another exporter, or decide for one: what they call ours is there.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use clap::CommandFactory;
use nats_exporter::catalog::{Family, describe};
use nats_exporter::cli::Cli;
use nats_exporter::settings::SETTINGS;
use nats_harness::rules::{self, FILES};
use regex::Regex;

const MIGRATION: &str = "docs/migration.md";
const COMPARISON: &str = "docs/comparison.md";

/// What stands between backticks, without the values of labels and flags.
fn quoted(text: &str) -> Vec<String> {
    static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new("`([^`\n]+)`").unwrap());
    QUOTED.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// The words of a quotation that could be names of ours.
fn words(quoted: &str) -> Vec<&str> {
    let name = |c: char| c.is_ascii_alphanumeric() || "_:.-".contains(c);
    quoted.split(|c| !name(c)).filter(|word| !word.is_empty()).collect()
}

/// What is called ours and is not there.
fn unknown<'w>(words: impl IntoIterator<Item = &'w str>) -> Vec<String> {
    let metrics: BTreeSet<String> = describe()
        .iter()
        .flat_map(|table| table.families.iter().map(Family::sample_name))
        .collect();
    let (mut alerts, mut recorded) = (BTreeSet::new(), BTreeSet::new());
    for rule in FILES.iter().flat_map(|file| rules::read(file).unwrap().groups) {
        for rule in rule.rules {
            alerts.extend(rule.alert);
            recorded.extend(rule.record);
        }
    }
    let mut command = Cli::command();
    command.build();
    let flags: BTreeSet<String> = command
        .get_arguments()
        .filter_map(|argument| argument.get_long().map(|long| format!("--{long}")))
        .collect();
    let sections: BTreeSet<&str> =
        SETTINGS.iter().filter_map(|setting| setting.key.split_once('.')).map(|s| s.0).collect();
    let exists = |word: &str| {
        if word.starts_with("--") {
            flags.contains(word)
        } else if word.starts_with("nats:") {
            recorded.contains(word)
        } else if word.starts_with("nats_") {
            metrics.contains(word)
        } else if word.starts_with("Nats") {
            alerts.contains(word)
        } else if word.split_once('.').is_some_and(|(section, _)| sections.contains(section)) {
            SETTINGS.iter().any(|setting| setting.key == word)
        } else {
            true
        }
    };
    words.into_iter().filter(|word| !exists(word)).map(str::to_owned).collect()
}

/// The cells of a table's row.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// The rows of all tables whose last column is called `new`, as the old and the new.
fn moves(document: &str) -> Vec<(&str, &str)> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        match cells(line).as_slice() {
            [_, "new"] => inside = true,
            [old, new] if inside && !old.starts_with("---") => rows.push((*old, *new)),
            [_, _] if inside => {}
            _ => inside = false,
        }
    }
    rows
}

#[test]
fn what_replaces_the_old_is_there() {
    let document = fs::read_to_string(MIGRATION).unwrap();
    let rows = moves(&document);
    assert!(rows.len() > 90, "the tables were read: {}", rows.len());
    for (old, new) in &rows {
        assert!(!new.is_empty(), "{old} has no answer");
        let quoted = quoted(new);
        assert!(
            !quoted.is_empty() || new.contains("none") || new.contains(".json"),
            "{old}: {new}"
        );
        let unknown = unknown(quoted.iter().flat_map(|text| words(text)));
        assert_eq!(unknown, Vec::<String>::new(), "{old}: {new}");
    }
}

/// Beside the tables, and in the comparison: what has a prefix that only we have.
#[test]
fn what_is_called_ours_is_there() {
    let ours = ["nats_jetstream_", "nats_exporter_", "nats_route_", "nats_health_", "nats_tier_"];
    let mut seen = 0;
    for path in [MIGRATION, COMPARISON, "README.md", "deploy/kubernetes/README.md"] {
        let document = fs::read_to_string(path).unwrap();
        let quoted = quoted(&document);
        let words = quoted.iter().flat_map(|text| words(text)).filter(|word| {
            ours.iter().any(|prefix| word.starts_with(prefix)) || word.starts_with("nats:")
        });
        let words: Vec<&str> = words.collect();
        seen += words.len();
        assert_eq!(unknown(words), Vec::<String>::new(), "{path}");
    }
    assert!(seen > 100, "names were found: {seen}");
}

/// Names that nobody has would be found.
#[test]
fn a_wrong_name_is_found() {
    let wrong = ["nats_up_and_away", "--no-such-flag", "NatsNoSuchAlert", "nats:no", "scrape.no"];
    assert_eq!(unknown(wrong), wrong);
    assert_eq!(
        unknown(["nats_up", "--web.listen-address", "NatsBaseServerDown"]),
        Vec::<String>::new()
    );
}

/// Links of the documents that go to files of the repository.
#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#:]+)(#[^)]*)?\)").unwrap();
    let mut seen = 0;
    for path in [
        MIGRATION,
        COMPARISON,
        "README.md",
        "RELEASE.md",
        "deploy/kubernetes/README.md",
        "deploy/compose/README.md",
    ] {
        let directory = std::path::Path::new(path).parent().unwrap();
        for found in link.captures_iter(&fs::read_to_string(path).unwrap()) {
            assert!(directory.join(&found[1]).exists(), "{path}: {}", &found[1]);
            seen += 1;
        }
    }
    assert!(seen > 40, "links were found: {seen}");
}
