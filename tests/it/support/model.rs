//! What a small NATS server says on its monitoring port, by version: the fields and rules that
//! differ, not the whole of it.

use serde_json::{Value, json};

/// Where the health walk of the server ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nowhere.
    #[default]
    Well,
    /// A configured listener is not open.
    ListenersClosed,
    /// The same, and JetStream is recovering its store: there are streams, and no raft group yet.
    Recovering,
    /// JetStream has switched itself off.
    SwitchedOff,
    /// There is no meta leader.
    NoMetaLeader,
    /// A stream is not current.
    StreamUnwell,
}

/// One server of a cluster of two, which leads all of its streams and consumers.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: (u64, u64, u64),
    pub(crate) cluster: String,
    pub(crate) condition: Condition,
    /// The account of all streams.
    pub(crate) account: String,
    /// Streams with one durable consumer `work` and two ephemeral ones each.
    pub(crate) streams: Vec<String>,
    /// Of every stream and consumer: one, or two.
    pub(crate) replicas: usize,
    /// Of every stream.
    pub(crate) messages: u64,
    /// The other server.
    pub(crate) peer: String,
}

impl Default for Model {
    fn default() -> Self {
        Self::new("n1", (2, 15, 1))
    }
}

impl Model {
    pub(crate) fn new(name: &str, version: (u64, u64, u64)) -> Self {
        Self {
            id: format!("ID-OF-{name}"),
            name: name.to_owned(),
            version,
            cluster: "C1".to_owned(),
            condition: Condition::Well,
            account: "APP".to_owned(),
            streams: vec!["ORDERS".to_owned(), "EVENTS".to_owned()],
            replicas: 2,
            messages: 42,
            peer: "n9".to_owned(),
        }
    }

    /// Status and body for a path with its query.
    pub(crate) fn answer(&self, target: &str) -> (u16, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body = match path {
            "/varz" => self.varz(),
            "/routez" => self.routez(),
            "/jsz" => self.jsz(query),
            "/healthz" => return self.healthz(query),
            _ => return (404, "404 page not found\n".to_owned()),
        };
        (200, format!("{body:#}"))
    }

    fn since(&self, major: u64, minor: u64) -> bool {
        self.version >= (major, minor, 0)
    }

    fn varz(&self) -> Value {
        let (major, minor, patch) = self.version;
        let mut varz = json!({
            "server_id": self.id,
            "server_name": self.name,
            "version": format!("{major}.{minor}.{patch}"),
            "proto": 1,
            "git_commit": "abcdef0",
            "go": "go1.25.0",
            "host": "0.0.0.0",
            "port": 4222,
            "max_connections": 65536,
            "max_payload": 1_048_576,
            "max_pending": 67_108_864,
            "ping_interval": 120_000_000_000_u64,
            "write_deadline": 10_000_000_000_u64,
            "http_host": "0.0.0.0",
            "http_port": 8222,
            "cluster": {
                "name": self.cluster,
                "addr": "0.0.0.0",
                "cluster_port": 6222,
                "urls": ["10.0.0.1:6222", "10.0.0.2:6222"],
            },
            "gateway": {},
            "leaf": {},
            "mqtt": {},
            "websocket": {},
            "start": "2026-01-02T03:00:00.5Z",
            "now": "2026-01-02T03:04:05.25Z",
            "uptime": "4m4s",
            "config_load_time": "2026-01-02T03:00:00.5Z",
        });
        let numbers = json!({
            "mem": 20_000_000,
            "cores": 8,
            "gomaxprocs": 8,
            "cpu": 12.5,
            "connections": 3,
            "total_connections": if self.condition == Condition::Recovering { 0 } else { 17 },
            "routes": 4,
            "remotes": 1,
            "leafnodes": 0,
            // Beyond what a float can hold.
            "in_msgs": 9_007_199_254_740_993_u64,
            "out_msgs": 101,
            "in_bytes": 1000,
            "out_bytes": 1010,
            "slow_consumers": 0,
            "subscriptions": 321,
            "http_req_stats": { "/": 0, "/varz": 5, "/jsz": 6 },
        });
        let fields = varz.as_object_mut().unwrap();
        fields.extend(numbers.as_object().unwrap().clone());
        if self.since(2, 10) {
            let kinds = json!({ "clients": 0, "routes": 0, "gateways": 0, "leafs": 0 });
            fields.insert("slow_consumer_stats".to_owned(), kinds);
        }
        if self.since(2, 15) {
            let waits = json!({
                "waiters": 1, "waits": 5, "wait_time": 7_000_000, "max_wait_time": 3_000_000,
            });
            fields.insert("disk_io_wait_stats".to_owned(), waits);
            fields.insert("stalled_clients".to_owned(), json!(2));
            fields.insert("in_client_msgs".to_owned(), json!(77));
        }
        varz
    }

    fn routez(&self) -> Value {
        let route = |rid: u64| {
            json!({
                "rid": rid,
                "remote_id": format!("ID-OF-{}", self.peer),
                "remote_name": self.peer,
                "did_solicit": true,
                "is_configured": false,
                "ip": "10.0.0.2",
                "port": 6222,
                "start": "2026-01-02T03:00:01Z",
                "last_activity": "2026-01-02T03:04:00Z",
                "rtt": "385µs",
                "uptime": "4m4s",
                "idle": "1s",
                "pending_size": 0,
                "in_msgs": 10,
                "out_msgs": 20,
                "in_bytes": 30,
                "out_bytes": 40,
                "subscriptions": 5,
            })
        };
        json!({
            "server_id": self.id,
            "server_name": self.name,
            "now": "2026-01-02T03:04:05.25Z",
            "num_routes": 2,
            "routes": [route(1), route(2)],
        })
    }

    fn jsz(&self, query: &str) -> Value {
        let off = self.condition == Condition::SwitchedOff;
        let mut jsz = json!({
            "server_id": self.id,
            "now": "2026-01-02T03:04:05.25Z",
            "config": {
                "max_memory": 134_217_728, "max_storage": 536_870_912,
                "store_dir": "/data/jetstream", "sync_interval": 120_000_000_000_u64,
            },
            "memory": 0, "storage": 4200, "reserved_memory": 0, "reserved_storage": 0,
            "accounts": 1, "ha_assets": 3,
            "api": { "level": 1, "total": 12, "errors": 1 },
            "streams": self.streams.len(), "consumers": 3 * self.streams.len(),
            "messages": self.messages * self.streams.len() as u64, "bytes": 4200,
        });
        let fields = jsz.as_object_mut().unwrap();
        if off {
            let off = json!({ "disabled": true, "server_id": self.id, "config": {} });
            return off;
        }
        let mut meta = json!({
            "name": self.cluster,
            "cluster_size": 2,
            "pending": 0,
            "replicas": [
                { "name": self.peer, "current": true, "active": 500_000_000, "peer": "abc" },
            ],
        });
        if self.condition != Condition::NoMetaLeader {
            meta["leader"] = json!(self.name);
        }
        if self.since(2, 15) {
            meta["quorum_needed"] = json!(2);
        }
        if self.condition != Condition::Recovering {
            fields.insert("meta_cluster".to_owned(), meta);
        }
        if !query.is_empty() {
            let streams: Vec<_> =
                self.streams.iter().map(|name| self.stream(name, query)).collect();
            let account = json!({
                "name": self.account, "id": self.account,
                "memory": 0, "storage": 4200,
                "reserved_memory": u64::MAX, "reserved_storage": 268_435_456,
                "api": { "total": 9, "errors": 0 },
                "stream_detail": streams,
            });
            fields.insert("account_details".to_owned(), json!([account]));
            if self.since(2, 11) {
                fields.insert("total".to_owned(), json!(1));
            }
        }
        jsz
    }

    fn group(&self) -> Value {
        if self.condition == Condition::Recovering {
            return json!({ "name": self.cluster, "leader": self.name });
        }
        let other =
            json!({ "name": self.peer, "current": true, "active": 1_000_000, "peer": "abc" });
        json!({
            "name": self.cluster,
            "leader": self.name,
            "leader_since": "2026-01-02T03:00:02Z",
            "replicas": vec![other; self.replicas - 1],
        })
    }

    fn stream(&self, name: &str, query: &str) -> Value {
        let mut stream = json!({
            "name": name,
            "created": "2026-01-02T03:00:03Z",
            "cluster": self.group(),
            "config": {
                "name": name, "retention": "limits", "storage": "file", "discard": "old",
                "num_replicas": self.replicas, "max_msgs": -1, "max_bytes": 1_000_000, "max_age": 0,
                "max_consumers": -1, "max_msgs_per_subject": -1, "max_msg_size": -1,
                "duplicate_window": 120_000_000_000_u64, "sealed": false,
            },
            "state": {
                "messages": self.messages, "bytes": 2100,
                "first_seq": 1, "first_ts": "2026-01-02T03:00:04Z",
                "last_seq": self.messages, "last_ts": "2026-01-02T03:04:04Z",
                "num_subjects": 1, "consumer_count": 3,
            },
        });
        if query.contains("consumers=true") {
            let consumers = [Some("work"), None, None];
            let consumers = consumers.iter().enumerate();
            let consumers: Vec<_> =
                consumers.map(|(at, durable)| self.consumer(name, at, *durable)).collect();
            stream["consumer_detail"] = json!(consumers);
        }
        if !query.contains("config=true") {
            let fields = stream.as_object_mut().unwrap();
            fields.remove("config");
            for consumer in fields
                .get_mut("consumer_detail")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                consumer.as_object_mut().unwrap().remove("config");
            }
        }
        stream
    }

    fn consumer(&self, stream: &str, at: usize, durable: Option<&str>) -> Value {
        let name = durable.map_or_else(|| format!("ephemeral{at}"), str::to_owned);
        let mut config = json!({
            "ack_policy": "explicit", "deliver_policy": "all", "ack_wait": 30_000_000_000_u64,
            "max_deliver": -1, "max_ack_pending": 1000, "max_waiting": 512, "num_replicas": 0,
        });
        if let Some(durable) = durable {
            config["durable_name"] = json!(durable);
        }
        let cluster = (self.condition != Condition::Recovering).then(|| self.group());
        json!({
            "stream_name": stream,
            "name": name,
            "created": "2026-01-02T03:00:05Z",
            "config": config,
            "delivered": {
                "consumer_seq": 7, "stream_seq": 7, "last_active": "2026-01-02T03:04:00Z",
            },
            "ack_floor": { "consumer_seq": 6, "stream_seq": 6 },
            "num_ack_pending": 1,
            "num_redelivered": 0,
            "num_waiting": 2,
            "num_pending": 35,
            "cluster": cluster,
            "ts": "2026-01-02T03:04:05.25Z",
        })
    }

    /// As measured on 2.9.10, 2.10.26 and 2.15.1.
    fn healthz(&self, query: &str) -> (u16, String) {
        let has = |parameter: &str| query.split('&').any(|p| p == format!("{parameter}=true"));
        let details = has("details") && self.since(2, 10);
        let bad = |status: u16, kind: &str, text: &str| {
            let body = if details {
                let mut error = json!({ "type": kind, "error": text });
                if kind == "STREAM" {
                    error["account"] = json!(self.account);
                    error["stream"] = json!(self.streams[0]);
                }
                json!({ "status": "error", "errors": [error] })
            } else {
                let word = if kind == "CONNECTION" { "error" } else { "unavailable" };
                json!({ "status": word, "error": text })
            };
            (status, body.to_string())
        };
        let well = (200, r#"{"status":"ok"}"#.to_owned());
        let condition = self.condition;
        if matches!(condition, Condition::ListenersClosed | Condition::Recovering) {
            let status = if self.since(2, 10) { 500 } else { 503 };
            let text = "failed to be ready for connections after 1ms: server";
            return bad(status, "CONNECTION", text);
        }
        if has("js-server-only") && self.since(2, 11) {
            return well;
        }
        if condition == Condition::SwitchedOff {
            return bad(503, "JETSTREAM", "JetStream not enabled (10076)");
        }
        if has("js-enabled-only") {
            return well;
        }
        if condition == Condition::NoMetaLeader {
            let text = "JetStream has not established contact with a meta leader";
            return bad(503, "JETSTREAM", text);
        }
        if has("js-server-only") || (has("js-meta-only") && self.since(2, 11)) {
            return well;
        }
        if condition == Condition::StreamUnwell {
            let text = "JetStream stream 'APP > ORDERS' is not current: group node unhealthy";
            return bad(503, "STREAM", text);
        }
        well
    }
}
