//! `/varz`: the server process, its clients and its limits.
//!
//! The `jetstream` section is left alone: it keeps the last numbers after
//! JetStream was switched off (seen on 2.10.26 and 2.15.1), and `/jsz` has
//! the same ones with the switch.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::decode::{Answer, Apart, Body, null_is_default};
use super::time::{Nanoseconds, Timestamp, instant};
use super::version::Version;

/// The answer of `/varz`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // The fields carry the names of the endpoint; units are with the metrics.
pub struct Varz {
    pub server_id: Option<String>,
    pub server_name: Option<String>,
    pub version: Option<String>,
    pub git_commit: Option<String>,
    pub go: Option<String>,
    pub host: Option<String>,
    pub port: Option<i64>,
    pub auth_required: Option<bool>,
    pub tls_required: Option<bool>,
    pub max_connections: Option<i64>,
    pub max_subscriptions: Option<i64>,
    pub max_payload: Option<i64>,
    pub max_pending: Option<i64>,
    pub ping_interval: Option<Nanoseconds>,
    pub write_deadline: Option<Nanoseconds>,
    #[serde(deserialize_with = "instant")]
    pub start: Option<Timestamp>,
    #[serde(deserialize_with = "instant")]
    pub now: Option<Timestamp>,
    #[serde(deserialize_with = "instant")]
    pub config_load_time: Option<Timestamp>,
    pub config_digest: Option<String>,
    pub system_account: Option<String>,
    pub mem: Option<i64>,
    pub cpu: Option<f64>,
    pub cores: Option<i64>,
    pub gomaxprocs: Option<i64>,
    pub gomemlimit: Option<i64>,
    pub connections: Option<i64>,
    pub total_connections: Option<u64>,
    pub remotes: Option<i64>,
    pub leafnodes: Option<i64>,
    pub in_msgs: Option<u64>,
    pub in_bytes: Option<u64>,
    pub out_msgs: Option<u64>,
    pub out_bytes: Option<u64>,
    pub in_client_msgs: Option<u64>,
    pub in_client_bytes: Option<u64>,
    pub out_client_msgs: Option<u64>,
    pub out_client_bytes: Option<u64>,
    pub slow_consumers: Option<u64>,
    pub slow_consumer_stats: Option<ByKind>,
    pub stale_connections: Option<u64>,
    pub stale_connection_stats: Option<ByKind>,
    pub stalled_clients: Option<u64>,
    pub subscriptions: Option<u64>,
    #[serde(deserialize_with = "null_is_default")]
    pub http_req_stats: BTreeMap<String, u64>,
    pub pinned_account_fails: Option<u64>,
    #[serde(deserialize_with = "instant")]
    pub tls_cert_not_after: Option<Timestamp>,
    #[serde(deserialize_with = "null_is_default")]
    pub cluster: Cluster,
    #[serde(deserialize_with = "null_is_default")]
    pub gateway: Listener,
    #[serde(deserialize_with = "null_is_default")]
    pub leaf: Listener,
    #[serde(deserialize_with = "null_is_default")]
    pub mqtt: Listener,
    #[serde(deserialize_with = "null_is_default")]
    pub websocket: Listener,
    /// Persistence, although it stands in this body, of which it must cost nothing else; from 2.12.14 and 2.14.4.
    pub disk_io_wait_stats: Apart<DiskIoWait>,
}

/// A count for each kind of connection; from 2.10.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct ByKind {
    pub clients: Option<u64>,
    pub routes: Option<u64>,
    pub gateways: Option<u64>,
    pub leafs: Option<u64>,
}

impl ByKind {
    /// The kinds that the server counts, with the value of the `kind` label.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("clients", self.clients),
            ("routes", self.routes),
            ("gateways", self.gateways),
            ("leafs", self.leafs),
        ]
        .into_iter()
        .filter_map(|(kind, count)| count.map(|count| (kind, count)))
    }
}

/// The cluster listener; empty when the server is not clustered.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Cluster {
    /// May be there without a listener, and then JetStream is not clustered (seen on 2.15.1).
    pub name: Option<String>,
    /// Left out when there is no listener.
    pub cluster_port: Option<i64>,
    /// The configured routes. Each server of a cluster usually has the same list, itself included.
    #[serde(deserialize_with = "null_is_default")]
    pub urls: Vec<String>,
    #[serde(deserialize_with = "instant")]
    pub tls_cert_not_after: Option<Timestamp>,
}

/// One of the other listeners; empty when it is off.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Listener {
    #[serde(deserialize_with = "instant")]
    pub tls_cert_not_after: Option<Timestamp>,
}

/// How often and how long JetStream waited for one of its disk slots.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct DiskIoWait {
    pub waiters: Option<i64>,
    pub waits: Option<u64>,
    pub wait_time: Option<u64>,
    pub max_wait_time: Option<u64>,
}

impl Answer for Varz {
    fn server_id(&self) -> Option<&str> {
        self.server_id.as_deref()
    }
}

impl Body for Varz {
    const KNOWN: &'static [&'static str] = &[
        "proto",
        "max_control_line",
        "routes",
        "ip",
        "connect_urls.**",
        "ws_connect_urls.**",
        "http_host",
        "http_port",
        "http_base_path",
        "https_port",
        "tls_verify",
        "tls_ocsp_peer_verify",
        "tls_timeout",
        "auth_timeout",
        "ping_max",
        "write_timeout",
        "uptime",
        "trusted_operators_jwt.**",
        "trusted_operators_claim.**",
        "tags.**",
        "metadata.**",
        "feature_flags.**",
        "ocsp_peer_cache.**",
        "jetstream.**",
        "cluster.**",
        "gateway.**",
        "leaf.**",
        "mqtt.**",
        "websocket.**",
        "proxies.**",
    ];

    fn unknown_apart(&self) -> Vec<String> {
        self.disk_io_wait_stats.unknown("disk_io_wait_stats")
    }
}

impl Varz {
    /// The version; nothing when it is no version number.
    #[must_use]
    pub fn parsed_version(&self) -> Option<Version> {
        self.version.as_deref().and_then(|text| text.parse().ok())
    }

    /// Expiry of the certificate of each listener that has one, with the value of the
    /// `listener` label.
    pub fn certificates(&self) -> impl Iterator<Item = (&'static str, Timestamp)> {
        [
            ("client", self.tls_cert_not_after),
            ("cluster", self.cluster.tls_cert_not_after),
            ("gateway", self.gateway.tls_cert_not_after),
            ("leafnode", self.leaf.tls_cert_not_after),
            ("mqtt", self.mqtt.tls_cert_not_after),
            ("websocket", self.websocket.tls_cert_not_after),
        ]
        .into_iter()
        .filter_map(|(listener, expiry)| expiry.map(|expiry| (listener, expiry)))
    }
}
