//! `docs/limits.md` says what there is, no more and no less.

use std::collections::BTreeSet;
use std::fs;

use nats_exporter::catalog::{Family, describe};
use nats_exporter::limits::Limit;
use nats_exporter::settings::{Fallback, SETTINGS, Setting};

use crate::support::sources;

const DOCUMENT: &str = "docs/limits.md";

/// Whether a setting says how much there may be of something, or how long it may take.
fn is_limit(setting: &Setting) -> bool {
    let name = setting.key.rsplit('.').next().unwrap_or_default();
    let by_name =
        name.starts_with("max_") || name.starts_with("timeout") || name.ends_with("_timeout");
    setting.key.starts_with("limits.") || by_name
}

/// The cells of the rows of the first table.
fn rows() -> Vec<Vec<String>> {
    let document = fs::read_to_string(DOCUMENT).expect("the document is there");
    let table = document.lines().skip_while(|line| !line.starts_with("| ---")).skip(1);
    let table = table.take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    table.map(cells).collect()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn only(cell: &str) -> &str {
    let [text] = quoted(cell)[..] else { panic!("one thing between backquotes: {cell}") };
    text
}

#[test]
fn every_limit_has_a_row_and_every_row_a_setting_with_its_default() {
    let rows = rows();
    let listed: BTreeSet<&str> = rows.iter().map(|row| only(&row[0])).collect();
    assert_eq!(listed.len(), rows.len(), "a setting has two rows");
    let limits = SETTINGS.iter().filter(|setting| is_limit(setting)).map(|setting| setting.key);
    assert_eq!(listed, limits.collect());
    for row in &rows {
        let setting = Setting::find(only(&row[0])).expect("it was just compared");
        let (Fallback::Value(default) | Fallback::Words(default)) = setting.fallback;
        assert_eq!(row[1].trim_matches('`'), default, "{}", setting.key);
    }
}

#[test]
fn every_row_names_metrics_that_exist() {
    let names: BTreeSet<String> =
        describe().iter().flat_map(|table| &table.families).map(Family::sample_name).collect();
    let mut counted = BTreeSet::new();
    for row in rows() {
        for metric in quoted(&row[3]) {
            let (name, _) = metric.split_once('{').unwrap_or((metric, ""));
            assert!(names.contains(name), "{metric}");
            if metric == "nats_exporter_limit_hits_total" {
                counted.insert(only(&row[0]).to_owned());
            }
        }
        let no_metric = only(&row[0]) == "web.drain_timeout";
        assert_eq!(quoted(&row[3]).is_empty(), no_metric, "{row:?}");
    }
    let limits = Limit::ALL.into_iter().map(|limit| limit.as_str().to_owned());
    assert_eq!(counted, limits.collect());
}

#[test]
fn every_row_names_a_test_that_exists() {
    let sources = sources::all(["tests/it"]);
    for row in rows() {
        let tests = quoted(&row[4]);
        assert!(!tests.is_empty(), "{row:?}");
        for test in tests {
            assert!(sources.contains(&format!("fn {test}()")), "{test}");
        }
    }
}
