//! What holds for all names and all histories of a server.

use std::collections::{BTreeMap, BTreeSet};

use nats_exporter::catalog;
use nats_exporter::detail::{Detail, Known, Reader};
use nats_exporter::flight::Outcome;
use nats_exporter::nats::endpoint::Endpoint;
use nats_exporter::snapshot::Snapshot;
use nats_fuzz::exposition::{Family, Sample};
use nats_fuzz::stage::{Answers, CONFIG, Server, shown};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

fn detail(server: &Server, body: &str) -> Outcome<Detail> {
    let mut reader = Reader::new(CONFIG.jetstream.clone(), Known::default());
    let read = reader.push(body.as_bytes()).and_then(|()| reader.end_page());
    server.note(Endpoint::JszDetail, read.and_then(|_| reader.finish()).map(|(detail, _)| detail))
}

/// Names as nobody should choose them.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => any::<String>(),
        2 => "[\"\\\\\n\r\t{}=, #]{1,8}",
        2 => "[\\x00-\\x1f\\x7f-\\x9f]{1,8}",
        // Next to the surrogates, which no text can have.
        1 => "[\u{d7ff}\u{e000}\u{ffff}\u{10ffff}\u{feff}\u{202e}]{1,8}",
        1 => Just("\\n\\\"\\\\".to_owned()),
        1 => Just("\\u{d800}\\".to_owned()),
        1 => Just("\"\n".repeat(1 << 15)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_name_comes_back_as_it_is(
        [cluster, own, account, stream, consumer] in [name(), name(), name(), name(), name()]
    ) {
        // An empty name is no name: the exporter puts another one in its place.
        prop_assume!(!cluster.is_empty() && !own.is_empty() && own != "A");
        let server = Server::default();
        let varz = json!({ "server_id": "A", "server_name": own, "version": "2.11.11",
            "cluster": { "name": cluster } });
        let group = json!({ "leader": own });
        let consumers = json!([{ "name": consumer, "cluster": group, "config": { "durable_name": consumer },
            "num_pending": 1 }]);
        let streams = json!([{ "name": stream, "cluster": group, "config": {}, "state": { "messages": 1 },
            "consumer_detail": consumers }]);
        let body = json!({ "server_id": "A",
            "account_details": [{ "name": account, "id": account, "stream_detail": streams }] });
        let answers = Answers {
            varz: Some(server.varz(varz.to_string().as_bytes())),
            detail: Some(detail(&server, &body.to_string())),
            ..Answers::default()
        };
        let families = server.shown(&answers);
        let labels = |family: &str| {
            let family = families.iter().find(|found| found.name == family);
            family.expect("it is shown").samples[0].labels.clone()
        };
        let expected = |labels: &[(&str, &String)]| -> BTreeMap<String, String> {
            let kept = labels.iter().filter(|(_, value)| !value.is_empty());
            kept.map(|(name, value)| ((*name).to_owned(), (*value).clone())).collect()
        };
        prop_assert_eq!(labels("nats_up"), expected(&[("nats_cluster", &cluster), ("server", &own)]));
        let of_stream = [("nats_cluster", &cluster), ("account", &account), ("stream", &stream)];
        prop_assert_eq!(labels("nats_jetstream_stream_messages"), expected(&of_stream));
        if consumer.is_empty() {
            // Without a durable name it is one of those that are summed up.
            return Ok(());
        }
        let of_consumer = [&of_stream[..], &[("consumer", &consumer)]].concat();
        prop_assert_eq!(labels("nats_jetstream_consumer_pending_messages"), expected(&of_consumer));
    }

    #[test]
    fn a_counter_falls_only_where_another_series_tells_why(steps in vec(step(), 1..16)) {
        let mut world = World::default();
        let mut before = Seen::of(&world.look(&Step::Elect));
        // So that there is something to compare.
        for counter in ["server_in_messages", "route_in_messages", "jetstream_api_requests",
            "jetstream_stream_published_messages", "jetstream_consumer_delivered_messages", "exporter_unknown_fields"] {
            let name = format!("nats_{counter}_total");
            prop_assert!(before.counters.keys().any(|(found, _)| *found == name), "{name}");
        }
        for step in steps {
            world.take(&step);
            let now = Seen::of(&world.look(&step));
            before.check(now, &step)?;
        }
    }
}

/// What changes between two scrapes.
#[derive(Debug, Clone)]
enum Step {
    /// Messages come from clients: so many.
    Traffic(u16),
    /// Messages go over one of the routes.
    Route(u8, u16),
    /// A route is opened anew; its counts begin at zero.
    Reconnect(u8),
    /// A server is started anew.
    Restart(bool),
    /// Messages are stored and delivered.
    Publish(u16),
    /// The stream is made anew under its old name, or its consumer is.
    Recreate(bool),
    /// The other server leads from now on.
    Elect,
    /// A body is no JSON.
    Garbage(u8),
    /// A body has a field that nobody knows.
    News,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => any::<u16>().prop_map(Step::Traffic),
        4 => (0..4_u8, any::<u16>()).prop_map(|(route, count)| Step::Route(route, count)),
        2 => (0..4_u8).prop_map(Step::Reconnect),
        1 => any::<bool>().prop_map(Step::Restart),
        2 => any::<u16>().prop_map(Step::Publish),
        1 => any::<bool>().prop_map(Step::Recreate),
        1 => Just(Step::Elect),
        1 => (0..4_u8).prop_map(Step::Garbage),
        1 => Just(Step::News),
    ]
}

/// Two servers of a cluster with one stream, and what the exporter remembers of them.
struct World {
    nodes: [Node; 2],
    leads: usize,
    stream: Asset,
    consumer: Asset,
    /// Seconds.
    now: u32,
    /// Connections ever made: the newest has this number.
    connections: u64,
}

struct Node {
    server: Server,
    started: u32,
    messages: u64,
    /// Number and messages of each connection to the other server.
    routes: Vec<(u64, u64)>,
}

#[derive(Clone, Copy)]
struct Asset {
    created: u32,
    sequence: u64,
}

impl Default for World {
    fn default() -> Self {
        let node = |messages| Node {
            server: Server::default(),
            started: 0,
            messages,
            routes: vec![(1, 1000), (2, 7)],
        };
        let asset = Asset { created: 0, sequence: 500 };
        Self {
            nodes: [node(900), node(5)],
            leads: 0,
            stream: asset,
            consumer: asset,
            now: 0,
            connections: 2,
        }
    }
}

impl World {
    fn take(&mut self, step: &Step) {
        self.now += 10;
        match *step {
            Step::Traffic(count) => self.nodes[0].messages += u64::from(count),
            Step::Route(route, count) => {
                let routes = &mut self.nodes[usize::from(route) % 2].routes;
                let at = usize::from(route / 2) % routes.len();
                routes[at].1 += u64::from(count);
            }
            Step::Reconnect(route) => {
                self.connections += 1;
                let routes = &mut self.nodes[usize::from(route) % 2].routes;
                let at = usize::from(route / 2) % routes.len();
                routes[at] = (self.connections, 3);
            }
            Step::Restart(first) => {
                let node = &mut self.nodes[usize::from(!first)];
                (node.started, node.messages) = (self.now, 1);
                // The numbers of connections begin anew with the process.
                node.routes = vec![(1, 2), (2, 1)];
            }
            Step::Publish(count) => {
                self.stream.sequence += u64::from(count);
                self.consumer.sequence += u64::from(count / 2);
            }
            Step::Recreate(stream) => {
                let new = Asset { created: self.now, sequence: 0 };
                self.consumer = new;
                if stream {
                    self.stream = new;
                }
            }
            Step::Elect => self.leads = 1 - self.leads,
            Step::Garbage(_) | Step::News => {}
        }
    }

    /// What is shown of both.
    fn look(&self, step: &Step) -> Vec<Family> {
        let answers = [0, 1].map(|at| self.answers(at, step));
        shown(|| -> Vec<Snapshot> {
            let both = self.nodes.iter().zip(&answers);
            both.map(|(node, answers)| node.server.snapshot(answers.clone())).collect()
        })
    }

    fn answers(&self, at: usize, step: &Step) -> Answers {
        let Node { server, started, messages, routes } = &self.nodes[at];
        let (own, other) = if at == 0 { ("n1", "n2") } else { ("n2", "n1") };
        let id = format!("{own} {started}");
        let time =
            |at: u32| format!("2026-01-01T{:02}:{:02}:{:02}Z", at / 3600, at / 60 % 60, at % 60);
        let news = if matches!(step, Step::News) { "never_seen_before" } else { "now" };
        let varz = json!({ "server_id": id, "server_name": own, "version": "2.11.11", "start": time(*started),
            "cluster": { "name": "C" }, "in_msgs": messages, "total_connections": messages, news: time(self.now) });
        let connection = |(rid, count): &(u64, u64)| json!({ "rid": rid, "remote_id": "X", "remote_name": other, "in_msgs": count, "out_bytes": count });
        let routes: Vec<_> = routes.iter().map(connection).collect();
        let links = json!({ "server_id": id, "routes": routes });
        let leader = if self.leads == 0 { "n1" } else { "n2" };
        let jsz = json!({ "server_id": id, "api": { "total": messages, "errors": messages },
            "meta_cluster": { "leader": leader } });
        let group = json!({ "leader": leader });
        let body = json!({ "server_id": id, "account_details": [{ "name": "A", "stream_detail": [{
            "name": "S", "created": time(self.stream.created), "cluster": group, "config": {},
            "state": { "last_seq": self.stream.sequence },
            "consumer_detail": [{ "name": "W", "created": time(self.consumer.created), "cluster": group,
                "config": { "durable_name": "W" }, "delivered": { "consumer_seq": self.consumer.sequence } }],
        }] }] });
        let text = |endpoint: u8, body: &Value| match step {
            Step::Garbage(garbled) if *garbled == endpoint => "<html>".to_owned(),
            _ => body.to_string(),
        };
        Answers {
            varz: Some(server.varz(text(0, &varz).as_bytes())),
            routez: Some(server.routez(text(1, &links).as_bytes())),
            jsz: Some(server.jsz(text(2, &jsz).as_bytes())),
            detail: Some(detail(server, &text(3, &body))),
            ..Answers::default()
        }
    }
}

type Labels = BTreeMap<String, String>;

/// The newest values of all series, and what told of a new beginning when they were seen.
#[derive(Default)]
struct Seen {
    counters: BTreeMap<(String, Labels), (f64, Option<f64>)>,
}

impl Seen {
    fn of(families: &[Family]) -> Self {
        let gauge = |name: &str, labels: &Labels| {
            let family = families.iter().find(|family| family.name == name)?;
            family.samples.iter().find(|sample| sample.labels == *labels).map(Sample::value)
        };
        let only = |labels: &Labels, names: &[&str]| -> Labels {
            let wanted = labels.iter().filter(|(name, _)| names.contains(&name.as_str()));
            wanted.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let mut counters = BTreeMap::new();
        for family in families.iter().filter(|family| family.is_counter) {
            for sample in &family.samples {
                let (name, labels) = (family.name.as_str(), &sample.labels);
                let beginning = if name.starts_with("nats_jetstream_stream_") {
                    gauge("nats_jetstream_stream_created_timestamp_seconds", labels)
                } else if name.starts_with("nats_jetstream_consumer_") {
                    gauge("nats_jetstream_consumer_created_timestamp_seconds", labels)
                } else if name.starts_with("nats_exporter_") {
                    // They count what the exporter itself did, which was not restarted.
                    None
                } else {
                    gauge(
                        "nats_server_start_time_seconds",
                        &only(labels, &["nats_cluster", "server"]),
                    )
                };
                counters.insert((name.to_owned(), labels.clone()), (sample.value(), beginning));
            }
        }
        Self { counters }
    }

    /// Compares with what was seen last of each series, and takes over what is newer.
    fn check(&mut self, now: Self, step: &Step) -> Result<(), TestCaseError> {
        for (series, (value, beginning)) in now.counters {
            if let Some((last, began)) = self.counters.get(&series) {
                // Where /varz was not readable, nothing tells; what comes next does.
                let is_told = beginning.is_none() || *began != beginning;
                let is_own = series.0.starts_with("nats_exporter_");
                prop_assert!(
                    value >= *last || is_told && !is_own,
                    "{series:?}: {last}, then {value}, after {step:?}"
                );
            }
            self.counters.insert(series, (value, beginning));
        }
        Ok(())
    }
}

/// Help is written as it stands in the catalogue, so what would have to be escaped must not be in it.
#[test]
fn every_help_comes_back_as_it_is() {
    let mut world = World::default();
    let step = Step::Publish(1);
    world.take(&step);
    let families = world.look(&step);
    let expected: BTreeMap<String, &str> = catalog::describe()
        .into_iter()
        .flat_map(|table| table.families)
        .map(|family| (family.sample_name(), family.help))
        .collect();
    assert!(families.len() > 50, "{} families", families.len());
    for family in &families {
        assert_eq!(family.help, expected[&family.name], "{}", family.name);
    }
    let kinds: BTreeSet<_> = families.iter().map(|family| family.is_counter).collect();
    assert_eq!(kinds.len(), 2, "counters and gauges");
    for (name, help) in expected {
        assert!(!help.contains(['\\', '\n', '"', '\r']), "{name}: {help}");
    }
}
