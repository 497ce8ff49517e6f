//! Servers that DNS tells of: which addresses a name has, since when one is gone, and how the look-ups
//! went.
//!
//! A name is looked up in the background, so no scrape waits for DNS, and a failure changes nothing but
//! what is said of the look-up. An address that is gone is asked on for a while, so that a dead server is
//! shown as down; unless its server answers at another address, which [`settle`] finds out.

mod lookup;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use self::lookup::{Resolver, Service};
use crate::config::{Config, DnsTarget, Records};
use crate::memory::Memory;
use crate::nats::client::ClientError;
use crate::nats::endpoint::Endpoint;
use crate::nats::names::Addresses;
use crate::probe::Probe;
use crate::snapshot::{Found, Snapshot};

/// After the first failure a name is looked up again so soon; after each more, in twice the time.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The servers of one target that is a name in DNS.
#[derive(Debug)]
pub struct Group {
    name: Arc<str>,
    target: DnsTarget,
    config: Arc<Config>,
    epoch: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    members: Vec<Member>,
    /// Addresses that are taken for second ones of the same servers.
    passed_over: usize,
    last: Last,
    last_success: Option<SystemTime>,
}

/// How the last look-up ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Last {
    /// There was none yet.
    #[default]
    None,
    /// DNS told servers.
    Servers,
    /// DNS says that there are none.
    Nothing,
    /// DNS did not answer, or not what it should.
    Failed(String),
}

/// A server.
#[derive(Debug, Clone)]
struct Member {
    probe: Arc<Probe>,
    /// Those of its host, when that is a name.
    addresses: Option<Addresses>,
    /// When it was not in DNS for the first time.
    gone_since: Option<Instant>,
    /// Its server answered at another address.
    is_overtaken: bool,
}

impl Member {
    /// Whether it is asked. One that is gone and has its server elsewhere is only remembered, for DNS
    /// servers that are behind may tell of it once more.
    fn is_asked(&self) -> bool {
        self.gone_since.is_none() || !self.is_overtaken
    }
}

/// What DNS has told of a target.
#[derive(Debug, Clone)]
pub struct Status {
    /// The target's name.
    pub target: String,
    /// Whether the last look-up ended with an answer; false before the first.
    pub is_resolved: bool,
    /// When the last such look-up ended.
    pub last_success: Option<SystemTime>,
    /// Servers that are in DNS.
    pub known: usize,
    /// Servers that are gone from DNS and are asked on.
    pub in_grace: usize,
    /// Addresses that are not asked, because they are taken for second ones of the same servers.
    pub passed_over: usize,
    /// Why there is no server, or no newer word of them; nothing when all is well.
    pub problem: Option<String>,
}

impl Status {
    /// What was not seen because no server is known; one sentence without its stop.
    #[must_use]
    pub fn unseen(&self) -> Option<String> {
        let problem = self.problem.as_ref().filter(|_| self.known + self.in_grace == 0)?;
        Some(format!("no server of {} was found: {problem}", self.target))
    }
}

impl Group {
    /// The servers of `target`; it looks up nothing yet. `old` is the same target in the configuration
    /// before, whose servers stay.
    ///
    /// # Errors
    /// When the settings of the target cannot be used for any server.
    pub fn new(
        target: &DnsTarget,
        config: &Arc<Config>,
        epoch: Instant,
        old: Option<&Self>,
    ) -> Result<Self, ClientError> {
        let group = Self {
            name: target.template.name.as_str().into(),
            target: target.clone(),
            config: Arc::clone(config),
            epoch,
            state: Mutex::default(),
        };
        // So that files that cannot be used are told at the start, and not when there is a server.
        Probe::new(&target.template, None, config, Arc::default(), epoch)?;
        if let Some(old) = old {
            let mut state = old.lock().clone();
            for member in &mut state.members {
                let url = &member.probe.target().url;
                let target = target.template.at(url.host_str().unwrap_or_default(), url.port());
                let target = target.unwrap_or_else(|| member.probe.target().clone());
                let memory = Arc::clone(member.probe.memory());
                let addresses = member.addresses.as_ref();
                member.probe = Arc::new(Probe::new(&target, addresses, config, memory, epoch)?);
            }
            *group.lock() = state;
        }
        Ok(group)
    }

    /// Whether the same is looked up.
    #[must_use]
    pub fn is_of(&self, target: &DnsTarget) -> bool {
        self.target.records == target.records && self.target.template.url == target.template.url
    }

    /// Whether a look-up has ended, whatever came of it.
    #[must_use]
    pub fn is_looked_up(&self) -> bool {
        self.lock().last != Last::None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks the name up, now and again and again; after a failure sooner.
    pub async fn follow(self: Arc<Self>) {
        let interval = self.config.discovery.interval;
        let mut retry = FIRST_RETRY;
        loop {
            if self.look_up().await {
                retry = FIRST_RETRY;
                tokio::time::sleep(interval).await;
            } else {
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(interval);
            }
        }
    }

    /// Looks the name up once, and returns whether there was an answer.
    pub async fn look_up(&self) -> bool {
        // Whatever the system's own time-outs are.
        let limit = self.config.discovery.timeout;
        let outcome = tokio::time::timeout(limit, self.services()).await;
        let outcome = outcome.unwrap_or_else(|_| {
            let limit = humantime::format_duration(limit);
            Err(format!("DNS did not answer within {limit}"))
        });
        let is_answered = outcome.is_ok();
        self.note(outcome, Instant::now());
        is_answered
    }

    /// What DNS says now: servers, and how many addresses are passed over.
    async fn services(&self) -> Result<(Vec<Service>, usize), String> {
        let name = self.target.template.url.host_str().unwrap_or_default();
        let resolver = Resolver::new(self.config.discovery.nameserver)?;
        match self.target.records {
            Records::Services => Ok((resolver.services(name).await?, 0)),
            Records::Addresses => {
                let (addresses, passed_over) = first_addresses(resolver.addresses(name).await?);
                let services = addresses.into_iter().map(Service::at).collect();
                Ok((services, passed_over))
            }
        }
    }

    /// Takes the outcome of a look-up in.
    fn note(&self, outcome: Result<(Vec<Service>, usize), String>, now: Instant) {
        let mut state = self.lock();
        let last = match outcome {
            Ok((services, passed_over)) => {
                state.last_success = Some(SystemTime::now());
                if passed_over > 0 && passed_over != state.passed_over {
                    info!(
                        target_name = &*self.name,
                        addresses = passed_over,
                        "IPv6 addresses are taken for second ones of the servers with an IPv4 address"
                    );
                }
                state.passed_over = passed_over;
                let last = if services.is_empty() { Last::Nothing } else { Last::Servers };
                self.update(&mut state, services, now);
                last
            }
            Err(reason) => Last::Failed(reason),
        };
        let before = std::mem::replace(&mut state.last, last);
        self.log_end(&before, &state.last);
        self.expire(&mut state, now);
    }

    fn log_end(&self, before: &Last, now: &Last) {
        let target_name = &*self.name;
        match (before, now) {
            (Last::Failed(_), Last::Failed(reason)) => {
                debug!(target_name, "the look-up in DNS still fails: {reason}");
            }
            (_, Last::Failed(reason)) => {
                warn!(target_name, "the look-up in DNS fails; what it told before holds: {reason}");
            }
            (Last::Nothing, Last::Nothing) => {}
            (_, Last::Nothing) => warn!(target_name, "DNS tells of no server"),
            (Last::Failed(_), _) => info!(target_name, "DNS answers again"),
            _ => {}
        }
    }

    fn update(&self, state: &mut State, services: Vec<Service>, now: Instant) {
        let mut is_told = vec![false; state.members.len()];
        for Service { host, port, addresses } in services {
            let Some(target) = self.target.template.at(&host, port) else {
                error!(target_name = &*self.name, host, "DNS tells of a host that no URL can have");
                continue;
            };
            let known = state.members.iter().position(|m| m.probe.target().url == target.url);
            if let Some(known) = known {
                let member = &mut state.members[known];
                if let Some(known) = &member.addresses {
                    known.set(addresses);
                }
                if member.gone_since.take().is_some() {
                    info!(target_name = &*self.name, server = target.name, "it is in DNS again");
                }
                if let Some(is_told) = is_told.get_mut(known) {
                    *is_told = true;
                }
                continue;
            }
            // A host that is an address has no others.
            let names = port.map(|_| Addresses::default());
            if let Some(names) = &names {
                names.set(addresses);
            }
            let memory = Arc::default();
            match Probe::new(&target, names.as_ref(), &self.config, memory, self.epoch) {
                Ok(probe) => {
                    info!(target_name = &*self.name, server = target.name, "found in DNS");
                    state.members.push(Member {
                        probe: Arc::new(probe),
                        addresses: names,
                        gone_since: None,
                        is_overtaken: false,
                    });
                }
                Err(error) => error!(target_name = &*self.name, "cannot ask a server: {error}"),
            }
        }
        for (member, _) in state.members.iter_mut().zip(is_told).filter(|(_, told)| !told) {
            if member.gone_since.is_none() {
                member.gone_since = Some(now);
                info!(
                    target_name = &*self.name,
                    server = member.probe.target().name,
                    grace = %humantime::format_duration(self.config.discovery.grace),
                    "gone from DNS; it is asked on for the grace period"
                );
            }
        }
    }

    /// Forgets what is gone for longer than the grace period.
    fn expire(&self, state: &mut State, now: Instant) {
        let grace = self.config.discovery.grace;
        state.members.retain(|member| {
            let stays = member.gone_since.is_none_or(|since| now - since < grace);
            if !stays && !member.is_overtaken {
                let server = &member.probe.target().name;
                info!(
                    target_name = &*self.name,
                    server, "forgotten: it was gone from DNS for the grace period"
                );
            }
            stays
        });
    }

    /// Whom to ask now, and how DNS tells of each.
    #[must_use]
    pub fn asked(&self) -> Vec<(Arc<Probe>, Found)> {
        let mut state = self.lock();
        self.expire(&mut state, Instant::now());
        let asked = state.members.iter().filter(|member| member.is_asked());
        let found = |member: &Member| Found {
            by: Arc::clone(&self.name),
            is_gone: member.gone_since.is_some(),
        };
        asked.map(|member| (Arc::clone(&member.probe), found(member))).collect()
    }

    /// What DNS has told.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut state = self.lock();
        self.expire(&mut state, Instant::now());
        let asked = || state.members.iter().filter(|member| member.is_asked());
        let problem = match &state.last {
            Last::None => Some("it was not looked up yet".to_owned()),
            Last::Servers => None,
            Last::Nothing => Some("DNS tells of no server".to_owned()),
            Last::Failed(reason) => Some(reason.clone()),
        };
        Status {
            target: self.name.to_string(),
            is_resolved: matches!(state.last, Last::Servers | Last::Nothing),
            last_success: state.last_success,
            known: asked().filter(|member| member.gone_since.is_none()).count(),
            in_grace: asked().filter(|member| member.gone_since.is_some()).count(),
            passed_over: state.passed_over,
            problem,
        }
    }

    /// The server of the target `old` answers elsewhere, where `heir` remembers it from now on.
    fn overtake(&self, old: &Snapshot, heir: &Memory) {
        let mut state = self.lock();
        let found = state.members.iter_mut().find(|m| Arc::ptr_eq(m.probe.memory(), &old.memory));
        let Some(member) = found.filter(|member| !member.is_overtaken) else { return };
        member.is_overtaken = true;
        heir.take_over(&old.memory);
        let server = &member.probe.target().name;
        let name = old.own_name();
        info!(target_name = &*self.name, server, name, "its server has another address now");
    }

    /// The server of the target `back` answers there again.
    fn restore(&self, back: &Snapshot) {
        let mut state = self.lock();
        for member in &mut state.members {
            if Arc::ptr_eq(member.probe.memory(), &back.memory) {
                member.is_overtaken = false;
            }
        }
    }
}

/// Leaves out the addresses of servers that have another one now.
///
/// Of two addresses that were found by DNS or configured, told the same name and cluster, and are shown in one cluster, the one
/// found by DNS is left out when the server answers at the other one and not at this, or at this one
/// only out of DNS. When it answers at neither, the newest address stands for it. So a server that was
/// started anew elsewhere is never shown twice, and its old address is forgotten as soon as it is gone
/// from DNS. A target of the configuration is never left out.
#[must_use]
pub fn settle(snapshots: Vec<Snapshot>, groups: &[Arc<Group>]) -> Vec<Snapshot> {
    if snapshots.iter().all(|snapshot| snapshot.found.is_none()) {
        return snapshots;
    }
    let heirs: Vec<Option<usize>> = (0..snapshots.len()).map(|at| heir(&snapshots, at)).collect();
    for (old, heir) in snapshots.iter().zip(&heirs) {
        let group = groups.iter().find(|g| old.found.as_ref().is_some_and(|f| f.by == g.name));
        match (group, heir) {
            (Some(group), Some(heir)) if answers(&snapshots[*heir]) => {
                group.overtake(old, &snapshots[*heir].memory);
            }
            (Some(group), None) if answers(old) => group.restore(old),
            _ => {}
        }
    }
    let kept = snapshots.into_iter().zip(heirs).filter(|(_, heir)| heir.is_none());
    kept.map(|(snapshot, _)| snapshot).collect()
}

/// Where the server of the snapshot `at` is to be shown instead.
fn heir(snapshots: &[Snapshot], at: usize) -> Option<usize> {
    let old = &snapshots[at];
    let found = old.found.as_ref()?;
    let learned = old.learned.as_ref()?;
    let name = learned.stable_name()?;
    let is_gone = |snapshot: &Snapshot| snapshot.found.as_ref().is_some_and(|found| found.is_gone);
    let newest = |at: usize| (snapshots[at].memory.history(Endpoint::Varz).last_success, at);
    let takes_over = |(other, new): &(usize, &Snapshot)| {
        // Two clusters may have the same name of their own, and another one in the configuration.
        let same = new.identity.cluster == old.identity.cluster
            && new.learned.as_ref().is_some_and(|new| {
                new.stable_name() == Some(name) && new.cluster == learned.cluster
            });
        *other != at
            && same
            && match (answers(old), answers(new)) {
                (false, true) => true,
                (true, false) => false,
                (true, true) => found.is_gone && !is_gone(new),
                (false, false) => new.found.is_none() || newest(*other) > newest(at),
            }
    };
    let heirs = snapshots.iter().enumerate().filter(takes_over);
    heirs.max_by_key(|(_, new)| answers(new)).map(|(other, _)| other)
}

/// Whether the server answers there; when it was not asked, whether it did the last time.
fn answers(snapshot: &Snapshot) -> bool {
    match &snapshot.base.varz {
        Some(outcome) => outcome.is_ok(),
        None => !snapshot.memory.history(Endpoint::Varz).is_failing(),
    }
}

/// The addresses that are asked, each for one server, and how many are not.
///
/// In a cluster with IPv4 and IPv6 each server has an address of both, and asking it twice would cost
/// it twice. So where there are at least as many IPv4 addresses as others, the others are taken for
/// second ones of the same servers.
fn first_addresses(addresses: Vec<IpAddr>) -> (Vec<IpAddr>, usize) {
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    if v4.len() >= v6.len() { (v4, v6.len()) } else { ([v4, v6].concat(), 0) }
}

#[cfg(test)]
mod tests;
