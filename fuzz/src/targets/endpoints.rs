//! `/varz`, `/routez` and plain `/jsz`.

use std::collections::BTreeMap;

use serde_json::json;

use crate::SEPARATOR;
use crate::exposition::Family;
use crate::stage::{Answers, Server};

pub(super) fn varz(body: &[u8]) {
    let server = Server::default();
    let answers = Answers { varz: Some(server.varz(body)), ..Answers::default() };
    let _ = server.shown(&answers);
}

pub(super) fn jsz(body: &[u8]) {
    let server = Server::default();
    let jsz = server.jsz(body);
    let id = jsz.as_ref().ok().and_then(|reading| reading.value.server_id.clone());
    let varz = id.map(|id| introduce(&server, &id));
    let _ = server.shown(&Answers { varz, jsz: Some(jsz), ..Answers::default() });
}

/// Route counters by their labels, in one scrape.
type Counts = BTreeMap<(String, BTreeMap<String, String>), u64>;

fn route_counters(families: &[Family]) -> Counts {
    let counters = families
        .iter()
        .filter(|family| family.is_counter && family.name.starts_with("nats_route_"));
    let counts = counters.flat_map(|family| {
        let count = |text: &str| text.parse().expect("traffic is a whole number");
        family
            .samples
            .iter()
            .map(move |s| ((family.name.clone(), s.labels.clone()), count(&s.text)))
    });
    counts.collect()
}

pub(super) fn routez(bodies: &[u8]) {
    let server = Server::default();
    let varz = introduce(&server, "A");
    let mut before = (None, Counts::new());
    // More answers tell nothing new.
    for body in bodies.split(|byte| *byte == SEPARATOR).take(8) {
        let routez = server.routez(body);
        let id = routez.as_ref().ok().and_then(|reading| reading.value.server_id.clone());
        let answers =
            Answers { varz: Some(varz.clone()), routez: Some(routez), ..Answers::default() };
        let now = (id, route_counters(&server.shown(&answers)));
        if now.0.is_none() {
            continue;
        }
        if now.0 == before.0 {
            for (series, count) in &before.1 {
                assert!(now.1.get(series).is_none_or(|now| now >= count), "{series:?} falls");
            }
        }
        before = now;
    }
}

/// Has a server say who it is: `n1` of a cluster, in the process `id`.
pub(super) fn introduce(
    server: &Server,
    id: &str,
) -> nats_exporter::flight::Outcome<nats_exporter::nats::varz::Varz> {
    let varz = json!({ "server_id": id, "server_name": "n1", "version": "2.11.11",
        "cluster": { "name": "C1" } });
    server.varz(varz.to_string().as_bytes())
}
