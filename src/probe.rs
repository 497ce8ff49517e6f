//! Asks one target and makes a snapshot of the answers.
//!
//! Every endpoint is a request of its own with a time-out of its own, the two tiers have separate
//! deadlines, and whatever is in flight is shared by the scrapes that want it. So an endpoint that
//! hangs costs itself, and the server never has two `/jsz` requests of this exporter at once.

mod detail;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::detail::DetailProbe;
use crate::config::{Config, Target};
use crate::detail::Detail;
use crate::flight::{Flight, Outcome, Waiting};
use crate::memory::{Learned, Memory, Peers};
use crate::nats::client::{Answer, Client, ClientError};
use crate::nats::decode::{Body, decode};
use crate::nats::endpoint::{self, Endpoint};
use crate::nats::failure::Failure;
use crate::nats::healthz::{self, Check, Health};
use crate::nats::jsz::Jsz;
use crate::nats::names::Addresses;
use crate::nats::routez::Routez;
use crate::nats::varz::Varz;
use crate::nats::version::Version;
use crate::snapshot::{Base, Identity, Persistence, Report, Snapshot};
use crate::tier::Tier;
use crate::verdict;

/// How long a question waits for another one that may make it narrower: that of the base tier for the
/// wide health check, the detail for the name and version of the server.
const HEDGE: Duration = Duration::from_millis(250);

/// Some of the endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointSet([bool; Endpoint::ALL.len()]);

impl EndpointSet {
    /// Whether `endpoint` is one of them.
    #[must_use]
    pub const fn contains(self, endpoint: Endpoint) -> bool {
        self.0[endpoint as usize]
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn wants(self, tier: Tier) -> bool {
        Endpoint::ALL.into_iter().any(|e| e.tier() == tier && self.contains(e))
    }
}

impl FromIterator<Endpoint> for EndpointSet {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(endpoints: I) -> Self {
        let mut set = Self::default();
        for endpoint in endpoints {
            set.0[endpoint as usize] = true;
        }
        set
    }
}

/// Asks one target.
#[derive(Debug)]
pub struct Probe {
    target: Target,
    client: Client,
    memory: Arc<Memory>,
    config: Arc<Config>,
    varz: Flight<Varz>,
    routez: Flight<Routez>,
    core: Flight<Health>,
    health: Flight<Health>,
    jsz: Flight<Jsz>,
    detail: DetailProbe,
}

impl Probe {
    /// A probe of `target`; it connects to nothing yet. `addresses` are those of its host, when they
    /// are looked up elsewhere. `epoch` is the same for all targets.
    ///
    /// # Errors
    /// When the TLS files or the credentials of the target cannot be used.
    pub fn new(
        target: &Target,
        addresses: Option<&Addresses>,
        config: &Arc<Config>,
        memory: Arc<Memory>,
        epoch: Instant,
    ) -> Result<Self, ClientError> {
        let client = Client::new(target, addresses, &config.limits, config.scrape.connect_timeout)?;
        Ok(Self {
            target: target.clone(),
            detail: DetailProbe::new(&target.name, &client, config, &memory, epoch),
            client,
            memory,
            config: Arc::clone(config),
            varz: Flight::default(),
            routez: Flight::default(),
            core: Flight::default(),
            health: Flight::default(),
            jsz: Flight::default(),
        })
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What is remembered of the target.
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Asks for what is `wanted`, and returns at `deadline` at the latest.
    pub async fn snapshot(&self, wanted: EndpointSet, deadline: Instant) -> Snapshot {
        let now = Instant::now();
        let base_deadline = deadline.min(now + self.config.scrape.base_timeout);
        let persistence_deadline = deadline.min(now + self.config.scrape.persistence_timeout);

        let varz = (!wanted.is_empty()).then(|| self.ask_varz());
        let routez = wanted.contains(Endpoint::Routez).then(|| self.ask_routez());
        let jsz = wanted.contains(Endpoint::Jsz).then(|| self.ask_jsz());
        let (varz_outcome, routez, (core, health), jsz, detail) = tokio::join!(
            self.finish(Endpoint::Varz, varz.clone(), base_deadline),
            self.finish(Endpoint::Routez, routez, base_deadline),
            self.ask_health(wanted, varz.clone(), base_deadline, persistence_deadline),
            self.finish(Endpoint::Jsz, jsz, persistence_deadline),
            self.ask_detail(wanted, varz.clone(), persistence_deadline),
        );

        let mut base = Base { varz: varz_outcome, routez, health: core, ..Base::default() };
        let learned = self.memory.learned();
        base.version = learned.as_ref().and_then(|learned| learned.version);
        base.peers = self.peers(&base);
        let mut persistence = wanted.wants(Tier::Persistence).then(|| Persistence {
            jsz,
            detail,
            health,
            ..Persistence::default()
        });
        let endpoints = reports(&base, persistence.as_ref());
        if let Some(persistence) = &mut persistence {
            if let Some(running) = persistence.running() {
                self.detail.forget_all_but(running.server_id.as_deref());
            }
            Self::complete(persistence, &base, learned.as_ref(), now);
        }
        self.judge(&mut base, persistence.as_mut(), learned.as_ref());
        Snapshot {
            target: self.target.name.clone(),
            url: self.target.base_url().to_owned(),
            found: None,
            identity: self.identity(learned.as_ref()),
            learned,
            base,
            persistence,
            endpoints,
            memory: Arc::clone(&self.memory),
        }
    }

    /// The labels, before other targets are looked at.
    fn identity(&self, learned: Option<&Learned>) -> Identity {
        let target = &self.target;
        let server = target
            .server
            .clone()
            .or_else(|| learned.and_then(Learned::stable_name).map(str::to_owned))
            .unwrap_or_else(|| target.address());
        let cluster = target.cluster.clone().unwrap_or_else(|| match learned {
            Some(learned) => learned.cluster.clone().unwrap_or_else(|| server.clone()),
            None => String::new(),
        });
        Identity { cluster, server }
    }

    fn peers(&self, base: &Base) -> Option<Peers> {
        let varz = base.varz()?;
        varz.cluster.name.as_ref()?;
        let expected = self.target.expected_peers;
        Some(self.memory.peers(varz, base.routez(), expected, Instant::now()))
    }

    fn judge(
        &self,
        base: &mut Base,
        persistence: Option<&mut Persistence>,
        learned: Option<&Learned>,
    ) {
        let id = learned.map_or("", |learned| learned.server_id.as_str());
        let varz = base.varz();
        let count = varz.and_then(|varz| varz.slow_consumers).unwrap_or(0);
        let told = || persistence.as_ref().and_then(|p| p.accepts_connections());
        let before = verdict::Before {
            accepted: self.memory.accepts(id, base.accepts_connections().or_else(told))
                || varz.and_then(|varz| varz.total_connections).is_some_and(|count| count > 0),
            slow_consumers_rise: varz.is_some()
                && self.memory.slow_consumers_rise(id, count, Instant::now()),
        };
        if let Some(persistence) = persistence {
            persistence.was_on = self.memory.jetstream_was_on(id, persistence.told());
            persistence.verdict = verdict::persistence(persistence, base, before);
        }
        base.verdict = Some(verdict::base(base, before));
    }

    fn ask_varz(&self) -> Waiting<Varz> {
        self.join(&self.varz, Endpoint::Varz, |client, memory, name| async move {
            let answer = client.get_ok(endpoint::VARZ).await?;
            let varz = known(&memory, &name, Endpoint::Varz, answer).await?;
            memory.learn(&name, &varz);
            Ok(varz)
        })
    }

    fn ask_routez(&self) -> Waiting<Routez> {
        self.join(&self.routez, Endpoint::Routez, |client, memory, name| async move {
            let answer = client.get_ok(endpoint::ROUTEZ).await?;
            let mut routez: Routez = known(&memory, &name, Endpoint::Routez, answer).await?;
            memory.add_traffic(&mut routez);
            Ok(routez)
        })
    }

    fn ask_jsz(&self) -> Waiting<Jsz> {
        let one_jsz = self.memory.jsz_turn();
        self.join(&self.jsz, Endpoint::Jsz, |client, memory, name| {
            // Taken here and not in the task, because tasks start in any order: the detail of
            // the same scrape comes after the plain form, or it would take it along when it hangs.
            let first = Arc::clone(&one_jsz).try_lock_owned();
            async move {
                let _one = match first {
                    Ok(one) => one,
                    Err(_) => one_jsz.lock_owned().await,
                };
                known(&memory, &name, Endpoint::Jsz, client.get_ok(endpoint::JSZ).await?).await
            }
        })
    }

    /// Joins or sends the request of `flight`, and has its end remembered.
    fn join<T, F>(
        &self,
        flight: &Flight<T>,
        endpoint: Endpoint,
        request: impl FnOnce(Client, Arc<Memory>, String) -> F,
    ) -> Waiting<T>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let timeout = match endpoint.tier() {
            Tier::Persistence => self.config.scrape.persistence_timeout,
            Tier::Base | Tier::Exporter => self.config.scrape.base_timeout,
        };
        let (memory, name) = (Arc::clone(&self.memory), self.target.name.clone());
        flight.join(
            timeout,
            || request(self.client.clone(), Arc::clone(&self.memory), self.target.name.clone()),
            move |outcome, late| record_end(&memory, &name, endpoint, outcome, late),
        )
    }

    /// The health questions: that of the base tier, and those of the persistence tier.
    async fn ask_health(
        &self,
        wanted: EndpointSet,
        varz: Option<Waiting<Varz>>,
        base_deadline: Instant,
        persistence_deadline: Instant,
    ) -> (Option<Outcome<Health>>, Option<Outcome<Health>>) {
        let (core, wide) =
            (wanted.contains(Endpoint::HealthzCore), wanted.contains(Endpoint::Healthz));
        if !core && !wide {
            return (None, None);
        }
        let version = self.version(varz, base_deadline).await;
        let wide = version.filter(|_| wide).map(|version| {
            self.join(&self.health, Endpoint::Healthz, |client, _, _| async move {
                healthz::ask_all(&client, version).await
            })
        });
        let core = async {
            if core {
                Some(self.ask_core(version, wide.clone(), base_deadline).await)
            } else {
                None
            }
        };
        tokio::join!(core, self.finish(Endpoint::Healthz, wide.clone(), persistence_deadline))
    }

    /// Takes the answer of the wide check when it comes at once and tells; else asks. One that was under way for
    /// longer passed the listeners then, and may have hung at JetStream since.
    async fn ask_core(
        &self,
        version: Option<Version>,
        wide: Option<Waiting<Health>>,
        deadline: Instant,
    ) -> Outcome<Health> {
        let now = Instant::now();
        if let Some(mut wide) = wide
            && let Some(Ok(reading)) = wide.until(deadline.min(now + HEDGE)).await
            && reading.started + HEDGE >= now
            && reading.value.get(Check::Core).is_some()
        {
            let outcome = Ok(reading);
            // Else the newest success of this question would be the last time it was asked alone.
            self.memory.record(&self.target.name, Endpoint::HealthzCore, &outcome);
            return outcome;
        }
        let waiting = self.join(&self.core, Endpoint::HealthzCore, |client, _, _| async move {
            healthz::ask_core(&client, version).await
        });
        waiting.or_timeout(deadline, |o| self.gave_up(Endpoint::HealthzCore, o)).await
    }

    /// The version as `/varz` says it now; when that takes too long, as it said before.
    async fn version(&self, varz: Option<Waiting<Varz>>, deadline: Instant) -> Option<Version> {
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        if let Some(mut varz) = varz
            && let Some(Ok(reading)) = varz.until(half).await
        {
            return reading.value.parsed_version();
        }
        self.memory.learned()?.version
    }

    async fn ask_detail(
        &self,
        wanted: EndpointSet,
        varz: Option<Waiting<Varz>>,
        deadline: Instant,
    ) -> Option<Outcome<Detail>> {
        if !wanted.contains(Endpoint::JszDetail) {
            return None;
        }
        let gave_up = |outcome: &_| self.gave_up(Endpoint::JszDetail, outcome);
        self.detail.ask(varz, deadline, gave_up).await
    }

    /// Waits for an answer until `deadline`.
    async fn finish<T>(
        &self,
        endpoint: Endpoint,
        waiting: Option<Waiting<T>>,
        deadline: Instant,
    ) -> Option<Outcome<T>> {
        Some(waiting?.or_timeout(deadline, |outcome| self.gave_up(endpoint, outcome)).await)
    }

    /// Notes that a scrape ended before the request, which is a failure like any other.
    fn gave_up<T>(&self, endpoint: Endpoint, outcome: &Outcome<T>) {
        self.memory.record(&self.target.name, endpoint, outcome);
    }

    /// Fits the answers of the persistence tier together.
    ///
    /// They come from separate requests, and the server may have been restarted in between: leaders
    /// are told by name and `/jsz` has only the id, so the ids have to agree. A detail speaks for
    /// itself when the plain form failed, unless it is older than the scrape, which `began` then.
    fn complete(
        persistence: &mut Persistence,
        base: &Base,
        learned: Option<&Learned>,
        began: Instant,
    ) {
        persistence.version = base.version;
        let detail_id = match &persistence.detail {
            Some(Ok(reading)) if detail::is_new(reading, began) => reading.value.server_id.clone(),
            _ => None,
        };
        let plain_failed = matches!(persistence.jsz, Some(Err(_)));
        let id = match persistence.running() {
            Some(jsz) => jsz.server_id.clone(),
            None if plain_failed => detail_id,
            None => None,
        };
        let same = |other: Option<&str>| other.is_some() && other == id.as_deref();
        if !same(persistence.detail().and_then(|detail| detail.server_id.as_deref())) {
            persistence.detail = persistence.detail.take().filter(Result::is_err);
        }
        let varz = base.varz();
        persistence.clustered = persistence.says_clustered(learned);
        if let Some(learned) = learned.filter(|learned| same(Some(&learned.server_id))) {
            persistence.own_name = Some(learned.server_name.clone());
            if persistence.running().is_some() {
                persistence.disk_io_wait =
                    varz.and_then(|varz| varz.disk_io_wait_stats.value.clone());
            }
        }
        // What others lead was left out by the name that the server had before.
        let told = persistence.detail().and_then(|detail| detail.own_name.as_deref());
        if told.is_some() && told != persistence.own_name.as_deref() {
            persistence.detail = None;
        }
    }
}

/// Notes how a request ended. When a scrape has given it up, its failure is noted already, and a
/// good answer only is one that came too late.
fn record_end<T>(
    memory: &Memory,
    target: &str,
    endpoint: Endpoint,
    outcome: &Outcome<T>,
    late: bool,
) {
    match outcome {
        _ if !late => memory.record(target, endpoint, outcome),
        Ok(reading) => memory.record_late(endpoint, reading.at),
        Err(_) => {}
    }
}

/// Decodes an answer and counts the fields that the exporter does not know.
async fn known<T: Body + Send + 'static>(
    memory: &Memory,
    target: &str,
    endpoint: Endpoint,
    answer: Answer,
) -> Result<T, Failure> {
    let (value, unknown) = answer.read(|answer| decode::<T>(&answer.body)).await?;
    memory.unknown_fields(target, endpoint, unknown);
    Ok(value)
}

/// How each endpoint fared that was asked for.
fn reports(base: &Base, persistence: Option<&Persistence>) -> Vec<Report> {
    let mut reports: Vec<Report> = [
        base.varz.as_ref().map(|outcome| Report::new(Endpoint::Varz, outcome)),
        base.routez.as_ref().map(|outcome| Report::new(Endpoint::Routez, outcome)),
        base.health.as_ref().map(|outcome| Report::new(Endpoint::HealthzCore, outcome)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(persistence) = persistence {
        reports.extend(persistence.jsz.as_ref().map(|outcome| Report::new(Endpoint::Jsz, outcome)));
        reports.extend(
            persistence.detail.as_ref().map(|outcome| Report::new(Endpoint::JszDetail, outcome)),
        );
        reports.extend(
            persistence.health.as_ref().map(|outcome| Report::new(Endpoint::Healthz, outcome)),
        );
    }
    reports
}
