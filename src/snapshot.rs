//! Everything that one probe of one target learned, with what failed and why.
//!
//! The two tiers are two types: what belongs to the base tier is made from
//! [`Base`] and cannot see JetStream, and the other way round.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::detail::Detail;
use crate::flight::Outcome;
use crate::memory::{Learned, Memory, Peers, Told};
use crate::nats::endpoint::Endpoint;
use crate::nats::healthz::{Check, Checked, Health};
use crate::nats::jsz::Jsz;
use crate::nats::routez::Routez;
use crate::nats::varz::{DiskIoWait, Varz};
use crate::nats::version::Version;
use crate::tier::Tier;
use crate::verdict::Verdict;

/// Which server this is, as the labels `nats_cluster` and `server` say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// `nats_cluster`: configured, else the cluster's name, else the server's when it has none.
    pub cluster: String,
    /// `server`: configured, else the server's name, else the address.
    pub server: String,
}

/// How DNS tells of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The target of the configuration that is looked up.
    pub by: Arc<str>,
    /// It was there and is not any more.
    pub is_gone: bool,
}

/// What one probe of one target learned.
#[derive(Debug)]
pub struct Snapshot {
    /// The target's name in the configuration.
    pub target: String,
    /// The target's address, without credentials.
    pub url: String,
    /// How DNS tells of the address; nothing of a target of the configuration.
    pub found: Option<Found>,
    /// The labels.
    pub identity: Identity,
    /// Who the server said it is, now or when it answered last.
    pub learned: Option<Learned>,
    /// The base tier.
    pub base: Base,
    /// The persistence tier; nothing when it was not asked for.
    pub persistence: Option<Persistence>,
    /// How each endpoint fared that was asked for.
    pub endpoints: Vec<Report>,
    /// What is remembered of the target.
    pub memory: Arc<Memory>,
}

impl Snapshot {
    /// The server's own name, by which other servers know it; nothing while it never answered.
    #[must_use]
    pub fn own_name(&self) -> Option<&str> {
        Some(&self.learned.as_ref()?.server_name)
    }

    /// The state of a tier; nothing when there is no such tier on the server, or it was not asked for.
    #[must_use]
    pub fn verdict(&self, tier: Tier) -> Option<&Verdict> {
        match tier {
            Tier::Base => self.base.verdict.as_ref(),
            Tier::Persistence => self.persistence.as_ref()?.verdict.as_ref(),
            Tier::Exporter => None,
        }
    }
}

/// The base tier of one server.
#[derive(Debug, Default)]
pub struct Base {
    /// `/varz`.
    pub varz: Option<Outcome<Varz>>,
    /// `/routez`.
    pub routez: Option<Outcome<Routez>>,
    /// Whether the server accepts connections, by `/healthz`.
    pub health: Option<Outcome<Health>>,
    /// The version, now or when the server answered last.
    pub version: Option<Version>,
    /// The route peers of a clustered server; only with a good `/varz`.
    pub peers: Option<Peers>,
    /// The state of the tier, from what was asked.
    pub verdict: Option<Verdict>,
}

/// The persistence tier of one server.
#[derive(Debug, Default)]
pub struct Persistence {
    /// Plain `/jsz`.
    pub jsz: Option<Outcome<Jsz>>,
    /// Detailed `/jsz`; nothing when it is from another process than the plain one, or
    /// JetStream is off.
    pub detail: Option<Outcome<Detail>>,
    /// The health questions from the widest inwards.
    pub health: Option<Outcome<Health>>,
    /// JetStream of this process was on when the server told last.
    pub was_on: bool,
    /// Whether JetStream is clustered; nothing when it is not known.
    pub clustered: Option<bool>,
    /// How JetStream waits for the disk.
    pub disk_io_wait: Option<DiskIoWait>,
    /// The name under which the server that answered `/jsz` leads what it leads; nothing when
    /// it is not known for sure.
    pub own_name: Option<String>,
    /// The version, now or when the server answered last.
    pub version: Option<Version>,
    /// The state of the tier; nothing when JetStream is not configured.
    pub verdict: Option<Verdict>,
}

/// How one endpoint fared in this scrape.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// Nothing when it answered, else the `reason` label.
    pub failure: Option<&'static str>,
    /// How long the request took, in seconds.
    pub seconds: f64,
    /// How old what is shown is, in seconds; nothing when nothing is shown.
    pub age_seconds: Option<f64>,
}

impl Report {
    /// Of what came of a request.
    #[must_use]
    pub fn new<T>(endpoint: Endpoint, outcome: &Outcome<T>) -> Self {
        match outcome {
            Ok(reading) => Self {
                endpoint,
                failure: None,
                seconds: reading.elapsed.as_secs_f64(),
                age_seconds: Some(reading.started.elapsed().as_secs_f64()),
            },
            Err(failed) => Self {
                endpoint,
                failure: Some(failed.failure.reason.as_str()),
                seconds: failed.elapsed.as_secs_f64(),
                age_seconds: None,
            },
        }
    }
}

/// What of an outcome can be shown.
#[must_use]
pub fn value<T>(outcome: Option<&Outcome<T>>) -> Option<&T> {
    outcome?.as_ref().ok().map(|reading| &reading.value)
}

impl Base {
    /// A readable `/varz`.
    #[must_use]
    pub fn varz(&self) -> Option<&Varz> {
        value(self.varz.as_ref())
    }

    /// A readable `/routez`.
    #[must_use]
    pub fn routez(&self) -> Option<&Routez> {
        value(self.routez.as_ref())
    }

    /// Whether the server accepts connections; nothing when it did not say.
    #[must_use]
    pub fn accepts_connections(&self) -> Option<bool> {
        value(self.health.as_ref())?.get(Check::Core).map(|checked| checked.ok)
    }
}

/// Whether JetStream is there, as far as the server tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Configured and running.
    On,
    /// Configured, and switched off at run time.
    Off,
    /// Not configured.
    NotConfigured,
    /// Not running, and the server does not tell why.
    Unclear,
}

impl Persistence {
    /// A readable plain `/jsz`.
    #[must_use]
    pub fn jsz(&self) -> Option<&Jsz> {
        value(self.jsz.as_ref())
    }

    /// Whether the server accepts connections, as the widest health question tells on its way.
    #[must_use]
    pub fn accepts_connections(&self) -> Option<bool> {
        value(self.health.as_ref())?.get(Check::Core).map(|checked| checked.ok)
    }

    /// A readable plain `/jsz` of a server whose JetStream is on.
    #[must_use]
    pub fn running(&self) -> Option<&Jsz> {
        self.jsz().filter(|jsz| jsz.disabled != Some(true))
    }

    /// A detail that can be shown.
    #[must_use]
    pub fn detail(&self) -> Option<&Detail> {
        value(self.detail.as_ref())
    }

    /// How old a detail that can be shown is.
    #[must_use]
    pub fn detail_age(&self) -> Option<Duration> {
        let reading = self.detail.as_ref()?.as_ref().ok()?;
        Some(Instant::now() - reading.started)
    }

    /// The answer to a health question of this tier.
    ///
    /// A standalone server has no meta group, so what stopped its walk there were its streams; and
    /// one before 2.10 does not look at them at all.
    #[must_use]
    pub fn checked(&self, check: Check) -> Option<Checked> {
        let health = value(self.health.as_ref())?;
        if self.clustered != Some(false) {
            return health.get(check);
        }
        match check {
            Check::Meta => None,
            Check::Assets if self.version < Some(Version(2, 10, 0)) => None,
            Check::Assets => {
                let meta = health.get(Check::Meta).filter(|checked| !checked.ok);
                health.get(Check::Assets).or(meta)
            }
            Check::Core | Check::Enabled => health.get(check),
        }
    }

    /// Whether JetStream is on; nothing when `/jsz` did not say.
    ///
    /// `/jsz` says `disabled` both when it is switched off and when it is not configured. The
    /// enabled question of `/healthz` fails only in the first case. The two are separate requests, so of a
    /// process whose JetStream was on the second is believed only when it was asked after the first.
    #[must_use]
    pub fn switch(&self) -> Option<Switch> {
        if self.running().is_some() {
            return Some(Switch::On);
        }
        self.jsz()?;
        Some(match self.enabled() {
            Some(true) if self.was_on => Switch::Unclear,
            Some(true) => Switch::NotConfigured,
            Some(false) => Switch::Off,
            None => Switch::Unclear,
        })
    }

    /// What `/jsz` and `/healthz` together say of JetStream; nothing when it is off, or not for sure.
    #[must_use]
    pub fn told(&self) -> Option<Told> {
        if self.running().is_some() {
            return Some(Told::On);
        }
        let (jsz, health) =
            (self.jsz.as_ref()?.as_ref().ok()?, self.health.as_ref()?.as_ref().ok()?);
        (self.enabled() == Some(true)).then(|| Told::NotConfigured {
            jsz_answered: jsz.started + jsz.elapsed,
            health_asked: health.started,
        })
    }

    fn enabled(&self) -> Option<bool> {
        let health = value(self.health.as_ref())?;
        health.get(Check::Enabled).map(|checked| checked.ok)
    }

    /// Whether JetStream of the server is clustered, by its meta group and by what the server said of itself; nothing
    /// when it never did.
    ///
    /// A clustered server that is recovering its store has streams and no meta group yet, and names itself as the leader
    /// of each.
    #[must_use]
    pub fn says_clustered(&self, learned: Option<&Learned>) -> Option<bool> {
        let has_meta = self.running().is_some_and(|jsz| jsz.meta_cluster.is_some());
        if has_meta { Some(true) } else { learned.map(|learned| learned.clustered) }
    }

    /// Whether JetStream of this server is clustered. When that is not known, yes: then nothing
    /// counts as led by this server that does not say so.
    #[must_use]
    pub fn clustered(&self) -> bool {
        self.clustered.unwrap_or(true)
    }
}
