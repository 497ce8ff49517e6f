//! `/jsz`: what a server says of its part of JetStream.
//!
//! The plain form ([`Jsz`]) is cheap and is asked at every scrape. The detailed form
//! costs the server more with every stream and consumer, and comes in pieces: [`Consumer`],
//! [`Stream`], [`Account`] and [`DetailEnd`], see [`split`](super::split).
//! Much of what a server says of an asset is true only when it leads that asset; the methods
//! named `leads` tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

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
    #[serde(deserialize_with = "each_once")]
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
    /// Whether it is gone, or has not what the leader has.
    #[must_use]
    pub fn behind(&self) -> bool {
        self.offline || !self.current
    }

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
    #[serde(deserialize_with = "each_once")]
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
        self.led_by(own_name) && self.others(own_name).any(Replica::behind)
    }

    /// All members, when the server called `own_name` leads the group and there are others.
    fn members<'s>(&'s self, own_name: &'s str) -> impl Iterator<Item = Member<'s>> {
        let others = self.others(own_name);
        let others = others.map(|other| Member { name: &other.name, replica: Some(other) });
        let is_group = self.others(own_name).next().is_some();
        is_group.then_some(Member { name: own_name, replica: None }).into_iter().chain(others)
    }

    /// How many members the speaking server knows of. It leaves itself out of the list, unless there is no leader.
    fn size(&self) -> usize {
        self.replicas().len() + usize::from(self.leader().is_some())
    }

    /// The members other than the speaking server, which lists itself when there is no leader.
    fn others<'s>(&'s self, own_name: &'s str) -> impl Iterator<Item = &'s Replica> {
        self.replicas().iter().filter(move |replica| replica.name != own_name)
    }
}

/// A member of a raft group as its leader sees it, the leader included.
///
/// The leader does not list itself, and another one does not list itself after an election: without it
/// here, every election would end the series of one member and start those of another.
#[derive(Debug, Clone, Copy)]
pub struct Member<'s> {
    /// The server.
    pub name: &'s str,
    /// What the leader says of it; nothing for the leader itself.
    replica: Option<&'s Replica>,
}

impl Member<'_> {
    /// Whether it has what the leader has.
    #[must_use]
    pub fn current(self) -> bool {
        self.replica.is_none_or(|replica| replica.current)
    }

    /// Whether the leader takes it for gone, or it has not what the leader has.
    #[must_use]
    pub fn behind(self) -> bool {
        self.replica.is_some_and(Replica::behind)
    }

    /// Whether the leader takes it for gone.
    #[must_use]
    pub fn offline(self) -> bool {
        self.replica.is_some_and(|replica| replica.offline)
    }

    /// Raft entries that it is behind.
    #[must_use]
    pub fn lag(self) -> u64 {
        self.replica.map_or(0, |replica| replica.lag)
    }

    /// Seconds since the leader heard from it; nothing when it never did.
    #[must_use]
    pub fn last_seen_seconds(self) -> Option<f64> {
        self.replica.map_or(Some(0.0), Replica::last_seen_seconds)
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

/// What a detailed answer says beside its accounts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct DetailEnd {
    pub server_id: Option<String>,
    /// Accounts on this server, whatever the page; from 2.10.28 and 2.11.2.
    pub total: Option<u64>,
}

impl Answer for DetailEnd {
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
}

impl Account {
    /// What tells it from all others: its id, or its name where there is none. Names are tags that owners choose.
    #[must_use]
    pub fn key(&self) -> &str {
        self.id.as_deref().filter(|id| !id.is_empty()).unwrap_or(&self.name)
    }
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
    /// Only when it is asked for, or known from an earlier answer; see
    /// [`Book`](crate::detail::book::Book).
    #[serde(deserialize_with = "shared")]
    pub config: Option<Arc<StreamConfig>>,
    /// Of the local replica.
    #[serde(deserialize_with = "null_is_default")]
    pub state: StreamState,
    pub mirror: Option<Source>,
    #[serde(deserialize_with = "null_is_default")]
    pub sources: Vec<Source>,
}

impl Stream {
    /// Whether the stream should have several replicas and the server lists none; nothing while
    /// the configuration is not known.
    ///
    /// A clustered server that has not started the raft node of a replicated stream names itself as
    /// the leader and no replicas, while nothing can be written (seen on 2.15.1 after quorum was
    /// lost and the survivor restarted).
    fn is_unstarted(&self) -> Option<bool> {
        if self.cluster.as_ref().is_some_and(|group| !group.replicas.is_empty()) {
            return Some(false);
        }
        self.config.as_ref().map(|config| config.num_replicas > Some(1))
    }

    /// Whether the server called `own_name` leads this stream; a standalone server leads all.
    /// Nothing while it says so of a stream that it may not have started.
    #[must_use]
    pub fn leads(&self, own_name: &str, clustered: bool) -> Option<bool> {
        let claims = leads(self.cluster.as_ref(), own_name, clustered);
        if claims && clustered {
            self.is_unstarted().map(|unstarted| !unstarted)
        } else {
            Some(claims)
        }
    }

    /// Whether the speaking server names a leader.
    #[must_use]
    pub fn leader_known(&self, clustered: bool) -> bool {
        let unstarted = clustered && self.is_unstarted() == Some(true);
        !unstarted && leader_known(self.cluster.as_ref(), clustered)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
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
///
/// There may be hundreds of thousands at a time, so what is rare stands in a box.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Consumer {
    #[serde(deserialize_with = "null_is_default")]
    pub name: Box<str>,
    #[serde(deserialize_with = "instant")]
    pub created: Option<Timestamp>,
    /// As for [`Stream::config`].
    #[serde(deserialize_with = "shared")]
    pub config: Option<Arc<ConsumerConfig>>,
    #[serde(deserialize_with = "null_is_default")]
    pub delivered: Sequences,
    #[serde(deserialize_with = "null_is_default")]
    pub ack_floor: Sequences,
    pub num_ack_pending: Option<u64>,
    pub num_redelivered: Option<u64>,
    pub num_waiting: Option<u64>,
    pub num_pending: Option<u64>,
    pub push_bound: Option<bool>,
    pub cluster: Option<Box<Group>>,
    pub paused: Option<bool>,
    pub pause_remaining: Option<Nanoseconds>,
    #[serde(deserialize_with = "each_once")]
    pub priority_groups: Vec<PriorityGroup>,
}

impl Consumer {
    /// Whether the server called `own_name` leads this consumer; a standalone server leads all.
    #[must_use]
    pub fn leads(&self, own_name: &str, clustered: bool) -> bool {
        leads(self.cluster.as_deref(), own_name, clustered)
    }

    /// Whether the speaking server names a leader.
    #[must_use]
    pub fn leader_known(&self, clustered: bool) -> bool {
        leader_known(self.cluster.as_deref(), clustered)
    }

    /// Whether this is a push consumer; nothing while the configuration is not known.
    #[must_use]
    pub fn is_push(&self) -> Option<bool> {
        self.config.as_ref().map(|config| config.push)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct ConsumerConfig {
    /// Whether it has a durable name: else the server invents one and forgets it with the client.
    #[serde(rename = "durable_name", deserialize_with = "is_given")]
    pub durable: bool,
    /// Whether it has a subject to deliver to.
    #[serde(rename = "deliver_subject", deserialize_with = "is_given")]
    pub push: bool,
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

/// Decodes something that several answers will share.
fn shared<'de, D, T>(source: D) -> Result<Option<Arc<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(source)?.map(Arc::new))
}

/// Something that has a name of its own in a list.
trait Named {
    fn name(&self) -> &str;
}

impl Named for Replica {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for PriorityGroup {
    fn name(&self) -> &str {
        &self.group
    }
}

/// Decodes a list and keeps the first of each name: two would be the same series twice, and Prometheus
/// refuses a whole scrape for that.
fn each_once<'de, D, T>(source: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Named,
{
    let mut list: Vec<T> = null_is_default(source)?;
    let mut names = BTreeSet::new();
    let are_first: Vec<bool> = list.iter().map(|entry| names.insert(entry.name())).collect();
    let mut are_first = are_first.into_iter();
    list.retain(|_| are_first.next() == Some(true));
    Ok(list)
}

/// Decodes whether a text is there and not empty.
fn is_given<'de, D: Deserializer<'de>>(source: D) -> Result<bool, D::Error> {
    let text: Option<std::borrow::Cow<'de, str>> = Option::deserialize(source)?;
    Ok(text.is_some_and(|text| !text.is_empty()))
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
