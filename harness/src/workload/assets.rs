//! The list of streams and consumers: every kind that an exporter should have seen.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull, push};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, Source, StorageType};

use crate::Account;

/// Long enough that nothing is redelivered by the clock: numbers are to stand still without traffic.
const NO_REDELIVERY: Duration = Duration::from_secs(3600);
const KEPT_WITHOUT_CLIENT: Duration = Duration::from_secs(3600);

/// A stream, the messages it gets, and its consumers.
pub(super) struct Asset {
    pub(super) account: Account,
    pub(super) config: Config,
    pub(super) messages: Messages,
    pub(super) consumers: Vec<Consumer>,
}

/// So many messages, to these subjects in turn.
pub(super) struct Messages {
    pub(super) count: u64,
    subjects: &'static [&'static str],
}

impl Messages {
    pub(super) fn subject(&self, number: u64) -> &'static str {
        let index = usize::try_from(number).unwrap_or_default() % self.subjects.len();
        self.subjects[index]
    }
}

/// A consumer of either kind.
pub(super) enum Consumer {
    Pull(pull::Config),
    Push(push::Config),
}

impl Consumer {
    pub(super) fn name(&self) -> &str {
        let (durable, name) = match self {
            Self::Pull(config) => (&config.durable_name, &config.name),
            Self::Push(config) => (&config.durable_name, &config.name),
        };
        durable.as_ref().or(name.as_ref()).map_or("", String::as_str)
    }
}

/// The streams, in an order in which each finds those it copies from.
pub(super) fn streams(replicas: usize, with_metadata: bool) -> Vec<Asset> {
    let mut streams = originals(replicas, with_metadata);
    streams.extend(copies(replicas, with_metadata));
    streams.extend([
        // A key-value bucket, made as the stream that it is: for a bucket the client asks about the
        // account first, and cannot read the answer of a 2.9 server.
        Asset {
            account: Account::App,
            config: Config {
                max_messages_per_subject: 5,
                discard: DiscardPolicy::New,
                allow_rollup: true,
                deny_delete: true,
                allow_direct: true,
                ..file("KV_settings", "$KV.settings.>", replicas)
            },
            messages: Messages {
                count: 9,
                subjects: &["$KV.settings.colour", "$KV.settings.language", "$KV.settings.limit"],
            },
            consumers: vec![],
        },
        Asset {
            account: Account::Aux,
            config: Config { max_messages: 10_000, ..file("METRICS", "metrics.>", 1) },
            messages: Messages { count: 40, subjects: &["metrics.cpu", "metrics.disk"] },
            consumers: vec![],
        },
        Asset {
            account: Account::Aux,
            config: file("ALERTS", "alerts.>", replicas),
            messages: Messages { count: 20, subjects: &["alerts.high", "alerts.low"] },
            consumers: vec![pull("pager")],
        },
    ]);
    streams
}

fn originals(replicas: usize, with_metadata: bool) -> Vec<Asset> {
    vec![
        Asset {
            account: Account::App,
            config: Config {
                max_messages: 50_000,
                metadata: monitor(
                    with_metadata,
                    &[
                        ("enabled", "true"),
                        ("lag-critical", "100"),
                        ("peer-expect", "3"),
                        ("peer-lag-critical", "50"),
                        ("msgs-critical", "10"),
                    ],
                ),
                ..file("ORDERS", "orders.>", replicas)
            },
            messages: Messages { count: 200, subjects: &["orders.eu.new", "orders.us.new"] },
            consumers: orders_consumers(with_metadata),
        },
        Asset {
            account: Account::App,
            config: Config { max_age: Duration::from_secs(600), ..memory("EVENTS", "events.>", 1) },
            messages: Messages { count: 50, subjects: &["events.click", "events.view"] },
            consumers: vec![],
        },
        Asset {
            account: Account::App,
            config: Config {
                retention: RetentionPolicy::WorkQueue,
                ..file("WORK", "work.>", replicas)
            },
            messages: Messages { count: 30, subjects: &["work.job"] },
            consumers: vec![pull("worker")],
        },
        Asset {
            account: Account::App,
            config: Config {
                retention: RetentionPolicy::Interest,
                ..memory("INTEREST", "interest.>", replicas)
            },
            messages: Messages { count: 12, subjects: &["interest.news"] },
            consumers: vec![pull("viewer")],
        },
        Asset {
            account: Account::App,
            config: Config {
                max_bytes: 100_000,
                max_messages_per_subject: 3,
                discard: DiscardPolicy::New,
                ..file("LIMITED", "limited.>", 1)
            },
            messages: Messages { count: 10, subjects: &["limited.0", "limited.1"] },
            consumers: vec![],
        },
    ]
}

fn copies(replicas: usize, with_metadata: bool) -> Vec<Asset> {
    let thresholds = [("enabled", "true"), ("min-sources", "2"), ("max-sources", "2")];
    vec![
        Asset {
            account: Account::App,
            config: Config {
                mirror: Some(source("ORDERS", None)),
                subjects: vec![],
                ..file("ORDERS_MIRROR", "", 1)
            },
            messages: nothing(),
            consumers: vec![],
        },
        Asset {
            account: Account::App,
            config: Config {
                sources: Some(vec![source("ORDERS", Some("orders.eu.>")), source("EVENTS", None)]),
                subjects: vec![],
                metadata: monitor(with_metadata, &thresholds),
                ..file("AGG", "", replicas)
            },
            messages: nothing(),
            consumers: vec![],
        },
    ]
}

fn orders_consumers(with_metadata: bool) -> Vec<Consumer> {
    vec![
        Consumer::Pull(pull::Config {
            metadata: monitor(
                with_metadata,
                &[
                    ("enabled", "true"),
                    ("outstanding-ack-critical", "5"),
                    ("unprocessed-critical", "1000"),
                    ("last-delivery-critical", "5m"),
                ],
            ),
            ..pull_config("proc")
        }),
        pull("idle"),
        Consumer::Pull(pull::Config {
            // Nothing is sent there, so a request stays waiting.
            filter_subject: "orders.eu.returned".to_owned(),
            ..pull_config("eu_only")
        }),
        Consumer::Pull(pull::Config {
            num_replicas: 1,
            memory_storage: true,
            ..pull_config("r1_mem")
        }),
        Consumer::Pull(pull::Config {
            durable_name: None,
            name: Some("browse".to_owned()),
            inactive_threshold: KEPT_WITHOUT_CLIENT,
            ..pull_config("")
        }),
        push("push_bound"),
        push("push_unbound"),
    ]
}

/// The thresholds that `nats server check` reads, as metadata (unknown to servers before 2.10).
fn monitor(with_metadata: bool, pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs
        .iter()
        .filter(|_| with_metadata)
        .map(|(name, value)| (format!("io.nats.monitor.{name}"), (*value).to_owned()))
        .collect()
}

fn nothing() -> Messages {
    Messages { count: 0, subjects: &[] }
}

fn file(name: &str, subject: &str, replicas: usize) -> Config {
    Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        num_replicas: replicas,
        storage: StorageType::File,
        ..Config::default()
    }
}

fn memory(name: &str, subject: &str, replicas: usize) -> Config {
    Config { storage: StorageType::Memory, ..file(name, subject, replicas) }
}

fn source(name: &str, filter: Option<&str>) -> Source {
    Source { name: name.to_owned(), filter_subject: filter.map(str::to_owned), ..Source::default() }
}

fn pull(name: &str) -> Consumer {
    Consumer::Pull(pull_config(name))
}

fn pull_config(name: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: NO_REDELIVERY,
        ..pull::Config::default()
    }
}

fn push(name: &str) -> Consumer {
    Consumer::Push(push::Config {
        durable_name: Some(name.to_owned()),
        deliver_subject: format!("deliver.{name}"),
        ack_policy: AckPolicy::Explicit,
        ack_wait: NO_REDELIVERY,
        ..push::Config::default()
    })
}
