//! What the exporter remembers of a target between scrapes, and nothing else
//! does: who it is, what it was connected to, how its endpoints fared.
//!
//! What is kept names a series, says how to judge what the server says now, or
//! counts: the exporter's own requests and failures, and the traffic of routes,
//! because a closed connection takes its counts with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::flight::{Failed, Outcome};
use crate::nats::endpoint::Endpoint;
use crate::nats::failure::Reason;
use crate::nats::routez::{Ledger, Routez};
use crate::nats::varz::Varz;
use crate::nats::version::Version;

/// How long a route peer is missed after it was last seen. A cluster that was made smaller is
/// complete again after this, or at once when `expected_peers` is configured.
const MISSED_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long more peers have to be connected before they count, where nobody names them: when a
/// server dies with its machine, its connections linger for up to 90 s beside those of its next process.
const LINGER_FOR: Duration = Duration::from_secs(300);

/// How long a rise of the slow consumers counts as rising.
const RISING_FOR: Duration = Duration::from_secs(300);

/// Who a server said it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// New at every start of the server.
    pub server_id: String,
    /// As `server_name` says; equal to the id when none is configured.
    pub server_name: String,
    /// Nothing on a server without a cluster.
    pub cluster: Option<String>,
    /// Whether it listens for routes: then its JetStream is clustered, if it has one.
    pub clustered: bool,
    /// Nothing when it is no version number.
    pub version: Option<Version>,
}

impl Learned {
    fn from(varz: &Varz) -> Option<Self> {
        let server_id = varz.server_id.clone()?;
        Some(Self {
            server_name: varz.server_name.clone().unwrap_or_else(|| server_id.clone()),
            server_id,
            cluster: varz.cluster.name.clone().filter(|name| !name.is_empty()),
            clustered: varz.cluster.cluster_port.is_some_and(|port| port != 0),
            version: varz.parsed_version(),
        })
    }

    /// The configured name of the server; nothing when it has none.
    #[must_use]
    pub fn stable_name(&self) -> Option<&str> {
        (self.server_name != self.server_id).then_some(self.server_name.as_str())
    }
}

/// How one endpoint of one target fared so far.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// When the newest good answer was asked for.
    pub last_success: Option<SystemTime>,
    /// Requests that gave nothing, by reason.
    pub failures: BTreeMap<Reason, u64>,
    /// Fields that the exporter does not know, summed over all answers.
    pub unknown_fields: u64,
    /// How the endpoint fared when the log was written last.
    logged: Logged,
}

impl History {
    /// Whether the newest request gave nothing.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        matches!(self.logged, Logged::Failing(_))
    }

    /// Adds what another address of the same server fared like.
    fn add(&mut self, other: &Self) {
        self.last_success = self.last_success.max(other.last_success);
        for (reason, count) in &other.failures {
            *self.failures.entry(*reason).or_default() += count;
        }
        self.unknown_fields += other.unknown_fields;
    }
}

/// What the log said last of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Logged {
    /// Nothing yet, or that it answers.
    #[default]
    Well,
    /// That it fails, and why.
    Failing(Reason),
}

/// What is remembered of one target.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
    jsz_turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Inner {
    learned: Option<Learned>,
    /// Process that accepted connections when it was asked last.
    accepted: Option<String>,
    jetstream: Option<Ran>,
    /// Names of route peers, and when each was connected last.
    remotes: BTreeMap<String, Instant>,
    /// The most peers, and when as many were connected last.
    most_peers: Option<(u64, Instant)>,
    /// More peers than that, which may be one server twice, and since when there are as many.
    more_peers: Option<(u64, Instant)>,
    routes: Ledger,
    slow_consumers: Option<Rise>,
    histories: BTreeMap<Endpoint, History>,
    dropped_series: u64,
    unknown_fields: BTreeSet<String>,
}

/// A process whose JetStream was on.
#[derive(Debug)]
struct Ran {
    server_id: String,
    /// When `/jsz` had first said that it is not on any more.
    denied: Option<Instant>,
}

#[derive(Debug)]
struct Rise {
    server_id: String,
    count: u64,
    at: Option<Instant>,
}

/// What a server says of its JetStream.
#[derive(Debug, Clone, Copy)]
pub enum Told {
    /// It is on.
    On,
    /// `/jsz` says that it is off, and `/healthz` that it has not switched itself off. Both may be true of one that has
    /// done so in between, unless `/healthz` was asked after `/jsz` had answered.
    NotConfigured {
        /// When `/jsz` had answered.
        jsz_answered: Instant,
        /// When `/healthz` was asked.
        health_asked: Instant,
    },
}

/// The route peers that a server has and should have, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peers {
    /// How many are connected; nothing when the server does not say.
    pub connected: Option<u64>,
    /// How many there should be.
    pub expected: u64,
    /// Names that were seen and are not connected now; only with a good `/routez`.
    pub missing: Vec<String>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a `/jsz` of the target is in flight; here, so that it holds over a reload.
    #[must_use]
    pub fn jsz_turn(&self) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.jsz_turn)
    }

    /// Who the server said it is when it answered last.
    #[must_use]
    pub fn learned(&self) -> Option<Learned> {
        self.lock().learned.clone()
    }

    /// Learns from `/varz` who the server is. `target` is for the log.
    pub fn learn(&self, target: &str, varz: &Varz) {
        let Some(new) = Learned::from(varz) else { return };
        let mut inner = self.lock();
        match &inner.learned {
            Some(old) if *old == new => return,
            Some(old) if old.server_name != new.server_name || old.cluster != new.cluster => info!(
                target_name = target,
                old = old.server_name,
                new = new.server_name,
                cluster = new.cluster,
                "the server has another name now"
            ),
            Some(_) => info!(target_name = target, "the server was restarted"),
            None => debug!(target_name = target, server = new.server_name, "learned the name"),
        }
        inner.learned = Some(new);
    }

    /// Notes whether the process `server_id` accepts connections, and returns whether it ever did.
    pub fn accepts(&self, server_id: &str, now: Option<bool>) -> bool {
        let seen = &mut self.lock().accepted;
        if now == Some(true) {
            *seen = Some(server_id.to_owned());
        }
        seen.as_deref() == Some(server_id)
    }

    /// Notes what the process `server_id` says of its JetStream, and returns whether it was on.
    pub fn jetstream_was_on(&self, server_id: &str, now: Option<Told>) -> bool {
        let before = &mut self.lock().jetstream;
        match now {
            Some(Told::On) => {
                *before = Some(Ran { server_id: server_id.to_owned(), denied: None });
            }
            Some(Told::NotConfigured { jsz_answered, health_asked }) => {
                before.take_if(|ran| {
                    ran.server_id == server_id
                        && health_asked > *ran.denied.get_or_insert(jsz_answered)
                });
            }
            None => {}
        }
        before.as_ref().is_some_and(|ran| ran.server_id == server_id)
    }

    /// Notes the count of slow consumers, and returns whether it rose in the last five minutes.
    pub fn slow_consumers_rise(&self, server_id: &str, count: u64, now: Instant) -> bool {
        let mut inner = self.lock();
        let at = match &inner.slow_consumers {
            Some(rise) if rise.server_id == server_id && count > rise.count => Some(now),
            Some(rise) if rise.server_id == server_id => rise.at,
            _ => None,
        };
        inner.slow_consumers = Some(Rise { server_id: server_id.to_owned(), count, at });
        at.is_some_and(|at| now - at < RISING_FOR)
    }

    /// Notes the connected peers, and returns them with those that should be.
    ///
    /// `configured` wins. Else it is the larger of two: the routes that the server itself has
    /// configured, without one that is usually its own; and the most peers that were connected at
    /// one time within a day. Peers without a name, and those that only `/varz` counts, are among
    /// the most when they are there for five minutes.
    pub fn peers(
        &self,
        varz: &Varz,
        routez: Option<&Routez>,
        configured: Option<u32>,
        now: Instant,
    ) -> Peers {
        let told = varz.remotes.and_then(|remotes| u64::try_from(remotes).ok());
        let connected = routez.map(Routez::peers).or(told);
        let named = routez.map_or(0, |routez| routez.remotes().len() as u64);
        let mut inner = self.lock();
        let most = inner.most_peers(connected.unwrap_or(0), named, now);
        let urls = varz.cluster.urls.len() as u64;
        let expected = configured.map_or_else(|| most.max(urls.saturating_sub(1)), u64::from);
        let missing = routez.map(|routez| inner.missing(routez, expected, now));
        Peers { connected, expected, missing: missing.unwrap_or_default() }
    }

    /// Adds the traffic of an answer to what the routes carried before. Once for each answer, in
    /// their order.
    pub fn add_traffic(&self, answer: &mut Routez) {
        self.lock().routes.enter(answer);
    }

    /// Notes how a request ended, and writes to the log when that is news.
    pub fn record<T>(&self, target: &str, endpoint: Endpoint, outcome: &Outcome<T>) {
        let mut inner = self.lock();
        let history = inner.histories.entry(endpoint).or_default();
        let now = match outcome {
            Ok(reading) => {
                history.last_success = Some(reading.at);
                Logged::Well
            }
            Err(failed) => {
                *history.failures.entry(failed.failure.reason).or_default() += 1;
                Logged::Failing(failed.failure.reason)
            }
        };
        let before = std::mem::replace(&mut history.logged, now);
        drop(inner);
        match outcome {
            Err(failed) => log_failure(target, endpoint, failed, before != now),
            Ok(_) if before != now => {
                info!(target_name = target, %endpoint, tier = %endpoint.tier(), "endpoint answers again");
            }
            Ok(_) => {}
        }
    }

    /// Notes a good answer that came too late for a scrape. The log has the failure, and the next
    /// answer that comes in time ends it.
    pub fn record_late(&self, endpoint: Endpoint, at: SystemTime) {
        self.lock().histories.entry(endpoint).or_default().last_success = Some(at);
    }

    /// Counts fields that the exporter does not know, and names each once in the log.
    pub fn unknown_fields(&self, target: &str, endpoint: Endpoint, fields: Vec<String>) {
        if fields.is_empty() {
            return;
        }
        let mut inner = self.lock();
        inner.histories.entry(endpoint).or_default().unknown_fields += fields.len() as u64;
        for field in fields {
            let numbers = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            let parts = field.split('.').map(|part| if numbers(part) { "*" } else { part });
            // A server that invents names must not fill the memory, with many or with long ones.
            let field: String = parts.collect::<Vec<_>>().join(".").chars().take(200).collect();
            if inner.unknown_fields.len() < 1_000
                && inner.unknown_fields.insert(format!("{endpoint} {field}"))
            {
                debug!(target_name = target, %endpoint, field, "the server sends an unknown field");
            }
        }
    }

    /// Takes over what `old` knows of the same server, which has another address now: the peers that
    /// it had, so that they are missed, and what was counted, so that no count of its series falls.
    /// What `old` keeps is the name.
    ///
    /// The traffic of its routes is left behind: those connections ended with the process, and the
    /// count begins anew with the next.
    pub fn take_over(&self, old: &Self) {
        let (remotes, most_peers, histories, dropped) = {
            let mut old = old.lock();
            (
                std::mem::take(&mut old.remotes),
                old.most_peers.take(),
                std::mem::take(&mut old.histories),
                std::mem::take(&mut old.dropped_series),
            )
        };
        let mut inner = self.lock();
        for (name, seen) in remotes {
            let newest = inner.remotes.entry(name).or_insert(seen);
            *newest = seen.max(*newest);
        }
        inner.most_peers = inner.most_peers.max(most_peers);
        for (endpoint, history) in histories {
            inner.histories.entry(endpoint).or_default().add(&history);
        }
        inner.dropped_series += dropped;
    }

    /// Counts series that were cut.
    pub fn dropped(&self, series: u64) {
        self.lock().dropped_series += series;
    }

    /// Series that were cut so far.
    #[must_use]
    pub fn dropped_series(&self) -> u64 {
        self.lock().dropped_series
    }

    /// How `endpoint` fared so far.
    #[must_use]
    pub fn history(&self, endpoint: Endpoint) -> History {
        self.lock().histories.get(&endpoint).cloned().unwrap_or_default()
    }
}

impl Inner {
    /// The most peers that were connected at one time within a day, of which `named` are sure now.
    fn most_peers(&mut self, connected: u64, named: u64, now: Instant) -> u64 {
        let known = self.most_peers.filter(|(_, at)| now - *at < MISSED_FOR);
        let (most, at) = known.unwrap_or((0, now));
        let more = (connected > most).then(|| match self.more_peers {
            Some((more, since)) => (more.min(connected), since),
            None => (connected, now),
        });
        let stayed = more.filter(|(_, since)| now - *since >= LINGER_FOR);
        self.more_peers = more.filter(|_| stayed.is_none());
        self.most_peers = Some(if connected < most {
            (most, at)
        } else {
            (most.max(named).max(stayed.map_or(0, |(more, _)| more)), now)
        });
        most.max(connected)
    }

    /// The names that were connected last among those that are not now, as many as are missed. A
    /// peer that was renamed is not missed twice.
    fn missing(&mut self, routez: &Routez, expected: u64, now: Instant) -> Vec<String> {
        let connected = routez.remotes();
        self.remotes.extend(connected.keys().map(|name| ((*name).to_owned(), now)));
        self.remotes.retain(|_, seen| now - *seen < MISSED_FOR);
        routez.bound(&mut self.remotes);
        let mut missing: Vec<_> = self
            .remotes
            .iter()
            .filter(|(name, _)| !connected.contains_key(name.as_str()))
            .collect();
        missing.sort_by_key(|(_, seen)| std::cmp::Reverse(**seen));
        let missed = usize::try_from(expected.saturating_sub(routez.peers())).unwrap_or(usize::MAX);
        missing.into_iter().take(missed).map(|(name, _)| name.clone()).collect()
    }
}

fn log_failure(target: &str, endpoint: Endpoint, failed: &Failed, news: bool) {
    let (tier, elapsed) = (endpoint.tier(), humantime::format_duration(failed.elapsed));
    let (reason, error) = (failed.failure.reason, &failed.failure);
    if news {
        warn!(target_name = target, %endpoint, %tier, %reason, %elapsed, "endpoint fails: {error}");
    } else {
        debug!(target_name = target, %endpoint, %tier, %reason, %elapsed, "endpoint still fails: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::decode::decode;
    use crate::nats::failure::Failure;
    use crate::nats::routez::Connection;

    fn varz(id: &str, name: &str) -> Varz {
        let text = format!(
            r#"{{"server_id":"{id}","server_name":"{name}","version":"2.10.26","cluster":{{"name":"C"}}}}"#
        );
        decode(text.as_bytes()).unwrap().0
    }

    fn routez(names: &[&str]) -> Routez {
        let routes: Vec<_> = names
            .iter()
            .map(|name| format!(r#"{{"remote_id":"ID{name}","remote_name":"{name}"}}"#))
            .collect();
        decode(format!(r#"{{"server_id":"A","routes":[{}]}}"#, routes.join(",")).as_bytes())
            .unwrap()
            .0
    }

    #[test]
    fn identity_follows_restarts_and_renames() {
        let memory = Memory::default();
        memory.learn("t", &varz("A", "n1"));
        assert_eq!(memory.learned().unwrap().stable_name(), Some("n1"));
        memory.learn("t", &varz("B", "n1"));
        assert_eq!(memory.learned().unwrap().server_id, "B");
        memory.learn("t", &varz("C", "n9"));
        assert_eq!(memory.learned().unwrap().stable_name(), Some("n9"));
        memory.learn("t", &varz("D", "D"));
        assert_eq!(memory.learned().unwrap().stable_name(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_at_another_address_is_missed_nothing_and_counts_on() {
        let (old, new) = (Memory::default(), Memory::default());
        let start = Instant::now();
        let failed = |memory: &Memory| {
            let failure = Failure::new(Reason::Connect, "gone");
            let failed: Outcome<()> = Err(Failed { failure, elapsed: Duration::ZERO });
            memory.record("t", Endpoint::Varz, &failed);
        };
        old.learn("t", &varz("A", "n1"));
        old.peers(&varz("A", "n1"), Some(&routez(&["n2", "n3"])), None, start);
        old.dropped(3);
        (0..2).for_each(|_| failed(&old));
        failed(&new);
        for _ in 0..2 {
            new.take_over(&old);
            assert_eq!(new.history(Endpoint::Varz).failures[&Reason::Connect], 3, "once");
            assert_eq!(new.dropped_series(), 3);
        }
        let peers = new.peers(&varz("B", "n1"), Some(&routez(&["n2"])), None, start);
        assert_eq!((peers.expected, peers.missing), (2, vec!["n3".to_owned()]));
        assert_eq!(old.learned().unwrap().stable_name(), Some("n1"));
    }

    #[test]
    fn what_a_process_did_is_forgotten_with_it() {
        let memory = Memory::default();
        assert!(!memory.accepts("A", Some(false)));
        assert!(memory.accepts("A", Some(true)));
        assert!(memory.accepts("A", Some(false)));
        assert!(!memory.accepts("B", Some(false)), "a new process");
        assert!(memory.jetstream_was_on("A", Some(Told::On)));
        assert!(memory.jetstream_was_on("A", None) && !memory.jetstream_was_on("B", None));
    }

    #[tokio::test(start_paused = true)]
    async fn jetstream_that_was_on_is_not_configured_when_the_health_check_came_later() {
        let memory = Memory::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let not_configured = |jsz_answered, health_asked| {
            let told = Told::NotConfigured { jsz_answered, health_asked };
            memory.jetstream_was_on("A", Some(told))
        };
        assert!(!not_configured(start + second, start), "it never was");
        assert!(memory.jetstream_was_on("A", Some(Told::On)));
        assert!(not_configured(start + second, start));
        assert!(not_configured(start + second, start), "another scrape with the same answers");
        assert!(not_configured(start + 3 * second, start), "one of them is new");
        assert!(!not_configured(start + 3 * second, start + 2 * second));
        assert!(!memory.jetstream_was_on("A", None));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_consumers_rise_for_a_while() {
        let memory = Memory::default();
        let start = Instant::now();
        assert!(!memory.slow_consumers_rise("A", 5, start), "what was before is not known");
        assert!(memory.slow_consumers_rise("A", 6, start));
        assert!(memory.slow_consumers_rise("A", 6, start + RISING_FOR / 2));
        assert!(!memory.slow_consumers_rise("A", 6, start + RISING_FOR));
        assert!(!memory.slow_consumers_rise("B", 9, start + RISING_FOR), "a new process");
    }

    #[tokio::test(start_paused = true)]
    async fn missing_peers_are_named_and_forgotten() {
        let memory = Memory::default();
        let start = Instant::now();
        let peers = |names: &[&str], urls: usize, configured, at| {
            let mut varz = varz("A", "n1");
            varz.cluster.urls = vec![String::new(); urls];
            memory.peers(&varz, Some(&routez(names)), configured, at)
        };
        assert_eq!(peers(&["n2", "n3"], 1, None, start).expected, 2);
        let lost = peers(&["n2"], 1, None, start);
        assert_eq!((lost.connected, lost.expected), (Some(1), 2));
        assert_eq!(lost.missing, ["n3"]);
        let renamed = peers(&["n2", "n4"], 1, None, start);
        assert!(renamed.missing.is_empty(), "the renamed one is there: {renamed:?}");
        let minute = Duration::from_secs(60);
        let later = peers(&["n4"], 1, None, start + minute);
        assert_eq!(later.missing, ["n2"], "as many as are missed, the last ones first");
        assert_eq!(
            peers(&["n2"], 1, None, start + MISSED_FOR).expected,
            1,
            "made smaller long ago"
        );
        assert_eq!(peers(&["n2"], 5, None, start).expected, 4, "the configured routes");
        assert_eq!(peers(&["n2"], 5, Some(1), start).expected, 1, "the operator's word");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_counted_twice_is_missed_by_nobody() {
        let start = Instant::now();
        let expected = |memory: &Memory, remotes, routez: Option<&Routez>, after| {
            let varz = Varz { remotes: Some(remotes), ..varz("A", "n1") };
            memory.peers(&varz, routez, None, start + after).expected
        };
        let nameless = |ids: &[&str]| {
            let connection = |id: &&str| Connection {
                remote_id: Some((*id).to_owned()),
                ..Connection::default()
            };
            Routez { routes: ids.iter().map(connection).collect(), ..Routez::default() }
        };
        let minute = Duration::from_secs(60);

        let memory = Memory::default();
        let named = routez(&["n2", "n3"]);
        assert_eq!(expected(&memory, 2, Some(&named), Duration::ZERO), 2);
        assert_eq!(expected(&memory, 3, None, minute), 3, "as many as there are");
        assert_eq!(expected(&memory, 3, Some(&named), minute), 2, "two connections of one server");
        for (count, after) in [(3, 2), (4, 6), (2, 7), (3, 8), (3, 12)] {
            expected(&memory, count, None, after * minute);
        }
        assert_eq!(expected(&memory, 2, None, 12 * minute), 2, "there was none for five minutes");
        for (count, after) in [(3, 13), (4, 17), (3, 18)] {
            expected(&memory, count, None, after * minute);
        }
        assert_eq!(expected(&memory, 2, None, 18 * minute), 3, "there was one for five minutes");

        let memory = Memory::default();
        for (ids, after, peers) in [
            (&["B", "C"][..], 0, 2),
            (&["B", "C"], 5, 2),
            (&["B", "C", "D"], 6, 3),
            (&["B", "D"], 7, 2),
            (&["B"], 8, 2),
        ] {
            assert_eq!(expected(&memory, 0, Some(&nameless(ids)), after * minute), peers);
        }
    }

    #[test]
    fn invented_fields_are_kept_in_short_and_so_many_only() {
        let memory = Memory::default();
        for number in 0..2_000 {
            let field = format!("f{number}x{}", "x".repeat(1_000));
            memory.unknown_fields("t", Endpoint::Varz, vec![field]);
        }
        assert_eq!(memory.history(Endpoint::Varz).unknown_fields, 2_000);
        let inner = memory.lock();
        assert_eq!(inner.unknown_fields.len(), 1_000);
        assert!(inner.unknown_fields.iter().all(|field| field.len() < 300));
    }

    #[tokio::test(start_paused = true)]
    async fn invented_names_of_peers_are_forgotten() {
        let (memory, start) = (Memory::default(), Instant::now());
        let peers = |names: &[String]| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            memory.peers(&varz("A", "n1"), Some(&routez(&names)), None, start)
        };
        for answer in 0..20 {
            let names: Vec<_> = (0..300).map(|name| format!("{answer}-{name}")).collect();
            peers(&names);
            assert!(memory.lock().remotes.len() <= 1_000);
        }
        assert_eq!(peers(&[]).missing.len(), 300, "what is missed is named all the same");
    }

    #[tokio::test(start_paused = true)]
    async fn without_routes_the_server_still_says_how_many_peers_it_has() {
        let mut varz = varz("A", "n1");
        varz.remotes = Some(0);
        varz.cluster.urls = vec![String::new(); 3];
        let peers = Memory::default().peers(&varz, None, None, Instant::now());
        assert_eq!((peers.connected, peers.expected), (Some(0), 2));
    }
}
