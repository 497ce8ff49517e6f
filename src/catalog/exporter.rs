//! The exporter's view of itself: how the endpoints fare, and what it costs.
//!
//! How an endpoint fares belongs to the tier that asks it, so that two scrapes of the two tiers
//! never bring the same series.

use std::time::{Duration, SystemTime};

use super::{Entities, Table, Topic, rows};
use crate::build_info::REVISION;
use crate::detail::Detail;
use crate::discovery::Status;
use crate::exporter::Own;
use crate::limits::Limit;
use crate::memory::History;
use crate::nats::endpoint::Endpoint;
use crate::nats::time::Timestamp;
use crate::scrape::Scrape;
use crate::snapshot::{Report, Snapshot};
use crate::tier::Tier;

const BOTH: &[Tier] = &[Tier::Base, Tier::Persistence];
const EXPORTER: &[Tier] = &[Tier::Exporter];

/// How one endpoint of one target fares.
pub(super) struct EndpointTable;

/// How one endpoint of one target fares.
pub(super) struct EndpointEntity<'s> {
    report: &'s Report,
    history: History,
}

fn reports(scrape: &Scrape, tier: Tier) -> impl Iterator<Item = (usize, &Snapshot, &Report)> {
    let snapshots = scrape.snapshots.iter().enumerate();
    let reports = snapshots.flat_map(|(at, s)| s.endpoints.iter().map(move |r| (at, s, r)));
    reports.filter(move |(_, _, report)| report.endpoint.tier() == tier)
}

impl Table for EndpointTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = BOTH;
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "endpoint"];
    type Source = Scrape;
    type Entity<'s> = EndpointEntity<'s>;

    rows! {
        gauge "nats_exporter_endpoint_up", "exporter",
            "Whether the endpoint gave something that could be read; no series for endpoints that were not asked."
            => |e| e.report.failure.is_none();
        gauge "nats_exporter_endpoint_duration_seconds", "exporter",
            "Duration of the request, decoding included."
            => |e| e.report.seconds;
        gauge "nats_exporter_endpoint_age_seconds", "exporter",
            "How old what is shown from this endpoint is at the end of the scrape."
            => |e| e.report.age_seconds;
        gauge "nats_exporter_last_success_timestamp_seconds", "exporter",
            "When the newest good answer was asked for, in seconds since the epoch."
            => |e| e.history.last_success.map(Timestamp::from);
        counter "nats_exporter_unknown_fields", "exporter",
            "Fields of /varz, /routez and plain /jsz that the exporter does not know, summed over all answers: the server is newer than the exporter."
            => |e| matches!(e.report.endpoint, Endpoint::Varz | Endpoint::Routez | Endpoint::Jsz)
                .then_some(e.history.unknown_fields);
    }

    fn entities<'s>(scrape: &'s Scrape, tier: Tier, entities: &mut Entities<EndpointEntity<'s>>) {
        for (source, snapshot, report) in reports(scrape, tier) {
            let identity = &snapshot.identity;
            let labels = [&identity.cluster, &identity.server, report.endpoint.as_str()];
            let history = snapshot.memory.history(report.endpoint);
            entities.push(source, labels, EndpointEntity { report, history });
        }
    }
}

const REASON_LABELS: &[&str] = &["nats_cluster", "server", "endpoint", "reason"];

/// Why an endpoint gives nothing now.
pub(super) struct EndpointFailureTable;

impl Table for EndpointFailureTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = BOTH;
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = REASON_LABELS;
    type Source = Scrape;
    type Entity<'s> = ();

    rows! {
        gauge "nats_exporter_endpoint_failure_info", "exporter",
            "1, with the reason why the endpoint gave nothing: dns, connect, tls, timeout, status, too_large, truncated, decode or internal."
            => |_info| true;
    }

    fn entities(scrape: &Scrape, tier: Tier, entities: &mut Entities<()>) {
        for (source, snapshot, report) in reports(scrape, tier) {
            let identity = &snapshot.identity;
            if let Some(reason) = report.failure {
                let endpoint = report.endpoint.as_str();
                let labels = [&identity.cluster, &identity.server, endpoint, reason];
                entities.push(source, labels, ());
            }
        }
    }
}

/// Failures of one endpoint for one reason.
pub(super) struct EndpointErrorsTable;

impl Table for EndpointErrorsTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = BOTH;
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = REASON_LABELS;
    type Source = Scrape;
    type Entity<'s> = u64;

    rows! {
        counter "nats_exporter_endpoint_errors", "exporter",
            "Requests that gave nothing, by reason."
            => |count| *count;
    }

    fn entities(scrape: &Scrape, tier: Tier, entities: &mut Entities<u64>) {
        for (source, snapshot, report) in reports(scrape, tier) {
            let identity = &snapshot.identity;
            for (reason, count) in snapshot.memory.history(report.endpoint).failures {
                let endpoint = report.endpoint.as_str();
                let labels = [&identity.cluster, &identity.server, endpoint, reason.as_str()];
                entities.push(source, labels, count);
            }
        }
    }
}

/// A target of the configuration.
pub(super) struct TargetTable;

impl Table for TargetTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = EXPORTER;
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "target", "url"];
    type Source = Scrape;
    type Entity<'s> = ();

    rows! {
        gauge "nats_exporter_target_info", "exporter",
            "1, with the name and the address of the target behind the server's labels."
            => |_info| true;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<()>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let identity = &snapshot.identity;
            let labels = [&identity.cluster, &identity.server, &*snapshot.target, &*snapshot.url];
            entities.push(source, labels, ());
        }
    }
}

/// A target that is a server which another target speaks for already.
pub(super) struct DuplicateTable;

impl Table for DuplicateTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = EXPORTER;
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz];
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "target"];
    type Source = Scrape;
    type Entity<'s> = ();

    rows! {
        gauge "nats_exporter_target_duplicate", "exporter",
            "1 for a target that turned out to be a server which another target speaks for already: its answers are not shown."
            => |_info| true;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<()>) {
        for duplicate in &scrape.duplicates {
            let identity = &duplicate.identity;
            entities.push(0, [&identity.cluster, &identity.server, &*duplicate.target], ());
        }
    }
}

/// What is missing of one target, and why.
pub(super) struct DroppedTable;

/// What is missing of one target, and why.
pub(super) struct Dropped<'s> {
    series: u64,
    detail: Option<&'s Detail>,
}

impl Table for DroppedTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = &[Tier::Persistence];
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = &["nats_cluster", "server"];
    type Source = Scrape;
    type Entity<'s> = Dropped<'s>;

    rows! {
        counter "nats_exporter_series_dropped", "exporter",
            "Series of accounts, streams and consumers that limits.series_per_target cut, summed over all scrapes."
            => |d| d.series;
        gauge "nats_exporter_accounts_missing", "/jsz total (2.10.28, 2.11.2)",
            "Accounts that the server has and did not send."
            => |d| d.detail?.missing_accounts;
        gauge "nats_exporter_jetstream_config_age_seconds", "exporter",
            "How old what is shown of the configuration of streams and consumers is at the end of the scrape."
            => |d| d.detail?.configured_at?.elapsed().as_secs_f64();
        gauge "nats_exporter_jetstream_config_unknown", "exporter",
            "Streams and consumers whose configuration is not shown yet, because they are new."
            => |d| d.detail?.unknown;
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<Dropped<'s>>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let identity = &snapshot.identity;
            let detail = snapshot.persistence.as_ref().and_then(|persistence| persistence.detail());
            let dropped = Dropped { series: snapshot.memory.dropped_series(), detail };
            entities.push(source, [&identity.cluster, &identity.server], dropped);
        }
    }
}

/// The exporter.
pub(super) struct ExporterTable;

impl Table for ExporterTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = EXPORTER;
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = &[];
    type Source = Scrape;
    type Entity<'s> = &'s Own;

    rows! {
        counter "nats_exporter_scrapes", "exporter",
            "Scrapes that were answered."
            => |o| o.scrapes;
        gauge "nats_exporter_tasks", "exporter",
            "Tasks of the exporter that have not ended: connections, the scrapes on them, and requests to servers that are still in flight."
            => |o| o.tasks as u64;
        gauge "nats_exporter_targets", "exporter",
            "Servers that are asked: targets of the configuration, and what DNS tells of."
            => |o| o.targets as u64;
        gauge "nats_exporter_probe_targets", "exporter",
            "Servers that are no targets, that /probe was asked for lately, and that are remembered; at most probe.max_targets."
            => |o| o.guests as u64;
        gauge "nats_exporter_connections", "exporter",
            "Open connections of clients, that of this scrape included; at most web.max_connections."
            => |o| o.meter.connections();
        gauge "nats_exporter_config_last_reload_successful", "exporter",
            "Whether the newest configuration is the one in use."
            => |o| o.reload_ok;
        gauge "nats_exporter_config_last_reload_success_timestamp_seconds", "exporter",
            "When the configuration in use was loaded, in seconds since the epoch."
            => |o| Timestamp::from(o.reloaded_at);
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<&'s Own>) {
        entities.push(0, [], &scrape.own);
    }
}

/// A target that is a name in DNS.
pub(super) struct DiscoveryTable;

impl Table for DiscoveryTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = EXPORTER;
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = &["target"];
    type Source = Scrape;
    type Entity<'s> = &'s Status;

    rows! {
        gauge "nats_exporter_discovery_last_lookup_successful", "exporter",
            "Whether the last look-up of the name ended with an answer, which may be that there is no server; 0 before the first."
            => |s| s.is_resolved;
        gauge "nats_exporter_discovery_last_success_timestamp_seconds", "exporter",
            "When the last look-up with an answer ended, in seconds since the epoch."
            => |s| s.last_success.map(Timestamp::from);
        gauge "nats_exporter_discovery_servers", "exporter",
            "Servers that the last look-up with an answer told of."
            => |s| s.known as u64;
        gauge "nats_exporter_discovery_servers_gone", "exporter",
            "Servers that are gone from DNS and are asked on for discovery.grace."
            => |s| s.in_grace as u64;
        gauge "nats_exporter_discovery_addresses_passed_over", "exporter",
            "IPv6 addresses that are not asked, because they are taken for second ones of the servers with an IPv4 address."
            => |s| s.passed_over as u64;
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<&'s Status>) {
        for status in &scrape.own.discovery {
            entities.push(0, [&*status.target], status);
        }
    }
}

/// Probes that were refused.
pub(super) struct RefusedTable;

impl Table for RefusedTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = EXPORTER;
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = &["reason"];
    type Source = Scrape;
    type Entity<'s> = u64;

    rows! {
        counter "nats_exporter_probe_refused", "exporter",
            "Probes of servers that are no targets and were not asked: not_allowed by probe.allow, or table_full by probe.max_targets."
            => |count| *count;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<u64>) {
        for (reason, count) in &scrape.own.refused {
            entities.push(0, [*reason], *count);
        }
    }
}

/// Limits that were hit.
pub(super) struct LimitTable;

impl Table for LimitTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = EXPORTER;
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = &["limit"];
    type Source = Scrape;
    type Entity<'s> = u64;

    rows! {
        counter "nats_exporter_limit_hits", "exporter",
            "How often a limit was hit that no other metric tells of; the label is the key of its setting."
            => |count| *count;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<u64>) {
        for limit in Limit::ALL {
            entities.push(0, [limit.as_str()], scrape.own.meter.hits(limit));
        }
    }
}

/// The build of the exporter.
pub(super) struct BuildTable;

impl Table for BuildTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = EXPORTER;
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = &["version", "revision"];
    type Source = Scrape;
    type Entity<'s> = ();

    rows! {
        gauge "nats_exporter_build_info", "exporter",
            "1, with the version of the exporter and the commit that it was built from; `-dirty` behind it means changed sources."
            => |_info| true;
    }

    fn entities(_: &Scrape, _: Tier, entities: &mut Entities<()>) {
        entities.push(0, [env!("CARGO_PKG_VERSION"), REVISION], ());
    }
}

/// The process, with the names that every exporter uses.
pub(super) struct ProcessTable;

/// What the kernel says of the process.
pub(super) struct Process {
    cpu: Duration,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
    threads: u64,
    started: Option<SystemTime>,
}

impl Process {
    /// Nothing where there is no `/proc`.
    fn read() -> Option<Self> {
        let own = procfs::process::Process::myself().ok()?;
        let stat = own.stat().ok()?;
        let ticks = procfs::ticks_per_second().max(1);
        let started = procfs::boot_time_secs().ok().map(|boot| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(boot) + seconds(stat.starttime, ticks)
        });
        let soft = own.limits().ok().map(|limits| limits.max_open_files.soft_limit);
        Some(Self {
            cpu: seconds(stat.utime + stat.stime, ticks),
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            open_fds: own.fd_count().ok().map(|count| count as u64),
            max_fds: soft.and_then(|limit| match limit {
                procfs::process::LimitValue::Value(limit) => Some(limit),
                procfs::process::LimitValue::Unlimited => None,
            }),
            threads: u64::try_from(stat.num_threads).unwrap_or_default(),
            started,
        })
    }
}

fn seconds(ticks: u64, per_second: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

impl Table for ProcessTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = EXPORTER;
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = &[];
    type Source = Scrape;
    type Entity<'s> = Process;

    rows! {
        counter "process_cpu_seconds", "/proc",
            "Processor time of the exporter."
            => |p| p.cpu.as_secs_f64();
        gauge "process_resident_memory_bytes", "/proc",
            "Resident memory of the exporter."
            => |p| p.resident_bytes;
        gauge "process_virtual_memory_bytes", "/proc",
            "Virtual memory of the exporter."
            => |p| p.virtual_bytes;
        gauge "process_open_fds", "/proc",
            "Open file descriptors of the exporter."
            => |p| p.open_fds;
        gauge "process_max_fds", "/proc",
            "File descriptors that the exporter may open; no series when it has no limit."
            => |p| p.max_fds;
        gauge "process_threads", "/proc",
            "Threads of the exporter."
            => |p| p.threads;
        gauge "process_start_time_seconds", "/proc",
            "When the exporter started, in seconds since the epoch."
            => |p| p.started.map(Timestamp::from);
    }

    fn entities(_: &Scrape, _: Tier, entities: &mut Entities<Process>) {
        if let Some(process) = Process::read() {
            entities.push(0, [], process);
        }
    }
}
