//! Persistence tier: streams, their replicas, and what they copy from.
//!
//! What only a leader knows is reported once for each stream and without a `server` label, so that
//! an election ends no series. What every replica knows of itself has the label.

use std::collections::BTreeMap;

use super::{Entities, Table, Topic, rows};
use crate::assets::{Assets, LedStream};
use crate::detail::{Count, StreamDetail};
use crate::nats::decode::signed_limit;
use crate::nats::endpoint::Endpoint;
use crate::nats::jsz::{Member, RaftGroup as _, Source, Stream, StreamState};
use crate::nats::time::GoDuration;
use crate::tier::Tier;

const TIERS: &[Tier] = &[Tier::Persistence];
pub(super) const NEEDS: &[Endpoint] = &[Endpoint::Varz, Endpoint::Jsz, Endpoint::JszDetail];
const LABELS: &[&str] = &["nats_cluster", "account", "stream"];

impl<'s> LedStream<'s> {
    /// The values of `nats_cluster`, `account` and `stream`.
    pub(super) fn labels(&self) -> [&'s str; 3] {
        [&self.source.identity.cluster, self.account, &self.stream.name]
    }
}

/// A stream as its leader reports it.
pub(super) struct StreamTable;

impl Table for StreamTable {
    const TOPIC: Topic = Topic::Stream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = LABELS;
    type Source = Assets;
    type Entity<'s> = &'s Stream;

    rows! {
        gauge "nats_jetstream_stream_messages", "/jsz state.messages, of the leader",
            "Messages in the stream."
            => |s| s.state.messages;
        gauge "nats_jetstream_stream_bytes", "/jsz state.bytes, of the leader",
            "Bytes of the messages in the stream."
            => |s| s.state.bytes;
        gauge "nats_jetstream_stream_first_sequence", "/jsz state.first_seq, of the leader",
            "Sequence of the oldest message."
            => |s| s.state.first_seq;
        gauge "nats_jetstream_stream_first_timestamp_seconds", "/jsz state.first_ts, of the leader",
            "When the oldest message was stored, in seconds since the epoch; no series for an empty stream."
            => |s| s.state.first_ts;
        counter "nats_jetstream_stream_published_messages", "/jsz state.last_seq, of the leader",
            "Messages that were ever stored: the sequence of the newest one."
            => |s| s.state.last_seq;
        gauge "nats_jetstream_stream_last_timestamp_seconds", "/jsz state.last_ts, of the leader",
            "When the newest message was stored, in seconds since the epoch; no series for an empty stream."
            => |s| s.state.last_ts;
        gauge "nats_jetstream_stream_subjects", "/jsz state.num_subjects, of the leader",
            "Different subjects in the stream."
            => |s| s.state.messages.map(|_| s.state.num_subjects.unwrap_or(0));
        gauge "nats_jetstream_stream_deleted_messages", "/jsz state.num_deleted, of the leader",
            "Messages that were deleted between the oldest and the newest one."
            => |s| s.state.messages.map(|_| s.state.num_deleted.unwrap_or(0));
        gauge "nats_jetstream_stream_consumers", "/jsz state.consumer_count, of the leader",
            "Consumers of the stream of which its leader holds a replica: in a cluster, those with a single replica on another server are not among them."
            => |s| s.state.consumer_count;
        gauge "nats_jetstream_stream_created_timestamp_seconds", "/jsz created, of the leader",
            "When the stream was created, in seconds since the epoch."
            => |s| s.created;
        gauge "nats_jetstream_stream_replicas_configured", "/jsz config.num_replicas",
            "Replicas that the stream should have, the leader included."
            => |s| s.config.as_ref()?.num_replicas;
        gauge "nats_jetstream_stream_leader_since_timestamp_seconds", "/jsz cluster.leader_since (2.10)",
            "Since when the stream has its leader, in seconds since the epoch."
            => |s| s.cluster.as_ref().and_then(|group| group.leader_since);
        gauge "nats_jetstream_stream_limit_messages", "/jsz config.max_msgs",
            "Messages that the stream may hold; no series when it has no limit."
            => |s| signed_limit(s.config.as_ref()?.max_msgs);
        gauge "nats_jetstream_stream_limit_age_seconds", "/jsz config.max_age",
            "How old a message may get; no series when it has no limit."
            => |s| s.config.as_ref()?.max_age.filter(|age| age.0 > 0);
        gauge "nats_jetstream_stream_limit_consumers", "/jsz config.max_consumers",
            "Consumers that the stream may have; no series when it has no limit."
            => |s| signed_limit(s.config.as_ref()?.max_consumers);
        gauge "nats_jetstream_stream_limit_messages_per_subject", "/jsz config.max_msgs_per_subject",
            "Messages that the stream may hold for each subject; no series when it has no limit."
            => |s| signed_limit(s.config.as_ref()?.max_msgs_per_subject);
        gauge "nats_jetstream_stream_limit_message_bytes", "/jsz config.max_msg_size",
            "Largest message that the stream accepts; no series when it has no limit."
            => |s| signed_limit(s.config.as_ref()?.max_msg_size);
        gauge "nats_jetstream_stream_duplicate_window_seconds", "/jsz config.duplicate_window",
            "How long the ids of messages are remembered to find duplicates."
            => |s| s.config.as_ref()?.duplicate_window.filter(|window| window.0 > 0);
        gauge "nats_jetstream_stream_sealed", "/jsz config.sealed",
            "Whether the stream is closed for changes for ever."
            => |s| s.config.as_ref()?.sealed;
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<&'s Stream>) {
        for led in assets.led_streams() {
            entities.push(led.source.at, led.labels(), led.stream);
        }
    }
}

/// The limit on the bytes of a stream, with what happens there.
pub(super) struct StreamLimitTable;

impl Table for StreamLimitTable {
    const TOPIC: Topic = Topic::Stream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "account", "stream", "discard"];
    type Source = Assets;
    type Entity<'s> = &'s Stream;

    rows! {
        gauge "nats_jetstream_stream_limit_bytes", "/jsz config.max_bytes, config.discard",
            "Bytes that the stream may hold; no series when it has no limit. At the limit, discard old drops the oldest messages and discard new rejects publishing."
            => |s| signed_limit(s.config.as_ref()?.max_bytes);
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<&'s Stream>) {
        for led in assets.led_streams() {
            let Some(config) = &led.stream.config else { continue };
            let [cluster, account, stream] = led.labels();
            let discard = config.discard.as_deref().unwrap_or_default();
            entities.push(led.source.at, [cluster, account, stream, discard], led.stream);
        }
    }
}

/// What a stream is, in words.
pub(super) struct StreamInfoTable;

impl Table for StreamInfoTable {
    const TOPIC: Topic = Topic::Stream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] =
        &["nats_cluster", "account", "stream", "retention", "storage", "discard"];
    type Source = Assets;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_stream_info", "/jsz config.retention, config.storage, config.discard",
            "1, with how the stream keeps its messages in the labels."
            => |_info| true;
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<()>) {
        for led in assets.led_streams() {
            let Some(config) = &led.stream.config else { continue };
            let [cluster, account, stream] = led.labels();
            let text = |text: &'s Option<String>| text.as_deref().unwrap_or_default();
            let words = [text(&config.retention), text(&config.storage), text(&config.discard)];
            let labels = [cluster, account, stream, words[0], words[1], words[2]];
            entities.push(led.source.at, labels, ());
        }
    }
}

/// Chosen metadata as labels: those with a value, named `metadata_` and the key.
pub(super) fn metadata_labels(
    keys: &[String],
    metadata: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let name = |key: &str| {
        let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        format!("metadata_{}", key.chars().map(legal).collect::<String>())
    };
    let value = |key: &String| Some((name(key), metadata.get(key)?.clone()));
    keys.iter().filter_map(value).collect()
}

/// Chosen metadata of a stream.
pub(super) struct StreamMetadataTable;

impl Table for StreamMetadataTable {
    const TOPIC: Topic = Topic::Stream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = LABELS;
    const MORE_LABELS: bool = true;
    type Source = Assets;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_stream_metadata_info", "/jsz config.metadata (2.10)",
            "1, with the metadata of the stream that jetstream.stream_metadata_labels chooses in labels named metadata_KEY."
            => |_info| true;
    }

    fn entities(assets: &Assets, _: Tier, entities: &mut Entities<()>) {
        let keys = &assets.config.jetstream.stream_metadata_labels;
        for led in assets.led_streams() {
            let Some(config) = &led.stream.config else { continue };
            let more = metadata_labels(keys, &config.metadata);
            if !more.is_empty() {
                let more = more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                entities.push_with(led.source.at, led.labels(), more, ());
            }
        }
    }
}

/// Prefix of the metadata keys by which owners of streams and consumers set their own limits.
const MONITOR: &str = "io.nats.monitor.";

/// The limits that an owner has set in metadata: the rest of the key, and the value as a number.
///
/// Durations become seconds, and true and false become 1 and 0. What is none of these is left out.
pub(super) fn thresholds(metadata: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, f64)> {
    metadata.iter().filter_map(|(key, text)| {
        let text = text.trim();
        let number = match text {
            "true" => Some(1.0),
            "false" => Some(0.0),
            _ => text.parse().ok().or_else(|| GoDuration::parse(text).map(GoDuration::seconds)),
        };
        Some((key.strip_prefix(MONITOR)?, number?))
    })
}

/// A limit that the owner of a stream has set.
pub(super) struct StreamThresholdTable;

impl Table for StreamThresholdTable {
    const TOPIC: Topic = Topic::Stream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "account", "stream", "threshold"];
    type Source = Assets;
    type Entity<'s> = f64;

    rows! {
        gauge "nats_jetstream_stream_monitor_threshold", "/jsz config.metadata io.nats.monitor.* (2.10)",
            "A limit that the owner of the stream has set in its metadata, such as lag-critical or msgs-warn; durations in seconds."
            => |threshold| *threshold;
    }

    fn entities(assets: &Assets, _: Tier, entities: &mut Entities<f64>) {
        for led in assets.led_streams() {
            let Some(config) = &led.stream.config else { continue };
            let [cluster, account, stream] = led.labels();
            for (name, threshold) in thresholds(&config.metadata) {
                entities.push(led.source.at, [cluster, account, stream, name], threshold);
            }
        }
    }
}

/// A replica as the leader of the stream sees it.
pub(super) struct StreamPeerTable;

impl Table for StreamPeerTable {
    const TOPIC: Topic = Topic::Stream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "account", "stream", "peer"];
    type Source = Assets;
    type Entity<'s> = Member<'s>;

    rows! {
        gauge "nats_jetstream_stream_replica_current", "/jsz cluster.replicas.current, of the leader",
            "Whether the leader of the stream calls this replica current. The leader itself is current."
            => |m| m.current();
        gauge "nats_jetstream_stream_replica_offline", "/jsz cluster.replicas.offline, of the leader",
            "Whether the leader of the stream calls this replica offline; after a crash it may take minutes."
            => |m| m.offline();
        gauge "nats_jetstream_stream_replica_lag_operations", "/jsz cluster.replicas.lag, of the leader",
            "Raft entries that this replica is behind."
            => |m| m.lag();
        gauge "nats_jetstream_stream_replica_last_seen_seconds", "/jsz cluster.replicas.active, of the leader",
            "Time since the leader of the stream heard from this replica; 0 for the leader itself."
            => |m| m.last_seen_seconds();
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<Member<'s>>) {
        for led in assets.led_streams() {
            let [cluster, account, stream] = led.labels();
            for member in led.stream.cluster.iter().flat_map(|group| group.members(led.own_name)) {
                entities.push(led.source.at, [cluster, account, stream, member.name], member);
            }
        }
    }
}

/// A stream that this one copies from.
pub(super) struct StreamSourceTable;

impl Table for StreamSourceTable {
    const TOPIC: Topic = Topic::Stream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] =
        &["nats_cluster", "account", "stream", "kind", "source", "filter", "external"];
    type Source = Assets;
    type Entity<'s> = &'s Source;

    rows! {
        gauge "nats_jetstream_stream_source_lag_messages", "/jsz mirror.lag, sources.lag",
            "Messages that the stream has not yet copied from its mirror or source."
            => |s| s.lag;
        gauge "nats_jetstream_stream_source_last_seen_seconds", "/jsz mirror.active, sources.active",
            "Time since the stream heard from its mirror or source; no series when it never did."
            => |s| s.active.filter(|active| active.0 >= 0);
        gauge "nats_jetstream_stream_source_failing", "/jsz mirror.error, sources.error",
            "Whether the server reports an error for the mirror or source."
            => |s| s.error.is_some();
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<&'s Source>) {
        for led in assets.led_streams() {
            let [cluster, account, stream] = led.labels();
            for ((kind, name, filter, external), source) in sources(led.stream) {
                let labels = [cluster, account, stream, kind, name, filter, external];
                entities.push(led.source.at, labels, source);
            }
        }
    }
}

type SourceLabels<'s> = (&'static str, &'s str, &'s str, &'s str);

/// The mirror and the sources of a stream by their labels. Sources that differ in nothing but
/// how they rename subjects share the labels: the one that is behind the most is shown.
fn sources(stream: &Stream) -> BTreeMap<SourceLabels<'_>, &Source> {
    let mut sources: BTreeMap<SourceLabels<'_>, &Source> = BTreeMap::new();
    let mirror = stream.mirror.iter().map(|source| ("mirror", source));
    for (kind, source) in mirror.chain(stream.sources.iter().map(|source| ("source", source))) {
        let filter = source.filter_subject.as_deref().unwrap_or_default();
        let external = source.external.as_ref().and_then(|e| e.api.as_deref());
        let shown = sources.entry((kind, &source.name, filter, external.unwrap_or_default()));
        shown
            .and_modify(|other| {
                if source.lag > other.lag {
                    *other = source;
                }
            })
            .or_insert(source);
    }
    sources
}

/// One replica of a stream as its own server sees it.
pub(super) struct StreamReplicaTable;

/// One replica of a stream as its own server sees it.
pub(super) struct StreamReplica<'s> {
    stream: &'s Stream,
    consumers: Count,
    own_name: Option<&'s str>,
    clustered: bool,
}

impl<'s> StreamReplica<'s> {
    fn state(&self) -> &'s StreamState {
        &self.stream.state
    }
}

impl Table for StreamReplicaTable {
    const TOPIC: Topic = Topic::Stream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "account", "stream"];
    type Source = Assets;
    type Entity<'s> = StreamReplica<'s>;

    rows! {
        gauge "nats_jetstream_stream_is_leader", "/jsz cluster.leader",
            "Whether this server says that it leads the stream. The stream has no leader when no server says so."
            => |r| r.stream.leads(r.own_name?, r.clustered);
        gauge "nats_jetstream_stream_leader_known", "/jsz cluster.leader",
            "Whether this server names a leader of the stream; followers keep an old name for minutes."
            => |r| r.stream.leader_known(r.clustered);
        gauge "nats_jetstream_stream_replica_messages", "/jsz state.messages",
            "Messages in the replica on this server."
            => |r| r.state().messages;
        gauge "nats_jetstream_stream_replica_bytes", "/jsz state.bytes",
            "Bytes of the messages in the replica on this server."
            => |r| r.state().bytes;
        gauge "nats_jetstream_stream_replica_last_sequence", "/jsz state.last_seq",
            "Sequence of the newest message in the replica on this server."
            => |r| r.state().last_seq;
        gauge "nats_jetstream_stream_replica_lost_messages", "/jsz state.lost.msgs",
            "Messages that the replica on this server has lost to damage of its store."
            => |r| r.state().messages.map(|_| r.state().lost.as_ref().map_or(0, |l| l.msgs.len() as u64));
        gauge "nats_jetstream_stream_replica_lost_bytes", "/jsz state.lost.bytes",
            "Bytes that the replica on this server has lost to damage of its store; no series when it has lost none."
            => |r| r.state().lost.as_ref().and_then(|lost| lost.bytes);
        gauge "nats_jetstream_stream_replica_consumers", "/jsz consumer_detail",
            "Consumers of the stream with a replica on this server that are not filtered out."
            => |r| r.consumers.all;
        gauge "nats_jetstream_stream_replica_consumers_led", "/jsz consumer_detail.cluster.leader",
            "Consumers of the stream of which this server says that it leads them."
            => |r| r.own_name.and_then(|_| r.consumers.led(r.clustered));
        gauge "nats_jetstream_stream_replica_consumers_without_leader", "/jsz consumer_detail.cluster.leader",
            "Consumers of the stream with a replica on this server for which it names no leader; followers keep an old name for minutes."
            => |r| r.consumers.without_leader(r.clustered);
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<StreamReplica<'s>>) {
        for source in &assets.sources {
            let identity = &source.identity;
            let (own_name, clustered) = (source.own_name.as_deref(), source.clustered);
            for (account, StreamDetail { stream, count, .. }) in assets.streams(source) {
                let labels = [&identity.cluster, &identity.server, account, &*stream.name];
                let entity = StreamReplica { stream, consumers: *count, own_name, clustered };
                entities.push(source.at, labels, entity);
            }
        }
    }
}

/// The leader of a stream.
pub(super) struct StreamLeaderTable;

impl Table for StreamLeaderTable {
    const TOPIC: Topic = Topic::Stream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "account", "stream", "leader"];
    type Source = Assets;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_stream_leader_info", "/jsz cluster.leader, of the leader",
            "1, with the server that leads the stream in the label."
            => |_info| true;
    }

    fn entities(assets: &Assets, _: Tier, entities: &mut Entities<()>) {
        for led in assets.led_streams() {
            let [cluster, account, stream] = led.labels();
            let leader = &led.source.identity.server;
            entities.push(led.source.at, [cluster, account, stream, leader], ());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn thresholds_are_numbers_durations_and_flags() {
        let metadata = metadata(&[
            ("io.nats.monitor.enabled", "true"),
            ("io.nats.monitor.lag-critical", "200"),
            ("io.nats.monitor.peer-seen-critical", "1m30s"),
            ("io.nats.monitor.ratio", "0.5"),
            ("io.nats.monitor.text", "many"),
            ("other", "5"),
        ]);
        let found: Vec<_> = thresholds(&metadata).collect();
        let expected = [
            ("enabled", 1.0),
            ("lag-critical", 200.0),
            ("peer-seen-critical", 90.0),
            ("ratio", 0.5),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn chosen_metadata_becomes_labels() {
        let keys = ["team.name".to_owned(), "absent".to_owned()];
        let labels = metadata_labels(&keys, &metadata(&[("team.name", "a"), ("x", "b")]));
        assert_eq!(labels, [("metadata_team_name".to_owned(), "a".to_owned())]);
    }
}
