//! `/jsz`: what a server says of its part of JetStream.
//!
//! The plain form ([`Jsz`]) is cheap and is asked at every scrape. The detailed form
//! ([`JszDetail`]) costs the server more with every stream and consumer.
//! Much of what a server says of an asset is true only when it leads that asset; the methods
//! named `leads` tell.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::decode::{Answer, Body, null_is_default};
use super::time::{Nanoseconds, Timestamp, instant};

/// The plain answer of `/jsz`: this server, and its view of the meta group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // The fields carry the names of the endpoint; units are with the metrics.
pub struct Jsz {
    pub server_id: Option<String>,
    /// Off: never configured, or switched off at run time. [`super::healthz`] tells which.
    pub disabled: Option<bool>,
    #[serde(deserialize_with = "null_is_default")]
    pub config: Config,
    #[serde(deserialize_with = "null_is_default")]
    pub limits: Limits,
    pub memory: Option<u64>,
    pub storage: Option<u64>,
    pub reserved_memory: Option<u64>,
    pub reserved_storage: Option<u64>,
    pub accounts: Option<u64>,
    pub ha_assets: Option<u64>,
    #[serde(deserialize_with = "null_is_default")]
    pub api: Api,
    pub streams: Option<u64>,
    pub consumers: Option<u64>,
    pub messages: Option<u64>,
    pub bytes: Option<u64>,
    /// Only on clustered servers.
    pub meta_cluster: Option<MetaCluster>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Config {
    pub max_memory: Option<i64>,
    pub max_storage: Option<i64>,
    pub store_dir: Option<String>,
    pub sync_interval: Option<Nanoseconds>,
    pub sync_always: Option<bool>,
    pub domain: Option<String>,
    pub unique_tag: Option<String>,
}

/// Limits of the server; from 2.11.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Limits {
    pub max_ha_assets: Option<i64>,
}

/// API requests; of a server or, in an account, of the whole cluster.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Api {
    pub total: Option<u64>,
    pub errors: Option<u64>,
    /// Left out when zero.
    pub inflight: Option<u64>,
    pub level: Option<u64>,
}

/// A server's view of the group that owns all streams and consumers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct MetaCluster {
    pub name: Option<String>,
    /// Missing when this server knows no leader.
    pub leader: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub replicas: Vec<Replica>,
    pub cluster_size: Option<u64>,
    /// From 2.15.
    pub quorum_needed: Option<u64>,
    /// From 2.10.
    pub pending: Option<u64>,
    pub pending_requests: Option<u64>,
    pub pending_infos: Option<u64>,
    pub snapshot: Option<MetaSnapshot>,
}

/// The state of the meta group's log; from 2.11.11 and 2.12.2.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct MetaSnapshot {
    pub pending_entries: Option<u64>,
    pub pending_size: Option<u64>,
    #[serde(deserialize_with = "instant")]
    pub last_time: Option<Timestamp>,
    pub last_duration: Option<Nanoseconds>,
}

/// A member of a raft group other than the one that speaks. True only from the leader.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Replica {
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub current: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub offline: bool,
    /// Nanoseconds since the last contact; 0 is unknown, not "just now".
    pub active: Option<Nanoseconds>,
    /// Raft entries, not messages.
    #[serde(deserialize_with = "null_is_default")]
    pub lag: u64,
}

impl Replica {
    /// Seconds since the leader heard from this member; nothing when it never did.
    #[must_use]
    pub fn last_seen_seconds(&self) -> Option<f64> {
        self.active.filter(|active| active.0 > 0).map(Nanoseconds::seconds)
    }
}

/// The raft group of an asset, as the speaking server sees it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Group {
    /// True only when it names the speaking server: others keep an old name for minutes.
    pub leader: Option<String>,
    /// Only from the leader; from 2.10.
    #[serde(deserialize_with = "instant")]
    pub leader_since: Option<Timestamp>,
    #[serde(deserialize_with = "null_is_default")]
    pub replicas: Vec<Replica>,
}

/// A raft group as one of its servers prints it.
pub trait RaftGroup {
    /// The `leader` field.
    fn leader_field(&self) -> Option<&str>;

    /// The `replicas` field.
    fn replicas(&self) -> &[Replica];

    /// The leader that the speaking server names.
    fn leader(&self) -> Option<&str> {
        self.leader_field().filter(|leader| !leader.is_empty())
    }

    /// Whether the server called `own_name` says of itself that it leads the group.
    fn led_by(&self, own_name: &str) -> bool {
        self.leader() == Some(own_name)
    }

    /// Whether the server called `own_name` leads the group and calls a member offline or not
    /// current.
    fn leads_others_behind(&self, own_name: &str) -> bool {
        let behind = |replica: &Replica| replica.offline || !replica.current;
        self.led_by(own_name) && self.others(own_name).any(behind)
    }

    /// The members other than the speaking server, which lists itself when there is no leader.
    fn others<'s>(&'s self, own_name: &'s str) -> impl Iterator<Item = &'s Replica> {
        self.replicas().iter().filter(move |replica| replica.name != own_name)
    }
}

impl RaftGroup for Group {
    fn leader_field(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    fn replicas(&self) -> &[Replica] {
        &self.replicas
    }
}

impl RaftGroup for MetaCluster {
    fn leader_field(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    fn replicas(&self) -> &[Replica] {
        &self.replicas
    }
}

impl MetaCluster {
    /// Members that must be current for the group to work: told by the server from 2.15 on,
    /// a majority before.
    #[must_use]
    pub fn quorum(&self) -> Option<u64> {
        self.quorum_needed.or_else(|| self.cluster_size.map(|size| size / 2 + 1))
    }
}

/// On a clustered server an asset without a group has not been started, so nobody leads it there.
fn leads(group: Option<&Group>, own_name: &str, clustered: bool) -> bool {
    group.map_or(!clustered, |group| group.led_by(own_name))
}

fn leader_known(group: Option<&Group>, clustered: bool) -> bool {
    group.map_or(!clustered, |group| group.leader().is_some())
}

impl Answer for Jsz {
    fn server_id(&self) -> Option<&str> {
        self.server_id.as_deref()
    }
}

impl Body for Jsz {
    const KNOWN: &'static [&'static str] = &[
        "now",
        "total",
        "streams_leader",
        "consumers_leader",
        "account_details.**",
        "api.**",
        "config.**",
        "limits.**",
        "meta_cluster.peer",
        "meta_cluster.rescue.**",
        "meta_cluster.replicas.*.peer",
        "meta_cluster.replicas.*.pending",
    ];
}

/// The detailed answer of `/jsz`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct JszDetail {
    pub server_id: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub account_details: Vec<Account>,
    /// Accounts on this server, whatever the page; from 2.10.28 and 2.11.2.
    pub total: Option<u64>,
}

impl Answer for JszDetail {
    fn server_id(&self) -> Option<&str> {
        self.server_id.as_deref()
    }
}

/// One account; its numbers are sums over the whole cluster, and every server prints the same.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Account {
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    pub id: Option<String>,
    pub memory: Option<u64>,
    pub storage: Option<u64>,
    /// The account's **limit**, in spite of its name.
    pub reserved_memory: Option<u64>,
    /// The account's **limit**, in spite of its name.
    pub reserved_storage: Option<u64>,
    #[serde(deserialize_with = "null_is_default")]
    pub api: Api,
    #[serde(deserialize_with = "null_is_default")]
    pub stream_detail: Vec<Stream>,
}

/// One stream of which the speaking server holds a replica.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Stream {
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "instant")]
    pub created: Option<Timestamp>,
    /// Always there on a clustered server, with the holder as the leader of a single replica.
    pub cluster: Option<Group>,
    #[serde(deserialize_with = "null_is_default")]
    pub config: StreamConfig,
    /// Of the local replica.
    #[serde(deserialize_with = "null_is_default")]
    pub state: StreamState,
    #[serde(deserialize_with = "null_is_default")]
    pub consumer_detail: Vec<Consumer>,
    pub mirror: Option<Source>,
    #[serde(deserialize_with = "null_is_default")]
    pub sources: Vec<Source>,
}

impl Stream {
    /// The group, when it says anything.
    ///
    /// A clustered server that has not started the raft node of a replicated stream names itself as
    /// the leader and no replicas, while nothing can be written (seen on 2.15.1 after quorum was
    /// lost and the survivor restarted).
    #[must_use]
    pub fn group(&self) -> Option<&Group> {
        let replicated = self.config.num_replicas.is_some_and(|replicas| replicas > 1);
        self.cluster.as_ref().filter(|group| !replicated || !group.replicas.is_empty())
    }

    /// Whether the server called `own_name` leads this stream; a standalone server leads all.
    #[must_use]
    pub fn leads(&self, own_name: &str, clustered: bool) -> bool {
        leads(self.group(), own_name, clustered)
    }

    /// Whether the speaking server names a leader.
    #[must_use]
    pub fn leader_known(&self, clustered: bool) -> bool {
        leader_known(self.group(), clustered)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct StreamConfig {
    pub retention: Option<String>,
    pub storage: Option<String>,
    pub discard: Option<String>,
    pub num_replicas: Option<u64>,
    pub max_msgs: Option<i64>,
    pub max_bytes: Option<i64>,
    pub max_age: Option<Nanoseconds>,
    pub max_consumers: Option<i64>,
    pub max_msgs_per_subject: Option<i64>,
    pub max_msg_size: Option<i64>,
    pub duplicate_window: Option<Nanoseconds>,
    pub sealed: Option<bool>,
    /// From 2.10.
    #[serde(deserialize_with = "null_is_default")]
    pub metadata: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct StreamState {
    pub messages: Option<u64>,
    pub bytes: Option<u64>,
    pub first_seq: Option<u64>,
    #[serde(deserialize_with = "instant")]
    pub first_ts: Option<Timestamp>,
    pub last_seq: Option<u64>,
    #[serde(deserialize_with = "instant")]
    pub last_ts: Option<Timestamp>,
    /// Left out when zero.
    pub num_subjects: Option<u64>,
    /// Left out when zero.
    pub num_deleted: Option<u64>,
    pub lost: Option<Lost>,
    pub consumer_count: Option<u64>,
}

/// Messages that were lost to damage of the store.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Lost {
    #[serde(deserialize_with = "null_is_default")]
    pub msgs: Vec<u64>,
    pub bytes: Option<u64>,
}

/// A stream that this one copies from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Source {
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// Messages.
    pub lag: Option<u64>,
    /// Nanoseconds since the last contact; −1 is never.
    pub active: Option<Nanoseconds>,
    pub error: Option<SourceError>,
    pub filter_subject: Option<String>,
    /// Set when the other stream is in another account or domain.
    pub external: Option<External>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct External {
    pub api: Option<String>,
}

/// Why a mirror or source does not copy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SourceError {}

/// One consumer of which the speaking server holds a replica.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Consumer {
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "instant")]
    pub created: Option<Timestamp>,
    #[serde(deserialize_with = "null_is_default")]
    pub config: ConsumerConfig,
    #[serde(deserialize_with = "null_is_default")]
    pub delivered: Sequences,
    #[serde(deserialize_with = "null_is_default")]
    pub ack_floor: Sequences,
    pub num_ack_pending: Option<u64>,
    pub num_redelivered: Option<u64>,
    pub num_waiting: Option<u64>,
    pub num_pending: Option<u64>,
    pub push_bound: Option<bool>,
    pub cluster: Option<Group>,
    pub paused: Option<bool>,
    pub pause_remaining: Option<Nanoseconds>,
    #[serde(deserialize_with = "null_is_default")]
    pub priority_groups: Vec<PriorityGroup>,
}

impl Consumer {
    /// Whether the server called `own_name` leads this consumer; a standalone server leads all.
    #[must_use]
    pub fn leads(&self, own_name: &str, clustered: bool) -> bool {
        leads(self.cluster.as_ref(), own_name, clustered)
    }

    /// Whether the speaking server names a leader.
    #[must_use]
    pub fn leader_known(&self, clustered: bool) -> bool {
        leader_known(self.cluster.as_ref(), clustered)
    }

    /// Whether this is a push consumer.
    #[must_use]
    pub fn is_push(&self) -> bool {
        self.config.deliver_subject.as_deref().is_some_and(|subject| !subject.is_empty())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct ConsumerConfig {
    pub durable_name: Option<String>,
    pub deliver_subject: Option<String>,
    pub ack_policy: Option<String>,
    pub deliver_policy: Option<String>,
    pub ack_wait: Option<Nanoseconds>,
    pub max_ack_pending: Option<i64>,
    pub max_deliver: Option<i64>,
    pub max_waiting: Option<i64>,
    pub num_replicas: Option<u64>,
    pub inactive_threshold: Option<Nanoseconds>,
    pub priority_policy: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub metadata: BTreeMap<String, String>,
}

/// A position of a consumer, in its own count of deliveries and in the stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Sequences {
    pub consumer_seq: Option<u64>,
    pub stream_seq: Option<u64>,
    #[serde(deserialize_with = "instant")]
    pub last_active: Option<Timestamp>,
}

/// One group of a consumer with priorities; from 2.11.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct PriorityGroup {
    #[serde(deserialize_with = "null_is_default")]
    pub group: String,
    pub pinned_client_id: Option<String>,
    #[serde(deserialize_with = "instant")]
    pub pinned_ts: Option<Timestamp>,
}
