//! Asks one target and makes a snapshot of the answers.
//!
//! Every endpoint is a request of its own with a time-out of its own, the two tiers have separate
//! deadlines, and whatever is in flight is shared by the scrapes that want it. So an endpoint that
//! hangs costs itself, and the server never has two `/jsz` requests of this exporter at once.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

use crate::config::{Config, JetStream, Scrape, Target};
use crate::detail::Detail;
use crate::flight::{Flight, Outcome, Reading, Waiting};
use crate::memory::{Learned, Memory};
use crate::nats::client::{Answer, Client, ClientError};
use crate::nats::decode::{Body, decode, decode_quickly};
use crate::nats::endpoint::{self, Endpoint};
use crate::nats::failure::{Failure, Reason};
use crate::nats::healthz::{self, Check, Health};
use crate::nats::jsz::{Jsz, JszDetail};
use crate::nats::routez::Routez;
use crate::nats::varz::Varz;
use crate::nats::version::Version;
use crate::snapshot::{Base, Identity, Persistence, Report, Snapshot, Switch, value};
use crate::tier::Tier;
use crate::verdict;

/// How long the question of the base tier waits for the wide health check to answer it too.
const HEDGE: Duration = Duration::from_millis(250);

/// Bodies from this size on are decoded off the threads that serve requests.
const LARGE_BODY: usize = 64 << 10;

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
    times: Scrape,
    jetstream: Arc<JetStream>,
    varz: Flight<Varz>,
    routez: Flight<Routez>,
    core: Flight<Health>,
    health: Flight<Health>,
    jsz: Flight<Jsz>,
    detail: Flight<Detail>,
    newest_detail: Arc<Mutex<Option<Arc<Reading<Detail>>>>>,
    /// Held while any `/jsz` is in flight: they take the same locks in the server.
    one_jsz: Arc<tokio::sync::Mutex<()>>,
}

impl Probe {
    /// A probe of `target`; it connects to nothing yet.
    ///
    /// # Errors
    /// When the TLS files or the credentials of the target cannot be used.
    pub fn new(target: &Target, config: &Config, memory: Arc<Memory>) -> Result<Self, ClientError> {
        Ok(Self {
            target: target.clone(),
            client: Client::new(target, config.limits.body_bytes)?,
            memory,
            times: config.scrape.clone(),
            jetstream: Arc::new(config.jetstream.clone()),
            varz: Flight::default(),
            routez: Flight::default(),
            core: Flight::default(),
            health: Flight::default(),
            jsz: Flight::default(),
            detail: Flight::default(),
            newest_detail: Arc::default(),
            one_jsz: Arc::default(),
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
        let base_deadline = deadline.min(now + self.times.base_timeout);
        let persistence_deadline = deadline.min(now + self.times.persistence_timeout);

        let varz = (!wanted.is_empty()).then(|| self.ask_varz());
        let routez = wanted.contains(Endpoint::Routez).then(|| self.ask_routez());
        let jsz = wanted.contains(Endpoint::Jsz).then(|| self.ask_jsz());
        let (varz_outcome, routez, (core, health), jsz, detail) = tokio::join!(
            finish(varz.clone(), base_deadline),
            finish(routez, base_deadline),
            self.ask_health(wanted, varz, base_deadline, persistence_deadline),
            finish(jsz, persistence_deadline),
            self.ask_detail(wanted, persistence_deadline),
        );

        let mut base = Base { varz: varz_outcome, routez, health: core, ..Base::default() };
        if let Some(varz) = base.varz() {
            self.memory.learn(&self.target.name, varz);
        }
        let learned = self.memory.learned();
        base.version = learned.as_ref().and_then(|learned| learned.version);
        base.expected_peers = self.expected_peers(&base);
        let mut persistence = wanted.wants(Tier::Persistence).then(|| Persistence {
            jsz,
            detail,
            health,
            ..Persistence::default()
        });
        let endpoints = reports(&base, persistence.as_ref());
        if let Some(persistence) = &mut persistence {
            self.forget_detail_of_others(persistence);
            complete(persistence, &base, learned.as_ref());
        }
        self.judge(wanted, &mut base, persistence.as_mut(), learned.as_ref());
        Snapshot {
            target: self.target.name.clone(),
            url: self.target.url.as_str().trim_end_matches('/').to_owned(),
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
            .unwrap_or_else(|| address(&target.url));
        let cluster = target.cluster.clone().unwrap_or_else(|| match learned {
            Some(learned) => learned.cluster.clone().unwrap_or_else(|| server.clone()),
            None => String::new(),
        });
        Identity { cluster, server }
    }

    fn expected_peers(&self, base: &Base) -> Option<crate::memory::ExpectedPeers> {
        let (varz, routez) = (base.varz()?, base.routez()?);
        varz.cluster.name.as_ref()?;
        let urls = varz.cluster.urls.len();
        Some(self.memory.expected_peers(routez, urls, self.target.expected_peers, Instant::now()))
    }

    fn judge(
        &self,
        wanted: EndpointSet,
        base: &mut Base,
        persistence: Option<&mut Persistence>,
        learned: Option<&Learned>,
    ) {
        let id = learned.map_or("", |learned| learned.server_id.as_str());
        let varz = base.varz();
        let count = varz.and_then(|varz| varz.slow_consumers).unwrap_or(0);
        let on = persistence.as_ref().and_then(|persistence| persistence.switch());
        let before = verdict::Before {
            accepted: self.memory.accepts(id, base.accepts_connections())
                || varz.and_then(|varz| varz.total_connections).is_some_and(|count| count > 0),
            jetstream_on: self.memory.jetstream_on(id, on.map(|on| on == Switch::On)),
            slow_consumers_rise: varz.is_some()
                && self.memory.slow_consumers_rise(id, count, Instant::now()),
        };
        if let Some(persistence) = persistence {
            persistence.verdict = verdict::persistence(persistence, base, before);
        }
        if wanted.wants(Tier::Base) {
            base.verdict = Some(verdict::base(base, before));
        }
    }

    fn ask_varz(&self) -> Waiting<Varz> {
        self.join(&self.varz, Endpoint::Varz, |client, memory, name| async move {
            known(&memory, &name, Endpoint::Varz, client.get_ok(endpoint::VARZ).await?).await
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
        let one_jsz = Arc::clone(&self.one_jsz);
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
            Tier::Persistence => self.times.persistence_timeout,
            Tier::Base | Tier::Exporter => self.times.base_timeout,
        };
        let (memory, name) = (Arc::clone(&self.memory), self.target.name.clone());
        flight.join(
            timeout,
            || request(self.client.clone(), Arc::clone(&self.memory), self.target.name.clone()),
            move |outcome| memory.record(&name, endpoint, outcome),
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
        tokio::join!(core, finish(wide.clone(), persistence_deadline))
    }

    /// Takes the answer of the wide check when it comes at once and tells; else asks.
    async fn ask_core(
        &self,
        version: Option<Version>,
        wide: Option<Waiting<Health>>,
        deadline: Instant,
    ) -> Outcome<Health> {
        if let Some(mut wide) = wide
            && let Some(Ok(reading)) = wide.until(deadline.min(Instant::now() + HEDGE)).await
            && reading.value.get(Check::Core).is_some()
        {
            let outcome = Ok(reading);
            // Else the newest success of this question would be the last time it was asked alone.
            self.memory.record(&self.target.name, Endpoint::HealthzCore, &outcome);
            return outcome;
        }
        self.join(&self.core, Endpoint::HealthzCore, |client, _, _| async move {
            healthz::ask_core(&client, version).await
        })
        .or_timeout(deadline)
        .await
    }

    /// The version as `/varz` says it now; when that takes too long, as it said before.
    async fn version(&self, varz: Option<Waiting<Varz>>, deadline: Instant) -> Option<Version> {
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        if let Some(mut varz) = varz
            && let Some(Ok(reading)) = varz.until(half).await
        {
            return reading.value.version.as_deref().and_then(|text| text.parse().ok());
        }
        self.memory.learned()?.version
    }

    /// The detail: the newest one while it is young enough, else a new one.
    async fn ask_detail(&self, wanted: EndpointSet, deadline: Instant) -> Option<Outcome<Detail>> {
        if !wanted.contains(Endpoint::JszDetail) {
            return None;
        }
        let path = endpoint::jsz_detail(self.jetstream.detail)?;
        let newest = lock(&self.newest_detail).clone();
        if let Some(newest) = &newest
            && newest.started.elapsed() < self.jetstream.detail_interval
        {
            return Some(Ok(Arc::clone(newest)));
        }
        let mut waiting = self.fetch_detail(path);
        if let Some(outcome) = waiting.until(deadline).await {
            return Some(outcome);
        }
        // The server is slow and has not failed: what it said before may still be shown.
        match newest {
            Some(newest) if newest.started.elapsed() < self.jetstream.detail_max_age => {
                Some(Ok(newest))
            }
            _ => Some(waiting.or_timeout(deadline).await),
        }
    }

    /// Forgets a detail that the process behind `/jsz` did not give: the server was restarted, and
    /// the next scrape asks without waiting for the interval.
    fn forget_detail_of_others(&self, persistence: &Persistence) {
        let Some(running) = persistence.running() else { return };
        let mut newest = lock(&self.newest_detail);
        if newest.as_ref().is_some_and(|newest| newest.value.server_id != running.server_id) {
            *newest = None;
        }
    }

    fn fetch_detail(&self, path: &'static str) -> Waiting<Detail> {
        let one_jsz = Arc::clone(&self.one_jsz);
        let (client, settings) = (self.client.clone(), Arc::clone(&self.jetstream));
        let (memory, name) = (Arc::clone(&self.memory), self.target.name.clone());
        let newest = Arc::clone(&self.newest_detail);
        self.detail.join(
            self.times.persistence_timeout,
            || async move {
                let answer = {
                    let _one = one_jsz.lock().await;
                    client.get_ok(path).await?
                };
                off_thread(answer, move |body| {
                    let answer: JszDetail = decode_quickly(body)?;
                    Ok(Detail::reduce(answer, &settings))
                })
                .await
            },
            move |outcome| {
                memory.record(&name, Endpoint::JszDetail, outcome);
                // A failed endpoint shows nothing, so the newest goes with the failure.
                *lock(&newest) = outcome.as_ref().ok().cloned();
            },
        )
    }
}

/// Host and port.
fn address(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{host}:{port}")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn finish<T>(waiting: Option<Waiting<T>>, deadline: Instant) -> Option<Outcome<T>> {
    Some(waiting?.or_timeout(deadline).await)
}

/// Decodes an answer and counts the fields that the exporter does not know.
async fn known<T: Body + Send + 'static>(
    memory: &Memory,
    target: &str,
    endpoint: Endpoint,
    answer: Answer,
) -> Result<T, Failure> {
    let (value, unknown) = off_thread(answer, decode::<T>).await?;
    memory.unknown_fields(target, endpoint, unknown);
    Ok(value)
}

/// Decodes large bodies on a thread that may block.
async fn off_thread<T: Send + 'static>(
    answer: Answer,
    decode: impl FnOnce(&[u8]) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    if answer.body.len() < LARGE_BODY {
        return decode(&answer.body);
    }
    tokio::task::spawn_blocking(move || decode(&answer.body))
        .await
        .unwrap_or_else(|_| Err(Failure::new(Reason::Internal, "decoding ended early")))
}

/// How each endpoint fared that was asked for.
fn reports(base: &Base, persistence: Option<&Persistence>) -> Vec<Report> {
    let mut reports: Vec<Report> = [
        report(Endpoint::Varz, base.varz.as_ref()),
        report(Endpoint::Routez, base.routez.as_ref()),
        report(Endpoint::HealthzCore, base.health.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(persistence) = persistence {
        reports.extend(report(Endpoint::Jsz, persistence.jsz.as_ref()));
        reports.extend(report(Endpoint::JszDetail, persistence.detail.as_ref()));
        reports.extend(report(Endpoint::Healthz, persistence.health.as_ref()));
    }
    reports
}

fn report<T>(endpoint: Endpoint, outcome: Option<&Outcome<T>>) -> Option<Report> {
    Some(match outcome? {
        Ok(reading) => Report {
            endpoint,
            failure: None,
            seconds: reading.elapsed.as_secs_f64(),
            age_seconds: Some(reading.started.elapsed().as_secs_f64()),
        },
        Err(failed) => Report {
            endpoint,
            failure: Some(failed.failure.reason.as_str()),
            seconds: failed.elapsed.as_secs_f64(),
            age_seconds: None,
        },
    })
}

/// Fits the answers of the persistence tier together.
///
/// They come from separate requests, and the server may have been restarted in between: leaders
/// are told by name and `/jsz` has only the id, so the ids have to agree.
fn complete(persistence: &mut Persistence, base: &Base, learned: Option<&Learned>) {
    persistence.version = base.version;
    let running = persistence.running().and_then(|jsz| jsz.server_id.clone());
    let same = |id: Option<&str>| id.is_some() && id == running.as_deref();
    if !same(value(persistence.detail.as_ref()).and_then(|d| d.server_id.as_deref())) {
        persistence.detail = persistence.detail.take().filter(Result::is_err);
    }
    if let Some(learned) = learned.filter(|learned| same(Some(&learned.server_id))) {
        persistence.own_name = Some(learned.server_name.clone());
        persistence.disk_io_wait = base.varz().and_then(|varz| varz.disk_io_wait_stats.clone());
    }
}
