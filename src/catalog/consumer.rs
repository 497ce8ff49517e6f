//! Persistence tier: consumers.
//!
//! What a consumer waits for is known by its leader alone, which need not be the stream's; it is
//! reported once and without a `server` label. Consumers that come and go are added up for
//! each stream.

use super::jetstream::each;
use super::stream::{NEEDS, metadata_labels, thresholds};
use super::{Entities, Table, Topic, rows};
use crate::config::Detail as Level;
use crate::detail::{Detail, Sums};
use crate::nats::decode::positive;
use crate::nats::endpoint::Endpoint;
use crate::nats::jsz::{Consumer, PriorityGroup, RaftGroup as _, Replica};
use crate::scrape::{LedConsumer, Scrape};
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
    const DETAIL: bool = true;
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

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<Sums>) {
        for (source, snapshot, persistence) in each(scrape) {
            let Some(own_name) = persistence.own_name.as_deref() else { continue };
            let folded = persistence.detail().into_iter().flat_map(|detail| &detail.folded);
            for folded in folded.filter(|f| f.leader.as_deref().is_none_or(|l| l == own_name)) {
                // No leader is a standalone server, unless the server is clustered.
                if folded.leader.is_none() && persistence.clustered() {
                    continue;
                }
                let labels = [
                    snapshot.identity.cluster.as_str(),
                    &snapshot.identity.server,
                    &folded.account,
                    &folded.stream,
                    folded.kind.as_str(),
                ];
                entities.push(source, labels, folded.sums);
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
    const DETAIL: bool = true;
    type Entity<'s> = LedConsumer<'s>;

    rows! {
        gauge "nats_jetstream_consumer_pending_messages", "/jsz num_pending, of the leader",
            "Messages that match the consumer and that it has not yet delivered."
            => |c| c.consumer.num_pending;
        gauge "nats_jetstream_consumer_ack_pending", "/jsz num_ack_pending, of the leader",
            "Messages that were delivered and are not yet acknowledged."
            => |c| c.consumer.num_ack_pending;
        gauge "nats_jetstream_consumer_max_ack_pending", "/jsz config.max_ack_pending",
            "Messages that may be delivered and not acknowledged before delivery stops; no series when it has no limit."
            => |c| positive(c.consumer.config.max_ack_pending);
        gauge "nats_jetstream_consumer_redelivered_messages", "/jsz num_redelivered, of the leader",
            "Messages that were delivered more than once and are not yet acknowledged."
            => |c| c.consumer.num_redelivered;
        gauge "nats_jetstream_consumer_waiting_pulls", "/jsz num_waiting, of the leader",
            "Pull requests that wait for messages; no series for push consumers."
            => |c| c.consumer.num_waiting.filter(|_| !c.consumer.is_push());
        gauge "nats_jetstream_consumer_push_bound", "/jsz push_bound, of the leader",
            "Whether a client is bound to the push consumer; no series for pull consumers."
            => |c| c.consumer.is_push().then(|| c.consumer.push_bound.unwrap_or(false));
        counter "nats_jetstream_consumer_delivered_messages", "/jsz delivered.consumer_seq, of the leader",
            "Deliveries, redeliveries included."
            => |c| c.consumer.delivered.consumer_seq;
        gauge "nats_jetstream_consumer_delivered_stream_sequence", "/jsz delivered.stream_seq, of the leader",
            "Sequence in the stream of the newest message that was delivered."
            => |c| c.consumer.delivered.stream_seq;
        gauge "nats_jetstream_consumer_ack_floor_stream_sequence", "/jsz ack_floor.stream_seq, of the leader",
            "Sequence in the stream up to which every message is acknowledged."
            => |c| c.consumer.ack_floor.stream_seq;
        gauge "nats_jetstream_consumer_ack_floor_consumer_sequence", "/jsz ack_floor.consumer_seq, of the leader",
            "Delivery up to which every delivery is acknowledged."
            => |c| c.consumer.ack_floor.consumer_seq;
        gauge "nats_jetstream_consumer_last_delivery_timestamp_seconds", "/jsz delivered.last_active, of the leader",
            "When a message was delivered last, in seconds since the epoch; no series when none was."
            => |c| c.consumer.delivered.last_active;
        gauge "nats_jetstream_consumer_last_ack_timestamp_seconds", "/jsz ack_floor.last_active, of the leader",
            "When an acknowledgement came last, in seconds since the epoch; no series when none did."
            => |c| c.consumer.ack_floor.last_active;
        gauge "nats_jetstream_consumer_created_timestamp_seconds", "/jsz created, of the leader",
            "When the consumer was created, in seconds since the epoch."
            => |c| c.consumer.created;
        gauge "nats_jetstream_consumer_leader_since_timestamp_seconds", "/jsz consumer_detail.cluster.leader_since (2.10)",
            "Since when the consumer has its leader, in seconds since the epoch."
            => |c| c.consumer.cluster.as_ref().and_then(|group| group.leader_since);
        gauge "nats_jetstream_consumer_paused", "/jsz paused, of the leader (2.11)",
            "Whether delivery is paused by an operator."
            => |c| c.consumer.paused.unwrap_or(false);
        gauge "nats_jetstream_consumer_pause_remaining_seconds", "/jsz pause_remaining, of the leader (2.11)",
            "How long delivery stays paused; no series when it is not."
            => |c| c.consumer.pause_remaining.filter(|_| c.consumer.paused == Some(true));
        gauge "nats_jetstream_consumer_max_deliver", "/jsz config.max_deliver",
            "How often a message is delivered before the consumer gives up; no series when it does not."
            => |c| positive(c.consumer.config.max_deliver);
        gauge "nats_jetstream_consumer_max_waiting_pulls", "/jsz config.max_waiting",
            "Pull requests that may wait; no series for push consumers."
            => |c| positive(c.consumer.config.max_waiting);
        gauge "nats_jetstream_consumer_ack_wait_seconds", "/jsz config.ack_wait",
            "How long the consumer waits for an acknowledgement before it delivers again."
            => |c| c.consumer.config.ack_wait.filter(|wait| wait.0 > 0);
        gauge "nats_jetstream_consumer_inactive_threshold_seconds", "/jsz config.inactive_threshold",
            "How long the consumer may be unused before the server removes it; no series when it never is."
            => |c| c.consumer.config.inactive_threshold.filter(|threshold| threshold.0 > 0);
        gauge "nats_jetstream_consumer_replicas_configured", "/jsz config.num_replicas",
            "Replicas that the consumer should have, the leader included; those of its stream when it has no number of its own."
            => |c| match c.consumer.config.num_replicas {
                Some(0) | None => c.stream.stream.config.num_replicas,
                own => own,
            };
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<LedConsumer<'s>>) {
        for led in scrape.led_consumers() {
            entities.push(led.stream.source, led.labels(), led);
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
    const DETAIL: bool = true;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_consumer_info", "/jsz config",
            "1, with how the consumer delivers in the labels; mode is push or pull."
            => |_info| true;
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<()>) {
        for led in scrape.led_consumers() {
            let [cluster, account, stream, consumer] = led.labels();
            let config = &led.consumer.config;
            let text = |text: &'s Option<String>| text.as_deref().unwrap_or_default();
            let labels = [
                cluster,
                account,
                stream,
                consumer,
                if led.consumer.is_push() { "push" } else { "pull" },
                text(&config.ack_policy),
                text(&config.deliver_policy),
                text(&config.priority_policy),
            ];
            entities.push(led.stream.source, labels, ());
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
    const DETAIL: bool = true;
    const MORE_LABELS: bool = true;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_consumer_metadata_info", "/jsz config.metadata (2.10)",
            "1, with the metadata of the consumer that jetstream.consumer_metadata_labels chooses in labels named metadata_KEY."
            => |_info| true;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<()>) {
        let keys = &scrape.config.jetstream.consumer_metadata_labels;
        for led in scrape.led_consumers() {
            let more = metadata_labels(keys, &led.consumer.config.metadata);
            if !more.is_empty() {
                let more = more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                entities.push_with(led.stream.source, led.labels(), more, ());
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
    const DETAIL: bool = true;
    type Entity<'s> = f64;

    rows! {
        gauge "nats_jetstream_consumer_monitor_threshold", "/jsz config.metadata io.nats.monitor.* (2.10)",
            "A limit that the owner of the consumer has set in its metadata, such as outstanding-ack-critical; durations in seconds."
            => |threshold| *threshold;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<f64>) {
        for led in scrape.led_consumers() {
            let [cluster, account, stream, consumer] = led.labels();
            for (name, threshold) in thresholds(&led.consumer.config.metadata) {
                let labels = [cluster, account, stream, consumer, name];
                entities.push(led.stream.source, labels, threshold);
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
    const DETAIL: bool = true;
    type Entity<'s> = &'s PriorityGroup;

    rows! {
        gauge "nats_jetstream_consumer_priority_group_pinned", "/jsz priority_groups.pinned_client_id, of the leader (2.11)",
            "Whether a client is pinned in the priority group."
            => |g| g.pinned_client_id.as_deref().is_some_and(|id| !id.is_empty());
        gauge "nats_jetstream_consumer_priority_group_pinned_timestamp_seconds", "/jsz priority_groups.pinned_ts, of the leader (2.11)",
            "Since when the client is pinned, in seconds since the epoch."
            => |g| g.pinned_ts;
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<&'s PriorityGroup>) {
        for led in scrape.led_consumers() {
            let [cluster, account, stream, consumer] = led.labels();
            for group in &led.consumer.priority_groups {
                let labels = [cluster, account, stream, consumer, &group.group];
                entities.push(led.stream.source, labels, group);
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
    const DETAIL: bool = true;
    type Entity<'s> = ConsumerReplica<'s>;

    rows! {
        gauge "nats_jetstream_consumer_is_leader", "/jsz consumer_detail.cluster.leader",
            "Whether this server says that it leads the consumer. The consumer has no leader when no server says so."
            => |r| r.own_name.map(|own_name| r.consumer.leads(own_name, r.clustered));
        gauge "nats_jetstream_consumer_leader_known", "/jsz consumer_detail.cluster.leader",
            "Whether this server names a leader of the consumer; followers keep an old name for minutes."
            => |r| r.consumer.leader_known(r.clustered);
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<ConsumerReplica<'s>>) {
        for (source, snapshot, persistence) in each(scrape) {
            let identity = &snapshot.identity;
            let own_name = persistence.own_name.as_deref();
            let clustered = persistence.clustered();
            for (account, stream) in persistence.detail().into_iter().flat_map(Detail::streams) {
                for consumer in &stream.consumer_detail {
                    let labels = [
                        identity.cluster.as_str(),
                        &identity.server,
                        &account.name,
                        &stream.name,
                        &consumer.name,
                    ];
                    let entity = ConsumerReplica { consumer, own_name, clustered };
                    entities.push(source, labels, entity);
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
    const DETAIL: bool = true;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_consumer_leader_info", "/jsz consumer_detail.cluster.leader, of the leader",
            "1, with the server that leads the consumer in the label."
            => |_info| true;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<()>) {
        for led in scrape.led_consumers() {
            let [cluster, account, stream, consumer] = led.labels();
            let leader = &led.stream.snapshot.identity.server;
            let labels = [cluster, account, stream, consumer, leader];
            entities.push(led.stream.source, labels, ());
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
    const DETAIL: bool = true;
    type Entity<'s> = &'s Replica;

    rows! {
        gauge "nats_jetstream_consumer_replica_current", "/jsz consumer_detail.cluster.replicas.current, of the leader",
            "Whether the leader of the consumer calls this replica current; only with jetstream.detail replicas."
            => |r| r.current;
        gauge "nats_jetstream_consumer_replica_offline", "/jsz consumer_detail.cluster.replicas.offline, of the leader",
            "Whether the leader of the consumer calls this replica offline; only with jetstream.detail replicas."
            => |r| r.offline;
        gauge "nats_jetstream_consumer_replica_lag_operations", "/jsz consumer_detail.cluster.replicas.lag, of the leader",
            "Raft entries that this replica is behind; only with jetstream.detail replicas."
            => |r| r.lag;
        gauge "nats_jetstream_consumer_replica_last_seen_seconds", "/jsz consumer_detail.cluster.replicas.active, of the leader",
            "Time since the leader of the consumer heard from this replica; only with jetstream.detail replicas."
            => |r| r.last_seen_seconds();
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<&'s Replica>) {
        if scrape.config.jetstream.detail < Level::Replicas {
            return;
        }
        for led in scrape.led_consumers() {
            let [cluster, account, stream, consumer] = led.labels();
            let own_name = led.stream.own_name;
            for replica in led.consumer.cluster.iter().flat_map(|group| group.others(own_name)) {
                let labels = [cluster, account, stream, consumer, &replica.name];
                entities.push(led.stream.source, labels, replica);
            }
        }
    }
}
