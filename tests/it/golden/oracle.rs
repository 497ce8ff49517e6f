//! A second encoder: plain, slow, and made of nothing that the program uses. It and the real one
//! have to write the same text, whatever users call their streams.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nats_exporter::assets::Pool;
use nats_exporter::catalog::labels::Labels;
use nats_exporter::catalog::{self, Family, Kind, Sink, Value};
use nats_exporter::config::Config;
use nats_exporter::detail::{Known, Reader};
use nats_exporter::exporter::Own;
use nats_exporter::exposition::packed::Unpacker;
use nats_exporter::exposition::{Format, Writer};
use nats_exporter::flight::Reading;
use nats_exporter::memory::{Learned, Memory};
use nats_exporter::nats::decode::{Body, decode};
use nats_exporter::nats::jsz::Jsz;
use nats_exporter::nats::varz::Varz;
use nats_exporter::scrape::{Scrape, Selection};
use nats_exporter::snapshot::{Base, Identity, Persistence, Snapshot};
use nats_exporter::tier::Tier;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use serde_json::json;
use tokio::time::Instant;

use crate::support::samples::Samples;

/// Writes the text line by line.
struct Oracle {
    text: String,
    format: Format,
}

impl Oracle {
    fn write(scrape: &Scrape, format: Format) -> String {
        let mut oracle = Self { text: String::new(), format };
        catalog::visit_servers(scrape, &mut oracle).expect("a string takes everything");
        catalog::visit_assets(&scrape.assets, &scrape.selection, &mut oracle)
            .expect("a string takes everything");
        catalog::visit_exporter(scrape, &mut oracle).expect("a string takes everything");
        if format == Format::OpenMetrics {
            oracle.text += "# EOF\n";
        }
        oracle.text
    }
}

impl Sink for Oracle {
    fn family(
        &mut self,
        family: &Family,
        samples: &mut dyn Iterator<Item = (Labels<'_>, Value)>,
    ) -> fmt::Result {
        let (name, kind) = match family.kind {
            Kind::Gauge => (family.name.to_owned(), "gauge"),
            Kind::Counter => (family.name.to_owned() + "_total", "counter"),
        };
        let title = if self.format == Format::OpenMetrics { family.name } else { &name };
        write!(self.text, "# HELP {title} {}\n# TYPE {title} {kind}\n", family.help)?;
        for (labels, value) in samples {
            let value = match value {
                Value::Unsigned(value) => value.to_string(),
                Value::Signed(value) => value.to_string(),
                Value::Float(value) => format!("{value:?}"),
            };
            // What stands between the braces is read and written anew, because the escaping
            // there is not ours.
            let pairs: Vec<_> = pairs(&labels.to_text())
                .into_iter()
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(&value)))
                .collect();
            writeln!(self.text, "{name}{{{}}} {value}", pairs.join(","))?;
        }
        Ok(())
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// Reads labels in the order in which they stand.
fn pairs(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut characters = after.chars();
        loop {
            match characters.next().expect("a closing quote") {
                '"' => break,
                '\\' => value.push(match characters.next().expect("an escaped character") {
                    'n' => '\n',
                    other => other,
                }),
                other => value.push(other),
            }
        }
        pairs.push((name.trim_start_matches(',').to_owned(), value));
        rest = characters.as_str();
    }
    pairs
}

/// Numbers with a fraction as their bits: two shortest forms of one number are the same.
fn by_bits(text: &str) -> String {
    let line = |line: &str| match line.rsplit_once(' ') {
        Some((head, value)) if !line.starts_with('#') && value.contains(['.', 'e']) => {
            let number: f64 = value.parse().expect("a number");
            format!("{head} {:016x}\n", number.to_bits())
        }
        _ => format!("{line}\n"),
    };
    // Only a line feed ends a line; `lines` would take a carriage return off as well.
    text.split_terminator('\n').map(line).collect()
}

/// Bodies of one server.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    pub(super) varz: serde_json::Value,
    pub(super) jsz: serde_json::Value,
    pub(super) detail: serde_json::Value,
}

/// Far longer than writing takes, on a busy machine too.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const ID: &str = "NTHEONLYONE";
pub(super) const OWN_NAME: &str = "n\"1\\";

fn config() -> Config {
    let cli: nats_exporter::cli::Cli = clap::Parser::parse_from(["nats-exporter"]);
    let flags = cli.flags;
    let none = std::iter::empty::<(String, String)>();
    let mut config = Config::load(&flags, none).expect("the defaults are valid");
    config.jetstream.stream_metadata_labels = vec!["team".to_owned(), "cost center".to_owned()];
    config.limits.series_per_target = 0;
    config.limits.label_value_bytes = 0;
    config
}

fn reading<T>(value: T) -> Arc<Reading<T>> {
    Arc::new(Reading {
        value,
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        started: Instant::now(),
        elapsed: Duration::from_millis(3),
    })
}

fn whole<T: Body>(body: &serde_json::Value) -> T {
    decode(body.to_string().as_bytes()).expect("it decodes").0
}

pub(super) fn scrape(bodies: &Bodies) -> Scrape {
    let config = config();
    let varz: Varz = whole(&bodies.varz);
    let jsz: Jsz = whole(&bodies.jsz);
    let mut reader = Reader::new(config.jetstream.clone(), Known::default());
    for chunk in bodies.detail.to_string().as_bytes().chunks(1 << 10) {
        reader.push(chunk).expect("it decodes");
    }
    reader.end_page().expect("it is whole");
    let (detail, _) = reader.finish().expect("it is whole");
    let learned = Learned {
        server_id: ID.to_owned(),
        server_name: OWN_NAME.to_owned(),
        cluster: None,
        clustered: false,
        version: None,
    };
    let snapshot = Snapshot {
        found: None,
        target: "t".to_owned(),
        url: "http://t".to_owned(),
        identity: Identity { cluster: "C\n1".to_owned(), server: OWN_NAME.to_owned() },
        learned: Some(learned),
        base: Base { varz: Some(Ok(reading(varz))), ..Base::default() },
        persistence: Some(Persistence {
            clustered: Some(jsz.meta_cluster.is_some()),
            jsz: Some(Ok(reading(jsz))),
            detail: Some(Ok(reading(detail))),
            own_name: Some(OWN_NAME.to_owned()),
            ..Persistence::default()
        }),
        endpoints: Vec::new(),
        memory: Arc::new(Memory::default()),
    };
    let own = Own { scrapes: 1, targets: 1, ..Own::default() };
    // Without the exporter's own tier, whose numbers come from the kernel.
    let tiers = [Tier::Base, Tier::Persistence].into_iter().collect();
    let selection = Selection { tiers, topics: None };
    Scrape::new(selection, vec![snapshot], own, Arc::new(config), &Pool::default())
}

/// What the program writes by `deadline`.
pub(super) fn written(scrape: Scrape, format: Format, deadline: Instant) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let writer = Writer::default();
    let written = runtime.expect("a runtime").block_on(writer.write(scrape, format, deadline));
    let texts = written.expect("no thread panics");
    let mut unpacker = Unpacker::new(texts.iter().map(Arc::as_ref));
    let pieces = std::iter::from_fn(|| unpacker.next_piece());
    String::from_utf8(pieces.flatten().collect()).expect("text")
}

/// Encodes by both ways in both formats, and returns what was said.
fn agree(bodies: &Bodies) -> Samples {
    let mut read = Vec::new();
    for format in [Format::OpenMetrics, Format::Classic] {
        let found = written(scrape(bodies), format, Instant::now() + PATIENCE);
        let expected = Oracle::write(&scrape(bodies), format);
        assert_eq!(by_bits(&found), by_bits(&expected), "{format:?}");
        // The reader takes lines as Prometheus does, which knows no carriage return either.
        read.push(Samples::parse(&found.replace('\r', "\u{fffd}")));
    }
    let (classic, open) = (read.pop().expect("two"), read.pop().expect("two"));
    assert_eq!(open.0, classic.0, "both formats say the same");
    open
}

/// Names as users may have them, and worse.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Z_]{1,8}",
        2 => Just(String::new()),
        3 => "[\"\\\\\n{}=, #]{1,6}",
        2 => "[\\x00-\\x1f\\x7f]{1,6}",
        2 => "\\PC{1,8}",
        2 => ".{1,8}",
        1 => Just("\\\"\\".to_owned()),
        1 => Just("ends with \\".to_owned()),
        1 => Just("\u{feff}zero\u{200b}width\u{202e}".to_owned()),
        1 => Just("# EOF\n# HELP x\n".to_owned()),
        1 => Just("ü\"".repeat(1 << 14)),
    ]
}

/// Whole numbers, with the ends of the range often.
fn whole_number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        Just(u64::MAX),
        Just(0),
        Just(1 << 53),
        Just((1 << 53) + 1),
        Just(i64::MAX as u64 + 1),
    ]
}

fn signed_number() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), Just(-1), Just(0)]
}

fn consumer() -> impl Strategy<Value = serde_json::Value> {
    (whole_number(), whole_number(), signed_number(), any::<bool>(), name()).prop_map(
        |(pending, sequence, limit, leads, subject)| {
            json!({
                "config": { "durable_name": "x", "deliver_subject": subject,
                    "max_ack_pending": limit, "ack_wait": limit, "max_deliver": limit },
                "delivered": { "consumer_seq": sequence, "stream_seq": pending },
                "ack_floor": { "consumer_seq": pending, "stream_seq": sequence },
                "num_pending": pending, "num_ack_pending": sequence, "num_waiting": pending,
                "num_redelivered": sequence,
                "cluster": { "leader": if leads { OWN_NAME } else { "n2" } },
            })
        },
    )
}

fn stream() -> impl Strategy<Value = serde_json::Value> {
    let consumers = (btree_set(name(), 0..3), vec(consumer(), 3));
    let numbers = (whole_number(), whole_number(), signed_number());
    (numbers, name(), btree_set(name(), 0..3), consumers, any::<bool>()).prop_map(
        |((messages, sequence, limit), word, peers, (names, consumers), leads)| {
            let named = names.iter().zip(consumers).map(|(name, mut consumer)| {
                consumer["name"] = json!(name);
                consumer
            });
            let replicas: Vec<_> = peers
                .iter()
                .map(|name| json!({"name": name, "lag": messages, "active": limit, "peer": "x"}))
                .collect();
            json!({
                "created": "2026-11-23T08:07:13.840781474Z",
                "config": { "retention": word, "storage": word, "discard": word,
                    "max_msgs": limit, "max_bytes": limit, "max_age": limit,
                    "metadata": { "team": word, "cost center": word } },
                "state": { "messages": messages, "bytes": sequence, "first_seq": messages,
                    "last_seq": sequence, "first_ts": "0001-01-01T00:00:00Z",
                    "last_ts": "2026-11-23T08:07:13.000000001Z", "consumer_count": messages },
                "sources": [{ "name": word, "lag": messages, "active": limit,
                    "filter_subject": word }],
                "cluster": { "leader": if leads { OWN_NAME } else { "n2" }, "replicas": replicas },
                "consumer_detail": named.collect::<Vec<_>>(),
            })
        },
    )
}

fn bodies() -> impl Strategy<Value = Bodies> {
    let streams = (btree_set(name(), 0..3), vec(stream(), 3));
    let account = (streams, whole_number());
    let accounts = (btree_set(name(), 0..3), vec(account, 3));
    (accounts, whole_number(), signed_number(), name()).prop_map(
        |((names, accounts), count, signed, word)| {
            let accounts = names.iter().zip(accounts).map(|(name, ((names, streams), number))| {
                let streams = names.iter().zip(streams).map(|(name, mut stream)| {
                    stream["name"] = json!(name);
                    stream
                });
                json!({ "name": name, "storage": number, "reserved_storage": number,
                    "stream_detail": streams.collect::<Vec<_>>() })
            });
            Bodies {
                varz: json!({ "server_id": ID, "server_name": OWN_NAME, "version": word,
                    "in_msgs": count, "total_connections": count, "connections": signed,
                    "mem": signed, "max_payload": signed, "ping_interval": signed,
                    "http_req_stats": { word: count } }),
                jsz: json!({ "server_id": ID, "storage": count, "memory": count,
                    "config": { "max_storage": signed }, "api": { "total": count } }),
                detail: json!({ "server_id": ID,
                    "account_details": accounts.collect::<Vec<_>>() }),
            }
        },
    )
}

/// A stream's place and what its server counts.
type Counts = BTreeMap<(String, String), String>;

/// What the bodies say of the streams that the server leads.
fn led_messages(bodies: &Bodies) -> Counts {
    let mut led = Counts::new();
    for account in bodies.detail["account_details"].as_array().expect("a list") {
        for stream in account["stream_detail"].as_array().expect("a list") {
            if stream["cluster"]["leader"] == OWN_NAME {
                let text =
                    |value: &serde_json::Value| value["name"].as_str().expect("a name").to_owned();
                let messages = stream["state"]["messages"].to_string();
                led.insert((text(account), text(stream)), messages);
            }
        }
    }
    led
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn both_encoders_write_the_same_and_every_name_comes_back(bodies in bodies()) {
        let samples = agree(&bodies);
        // Exact to the last digit, and under the very names that the server has.
        let label = |sample: &crate::support::samples::Sample, name: &str| {
            sample.labels.get(name).cloned().unwrap_or_default()
        };
        let found: Counts = samples
            .find("nats_jetstream_stream_messages", &[])
            .map(|s| ((label(s, "account"), label(s, "stream")), s.text.clone()))
            .collect();
        let plain = |name: String| name.replace('\r', "\u{fffd}");
        let expected: Counts = led_messages(&bodies)
            .into_iter()
            .map(|((account, stream), messages)| ((plain(account), plain(stream)), messages))
            .collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn whole_numbers_are_exact_to_the_ends_of_their_range() {
    for (count, signed) in [(u64::MAX, i64::MIN), (u64::MAX - 1, i64::MAX), ((1 << 53) + 1, -1)] {
        let bodies = Bodies {
            varz: json!({ "server_id": ID, "server_name": OWN_NAME, "in_msgs": count,
                "connections": signed }),
            jsz: json!({ "server_id": ID, "storage": count, "api": { "total": count } }),
            detail: json!({ "server_id": ID }),
        };
        let samples = agree(&bodies);
        for (name, expected) in [
            ("nats_server_in_messages_total", count.to_string()),
            ("nats_server_connections", signed.to_string()),
            ("nats_jetstream_storage_used_bytes", count.to_string()),
            ("nats_jetstream_api_requests_total", count.to_string()),
        ] {
            let found: BTreeSet<_> = samples.find(name, &[]).map(|s| s.text.clone()).collect();
            assert_eq!(found, BTreeSet::from([expected]), "{name}");
        }
    }
}
