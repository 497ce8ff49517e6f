//! Base tier: the server process, its clients, its traffic and its limits.

use super::{Entities, Table, Topic, rows};
use crate::nats::decode::positive;
use crate::nats::endpoint::Endpoint;
use crate::nats::time::Timestamp;
use crate::nats::varz::{ByKind, Varz};
use crate::scrape::Scrape;
use crate::snapshot::Snapshot;
use crate::tier::Tier;

const TIERS: &[Tier] = &[Tier::Base];
const NEEDS: &[Endpoint] = &[Endpoint::Varz];

/// Whether the server answers.
pub(super) struct UpTable;

impl Table for UpTable {
    const TOPIC: Topic = Topic::Server;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server"];
    type Source = Scrape;
    type Entity<'s> = bool;

    rows! {
        gauge "nats_up", "/varz",
            "Whether the server answered /varz with something readable."
            => |up| *up;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<bool>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let identity = &snapshot.identity;
            let up = snapshot.base.varz().is_some();
            entities.push(source, [&identity.cluster, &identity.server], up);
        }
    }
}

/// One server that answers.
pub(super) struct ServerTable;

/// A server that answers, and how far its clock is from ours.
pub(super) struct Server<'s> {
    varz: &'s Varz,
    clock_offset_seconds: Option<f64>,
}

impl<'s> Server<'s> {
    /// The server's clock against ours in the middle of the request.
    fn of(snapshot: &'s Snapshot) -> Option<Self> {
        let reading = snapshot.base.varz.as_ref()?.as_ref().ok()?;
        let middle = Timestamp::from(reading.at + reading.elapsed / 2);
        let clock_offset_seconds = reading.value.now.map(|now| now.seconds_since(middle));
        Some(Self { varz: &reading.value, clock_offset_seconds })
    }
}

impl Table for ServerTable {
    const TOPIC: Topic = Topic::Server;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server"];
    type Source = Scrape;
    type Entity<'s> = Server<'s>;

    rows! {
        gauge "nats_server_start_time_seconds", "/varz start",
            "When the server process started, in seconds since the epoch."
            => |s| s.varz.start;
        gauge "nats_server_config_load_time_seconds", "/varz config_load_time",
            "When the server loaded its configuration, in seconds since the epoch."
            => |s| s.varz.config_load_time;
        gauge "nats_server_clock_offset_seconds", "/varz now",
            "The server's clock minus the exporter's, give or take half the duration of the request."
            => |s| s.clock_offset_seconds;
        gauge "nats_server_cpu_cores", "/varz cpu",
            "Processor cores that the server uses, measured by the server over a second."
            => |s| s.varz.cpu.map(|percent| percent / 100.0);
        gauge "nats_server_cpu_cores_available", "/varz cores",
            "Processor cores of the machine, as the server sees it."
            => |s| s.varz.cores;
        gauge "nats_server_gomaxprocs", "/varz gomaxprocs",
            "Processor cores that the server may use at the same time."
            => |s| s.varz.gomaxprocs;
        gauge "nats_server_memory_bytes", "/varz mem",
            "Resident memory of the server process."
            => |s| s.varz.mem;
        gauge "nats_server_memory_limit_bytes", "/varz gomemlimit (2.10.28, 2.11.2)",
            "Soft memory limit of the server process; no series when it has none."
            => |s| positive(s.varz.gomemlimit).filter(|limit| *limit != i64::MAX.unsigned_abs());
        gauge "nats_server_connections", "/varz connections",
            "Open client connections."
            => |s| s.varz.connections;
        gauge "nats_server_max_connections", "/varz max_connections",
            "Client connections that the server accepts at the same time; no series when it has no limit."
            => |s| positive(s.varz.max_connections);
        counter "nats_server_connections_opened", "/varz total_connections",
            "Client connections that were opened."
            => |s| s.varz.total_connections;
        gauge "nats_server_leafnode_connections", "/varz leafnodes",
            "Open leafnode connections, in both directions."
            => |s| s.varz.leafnodes;
        gauge "nats_server_subscriptions", "/varz subscriptions",
            "Subscriptions of all accounts, the server's own included: several hundred with JetStream."
            => |s| s.varz.subscriptions;
        gauge "nats_server_max_subscriptions", "/varz max_subscriptions",
            "Subscriptions that the server accepts; no series when it has no limit."
            => |s| positive(s.varz.max_subscriptions);
        gauge "nats_server_max_payload_bytes", "/varz max_payload",
            "Largest message that the server accepts."
            => |s| positive(s.varz.max_payload);
        gauge "nats_server_max_pending_bytes", "/varz max_pending",
            "Bytes that may wait for one connection before it is cut as a slow consumer."
            => |s| positive(s.varz.max_pending);
        gauge "nats_server_write_deadline_seconds", "/varz write_deadline",
            "How long a write to one connection may take before it is cut as a slow consumer."
            => |s| s.varz.write_deadline.filter(|deadline| deadline.0 > 0);
        gauge "nats_server_ping_interval_seconds", "/varz ping_interval",
            "How often the server pings a silent connection."
            => |s| s.varz.ping_interval.filter(|interval| interval.0 > 0);
        counter "nats_server_in_messages", "/varz in_msgs",
            "Messages received on all connections, from clients and from other servers."
            => |s| s.varz.in_msgs;
        counter "nats_server_in_bytes", "/varz in_bytes",
            "Bytes received on all connections, from clients and from other servers."
            => |s| s.varz.in_bytes;
        counter "nats_server_out_messages", "/varz out_msgs",
            "Messages sent on all connections, to clients and to other servers."
            => |s| s.varz.out_msgs;
        counter "nats_server_out_bytes", "/varz out_bytes",
            "Bytes sent on all connections, to clients and to other servers."
            => |s| s.varz.out_bytes;
        counter "nats_server_in_client_messages", "/varz in_client_msgs (2.12.9, 2.14.1)",
            "Messages received from clients."
            => |s| s.varz.in_client_msgs;
        counter "nats_server_in_client_bytes", "/varz in_client_bytes (2.12.9, 2.14.1)",
            "Bytes received from clients."
            => |s| s.varz.in_client_bytes;
        counter "nats_server_out_client_messages", "/varz out_client_msgs (2.12.9, 2.14.1)",
            "Messages sent to clients."
            => |s| s.varz.out_client_msgs;
        counter "nats_server_out_client_bytes", "/varz out_client_bytes (2.12.9, 2.14.1)",
            "Bytes sent to clients."
            => |s| s.varz.out_client_bytes;
        counter "nats_server_stalled_clients", "/varz stalled_clients (2.12)",
            "How often a publishing client was slowed down because a subscriber did not keep up."
            => |s| s.varz.stalled_clients;
        counter "nats_server_pinned_account_failures", "/varz pinned_account_fails",
            "Connections refused because of an account that is not pinned; no series when none was."
            => |s| s.varz.pinned_account_fails;
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<Server<'s>>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let identity = &snapshot.identity;
            if let Some(server) = Server::of(snapshot) {
                entities.push(source, [&identity.cluster, &identity.server], server);
            }
        }
    }
}

/// What a server is, in words.
pub(super) struct ServerInfoTable;

impl Table for ServerInfoTable {
    const TOPIC: Topic = Topic::Server;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &[
        "nats_cluster",
        "server",
        "version",
        "server_id",
        "server_name",
        "git_commit",
        "go_version",
        "host",
        "port",
        "system_account",
        "auth_required",
        "tls_required",
        "config_digest",
    ];
    type Source = Scrape;
    type Entity<'s> = ();

    rows! {
        gauge "nats_server_info", "/varz",
            "1, with what the server says of itself in the labels. The id is new at every start."
            => |_info| true;
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<()>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let Some(varz) = snapshot.base.varz() else { continue };
            let text = |text: &'s Option<String>| text.as_deref().unwrap_or_default();
            let port = varz.port.map_or_else(String::new, |port| port.to_string());
            let flag = |flag: Option<bool>| if flag.unwrap_or(false) { "true" } else { "false" };
            let labels = [
                &snapshot.identity.cluster,
                &snapshot.identity.server,
                text(&varz.version),
                text(&varz.server_id),
                text(&varz.server_name),
                text(&varz.git_commit),
                text(&varz.go),
                text(&varz.host),
                &port,
                text(&varz.system_account),
                flag(varz.auth_required),
                flag(varz.tls_required),
                text(&varz.config_digest),
            ];
            entities.push(source, labels, ());
        }
    }
}

/// Adds a count for each kind of connection; one for all kinds on a server that has no more.
fn by_kind<'s>(
    scrape: &'s Scrape,
    entities: &mut Entities<u64>,
    counts: impl Fn(&'s Varz) -> (&'s Option<ByKind>, Option<u64>),
) {
    for (source, snapshot) in scrape.snapshots.iter().enumerate() {
        let Some(varz) = snapshot.base.varz() else { continue };
        let identity = &snapshot.identity;
        let mut push = |kind: &str, count: u64| {
            entities.push(source, [&identity.cluster, &identity.server, kind], count);
        };
        match counts(varz) {
            (Some(kinds), _) => kinds.each().for_each(|(kind, count)| push(kind, count)),
            (None, Some(count)) => push("all", count),
            (None, None) => {}
        }
    }
}

/// Slow consumers of one kind of connection.
pub(super) struct SlowConsumersTable;

impl Table for SlowConsumersTable {
    const TOPIC: Topic = Topic::Server;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "kind"];
    type Source = Scrape;
    type Entity<'s> = u64;

    rows! {
        counter "nats_server_slow_consumers", "/varz slow_consumer_stats (2.10), slow_consumers",
            "Connections that were cut because they did not read fast enough, by kind: clients, routes, gateways, leafs; all on servers before 2.10."
            => |count| *count;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<u64>) {
        by_kind(scrape, entities, |varz| (&varz.slow_consumer_stats, varz.slow_consumers));
    }
}

/// Stale connections of one kind.
pub(super) struct StaleConnectionsTable;

impl Table for StaleConnectionsTable {
    const TOPIC: Topic = Topic::Server;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "kind"];
    type Source = Scrape;
    type Entity<'s> = u64;

    rows! {
        counter "nats_server_stale_connections", "/varz stale_connection_stats (2.12)",
            "Connections that were cut because they did not answer pings, by kind."
            => |count| *count;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<u64>) {
        by_kind(scrape, entities, |varz| (&varz.stale_connection_stats, varz.stale_connections));
    }
}

/// The certificate of one listener.
pub(super) struct CertificateTable;

impl Table for CertificateTable {
    const TOPIC: Topic = Topic::Server;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "listener"];
    type Source = Scrape;
    type Entity<'s> = Timestamp;

    rows! {
        gauge "nats_server_tls_certificate_not_after_seconds", "/varz tls_cert_not_after (2.11.12, 2.12.4)",
            "When the certificate of a listener expires, in seconds since the epoch."
            => |expiry| *expiry;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<Timestamp>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let identity = &snapshot.identity;
            for (listener, expiry) in snapshot.base.varz().into_iter().flat_map(Varz::certificates)
            {
                entities.push(source, [&identity.cluster, &identity.server, listener], expiry);
            }
        }
    }
}

/// Requests to one path of the monitoring port.
pub(super) struct HttpRequestsTable;

impl Table for HttpRequestsTable {
    const TOPIC: Topic = Topic::Server;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = NEEDS;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "path"];
    type Source = Scrape;
    type Entity<'s> = u64;

    rows! {
        counter "nats_server_http_requests", "/varz http_req_stats",
            "Requests to the monitoring port, those of this exporter included."
            => |count| *count;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<u64>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let identity = &snapshot.identity;
            for (path, count) in snapshot.base.varz().into_iter().flat_map(|v| &v.http_req_stats) {
                entities.push(source, [&identity.cluster, &identity.server, path], *count);
            }
        }
    }
}
