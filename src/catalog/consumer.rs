//! Persistence tier: consumers.
//!
//! What a consumer waits for is known by its leader alone, which need not be the stream's; it is
//! reported once and without a `server` label. Consumers that come and go are added up for
//! each stream.

use super::stream::{NEEDS, metadata_labels, thresholds};
use super::{Entities, Table, Topic, rows};
use crate::assets::{Assets, LedConsumer};
use crate::config::Detail as Level;
use crate::detail::{StreamDetail, Sums};
use crate::nats::decode::positive;
use crate::nats::endpoint::Endpoint;
use crate::nats::jsz::{Consumer, ConsumerConfig, Member, PriorityGroup, RaftGroup as _};
use crate::tier::Tier;

const TIERS: &[Tier] = &[Tier::Persistence];
const LABELS: &[&str] = &["nats_cluster", "account", "stream", "consumer"];

impl<'s> LedConsumer<'s> {
    /// The values of `nats_cluster`, `account`, `stream` and `consumer`.
    fn labels(&self) -> [&'s str; 4] {
        let [cluster, account, stream] = self.stream.labels();
        [cluster, account, stream, &self.consumer.name]
    }
}

/// Consumers without a series of their own that one server leads.
pub(super) struct FoldedTable;

impl Table for FoldedTable {
    const TOPIC: Topic = Topic::Consumer;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] =
        &["nats_cluster", "server", "account", "stream", "kind"];
    type Source = Assets;
    type Entity<'s> = Sums;

    rows! {
        gauge "nats_jetstream_folded_consumers", "/jsz consumer_detail, of the leader",
            "Consumers that come and go and have no series of their own: ephemeral ones and those of MQTT sessions. Only those that this server leads, like all numbers of this kind: add them up over the servers."
            => |s| s.consumers;
        gauge "nats_jetstream_folded_consumer_pending_messages", "/jsz num_pending, of the leader",
            "Messages that folded consumers have not yet delivered."
            => |s| s.pending;
        gauge "nats_jetstream_folded_consumer_ack_pending", "/jsz num_ack_pending, of the leader",
            "Messages that folded consumers have delivered and that are not yet acknowledged."
            => |s| s.ack_pending;
        gauge "nats_jetstream_folded_consumer_redelivered_messages", "/jsz num_redelivered, of the leader",
            "Messages that folded consumers have delivered more than once and that are not yet acknowledged."
            => |s| s.redelivered;
        gauge "nats_jetstream_folded_consumer_waiting_pulls", "/jsz num_waiting, of the leader",
            "Pull requests that wait for messages of folded consumers."
            => |s| s.waiting;
    }

    fn entities(assets: &Assets, _: Tier, entities: &mut Entities<Sums>) {
        for source in &assets.sources {
            let Some(own_name) = &source.own_name else { continue };
            for (account, StreamDetail { stream, folded, .. }) in assets.streams(source) {
                for folded in folded {
                    let identity = &source.identity;
                    let labels = [
                        &*identity.cluster,
                        &identity.server,
                        account,
                        &stream.name,
                        folded.kind.as_str(),
                    ];
                    // A server that leads none says so: else every election would end a series.
                    entities.push(source.at, labels, folded.led(own_name, source.clustered));
                }
            }
        }
    }
}

/// A consumer as its leader reports it.
pub(super) struct ConsumerTable;

impl Table for ConsumerTable {
    const TOPIC: Topic = Topic::Consumer;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = LABELS;
    type Source = Assets;
    type Entity<'s> = &'s Consumer;

    rows! {
        gauge "nats_jetstream_consumer_pending_messages", "/jsz num_pending, of the leader",
            "Messages that match the consumer and that it has not yet delivered."
            => |c| c.num_pending;
        gauge "nats_jetstream_consumer_ack_pending", "/jsz num_ack_pending, of the leader",
            "Messages that were delivered and are not yet acknowledged."
            => |c| c.num_ack_pending;
        gauge "nats_jetstream_consumer_max_ack_pending", "/jsz config.max_ack_pending",
            "Messages that may be delivered and not acknowledged before delivery stops; no series when it has no limit."
            => |c| positive(c.config.as_ref()?.max_ack_pending);
        gauge "nats_jetstream_consumer_redelivered_messages", "/jsz num_redelivered, of the leader",
            "Messages that were delivered more than once and are not yet acknowledged."
            => |c| c.num_redelivered;
        gauge "nats_jetstream_consumer_waiting_pulls", "/jsz num_waiting, of the leader",
            "Pull requests that wait for messages; no series for push consumers."
            => |c| c.num_waiting.filter(|_| c.is_push() == Some(false));
        gauge "nats_jetstream_consumer_push_bound", "/jsz push_bound, of the leader",
            "Whether a client is bound to the push consumer; no series for pull consumers."
            => |c| (c.is_push()?).then(|| c.push_bound.unwrap_or(false));
        counter "nats_jetstream_consumer_delivered_messages", "/jsz delivered.consumer_seq, of the leader",
            "Deliveries, redeliveries included."
            => |c| c.delivered.consumer_seq;
        gauge "nats_jetstream_consumer_delivered_stream_sequence", "/jsz delivered.stream_seq, of the leader",
            "Sequence in the stream of the newest message that was delivered."
            => |c| c.delivered.stream_seq;
        gauge "nats_jetstream_consumer_ack_floor_stream_sequence", "/jsz ack_floor.stream_seq, of the leader",
            "Sequence in the stream up to which every message is acknowledged."
            => |c| c.ack_floor.stream_seq;
        gauge "nats_jetstream_consumer_ack_floor_consumer_sequence", "/jsz ack_floor.consumer_seq, of the leader",
            "Delivery up to which every delivery is acknowledged."
            => |c| c.ack_floor.consumer_seq;
        gauge "nats_jetstream_consumer_last_delivery_timestamp_seconds", "/jsz delivered.last_active, of the leader",
            "When a message was delivered last, in seconds since the epoch; no series when none was."
            => |c| c.delivered.last_active;
        gauge "nats_jetstream_consumer_last_ack_timestamp_seconds", "/jsz ack_floor.last_active, of the leader",
            "When an acknowledgement came last, in seconds since the epoch; no series when none did."
            => |c| c.ack_floor.last_active;
        gauge "nats_jetstream_consumer_pause_remaining_seconds", "/jsz pause_remaining, of the leader (2.11)",
            "How long delivery stays paused by an operator; no series when it is not."
            => |c| c.pause_remaining.filter(|_| c.paused == Some(true));
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<&'s Consumer>) {
        for led in assets.led_consumers() {
            entities.push(led.stream.source.at, led.labels(), led.consumer);
        }
    }
}

/// Whether the settings and the replicas of consumers are shown. They are many and seldom looked at.
fn shows_all(assets: &Assets) -> bool {
    assets.config.jetstream.detail >= Level::All
}

/// How a consumer is set up.
pub(super) struct ConsumerSettingsTable;

/// How a consumer is set up.
pub(super) struct ConsumerSettings<'s> {
    led: LedConsumer<'s>,
    config: &'s ConsumerConfig,
}

impl Table for ConsumerSettingsTable {
    const TOPIC: Topic = Topic::Consumer;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = LABELS;
    type Source = Assets;
    type Entity<'s> = ConsumerSettings<'s>;

    rows! {
        gauge "nats_jetstream_consumer_created_timestamp_seconds", "/jsz created, of the leader",
            "When the consumer was created, in seconds since the epoch; only with jetstream.detail all."
            => |c| c.led.consumer.created;
        gauge "nats_jetstream_consumer_leader_since_timestamp_seconds", "/jsz consumer_detail.cluster.leader_since (2.10)",
            "Since when the consumer has its leader, in seconds since the epoch; only with jetstream.detail all."
            => |c| c.led.consumer.cluster.as_ref()?.leader_since;
        gauge "nats_jetstream_consumer_max_deliver", "/jsz config.max_deliver",
            "How often a message is delivered before the consumer gives up; no series when it does not. Only with jetstream.detail all."
            => |c| positive(c.config.max_deliver);
        gauge "nats_jetstream_consumer_max_waiting_pulls", "/jsz config.max_waiting",
            "Pull requests that may wait; no series for push consumers. Only with jetstream.detail all."
            => |c| positive(c.config.max_waiting);
        gauge "nats_jetstream_consumer_ack_wait_seconds", "/jsz config.ack_wait",
            "How long the consumer waits for an acknowledgement before it delivers again; only with jetstream.detail all."
            => |c| c.config.ack_wait.filter(|wait| wait.0 > 0);
        gauge "nats_jetstream_consumer_inactive_threshold_seconds", "/jsz config.inactive_threshold",
            "How long the consumer may be unused before the server removes it; no series when it never is. Only with jetstream.detail all."
            => |c| c.config.inactive_threshold.filter(|threshold| threshold.0 > 0);
        gauge "nats_jetstream_consumer_replicas_configured", "/jsz config.num_replicas",
            "Replicas that the consumer should have, the leader included; those of its stream when it has no number of its own. Only with jetstream.detail all."
            => |c| match c.config.num_replicas {
                Some(0) | None => c.led.stream.stream.config.as_ref()?.num_replicas,
                own => own,
            };
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<ConsumerSettings<'s>>) {
        if !shows_all(assets) {
            return;
        }
        for led in assets.led_consumers() {
            if let Some(config) = &led.consumer.config {
                let entity = ConsumerSettings { led, config };
                entities.push(led.stream.source.at, led.labels(), entity);
            }
        }
    }
}

/// What a consumer is, in words.
pub(super) struct ConsumerInfoTable;

impl Table for ConsumerInfoTable {
    const TOPIC: Topic = Topic::Consumer;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &[
        "nats_cluster",
        "account",
        "stream",
        "consumer",
        "mode",
        "ack_policy",
        "deliver_policy",
        "priority_policy",
    ];
    type Source = Assets;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_consumer_info", "/jsz config",
            "1, with how the consumer delivers in the labels; mode is push or pull. Only with jetstream.detail all."
            => |_info| true;
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<()>) {
        if !shows_all(assets) {
            return;
        }
        for led in assets.led_consumers() {
            let Some(config) = &led.consumer.config else { continue };
            let [cluster, account, stream, consumer] = led.labels();
            let text = |text: &'s Option<String>| text.as_deref().unwrap_or_default();
            let labels = [
                cluster,
                account,
                stream,
                consumer,
                if config.push { "push" } else { "pull" },
                text(&config.ack_policy),
                text(&config.deliver_policy),
                text(&config.priority_policy),
            ];
            entities.push(led.stream.source.at, labels, ());
        }
    }
}

/// Chosen metadata of a consumer.
pub(super) struct ConsumerMetadataTable;

impl Table for ConsumerMetadataTable {
    const TOPIC: Topic = Topic::Consumer;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = LABELS;
    const MORE_LABELS: bool = true;
    type Source = Assets;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_consumer_metadata_info", "/jsz config.metadata (2.10)",
            "1, with the metadata of the consumer that jetstream.consumer_metadata_labels chooses in labels named metadata_KEY."
            => |_info| true;
    }

    fn entities(assets: &Assets, _: Tier, entities: &mut Entities<()>) {
        let keys = &assets.config.jetstream.consumer_metadata_labels;
        for led in assets.led_consumers() {
            let Some(config) = &led.consumer.config else { continue };
            let more = metadata_labels(keys, &config.metadata);
            if !more.is_empty() {
                let more = more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                entities.push_with(led.stream.source.at, led.labels(), more, ());
            }
        }
    }
}

/// A limit that the owner of a consumer has set.
pub(super) struct ConsumerThresholdTable;

impl Table for ConsumerThresholdTable {
    const TOPIC: Topic = Topic::Consumer;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] =
        &["nats_cluster", "account", "stream", "consumer", "threshold"];
    type Source = Assets;
    type Entity<'s> = f64;

    rows! {
        gauge "nats_jetstream_consumer_monitor_threshold", "/jsz config.metadata io.nats.monitor.* (2.10)",
            "A limit that the owner of the consumer has set in its metadata, such as outstanding-ack-critical; durations in seconds."
            => |threshold| *threshold;
    }

    fn entities(assets: &Assets, _: Tier, entities: &mut Entities<f64>) {
        for led in assets.led_consumers() {
            let Some(config) = &led.consumer.config else { continue };
            let [cluster, account, stream, consumer] = led.labels();
            for (name, threshold) in thresholds(&config.metadata) {
                let labels = [cluster, account, stream, consumer, name];
                entities.push(led.stream.source.at, labels, threshold);
            }
        }
    }
}

/// A group of clients of a consumer with priorities.
pub(super) struct PriorityGroupTable;

impl Table for PriorityGroupTable {
    const TOPIC: Topic = Topic::Consumer;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] =
        &["nats_cluster", "account", "stream", "consumer", "group"];
    type Source = Assets;
    type Entity<'s> = &'s PriorityGroup;

    rows! {
        gauge "nats_jetstream_consumer_priority_group_pinned", "/jsz priority_groups.pinned_client_id, of the leader (2.11)",
            "Whether a client is pinned in the priority group."
            => |g| g.pinned_client_id.as_deref().is_some_and(|id| !id.is_empty());
        gauge "nats_jetstream_consumer_priority_group_pinned_timestamp_seconds", "/jsz priority_groups.pinned_ts, of the leader (2.11)",
            "Since when the client is pinned, in seconds since the epoch."
            => |g| g.pinned_ts;
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<&'s PriorityGroup>) {
        for led in assets.led_consumers() {
            let [cluster, account, stream, consumer] = led.labels();
            for group in &led.consumer.priority_groups {
                let labels = [cluster, account, stream, consumer, &group.group];
                entities.push(led.stream.source.at, labels, group);
            }
        }
    }
}

/// One replica of a consumer as its own server sees it.
pub(super) struct ConsumerReplicaTable;

/// One replica of a consumer as its own server sees it.
pub(super) struct ConsumerReplica<'s> {
    consumer: &'s Consumer,
    own_name: Option<&'s str>,
    clustered: bool,
}

impl Table for ConsumerReplicaTable {
    const TOPIC: Topic = Topic::Consumer;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] =
        &["nats_cluster", "server", "account", "stream", "consumer"];
    type Source = Assets;
    type Entity<'s> = ConsumerReplica<'s>;

    rows! {
        gauge "nats_jetstream_consumer_is_leader", "/jsz consumer_detail.cluster.leader",
            "Whether this server says that it leads the consumer. The consumer has no leader when no server says so. Only with jetstream.detail all."
            => |r| r.own_name.map(|own_name| r.consumer.leads(own_name, r.clustered));
        gauge "nats_jetstream_consumer_leader_known", "/jsz consumer_detail.cluster.leader",
            "Whether this server names a leader of the consumer; followers keep an old name for minutes. Only with jetstream.detail all."
            => |r| r.consumer.leader_known(r.clustered);
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<ConsumerReplica<'s>>) {
        if !shows_all(assets) {
            return;
        }
        for source in &assets.sources {
            let identity = &source.identity;
            let (own_name, clustered) = (source.own_name.as_deref(), source.clustered);
            for (account, StreamDetail { stream, consumers, .. }) in assets.streams(source) {
                for consumer in consumers {
                    let labels = [
                        &*identity.cluster,
                        &identity.server,
                        account,
                        &stream.name,
                        &consumer.name,
                    ];
                    let entity = ConsumerReplica { consumer, own_name, clustered };
                    entities.push(source.at, labels, entity);
                }
            }
        }
    }
}

/// The leader of a consumer.
pub(super) struct ConsumerLeaderTable;

impl Table for ConsumerLeaderTable {
    const TOPIC: Topic = Topic::Consumer;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] =
        &["nats_cluster", "account", "stream", "consumer", "leader"];
    type Source = Assets;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_consumer_leader_info", "/jsz consumer_detail.cluster.leader, of the leader",
            "1, with the server that leads the consumer in the label; no series on a standalone server."
            => |_info| true;
    }

    fn entities(assets: &Assets, _: Tier, entities: &mut Entities<()>) {
        for led in assets.led_consumers().filter(|led| led.consumer.cluster.is_some()) {
            let [cluster, account, stream, consumer] = led.labels();
            let leader = &led.stream.source.identity.server;
            let labels = [cluster, account, stream, consumer, leader];
            entities.push(led.stream.source.at, labels, ());
        }
    }
}

/// A replica of a consumer as its leader sees it.
pub(super) struct ConsumerPeerTable;

impl Table for ConsumerPeerTable {
    const TOPIC: Topic = Topic::Consumer;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] =
        &["nats_cluster", "account", "stream", "consumer", "peer"];
    type Source = Assets;
    type Entity<'s> = Member<'s>;

    rows! {
        gauge "nats_jetstream_consumer_replica_current", "/jsz consumer_detail.cluster.replicas.current, of the leader",
            "Whether the leader of the consumer calls this replica current; only with jetstream.detail all."
            => |m| m.current();
        gauge "nats_jetstream_consumer_replica_offline", "/jsz consumer_detail.cluster.replicas.offline, of the leader",
            "Whether the leader of the consumer calls this replica offline; only with jetstream.detail all."
            => |m| m.offline();
        gauge "nats_jetstream_consumer_replica_lag_operations", "/jsz consumer_detail.cluster.replicas.lag, of the leader",
            "Raft entries that this replica is behind; only with jetstream.detail all."
            => |m| m.lag();
        gauge "nats_jetstream_consumer_replica_last_seen_seconds", "/jsz consumer_detail.cluster.replicas.active, of the leader",
            "Time since the leader of the consumer heard from this replica, 0 for the leader itself; only with jetstream.detail all."
            => |m| m.last_seen_seconds();
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<Member<'s>>) {
        if !shows_all(assets) {
            return;
        }
        for led in assets.led_consumers() {
            let [cluster, account, stream, consumer] = led.labels();
            let own_name = led.stream.own_name;
            for member in led.consumer.cluster.iter().flat_map(|group| group.members(own_name)) {
                let labels = [cluster, account, stream, consumer, member.name];
                entities.push(led.stream.source.at, labels, member);
            }
        }
    }
}
