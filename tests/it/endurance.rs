//! The long runs in short, with the same checks; `make load` and `make soak` go on for long.

use std::path::Path;
use std::time::Duration;

use nats_harness::dataset::Dataset;
use nats_harness::endurance::{Load, Soak};
use nats_harness::newest;

fn exporter() -> std::path::PathBuf {
    Path::new(env!("CARGO_BIN_EXE_nats-exporter")).to_owned()
}

#[tokio::test]
async fn many_scrapers_get_whole_answers_from_one_request_at_a_time() {
    let load = Load {
        version: newest().to_owned(),
        exporter: exporter(),
        dataset: Dataset { streams: 20, consumers: 10, messages: 3, replicas: 1, parallel: 10 },
        scrapers: 20,
        lasts: Duration::from_secs(3),
        warm_up: Duration::from_secs(3), // Memory settles in minutes.
        base: Duration::from_millis(200),
        full: Duration::from_millis(500),
        timeout: Duration::from_secs(30), // All tests may run at once.
        evidence: None,
    };
    let loaded = load.hold().await.unwrap();
    assert!(loaded.problems().is_empty(), "{loaded:#?}");
    // A busy machine leaves rounds out, but for the first.
    assert!(loaded.base.count() >= 10 && loaded.full.count() >= 10, "{loaded:#?}");
    // Twenty streams and their consumers have some samples each.
    assert!(loaded.series[1] > 220 && loaded.jsz > 0, "{loaded:#?}");
}

#[tokio::test]
async fn restarts_leave_no_gap_and_no_stale_value() {
    let soak = Soak {
        version: newest().to_owned(),
        exporter: exporter(),
        lasts: Duration::from_millis(7_500),
        every: Duration::from_secs(3),
        down: Duration::from_millis(1_600), // There is a scrape meanwhile.
        base: Duration::from_secs(1),
        persistence: Duration::from_secs(2),
        warm_up: Duration::from_millis(7_500), // Memory settles in minutes.
        evidence: None,
    };
    let soaked = soak.hold(|_| ()).await.unwrap();
    assert!(soaked.lies.is_empty() && !soaked.stops.is_empty(), "{soaked:#?}");
    assert!(soaked.series > 60 && soaked.compared > 0, "{soaked:#?}");
    // A machine on which Prometheus itself gets no processor for a second proves nothing by a gap.
    if soaked.lateness < Duration::from_millis(300) {
        assert!(soaked.problems().is_empty(), "{soaked:#?}");
    }
}
