//! What servers tell a NATS client about streams and consumers, as the series that the exporter
//! should show of it.
//!
//! It comes over the JetStream API of the client port, where the leader of each asset answers for
//! itself, so it shares neither code nor endpoint with the exporter.

use std::collections::BTreeMap;

use nats_harness::{Account, Cluster};
use serde_json::Value;

use crate::support::samples::Samples;

/// Name and labels of a series.
pub(crate) type Key = (String, BTreeMap<String, String>);

/// One stream, and its consumers.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) account: &'static str,
    pub(crate) info: Value,
    pub(crate) consumers: Vec<Value>,
}

impl Told {
    pub(crate) fn name(&self) -> &str {
        self.info["config"]["name"].as_str().unwrap_or_default()
    }
}

/// Every stream whose leader answers; nothing while one does not, unless `partly`.
pub(crate) async fn streams(cluster: &Cluster, partly: bool) -> Option<Vec<Told>> {
    let accounts = if cluster.has_accounts() {
        vec![(Account::App, "APP"), (Account::Aux, "AUX")]
    } else {
        vec![(Account::App, "$G")]
    };
    let mut told = Vec::new();
    for (account, label) in accounts {
        let client = cluster.roaming_client(account).await.ok()?;
        let ask = async |subject: String| -> Option<Value> {
            let message = client.request(format!("$JS.API.{subject}"), "".into()).await.ok()?;
            let answer: Value = serde_json::from_slice(&message.payload).expect("JSON");
            answer["error"].is_null().then_some(answer)
        };
        for stream in names(&ask("STREAM.NAMES".to_owned()).await?["streams"]) {
            let Some(info) = ask(format!("STREAM.INFO.{stream}")).await else {
                if partly {
                    continue;
                }
                return None;
            };
            let mut consumers = Vec::new();
            for consumer in names(&ask(format!("CONSUMER.NAMES.{stream}")).await?["consumers"]) {
                match ask(format!("CONSUMER.INFO.{stream}.{consumer}")).await {
                    Some(info) => consumers.push(info),
                    None if partly => {}
                    None => return None,
                }
            }
            told.push(Told { account: label, info, consumers });
        }
    }
    Some(told)
}

fn names(list: &Value) -> Vec<String> {
    let names = list.as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// The series that belong to what was told. `standalone` is the name of a server without a cluster.
pub(crate) fn series(
    told: &[Told],
    nats_cluster: &str,
    standalone: Option<&str>,
) -> BTreeMap<Key, String> {
    let mut series = Expected { nats_cluster, standalone, series: BTreeMap::new() };
    for stream in told {
        series.stream(stream);
        for consumer in &stream.consumers {
            series.consumer(stream, consumer);
        }
    }
    series.series
}

struct Expected<'t> {
    nats_cluster: &'t str,
    standalone: Option<&'t str>,
    series: BTreeMap<Key, String>,
}

impl Expected<'_> {
    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: &Value) {
        let cluster = [("nats_cluster", self.nats_cluster)];
        let labels = cluster.iter().chain(labels);
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let text = match value {
            Value::Bool(value) => u8::from(*value).to_string(),
            Value::Null => "0".to_owned(),
            other => other.to_string(),
        };
        let key = (name.to_owned(), labels.collect());
        assert!(!self.series.contains_key(&key), "the servers name it twice: {key:?}");
        self.series.insert(key, text);
    }

    fn leader<'v>(&'v self, info: &'v Value) -> &'v str {
        self.standalone.or_else(|| info["cluster"]["leader"].as_str()).unwrap_or_default()
    }

    /// The API counts all consumers of the stream, and `/jsz` those that the leader has a replica of.
    fn consumers_at_leader(&self, stream: &Told) -> Value {
        let leader = self.leader(&stream.info);
        let here = |consumer: &&Value| {
            let replicas = consumer["cluster"]["replicas"].as_array();
            self.leader(consumer) == leader
                || replicas.into_iter().flatten().any(|replica| replica["name"] == leader)
        };
        stream.consumers.iter().filter(here).count().into()
    }

    fn stream(&mut self, stream: &Told) {
        let (info, name) = (&stream.info, stream.name());
        let labels = [("account", stream.account), ("stream", name)];
        let state = &info["state"];
        for (series, value) in [
            ("messages", &state["messages"]),
            ("bytes", &state["bytes"]),
            ("first_sequence", &state["first_seq"]),
            ("published_messages_total", &state["last_seq"]),
            ("subjects", &state["num_subjects"]),
            ("deleted_messages", &state["num_deleted"]),
            ("consumers", &self.consumers_at_leader(stream)),
            ("replicas_configured", &info["config"]["num_replicas"]),
        ] {
            self.put(&format!("nats_jetstream_stream_{series}"), &labels, value);
        }
        let leader = self.leader(info).to_owned();
        let with_leader = [labels[0], labels[1], ("leader", &leader)];
        self.put("nats_jetstream_stream_leader_info", &with_leader, &1.into());
        let replicas = info["cluster"]["replicas"].as_array().map_or(&[][..], Vec::as_slice);
        if !replicas.is_empty() {
            let with_peer = [labels[0], labels[1], ("peer", &leader)];
            self.put("nats_jetstream_stream_replica_current", &with_peer, &true.into());
        }
        for replica in replicas {
            let peer = ("peer", replica["name"].as_str().unwrap_or_default());
            let with_peer = [labels[0], labels[1], peer];
            let current = &replica["current"];
            self.put("nats_jetstream_stream_replica_current", &with_peer, current);
        }
        let mirror = [("mirror", &info["mirror"])];
        let sources = info["sources"].as_array().into_iter().flatten().map(|s| ("source", s));
        for (kind, source) in mirror.into_iter().chain(sources).filter(|(_, s)| s.is_object()) {
            let filter = source["filter_subject"].as_str();
            let name = source["name"].as_str().unwrap_or_default();
            let mut labels = vec![labels[0], labels[1], ("kind", kind), ("source", name)];
            labels.extend(filter.map(|filter| ("filter", filter)));
            self.put("nats_jetstream_stream_source_lag_messages", &labels, &source["lag"]);
        }
    }

    fn consumer(&mut self, stream: &Told, info: &Value) {
        let (account, stream) = (("account", stream.account), ("stream", stream.name()));
        let leader = self.leader(info).to_owned();
        let config = &info["config"];
        if config["durable_name"].is_null() {
            // The workload has one of this kind, so a sum is the consumer itself.
            let labels = [("server", leader.as_str()), account, stream, ("kind", "ephemeral")];
            self.put("nats_jetstream_folded_consumers", &labels, &1.into());
            let pending = &info["num_pending"];
            self.put("nats_jetstream_folded_consumer_pending_messages", &labels, pending);
            return;
        }
        let labels = [account, stream, ("consumer", info["name"].as_str().unwrap_or_default())];
        let (push, pull) = if config["deliver_subject"].is_null() {
            (None, Some(&info["num_waiting"]))
        } else {
            (Some(&info["push_bound"]), None)
        };
        for (series, value) in [
            ("pending_messages", Some(&info["num_pending"])),
            ("ack_pending", Some(&info["num_ack_pending"])),
            ("redelivered_messages", Some(&info["num_redelivered"])),
            ("waiting_pulls", pull),
            ("push_bound", push),
            ("delivered_messages_total", Some(&info["delivered"]["consumer_seq"])),
            ("delivered_stream_sequence", Some(&info["delivered"]["stream_seq"])),
            ("ack_floor_stream_sequence", Some(&info["ack_floor"]["stream_seq"])),
            ("ack_floor_consumer_sequence", Some(&info["ack_floor"]["consumer_seq"])),
        ] {
            if let Some(value) = value {
                self.put(&format!("nats_jetstream_consumer_{series}"), &labels, value);
            }
        }
        if self.standalone.is_none() {
            let with_leader = [labels[0], labels[1], labels[2], ("leader", &leader)];
            self.put("nats_jetstream_consumer_leader_info", &with_leader, &1.into());
        }
    }
}

/// The series of the exporter that have one of these names.
pub(crate) fn shown(samples: &Samples, like: &BTreeMap<Key, String>) -> BTreeMap<Key, String> {
    let is_like = |name: &str| like.keys().any(|(like, _)| like == name);
    let samples = samples.0.iter().filter(|sample| is_like(&sample.name));
    samples.map(|s| ((s.name.clone(), s.labels.clone()), s.text.clone())).collect()
}

/// What differs between two sets of series, a line each.
pub(crate) fn differences(told: &BTreeMap<Key, String>, shown: &BTreeMap<Key, String>) -> String {
    let mut lines = Vec::new();
    for key in told.keys().chain(shown.keys()) {
        let (told, shown) = (told.get(key), shown.get(key));
        if told != shown {
            lines.push(format!("{key:?}: servers say {told:?}, exporter says {shown:?}"));
        }
    }
    lines.sort();
    lines.dedup();
    lines.join("\n")
}
