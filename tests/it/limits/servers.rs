//! What servers may take: time for every step, bytes of every answer, series, label values.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use nats_harness::monitor::{Fault, Question, gzip};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{OWN, PATIENCE, hits};
use crate::support::dns::{Mood, NameServer};
use crate::support::exporter::Exporter;
use crate::support::model::Model;
use crate::support::monitor::Monitor;
use crate::support::samples::Samples;

fn failures(samples: &Samples) -> BTreeSet<(String, String)> {
    let found = samples.find("nats_exporter_endpoint_failure_info", &[]);
    found.map(|s| (s.labels["endpoint"].clone(), s.labels["reason"].clone())).collect()
}

fn errors(samples: &Samples, endpoint: &str, reason: &str) -> Option<f64> {
    let labels = [("endpoint", endpoint), ("reason", reason)];
    samples.value("nats_exporter_endpoint_errors_total", &labels)
}

/// Every series of the base tier that is not about the exporter's own work.
fn base(samples: &Samples) -> BTreeSet<String> {
    let prefixes = ["nats_up", "nats_server_", "nats_route_", "nats_health_"];
    let chosen = samples.0.iter().filter(|s| prefixes.iter().any(|p| s.name.starts_with(p)));
    chosen.map(|sample| format!("{} {:?}", sample.name, sample.labels)).collect()
}

const SMALL: &str = "NATS_EXPORTER_LIMITS_SMALL_BODY_BYTES";
const LARGE: &str = "NATS_EXPORTER_LIMITS_BODY_BYTES";

/// Sixty-four million blanks are as many thousand bytes on the way. So are bodies that announce what they
/// are, or nothing.
#[tokio::test]
async fn a_bomb_costs_the_endpoint_that_sends_it() {
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000);
    for question in Question::ALL {
        let monitor = Monitor::start(Model::default()).await;
        let limits = [(SMALL, "100000"), (LARGE, "200000")];
        let exporter = Exporter::start_with(&[monitor.url()], &limits);
        let healthy = exporter.samples("/metrics").await;
        assert_eq!(failures(&healthy), BTreeSet::new());
        for (count, fault) in
            [Fault::Gzip(bomb.clone().into()), Fault::Oversized(1 << 40), Fault::Endless]
                .into_iter()
                .enumerate()
        {
            monitor.gate.spoil(question, fault);
            let samples = exporter.samples("/metrics").await;
            let expected =
                question.endpoints().iter().map(|e| ((*e).to_owned(), "too_large".to_owned()));
            assert_eq!(failures(&samples), expected.collect(), "{question:?}");
            for endpoint in question.endpoints() {
                let counted = errors(&samples, endpoint, "too_large");
                assert!(counted >= Some(count as f64 + 1.0), "{endpoint}: {counted:?}");
            }
            if matches!(question, Question::JszPlain | Question::JszDetail) {
                assert_eq!(base(&samples), base(&healthy), "{question:?}");
                assert_eq!(samples.state("n1", "base").as_deref(), Some("ok"));
            }
        }
    }
}

/// The detail of a large cluster is larger than everything else may be.
#[tokio::test]
async fn the_detail_has_a_limit_of_its_own() {
    let monitor = Monitor::start(Model::default()).await;
    let limits = [(SMALL, "100000"), (LARGE, "200000")];
    let exporter = Exporter::start_with(&[monitor.url()], &limits);
    let padded = |target: &str| {
        let body = monitor.says(target).1;
        Fault::answer(200, body + &" ".repeat(150_000))
    };
    monitor.gate.spoil(Question::JszDetail, padded("/jsz?consumers=true&config=true&limit=1024"));
    monitor.gate.spoil(Question::JszPlain, padded("/jsz"));
    let samples = exporter.samples("/metrics").await;
    assert_eq!(failures(&samples), [("jsz".to_owned(), "too_large".to_owned())].into());
    assert_eq!(samples.find("nats_jetstream_stream_messages", &[]).count(), 2);
    assert!(exporter.log().contains("limits.small_body_bytes"), "{}", exporter.log());
}

/// Two names that are the same as far as they are shown are two series, and everything of one server has the
/// same label.
#[tokio::test]
async fn long_label_values_are_cut_and_stay_different() {
    let long = "s".repeat(200);
    let mut model = Model::new(&format!("server-{long}"), (2, 15, 1));
    model.streams = vec![format!("{long}1"), format!("{long}2"), "SHORT".to_owned()];
    let monitor = Monitor::start(model).await;
    let variables = [("NATS_EXPORTER_LIMITS_LABEL_VALUE_BYTES", "64")];
    let exporter = Exporter::start_with(&[monitor.url()], &variables);
    let first = exporter.samples("/metrics").await;
    let second = exporter.samples("/metrics").await;
    let streams = |samples: &Samples| -> BTreeSet<String> {
        let found = samples.find("nats_jetstream_stream_messages", &[]);
        found.map(|sample| sample.labels["stream"].clone()).collect()
    };
    assert_eq!(streams(&first).len(), 3);
    assert_eq!(streams(&first), streams(&second), "they stay");
    let (kept, cut): (Vec<_>, Vec<_>) =
        streams(&first).into_iter().partition(|stream| stream.len() <= 64);
    assert_eq!(kept, ["SHORT"]);
    for stream in &cut {
        assert!(stream.starts_with(&format!("{}~", &long[..64])), "{stream}");
        assert_eq!(stream.len(), 64 + 1 + 32);
    }
    let servers: BTreeSet<_> =
        first.0.iter().filter_map(|sample| sample.labels.get("server")).collect();
    assert_eq!(servers.len(), 1, "{servers:?}");
    assert!(hits(&first, "limits.label_value_bytes") > 0.0);
    let counted = hits(&exporter.samples(OWN).await, "limits.label_value_bytes");
    assert!(counted > hits(&first, "limits.label_value_bytes"), "also those of streams");
}

/// A port whose backlog is full: the system takes no more connections and refuses none.
async fn unreachable() -> (Socket, Vec<TcpStream>, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    loop {
        let connecting = TcpStream::connect(address);
        match timeout(Duration::from_millis(300), connecting).await {
            Ok(connected) => waiting.push(connected.unwrap()),
            Err(_) => return (socket, waiting, address),
        }
    }
}

#[tokio::test]
async fn a_connection_has_its_time() {
    let (_socket, _waiting, address) = unreachable().await;
    let variables = [
        ("NATS_EXPORTER_SCRAPE_TIMEOUT", "1h"),
        ("NATS_EXPORTER_SCRAPE_BASE_TIMEOUT", "1h"),
        ("NATS_EXPORTER_SCRAPE_CONNECT_TIMEOUT", "300ms"),
    ];
    let exporter = Exporter::start_with(&[format!("http://{address}")], &variables);
    let samples = timeout(PATIENCE, exporter.samples("/metrics?tier=base")).await.expect("its end");
    assert_eq!(errors(&samples, "varz", "connect"), Some(1.0), "{}", exporter.log());
    assert_eq!(samples.value("nats_up", &[]), Some(0.0));
}

/// The times of everything else are an hour.
#[tokio::test]
async fn each_tier_has_its_time_for_heads_and_bodies() {
    const BASE: &str = "NATS_EXPORTER_SCRAPE_BASE_TIMEOUT";
    const PERSISTENCE: &str = "NATS_EXPORTER_SCRAPE_PERSISTENCE_TIMEOUT";
    for (question, low) in [(Question::Routez, BASE), (Question::JszDetail, PERSISTENCE)] {
        for fault in [Fault::Stall, Fault::StallInBody] {
            let monitor = Monitor::start(Model::default()).await;
            let high = if low == BASE { PERSISTENCE } else { BASE };
            let variables = [("NATS_EXPORTER_SCRAPE_TIMEOUT", "1h"), (low, "2s"), (high, "1h")];
            let exporter = Exporter::start_with(&[monitor.url()], &variables);
            monitor.gate.spoil(question, fault);
            let scrape = timeout(PATIENCE, exporter.samples("/metrics"));
            let samples = scrape.await.expect("it has an end");
            let [endpoint] = question.endpoints() else { panic!("one endpoint") };
            assert_eq!(failures(&samples), [((*endpoint).to_owned(), "timeout".to_owned())].into());
            assert!(errors(&samples, endpoint, "timeout") >= Some(1.0));
        }
    }
}

#[tokio::test]
async fn a_scrape_has_its_time() {
    let monitor = Monitor::start(Model::default()).await;
    for question in Question::ALL {
        monitor.gate.spoil(question, Fault::Stall);
    }
    let exporter =
        Exporter::start_with(&[monitor.url()], &[("NATS_EXPORTER_SCRAPE_TIMEOUT", "600ms")]);
    // Prometheus may say that it waits for an hour; the configuration says otherwise.
    let headers = [("X-Prometheus-Scrape-Timeout-Seconds", "3600")];
    let answer = timeout(PATIENCE, exporter.get_with("/metrics", &headers)).await.expect("its end");
    assert_eq!(answer.status, 200);
    let samples = Samples::parse(&answer.body);
    for endpoint in ["varz", "routez", "jsz"] {
        assert!(errors(&samples, endpoint, "timeout") >= Some(1.0), "{endpoint}");
    }
}

/// Trouble of the persistence tier does not delay the page.
#[tokio::test]
async fn the_page_waits_as_long_as_the_base_tier_may_take() {
    let monitor = Monitor::start(Model::default()).await;
    for question in [Question::JszPlain, Question::JszDetail] {
        monitor.gate.spoil(question, Fault::Stall);
    }
    let variables = [
        ("NATS_EXPORTER_SCRAPE_TIMEOUT", "1h"),
        ("NATS_EXPORTER_SCRAPE_PERSISTENCE_TIMEOUT", "1h"),
        ("NATS_EXPORTER_SCRAPE_BASE_TIMEOUT", "1s"),
    ];
    let exporter = Exporter::start_with(&[monitor.url()], &variables);
    let page = timeout(PATIENCE, exporter.get("/")).await.expect("it has an end");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("n1"), "{}", page.body);
}

#[tokio::test]
async fn a_look_up_has_its_time() {
    let names = NameServer::start().await;
    names.set_mood(Mood::Silent);
    let (key, value) = names.variable();
    let variables = [(key, value.as_str()), ("NATS_EXPORTER_DISCOVERY_TIMEOUT", "300ms")];
    let exporter = Exporter::start_with(&["dns+http://nats.example:8222"], &variables);
    let told = async {
        while !exporter.log().contains("DNS did not answer within 300ms") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("the look-up has an end");
    let samples = exporter.samples(OWN).await;
    assert_eq!(samples.value("nats_exporter_discovery_last_lookup_successful", &[]), Some(0.0));
}
