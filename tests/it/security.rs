//! What `SECURITY.md` promises and no other file tests, and that each of its promises has a test.

use std::fs;
use std::time::Duration;

use nats_harness::monitor::{Fault, Question};

use super::support::exporter::Exporter;
use super::support::model::Model;
use super::support::monitor::Monitor;
use super::support::sources;

const DOCUMENT: &str = "SECURITY.md";

/// The cells of the rows of all tables: a promise, and its tests.
fn rows(document: &str) -> Vec<(String, Vec<String>)> {
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| ---");
    let row = |line: &str| {
        let (promise, tests) = line.trim_matches('|').rsplit_once(" | ").expect("two cells");
        let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (promise.trim().to_owned(), tests)
    };
    let rows = document.lines().filter(is_row).map(row);
    rows.filter(|(promise, _)| promise != "They cannot").collect()
}

#[test]
fn every_promise_names_what_holds_it() {
    let document = fs::read_to_string(DOCUMENT).expect("it is there");
    let sources = sources::all(["src", "tests/it", "harness/src", "fuzz"]);
    let makefile = fs::read_to_string("Makefile").expect("it is there");
    let rows = rows(&document);
    assert!(rows.len() > 20, "the tables are read: {rows:?}");
    for (promise, tests) in rows {
        assert!(!tests.is_empty(), "nothing holds: {promise}");
        for test in tests {
            let there = match test.strip_prefix("make ") {
                Some(target) => makefile.contains(&format!("\n{target}:")),
                None => sources.contains(&format!("fn {test}(")),
            };
            assert!(there, "{test} is not there, for: {promise}");
        }
    }
}

/// Text that would begin a line of its own in a log, and steer the terminal that shows it.
const FORGED: &str = "n1\n2026-01-01T00:00:00Z  INFO forged: all is well\u{1b}[2J\r\u{7}";

#[tokio::test]
async fn answers_of_servers_begin_no_line_of_the_log() {
    for format in ["text", "json"] {
        let monitor = Monitor::start(Model::new(FORGED, (2, 15, 1))).await;
        monitor.change(|model| model.cluster = FORGED.to_owned());
        let log = ["--log.level=trace", &format!("--log.format={format}"), &monitor.url()]
            .map(str::to_owned);
        let exporter = Exporter::start(&log);
        exporter.samples("/metrics").await;
        // Names that change are told, and so are answers that cannot be read, and unknown fields.
        monitor.change(|model| model.name = format!("{FORGED}2"));
        let unknown = serde_json::json!({ FORGED: 1 }).to_string();
        monitor.gate.spoil(Question::Routez, Fault::answer(200, unknown));
        monitor.gate.spoil(Question::Healthz, Fault::answer(500, FORGED));
        exporter.samples("/metrics").await;
        monitor.gate.spoil(Question::Varz, Fault::answer(200, FORGED));
        exporter.samples("/metrics").await;
        exporter.get("/metrics?forged=%0aforged%1b").await;
        let log = exporter.log();
        assert!(log.contains("forged"), "names are told: {log}");
        for line in log.lines() {
            let begins = if format == "json" { "{" } else { "20" };
            assert!(line.starts_with(begins) && !line.starts_with("2026-01-01"), "{line:?}");
            assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        }
    }
}

#[tokio::test]
async fn no_proxy_of_the_environment_is_asked() {
    let monitor = Monitor::start(Model::default()).await;
    let proxy = Monitor::start(Model::default()).await;
    let url = proxy.url();
    let names = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"];
    let variables = names.map(|name| (name, url.as_str()));
    let exporter = Exporter::start_with(&[monitor.url()], &variables);
    let samples = exporter
        .until("/metrics", Duration::from_secs(20), |s| s.value("nats_up", &[]) == Some(1.0));
    assert_eq!(samples.await.value("nats_up", &[]), Some(1.0));
    assert!(!monitor.requests().is_empty());
    assert_eq!(proxy.requests().len(), 0);
}
