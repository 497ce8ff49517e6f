//! Persistence tier: JetStream of one server. All from `/jsz`, because `/varz` keeps the last
//! numbers after JetStream was switched off.

use super::{Entities, Table, Topic, rows};
use crate::nats::decode::{positive, signed_limit};
use crate::nats::endpoint::Endpoint;
use crate::nats::jsz::Jsz;
use crate::nats::varz::DiskIoWait;
use crate::scrape::Scrape;
use crate::snapshot::{Persistence, Snapshot, Switch};
use crate::tier::Tier;

const TIERS: &[Tier] = &[Tier::Persistence];
const LABELS: &[&str] = &["nats_cluster", "server"];

/// The persistence tier of each server that was asked for it.
pub(super) fn each(scrape: &Scrape) -> impl Iterator<Item = (usize, &Snapshot, &Persistence)> {
    let snapshots = scrape.snapshots.iter().enumerate();
    snapshots.filter_map(|(at, snapshot)| Some((at, snapshot, snapshot.persistence.as_ref()?)))
}

/// Whether JetStream is there.
pub(super) struct SwitchTable;

impl Table for SwitchTable {
    const TOPIC: Topic = Topic::JetStream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::Jsz, Endpoint::Healthz];
    const LABELS: &'static [&'static str] = LABELS;
    type Source = Scrape;
    type Entity<'s> = Switch;

    rows! {
        gauge "nats_jetstream_enabled", "/jsz disabled",
            "Whether JetStream runs on the server; 0 both when it is not configured and when it has switched itself off."
            => |s| *s == Switch::On;
        gauge "nats_jetstream_configured", "/jsz disabled, /healthz?js-enabled-only=true",
            "Whether JetStream is configured on the server: 1 while nats_jetstream_enabled is 0 means that it has switched itself off. No series while the server does not tell."
            => |s| match s {
                Switch::On | Switch::Off => Some(true),
                Switch::NotConfigured => Some(false),
                Switch::Unclear => None,
            };
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<Switch>) {
        for (source, snapshot, persistence) in each(scrape) {
            let identity = &snapshot.identity;
            if let Some(switch) = persistence.switch() {
                entities.push(source, [&identity.cluster, &identity.server], switch);
            }
        }
    }
}

/// JetStream of one server where it runs.
pub(super) struct JetStreamTable;

impl Table for JetStreamTable {
    const TOPIC: Topic = Topic::JetStream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::Jsz];
    const LABELS: &'static [&'static str] = LABELS;
    type Source = Scrape;
    type Entity<'s> = &'s Jsz;

    rows! {
        gauge "nats_jetstream_storage_used_bytes", "/jsz storage",
            "File storage that the replicas on this server use."
            => |j| j.storage;
        gauge "nats_jetstream_storage_limit_bytes", "/jsz config.max_storage",
            "File storage that JetStream of this server may use."
            => |j| signed_limit(j.config.max_storage);
        gauge "nats_jetstream_storage_reserved_bytes", "/jsz reserved_storage",
            "File storage that the limits of the streams on this server add up to."
            => |j| j.reserved_storage;
        gauge "nats_jetstream_memory_used_bytes", "/jsz memory",
            "Memory storage that the replicas on this server use."
            => |j| j.memory;
        gauge "nats_jetstream_memory_limit_bytes", "/jsz config.max_memory",
            "Memory storage that JetStream of this server may use."
            => |j| signed_limit(j.config.max_memory);
        gauge "nats_jetstream_memory_reserved_bytes", "/jsz reserved_memory",
            "Memory storage that the limits of the streams on this server add up to."
            => |j| j.reserved_memory;
        gauge "nats_jetstream_accounts", "/jsz accounts",
            "Accounts with JetStream on this server."
            => |j| j.accounts;
        gauge "nats_jetstream_streams", "/jsz streams",
            "Replicas of streams on this server, whoever leads them."
            => |j| j.streams;
        gauge "nats_jetstream_consumers", "/jsz consumers",
            "Replicas of consumers on this server, whoever leads them."
            => |j| j.consumers;
        gauge "nats_jetstream_messages", "/jsz messages",
            "Messages in the replicas on this server."
            => |j| j.messages;
        gauge "nats_jetstream_message_bytes", "/jsz bytes",
            "Bytes of the messages in the replicas on this server."
            => |j| j.bytes;
        gauge "nats_jetstream_ha_assets", "/jsz ha_assets",
            "Raft groups on this server: replicated streams and consumers, and the meta group."
            => |j| j.ha_assets;
        gauge "nats_jetstream_max_ha_assets", "/jsz limits.max_ha_assets (2.11)",
            "Raft groups that the server accepts; no series when it has no limit."
            => |j| positive(j.limits.max_ha_assets);
        counter "nats_jetstream_api_requests", "/jsz api.total",
            "JetStream API requests that this server handled. Publishing is not an API request."
            => |j| j.api.total;
        counter "nats_jetstream_api_errors", "/jsz api.errors",
            "JetStream API requests that this server answered with an error, harmless ones such as not found included. Failed publishes are not counted anywhere."
            => |j| j.api.errors;
        gauge "nats_jetstream_api_inflight_requests", "/jsz api.inflight",
            "JetStream API requests that this server works on; above its limit it drops them."
            => |j| j.api.total.map(|_| j.api.inflight.unwrap_or(0));
        gauge "nats_jetstream_api_level", "/jsz api.level (2.11)",
            "Level of the JetStream API that this server speaks."
            => |j| j.api.level.filter(|level| *level > 0);
        gauge "nats_jetstream_sync_interval_seconds", "/jsz config.sync_interval",
            "How often stores are written through to the disk."
            => |j| j.config.sync_interval.filter(|interval| interval.0 > 0);
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<&'s Jsz>) {
        for (source, snapshot, persistence) in each(scrape) {
            let identity = &snapshot.identity;
            if let Some(jsz) = persistence.running() {
                entities.push(source, [&identity.cluster, &identity.server], jsz);
            }
        }
    }
}

/// How JetStream of one server waits for the disk.
pub(super) struct DiskTable;

/// Nanoseconds as seconds.
fn seconds(nanoseconds: Option<u64>) -> Option<f64> {
    nanoseconds.map(|nanoseconds| nanoseconds as f64 / 1e9)
}

impl Table for DiskTable {
    const TOPIC: Topic = Topic::JetStream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::Jsz];
    const LABELS: &'static [&'static str] = LABELS;
    type Source = Scrape;
    type Entity<'s> = &'s DiskIoWait;

    rows! {
        gauge "nats_jetstream_disk_io_waiters", "/varz disk_io_wait_stats.waiters (2.12.14, 2.14.4)",
            "Operations that wait for a disk slot now."
            => |d| d.waiters;
        counter "nats_jetstream_disk_io_waits", "/varz disk_io_wait_stats.waits (2.12.14, 2.14.4)",
            "Operations that had to wait for a disk slot."
            => |d| d.waits;
        counter "nats_jetstream_disk_io_wait_seconds", "/varz disk_io_wait_stats.wait_time (2.12.14, 2.14.4)",
            "Time that operations waited for a disk slot."
            => |d| seconds(d.wait_time);
        gauge "nats_jetstream_disk_io_max_wait_seconds", "/varz disk_io_wait_stats.max_wait_time (2.12.14, 2.14.4)",
            "Longest wait for a disk slot since the server started."
            => |d| seconds(d.max_wait_time);
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<&'s DiskIoWait>) {
        for (source, snapshot, persistence) in each(scrape) {
            let identity = &snapshot.identity;
            if let Some(wait) = &persistence.disk_io_wait {
                entities.push(source, [&identity.cluster, &identity.server], wait);
            }
        }
    }
}

/// What JetStream of one server is, in words.
pub(super) struct JetStreamInfoTable;

impl Table for JetStreamInfoTable {
    const TOPIC: Topic = Topic::JetStream;
    const TIERS: &'static [Tier] = TIERS;
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::Jsz];
    const LABELS: &'static [&'static str] = &[
        "nats_cluster",
        "server",
        "domain",
        "meta_name",
        "store_dir",
        "unique_tag",
        "sync_always",
    ];
    type Source = Scrape;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_info", "/jsz config, meta_cluster.name",
            "1, with the JetStream domain, the name of the meta group, and where and how the server stores in the labels."
            => |_info| true;
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<()>) {
        for (source, snapshot, persistence) in each(scrape) {
            let Some(jsz) = persistence.running() else { continue };
            let identity = &snapshot.identity;
            let text = |text: &'s Option<String>| text.as_deref().unwrap_or_default();
            let meta = jsz.meta_cluster.as_ref().map_or("", |meta| text(&meta.name));
            let labels = [
                identity.cluster.as_str(),
                &identity.server,
                text(&jsz.config.domain),
                meta,
                text(&jsz.config.store_dir),
                text(&jsz.config.unique_tag),
                if jsz.config.sync_always == Some(true) { "true" } else { "false" },
            ];
            entities.push(source, labels, ());
        }
    }
}
