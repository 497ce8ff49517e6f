//! Persistence tier: the meta group, which owns all streams and consumers.
//!
//! Every server has a view of it; what a member is like is known by the leader alone.

use super::jetstream::each;
use super::{Entities, Table, Topic, rows};
use crate::nats::endpoint::Endpoint;
use crate::nats::jsz::{Member, MetaCluster, RaftGroup as _};
use crate::scrape::Scrape;
use crate::snapshot::Persistence;
use crate::tier::Tier;

const TIERS: &[Tier] = &[Tier::Persistence];
const NEEDS: &[Endpoint] = &[Endpoint::Varz, Endpoint::Jsz];

/// The meta group as one server sees it.
pub(super) struct MetaTable;

/// The meta group as one server sees it.
pub(super) struct Meta<'s> {
    group: &'s MetaCluster,
    own_name: Option<&'s str>,
}

impl<'s> Meta<'s> {
    fn of(persistence: &'s Persistence) -> Option<Self> {
        let group = persistence.running()?.meta_cluster.as_ref()?;
        Some(Self { group, own_name: persistence.own_name.as_deref() })
    }

    fn leader(&self) -> Option<&'s str> {
        self.group.leader()
    }
}

impl Table for MetaTable {
    const TOPIC: Topic = Topic::Meta;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server"];
    type Source = Scrape;
    type Entity<'s> = Meta<'s>;

    rows! {
        gauge "nats_jetstream_meta_leader_known", "/jsz meta_cluster.leader",
            "Whether this server knows a meta leader. No series where JetStream is off or not clustered."
            => |m| m.leader().is_some();
        gauge "nats_jetstream_meta_is_leader", "/jsz meta_cluster.leader",
            "Whether this server says that it leads the meta group. Two may say so for some seconds of a partition."
            => |m| m.own_name.map(|own_name| m.group.led_by(own_name));
        gauge "nats_jetstream_meta_cluster_size", "/jsz meta_cluster.cluster_size",
            "Servers that the meta group should have; those of all clusters that are joined by gateways."
            => |m| m.group.cluster_size;
        gauge "nats_jetstream_meta_quorum_size", "/jsz meta_cluster.quorum_needed (2.15), cluster_size",
            "Servers that the meta group needs to work."
            => |m| m.group.quorum();
        gauge "nats_jetstream_meta_pending_operations", "/jsz meta_cluster.pending (2.10)",
            "Operations of the meta group that wait on this server."
            => |m| m.group.pending;
        gauge "nats_jetstream_meta_pending_requests", "/jsz meta_cluster.pending_requests (2.14)",
            "API requests that wait for the meta group on this server."
            => |m| m.group.pending_requests;
        gauge "nats_jetstream_meta_pending_infos", "/jsz meta_cluster.pending_infos (2.14)",
            "Requests for information that wait on this server."
            => |m| m.group.pending_infos;
        gauge "nats_jetstream_meta_snapshot_pending_entries", "/jsz meta_cluster.snapshot.pending_entries (2.11.11, 2.12.2)",
            "Entries of the meta log since the last snapshot."
            => |m| m.group.snapshot.as_ref().and_then(|s| s.pending_entries);
        gauge "nats_jetstream_meta_snapshot_pending_bytes", "/jsz meta_cluster.snapshot.pending_size (2.11.11, 2.12.2)",
            "Size of the meta log since the last snapshot."
            => |m| m.group.snapshot.as_ref().and_then(|s| s.pending_size);
        gauge "nats_jetstream_meta_snapshot_timestamp_seconds", "/jsz meta_cluster.snapshot.last_time (2.11.11, 2.12.2)",
            "When this server made its last snapshot of the meta group, in seconds since the epoch."
            => |m| m.group.snapshot.as_ref().and_then(|s| s.last_time);
        gauge "nats_jetstream_meta_snapshot_duration_seconds", "/jsz meta_cluster.snapshot.last_duration (2.11.11, 2.12.2)",
            "How long the last snapshot of the meta group took on this server."
            => |m| m.group.snapshot.as_ref().and_then(|s| s.last_duration);
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<Meta<'s>>) {
        for (source, snapshot, persistence) in each(scrape) {
            let identity = &snapshot.identity;
            if let Some(meta) = Meta::of(persistence) {
                entities.push(source, [&identity.cluster, &identity.server], meta);
            }
        }
    }
}

/// The meta leader that one server names.
pub(super) struct MetaLeaderTable;

impl Table for MetaLeaderTable {
    const TOPIC: Topic = Topic::Meta;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "leader"];
    type Source = Scrape;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_meta_leader_info", "/jsz meta_cluster.leader",
            "1, with the name of the meta leader that this server knows in the label."
            => |_info| true;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<()>) {
        for (source, snapshot, persistence) in each(scrape) {
            let identity = &snapshot.identity;
            if let Some(leader) = Meta::of(persistence).and_then(|meta| meta.leader()) {
                entities.push(source, [&identity.cluster, &identity.server, leader], ());
            }
        }
    }
}

/// A member of the meta group as its leader sees it.
pub(super) struct MetaPeerTable;

impl Table for MetaPeerTable {
    const TOPIC: Topic = Topic::Meta;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "peer"];
    type Source = Scrape;
    type Entity<'s> = Member<'s>;

    rows! {
        gauge "nats_jetstream_meta_peer_current", "/jsz meta_cluster.replicas.current",
            "Whether the meta leader calls this member current. The leader itself is current."
            => |m| m.current();
        gauge "nats_jetstream_meta_peer_offline", "/jsz meta_cluster.replicas.offline",
            "Whether the meta leader calls this member offline; after a crash it may take minutes."
            => |m| m.offline();
        gauge "nats_jetstream_meta_peer_lag_operations", "/jsz meta_cluster.replicas.lag",
            "Raft entries that this member is behind."
            => |m| m.lag();
        gauge "nats_jetstream_meta_peer_last_seen_seconds", "/jsz meta_cluster.replicas.active",
            "Time since the meta leader heard from this member; 0 for the leader itself."
            => |m| m.last_seen_seconds();
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<Member<'s>>) {
        for (source, snapshot) in scrape.meta_leaders() {
            let meta = snapshot.persistence.as_ref().and_then(Meta::of);
            let Some((meta, own_name)) = meta.and_then(|m| m.own_name.map(|name| (m, name))) else {
                continue;
            };
            for member in meta.group.members(own_name) {
                let labels = [snapshot.identity.cluster.as_str(), member.name];
                entities.push(source, labels, member);
            }
        }
    }
}
