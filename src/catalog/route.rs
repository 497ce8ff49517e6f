//! Base tier: the connections between the servers of a cluster.
//!
//! A peer has several TCP connections from 2.10 on, and they come and go. So they are added up for
//! each remote server.

use super::{Entities, Table, Topic, rows};
use crate::nats::endpoint::Endpoint;
use crate::nats::routez::{Remote, Routez, Traffic};
use crate::scrape::Scrape;
use crate::tier::Tier;

const TIERS: &[Tier] = &[Tier::Base];
const NEEDS: &[Endpoint] = &[Endpoint::Varz, Endpoint::Routez];

/// All routes of one server.
pub(super) struct MeshTable;

/// All routes of one server, and how many peers there should be.
pub(super) struct Mesh<'s> {
    routez: &'s Routez,
    expected: Option<u64>,
}

impl Table for MeshTable {
    const TOPIC: Topic = Topic::Route;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server"];
    type Source = Scrape;
    type Entity<'s> = Mesh<'s>;

    rows! {
        gauge "nats_route_peers", "/routez routes",
            "Other servers of the cluster to which this one has a route."
            => |m| m.routez.peers();
        gauge "nats_route_peers_expected", "configuration, /varz cluster.urls, /routez",
            "Other servers of the cluster to which this one should have a route: configured, or the larger of its configured routes less itself and the most peers of the last day."
            => |m| m.expected;
        gauge "nats_route_connections", "/routez routes",
            "TCP connections to other servers of the cluster, several for each peer."
            => |m| m.routez.routes.len() as u64;
        gauge "nats_route_newest_start_time_seconds", "/routez routes.start",
            "When the newest route connection was made, in seconds since the epoch: it changes when routes flap."
            => |m| m.routez.newest_start();
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<Mesh<'s>>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let Some(routez) = snapshot.base.routez() else { continue };
            let identity = &snapshot.identity;
            let expected = snapshot.base.peers.as_ref().map(|peers| peers.expected);
            let mesh = Mesh { routez, expected };
            entities.push(source, [&identity.cluster, &identity.server], mesh);
        }
    }
}

const REMOTE_LABELS: &[&str] = &["nats_cluster", "server", "remote"];

/// The routes of one server to one connected peer.
pub(super) struct RemoteTable;

/// The routes of one server to one connected peer.
pub(super) struct RemoteEntity {
    routes: Remote,
    traffic: Traffic,
}

impl Table for RemoteTable {
    const TOPIC: Topic = Topic::Route;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = REMOTE_LABELS;
    type Source = Scrape;
    type Entity<'s> = RemoteEntity;

    rows! {
        gauge "nats_route_remote_connections", "/routez routes",
            "TCP connections to the peer."
            => |r| r.routes.connections;
        gauge "nats_route_pending_bytes", "/routez routes.pending_size",
            "Bytes that wait to be written to the peer."
            => |r| r.routes.pending_bytes;
        gauge "nats_route_rtt_seconds", "/routez routes.rtt",
            "Longest round trip to the peer that was measured last on one of the connections; not refreshed while the network drops packets."
            => |r| r.routes.rtt_seconds;
        counter "nats_route_in_messages", "/routez routes.in_msgs",
            "Messages received from the peer, since the exporter saw the server first; over closed connections too, as far as they were seen."
            => |r| r.traffic.in_messages;
        counter "nats_route_in_bytes", "/routez routes.in_bytes",
            "Bytes received from the peer, since the exporter saw the server first; over closed connections too, as far as they were seen."
            => |r| r.traffic.in_bytes;
        counter "nats_route_out_messages", "/routez routes.out_msgs",
            "Messages sent to the peer, since the exporter saw the server first; over closed connections too, as far as they were seen."
            => |r| r.traffic.out_messages;
        counter "nats_route_out_bytes", "/routez routes.out_bytes",
            "Bytes sent to the peer, since the exporter saw the server first; over closed connections too, as far as they were seen."
            => |r| r.traffic.out_bytes;
        gauge "nats_route_subscriptions", "/routez routes.subscriptions",
            "Interest that the peer has announced."
            => |r| r.routes.subscriptions;
        gauge "nats_route_remote_newest_start_time_seconds", "/routez routes.start",
            "When the newest connection to the peer was made, in seconds since the epoch."
            => |r| r.routes.newest_start;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<RemoteEntity>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let Some(routez) = snapshot.base.routez() else { continue };
            let identity = &snapshot.identity;
            for (name, routes) in routez.remotes() {
                let traffic = routez.traffic.get(name).copied().unwrap_or_default();
                let entity = RemoteEntity { routes, traffic };
                entities.push(source, [&identity.cluster, &identity.server, name], entity);
            }
        }
    }
}

/// Whether a peer is connected: those that are, and those that were and should be.
pub(super) struct ConnectedTable;

impl Table for ConnectedTable {
    const TOPIC: Topic = Topic::Route;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = REMOTE_LABELS;
    type Source = Scrape;
    type Entity<'s> = bool;

    rows! {
        gauge "nats_route_connected", "/routez routes",
            "Whether there is a route to the peer; 0 for a peer that was connected before and is missed. No series for servers without a name, such as all before 2.9.16."
            => |connected| *connected;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<bool>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let Some(routez) = snapshot.base.routez() else { continue };
            let identity = &snapshot.identity;
            for name in routez.remotes().keys() {
                entities.push(source, [&identity.cluster, &identity.server, name], true);
            }
            for name in snapshot.base.peers.iter().flat_map(|peers| &peers.missing) {
                entities.push(source, [&identity.cluster, &identity.server, name], false);
            }
        }
    }
}
