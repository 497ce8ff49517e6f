//! Both tiers: the health questions, and what Kubernetes probes would get.
//!
//! The base tier has the one question that does not depend on JetStream; the others are the
//! persistence tier's. The same split holds for probe paths, by version.

use std::collections::BTreeMap;

use super::{Entities, Table, Topic, rows};
use crate::flight::Outcome;
use crate::nats::endpoint::Endpoint;
use crate::nats::failure::Reason;
use crate::nats::healthz::{self, Check, Checked, Health, PROBE_PATHS};
use crate::nats::version::Version;
use crate::scrape::Scrape;
use crate::snapshot::{Persistence, Snapshot, Switch, value};
use crate::tier::Tier;
use crate::verdict::failing_check;

const CHECK_LABELS: &[&str] = &["nats_cluster", "server", "check"];
const PATH_LABELS: &[&str] = &["nats_cluster", "server", "path"];

/// A question of the base tier: does `/varz` answer, does the server accept connections?
pub(super) struct CoreCheckTable;

impl Table for CoreCheckTable {
    const TOPIC: Topic = Topic::Health;
    const TIERS: &'static [Tier] = &[Tier::Base];
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::HealthzCore];
    const LABELS: &'static [&'static str] = CHECK_LABELS;
    type Source = Scrape;
    type Entity<'s> = CoreCheck;

    rows! {
        gauge "nats_health_check_ok", "/varz, /healthz",
            "Whether the server passes a check of the base tier: varz (it answers) or core (it accepts connections and is not draining)."
            => |c| c.ok;
        gauge "nats_health_check_status_code", "/varz, /healthz",
            "HTTP status of the request that answered the question; no series when that was a wider one which failed because of JetStream."
            => |c| c.status;
        gauge "nats_health_check_duration_seconds", "/varz, /healthz",
            "Duration of the request that answered the question."
            => |c| c.seconds;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<CoreCheck>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let identity = &snapshot.identity;
            let mut push = |check: &str, entity: CoreCheck| {
                entities.push(source, [&identity.cluster, &identity.server, check], entity);
            };
            if let Some(varz) = CoreCheck::of_varz(snapshot) {
                push("varz", varz);
            }
            let health = value(snapshot.base.health.as_ref());
            if let Some(checked) = health.and_then(|health| health.get(Check::Core)) {
                push(Check::Core.as_str(), CoreCheck::from(checked));
            }
        }
    }
}

/// The answer to a question of the base tier.
pub(super) struct CoreCheck {
    ok: bool,
    /// Nothing when there was no answer.
    status: Option<u64>,
    seconds: f64,
}

impl CoreCheck {
    fn of_varz(snapshot: &Snapshot) -> Option<Self> {
        Some(match snapshot.base.varz.as_ref()? {
            Ok(reading) => {
                Self { ok: true, status: Some(200), seconds: reading.elapsed.as_secs_f64() }
            }
            Err(failed) => Self {
                ok: false,
                status: failed.failure.status.map(u64::from),
                seconds: failed.elapsed.as_secs_f64(),
            },
        })
    }
}

impl From<Checked> for CoreCheck {
    fn from(checked: Checked) -> Self {
        // The wide question may tell that the listeners are open and fail for JetStream's sake.
        let own = checked.ok == (checked.status == 200);
        let status = own.then_some(checked.status.into());
        Self { ok: checked.ok, status, seconds: checked.seconds }
    }
}

/// A question of the persistence tier: enabled, meta, assets.
pub(super) struct JetStreamCheckTable;

impl Table for JetStreamCheckTable {
    const TOPIC: Topic = Topic::Health;
    const TIERS: &'static [Tier] = &[Tier::Persistence];
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::Jsz, Endpoint::Healthz];
    const LABELS: &'static [&'static str] = CHECK_LABELS;
    type Source = Scrape;
    type Entity<'s> = Checked;

    rows! {
        gauge "nats_jetstream_health_check_ok", "/healthz",
            "Whether JetStream of the server passes a check: enabled (it is on), meta (there is a meta leader and the server is current with it) or assets (all its streams and consumers are well). No series when the walk ended before the check, or without JetStream."
            => |c| c.ok;
        gauge "nats_jetstream_health_check_status_code", "/healthz",
            "HTTP status of the request that answered the question, which may be a wider one."
            => |c| u64::from(c.status);
        gauge "nats_jetstream_health_check_duration_seconds", "/healthz",
            "Duration of the request that answered the question."
            => |c| c.seconds;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<Checked>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let Some((persistence, _)) = asked(snapshot) else { continue };
            // `/jsz` decides whether there is anything to be well. Its silence decides nothing.
            if persistence.switch() == Some(Switch::NotConfigured) || persistence.jsz().is_none() {
                continue;
            }
            let identity = &snapshot.identity;
            for check in [Check::Enabled, Check::Meta, Check::Assets] {
                if let Some(checked) = persistence.checked(check) {
                    let labels = [&identity.cluster, &identity.server, check.as_str()];
                    entities.push(source, labels, checked);
                }
            }
        }
    }
}

fn asked(snapshot: &Snapshot) -> Option<(&Persistence, &Health)> {
    let persistence = snapshot.persistence.as_ref()?;
    Some((persistence, value(persistence.health.as_ref())?))
}

/// A probe path that does not depend on JetStream on this version.
pub(super) struct CoreProbeTable;

impl Table for CoreProbeTable {
    const TOPIC: Topic = Topic::Health;
    const TIERS: &'static [Tier] = &[Tier::Base];
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::HealthzCore];
    const LABELS: &'static [&'static str] = PATH_LABELS;
    type Source = Scrape;
    type Entity<'s> = bool;

    rows! {
        gauge "nats_health_probe_would_fail", "/healthz, by version",
            "Whether a Kubernetes probe on this path would fail now; only paths that do not depend on JetStream on this server version, the others are in nats_jetstream_health_probe_would_fail."
            => |fails| *fails;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<bool>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let Some(version) = snapshot.base.version else { continue };
            let accepts = snapshot.base.accepts_connections();
            let silent = no_probe_passes(snapshot.base.health.as_ref());
            let Some(fails) = accepts.map(|accepts| !accepts).or(silent) else { continue };
            let identity = &snapshot.identity;
            for path in PROBE_PATHS {
                if !healthz::probe_needs_jetstream(path, version) {
                    entities.push(source, [&identity.cluster, &identity.server, path], fails);
                }
            }
        }
    }
}

/// A probe path that depends on JetStream on this version.
pub(super) struct JetStreamProbeTable;

impl Table for JetStreamProbeTable {
    const TOPIC: Topic = Topic::Health;
    const TIERS: &'static [Tier] = &[Tier::Persistence];
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::Jsz, Endpoint::Healthz];
    const LABELS: &'static [&'static str] = PATH_LABELS;
    type Source = Scrape;
    type Entity<'s> = bool;

    rows! {
        gauge "nats_jetstream_health_probe_would_fail", "/healthz, by version",
            "Whether a Kubernetes probe on this path would fail now; only paths that depend on JetStream on this server version. As a liveness probe, such a path restarts servers whose messaging works."
            => |fails| *fails;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<bool>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let Some(persistence) = &snapshot.persistence else { continue };
            let Some(version) = persistence.version else { continue };
            let identity = &snapshot.identity;
            for path in PROBE_PATHS {
                if healthz::probe_needs_jetstream(path, version)
                    && let Some(fails) = probe_fails(snapshot, persistence, path, version)
                {
                    entities.push(source, [&identity.cluster, &identity.server, path], fails);
                }
            }
        }
    }
}

/// Whether a probe on `path` would fail; nothing when that is not known.
fn probe_fails(
    snapshot: &Snapshot,
    persistence: &Persistence,
    path: &str,
    version: Version,
) -> Option<bool> {
    let Some(health) = value(persistence.health.as_ref()) else {
        let silent = no_probe_passes(persistence.health.as_ref())?;
        // A narrower path may pass where the full check hangs, but not on a server that is away.
        let away = no_probe_passes(snapshot.base.varz.as_ref()) == Some(true);
        return (away || path == "/healthz").then_some(silent);
    };
    match failing_check(persistence) {
        None => health.get(Check::Assets).map(|_| false),
        Some(failing) => Some(healthz::probe_fails(path, failing, version, persistence.clustered?)),
    }
}

/// True when a probe gets no answer, or one that means no, where we got this; else nothing is known.
fn no_probe_passes<T>(outcome: Option<&Outcome<T>>) -> Option<bool> {
    let failure = &outcome?.as_ref().err()?.failure;
    let fails = match failure.reason {
        Reason::Connect | Reason::Timeout => true,
        Reason::Status => failure.status.is_some_and(|status| status >= 400),
        _ => false,
    };
    fails.then_some(true)
}

/// How many assets of one type a server calls unwell.
pub(super) struct FailingCountTable;

impl Table for FailingCountTable {
    const TOPIC: Topic = Topic::Health;
    const TIERS: &'static [Tier] = &[Tier::Persistence];
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::Jsz, Endpoint::Healthz];
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "type"];
    type Source = Scrape;
    type Entity<'s> = u64;

    rows! {
        gauge "nats_jetstream_health_failing_assets", "/healthz?details=true errors (2.10)",
            "Accounts, streams and consumers that the server calls unwell, by type. No series while the walk does not reach them."
            => |count| *count;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<u64>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let Some((persistence, health)) = asked(snapshot) else { continue };
            let named = persistence.version.is_some_and(healthz::names_failing_assets);
            if !named || persistence.running().is_none() || health.get(Check::Assets).is_none() {
                continue;
            }
            let mut counts = BTreeMap::from([("account", 0), ("stream", 0), ("consumer", 0)]);
            for asset in &health.failing {
                *counts.entry(kind(&asset.kind)).or_default() += 1;
            }
            let identity = &snapshot.identity;
            for (kind, count) in counts {
                entities.push(source, [&identity.cluster, &identity.server, kind], count);
            }
        }
    }
}

/// The `type` label: as the server says it, in lower case.
fn kind(server_says: &str) -> &'static str {
    match server_says {
        "STREAM" => "stream",
        "CONSUMER" => "consumer",
        _ => "account",
    }
}

/// Failing assets that are named for each server; the count has them all.
const NAMED_ASSETS: usize = 20;

/// One asset that a server calls unwell.
pub(super) struct FailingAssetTable;

impl Table for FailingAssetTable {
    const TOPIC: Topic = Topic::Health;
    const TIERS: &'static [Tier] = &[Tier::Persistence];
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::Jsz, Endpoint::Healthz];
    const LABELS: &'static [&'static str] =
        &["nats_cluster", "server", "type", "account", "stream", "consumer"];
    type Source = Scrape;
    type Entity<'s> = ();

    rows! {
        gauge "nats_jetstream_health_failing_asset_info", "/healthz?details=true errors (2.10)",
            "1 for an account, stream or consumer that the server calls unwell; the first 20 by name."
            => |_info| true;
    }

    fn entities(scrape: &Scrape, _: Tier, entities: &mut Entities<()>) {
        let shown = &scrape.config.jetstream;
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let Some((_, health)) = asked(snapshot) else { continue };
            let mut assets: Vec<_> = health
                .failing
                .iter()
                .filter(|asset| shown.accounts.allows(&asset.account))
                .filter(|asset| asset.stream.is_empty() || shown.streams.allows(&asset.stream))
                .filter(|asset| {
                    asset.consumer.is_empty() || shown.consumers.allows(&asset.consumer)
                })
                .collect();
            assets.dedup();
            let identity = &snapshot.identity;
            for asset in assets.into_iter().take(NAMED_ASSETS) {
                let labels = [
                    identity.cluster.as_str(),
                    &identity.server,
                    kind(&asset.kind),
                    &asset.account,
                    &asset.stream,
                    &asset.consumer,
                ];
                entities.push(source, labels, ());
            }
        }
    }
}
