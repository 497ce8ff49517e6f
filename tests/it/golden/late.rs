//! What becomes of a scrape whose streams and consumers are not written in time.

use std::collections::BTreeMap;
use std::sync::Arc;

use nats_exporter::exposition::Format;
use nats_exporter::nats::endpoint::Endpoint;
use nats_exporter::nats::failure::Reason;
use nats_exporter::scrape::Scrape;
use nats_exporter::snapshot::Report;
use nats_exporter::tier::TierSet;
use serde_json::json;
use tokio::time::Instant;

use super::oracle::{Bodies, ID, OWN_NAME, PATIENCE, scrape, written};
use crate::support::samples::Samples;

/// A server with more than is written at once.
fn large() -> Scrape {
    let consumers: Vec<_> = (0..2_000)
        .map(|number| {
            json!({ "name": format!("c{number}"), "num_pending": 1,
            "config": { "durable_name": "x" } })
        })
        .collect();
    let stream = json!({ "name": "ORDERS", "config": {}, "state": { "messages": 7 },
        "consumer_detail": consumers });
    let mut scrape = scrape(&Bodies {
        varz: json!({ "server_id": ID, "server_name": OWN_NAME, "connections": 3 }),
        jsz: json!({ "server_id": ID, "storage": 5 }),
        detail: json!({ "server_id": ID,
            "account_details": [{ "name": "A", "stream_detail": [stream] }] }),
    });
    scrape.selection.tiers = TierSet::ALL;
    let snapshot = &mut scrape.snapshots[0];
    let persistence = snapshot.persistence.as_ref().expect("it was asked for");
    let detail = persistence.detail.as_ref().expect("it was asked for");
    snapshot.endpoints = vec![Report::new(Endpoint::JszDetail, detail)];
    scrape
}

fn samples(scrape: Scrape, deadline: Instant) -> Samples {
    Samples::parse(&written(scrape, Format::OpenMetrics, deadline))
}

#[test]
fn streams_that_are_not_written_in_time_are_left_out_and_the_rest_goes_out() {
    let whole = samples(large(), Instant::now() + PATIENCE);
    let late = large();
    let memory = Arc::clone(&late.snapshots[0].memory);
    let rest = samples(late, Instant::now());

    let of = |samples: &Samples, prefix: &str| -> BTreeMap<_, _> {
        let is_of = |sample: &&crate::support::samples::Sample| sample.name.starts_with(prefix);
        let key = |sample: &crate::support::samples::Sample| {
            ((sample.name.clone(), sample.labels.clone()), sample.text.clone())
        };
        samples.0.iter().filter(is_of).map(key).collect()
    };
    for kept in ["nats_server_", "nats_jetstream_storage_"] {
        assert!(!of(&rest, kept).is_empty(), "{kept}");
        assert_eq!(of(&rest, kept), of(&whole, kept), "{kept}");
    }
    for (cut, count) in
        [("nats_jetstream_stream_messages", 1), ("nats_jetstream_consumer_pending_messages", 2_000)]
    {
        assert_eq!(of(&whole, cut).len(), count, "{cut}");
    }
    for cut in ["nats_jetstream_stream_", "nats_jetstream_consumer_", "nats_jetstream_account_"] {
        assert!(of(&rest, cut).is_empty(), "{cut}");
    }
    let endpoint = [("endpoint", Endpoint::JszDetail.as_str())];
    for (samples, up) in [(whole, 1.0), (rest, 0.0)] {
        assert_eq!(samples.value("nats_exporter_endpoint_up", &endpoint), Some(up));
        let ages = samples.find("nats_exporter_endpoint_age_seconds", &endpoint).count();
        assert_eq!(ages as f64, up, "nothing is shown, so nothing is old");
        let why = [endpoint[0], ("reason", "timeout")];
        let reasons = samples.find("nats_exporter_endpoint_failure_info", &why).count();
        assert_eq!(reasons as f64, 1.0 - up);
    }
    let history = memory.history(Endpoint::JszDetail);
    assert_eq!(history.failures, BTreeMap::from([(Reason::Timeout, 1)]));
}
