//! May a server be stopped now?
//!
//! The answer is for one server and for this moment: would writes go on without it? It is made from what all
//! servers said at the same time, because only leaders know replicas, and only the sum of all servers knows what
//! nobody leads. The reasons against it are a closed list with the names of `nats:restart_blocker:bool` in
//! `alerts/recording.rules.yml`. What was not seen is never called safe.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::config::Detail as Level;
use crate::detail::Detail;
use crate::discovery::Status;
use crate::nats::healthz::Check;
use crate::nats::jsz::{MetaCluster, RaftGroup as _};
use crate::scrape::Scrape;
use crate::snapshot::{Persistence, Snapshot, Switch, value};
use crate::tier::Tier;
use crate::verdict::State;

/// As long after its start a server may still be catching up, and another restart waits.
const RECENT: Duration = Duration::from_secs(5 * 60);

/// What was said of streams longer ago may have changed since.
const FRESH: Duration = Duration::from_secs(60);

/// Whether a server may be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// All that could be against it was seen, and nothing is.
    Safe,
    /// Something that could be against it was not seen. Treat it as a no.
    Unknown,
    /// Something is against it.
    Unsafe,
}

impl Answer {
    /// The word for it, in all outputs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Unknown => "unknown",
            Self::Unsafe => "unsafe",
        }
    }
}

/// Whose reason it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Of this server: something would be lost with it.
    Server,
    /// Of its cluster: something is wrong elsewhere, so none should be stopped.
    Cluster,
}

macro_rules! blockers {
    ($( $variant:ident $text:literal $scope:ident $meaning:literal; )+) => {
        /// Why a server should not be stopped now.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Blocker { $( #[doc = $meaning] $variant, )+ }

        impl Blocker {
            /// All, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The value of the `reason` label, whose reason it is, and what it means.
            #[must_use]
            pub const fn describe(self) -> (&'static str, Scope, &'static str) {
                match self { $( Self::$variant => ($text, Scope::$scope, $meaning), )+ }
            }
        }
    };
}

blockers! {
    MetaQuorum "meta_quorum" Server "without it, the meta group would have no quorum";
    MetaLeaderUnknown "meta_leader_unknown" Server "it knows no meta leader";
    StreamQuorum "stream_quorum" Server "without it, streams would have no quorum";
    StreamWithoutLeader "stream_without_leader" Server "it has a replica of streams that have no leader";
    SingleReplicaStream "single_replica_stream" Server "it has the only replica of streams";
    OnlyServer "only_server" Server "it is the only server of its cluster";
    ServerDown "server_down" Cluster "another server is down";
    RouteMeshIncomplete "route_mesh_incomplete" Cluster "routes between servers are missing";
    RecentRestart "recent_restart" Cluster "a server started in the last five minutes";
    JetstreamSwitchedOff "jetstream_switched_off" Cluster "JetStream of another server has switched itself off";
    MetaPeerBehind "meta_peer_behind" Cluster "another member of the meta group is offline or not current";
    StreamReplicaBehind "stream_replica_behind" Cluster "replicas on other servers are offline or not current";
    ConsumerWithoutLeader "consumer_without_leader" Cluster "consumers have no leader";
    AssetsUnhealthy "assets_unhealthy" Cluster "another server calls streams or consumers unwell";
}

/// What a restart is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The server is down: to start it costs nothing.
    IsDown,
    /// The server has switched its JetStream off.
    MendsNothing,
    /// The server could not write to its disk. At its start it tries again, and switches its JetStream off when that fails.
    CannotWrite,
    /// The server does not take connections yet; JetStream may be recovering.
    Starting,
}

impl Note {
    /// The sentence for it, without its stop.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IsDown => "it is down, and to start it costs nothing",
            Self::MendsNothing => {
                "a restart mends nothing before the cause is gone: its JetStream has switched itself off"
            }
            Self::CannotWrite => {
                "a restart mends nothing before its disk can be written, and may switch its JetStream off"
            }
            Self::Starting => "it is starting, and a restart begins anew",
        }
    }
}

/// A reason against stopping a server, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Which.
    pub blocker: Blocker,
    /// Names of streams (`ACCOUNT/STREAM`, without `$G/`), or of servers in the order of the configuration.
    pub subjects: Vec<String>,
}

/// Whether a server may be stopped, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// What a restart is good for, where that is not plain.
    pub note: Option<Note>,
    /// What speaks against it.
    pub against: Vec<Reason>,
    /// Whether all was seen that could speak against it.
    pub all_seen: bool,
}

impl Restart {
    /// The answer that follows.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match (self.against.is_empty(), self.all_seen) {
            (false, _) => Answer::Unsafe,
            (true, false) => Answer::Unknown,
            (true, true) => Answer::Safe,
        }
    }

    fn add(&mut self, blocker: Blocker, subjects: impl IntoIterator<Item = String>) {
        let subjects: Vec<String> = subjects.into_iter().collect();
        if !subjects.is_empty() {
            self.against.push(Reason { blocker, subjects });
        }
    }
}

/// The meta group as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Meta {
    /// The leader's name.
    pub leader: String,
    /// Members that have what the leader has, the leader among them.
    pub current: u64,
    /// All members.
    pub size: u64,
    /// Members that must be current for the group to work.
    pub quorum: u64,
}

/// A cluster of servers that were asked at the same time.
#[derive(Debug)]
pub struct Cluster<'s> {
    /// The value of the `nats_cluster` label; empty while nobody told it.
    pub name: &'s str,
    /// The meta group; nothing without JetStream, on a standalone server, or when its leader is not seen.
    pub meta: Option<Meta>,
    /// The servers, in the order of the configuration, and whether each may be stopped.
    pub servers: Vec<(&'s Snapshot, Restart)>,
    /// What was not seen and could speak against stopping a server: one sentence each.
    pub unseen: Vec<String>,
}

/// Judges every server of a scrape of both tiers.
#[must_use]
pub fn judge(scrape: &Scrape) -> Vec<Cluster<'_>> {
    let mut clusters: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, snapshot) in scrape.snapshots.iter().enumerate() {
        clusters.entry(&snapshot.identity.cluster).or_default().push(at);
    }
    // A server that never answered is of an unknown cluster. Where there is one, it is missed there.
    if clusters.len() == 2
        && let Some(unknown) = clusters.remove("")
        && let Some(mut only) = clusters.first_entry()
    {
        only.get_mut().extend(unknown);
        only.get_mut().sort_unstable();
    }
    let judged = clusters.into_iter().map(|(name, places)| View::new(scrape, name, places).judge());
    judged.collect()
}

/// What a stream has, as its leader says.
struct Replicas {
    /// The stream, for people.
    label: String,
    /// Every member of its group, and whether it is current.
    members: Vec<(String, bool)>,
    /// How many there should be, if that is more.
    wanted: u64,
}

impl Replicas {
    fn holds(&self, server: &str) -> bool {
        self.members.iter().any(|(name, _)| name == server)
    }

    fn size(&self) -> u64 {
        (self.members.len() as u64).max(self.wanted)
    }

    /// Whether it takes no writes any more when `server` stops.
    fn needs(&self, server: &str) -> bool {
        let left = self.members.iter().filter(|(name, current)| *current && name != server).count();
        self.holds(server) && (left as u64) < self.size() / 2 + 1
    }
}

/// One cluster of a scrape, put together.
struct View<'s> {
    scrape: &'s Scrape,
    name: &'s str,
    places: Vec<usize>,
    /// Clusters whose meta group is another one.
    strange: BTreeSet<&'s str>,
    /// What the leader of the meta group says, with the leader's own name.
    meta: Option<(&'s str, &'s MetaCluster)>,
    streams: Vec<Replicas>,
    /// For each server, the streams that it holds and nobody leads.
    leaderless: BTreeMap<usize, Vec<String>>,
    /// Servers to which some server has a route.
    reached: BTreeSet<&'s str>,
}

/// Whether nothing answers where the server should be. What answers with something that is no `/varz`, wants other
/// credentials or has a certificate that is not trusted may be a server that is well.
fn is_silent(snapshot: &Snapshot) -> bool {
    snapshot.verdict(Tier::Base).is_some_and(|verdict| verdict.state == State::Down)
}

/// Whether a reason for the state of a tier holds.
fn says(snapshot: &Snapshot, tier: Tier, reason: &str) -> bool {
    snapshot.verdict(tier).is_some_and(|verdict| verdict.holds(reason))
}

/// Whether the server says that something could not be written to its disk.
fn write_failed(snapshot: &Snapshot) -> bool {
    let health = snapshot.persistence.as_ref().and_then(|p| value(p.health.as_ref()));
    health.is_some_and(|health| health.write_failed)
}

fn stream_label(account: &str, stream: &str) -> String {
    if account == "$G" { stream.to_owned() } else { format!("{account}/{stream}") }
}

impl<'s> View<'s> {
    fn new(scrape: &'s Scrape, name: &'s str, places: Vec<usize>) -> Self {
        let mut view = Self {
            scrape,
            name,
            strange: scrape.with_same_names(name),
            places,
            meta: None,
            streams: Vec::new(),
            leaderless: BTreeMap::new(),
            reached: BTreeSet::new(),
        };
        view.reached = view
            .servers()
            .filter_map(|(_, snapshot)| snapshot.base.routez())
            .flat_map(|routez| routez.remotes().into_keys())
            .collect();
        view.find_meta();
        view.find_streams();
        view
    }

    fn servers(&self) -> impl Iterator<Item = (usize, &'s Snapshot)> {
        let scrape = self.scrape;
        self.places.iter().map(move |at| (*at, &scrape.snapshots[*at]))
    }

    /// The leader may be in another cluster of a supercluster, but in none that has a meta group of its own. Of two that
    /// claim it, the one that more servers name has the majority, and the scrape knows which.
    fn find_meta(&mut self) {
        let named: Vec<&str> = self
            .servers()
            .filter_map(|(_, s)| s.persistence.as_ref()?.running()?.meta_cluster.as_ref()?.leader())
            .collect();
        let leaders = self.scrape.meta_leaders().filter_map(|(at, snapshot)| {
            let persistence = snapshot.persistence.as_ref()?;
            let name = persistence.own_name.as_deref()?;
            let is_here = self.places.contains(&at);
            let is_strange = self.strange.contains(&*snapshot.identity.cluster);
            let meta = persistence.running()?.meta_cluster.as_ref()?;
            let followers = named.iter().filter(|named| **named == name).count();
            (is_here || followers > 0 && !is_strange).then_some(((followers, is_here), name, meta))
        });
        let strongest = leaders.max_by_key(|(strength, ..)| *strength);
        self.meta = strongest.map(|(_, name, meta)| (name, meta));
    }

    fn find_streams(&mut self) {
        let assets = &self.scrape.assets;
        let mut led: BTreeSet<[&str; 2]> = BTreeSet::new();
        let ours = assets.led_streams().filter(|led| self.places.contains(&led.source.at));
        let mut streams = Vec::new();
        for found in ours {
            let (account, stream) = (found.account, &*found.stream.name);
            led.insert([account, stream]);
            let group = found.stream.cluster.iter();
            let members = group.flat_map(|group| group.members(found.own_name));
            let mut members: Vec<(String, bool)> =
                members.map(|m| (m.name.to_owned(), !m.behind())).collect();
            if members.is_empty() {
                members.push((found.own_name.to_owned(), true));
            }
            let config = found.stream.config.as_ref();
            let wanted = config.and_then(|config| config.num_replicas).unwrap_or(1);
            streams.push(Replicas { label: stream_label(account, stream), members, wanted });
        }
        let hides = |(_, server): (usize, &Snapshot)| {
            if server.base.varz().is_some() {
                unseen_of_jetstream(server).is_some()
            } else {
                !self.is_down(server)
            }
        };
        let some_hide = self.servers().any(hides);
        let mut leaderless = BTreeMap::new();
        for source in assets.sources.iter().filter(|source| self.places.contains(&source.at)) {
            let held = assets.streams(source);
            // A leader that others name may be the server that is not seen, which is said in its place.
            let alone = held.filter(|(account, held)| {
                let may_be_led = some_hide && held.stream.leader_known(source.clustered);
                !led.contains(&[*account, &*held.stream.name]) && !may_be_led
            });
            let labels = alone.map(|(account, held)| stream_label(account, &held.stream.name));
            leaderless.insert(source.at, labels.collect());
        }
        (self.streams, self.leaderless) = (streams, leaderless);
    }

    fn judge(self) -> Cluster<'s> {
        let unseen = self.unseen();
        let judged = self
            .servers()
            .map(|(at, snapshot)| (snapshot, self.judge_server(at, snapshot, unseen.is_empty())));
        let servers = judged.collect();
        let meta = self.meta.map(|(leader, meta)| {
            let current = meta.members(leader).filter(|m| !m.behind()).count() as u64;
            let size = meta.cluster_size.unwrap_or(meta.replicas.len() as u64 + 1);
            let quorum = meta.quorum().unwrap_or(size / 2 + 1);
            Meta { leader: leader.to_owned(), current: current.max(1), size, quorum }
        });
        Cluster { name: self.name, meta, servers, unseen }
    }

    /// Whether the server is down: nothing answers there, all others do, and none of them has a route to it.
    fn is_down(&self, snapshot: &Snapshot) -> bool {
        let answers = |snapshot: &Snapshot| snapshot.base.varz().is_some();
        let mut others = self.servers().filter(|(_, other)| other.target != snapshot.target);
        let by_name = snapshot.own_name().is_some_and(|name| self.reached.contains(name));
        // Routes of servers before 2.9.16 have no names, but their number tells of one more server.
        let answering = self.servers().filter(|(_, server)| answers(server)).count() as u64;
        let reaches_more = |server: &Snapshot| {
            server.base.routez().is_some_and(|routez| routez.peers() >= answering)
        };
        is_silent(snapshot)
            && !by_name
            && !self.servers().any(|(_, server)| reaches_more(server))
            && self.places.len() > 1
            && others.all(|(_, other)| answers(other) && other.base.routez().is_some())
            && self.strangers().is_empty()
    }

    /// Servers that others have routes to and nobody asks. One that does not answer may be among them, if it never
    /// told its name.
    fn strangers(&self) -> BTreeSet<&'s str> {
        let names: BTreeSet<&str> = self.servers().filter_map(|(_, s)| s.own_name()).collect();
        self.reached.difference(&names).copied().collect()
    }

    /// Servers that others name as the leader of the meta group, while none claims to lead it.
    fn silent_leaders(&self) -> BTreeSet<&'s str> {
        let named = self.servers().filter_map(|(_, snapshot)| {
            let running = snapshot.persistence.as_ref()?.running()?;
            running.meta_cluster.as_ref()?.leader()
        });
        if self.meta.is_some() { BTreeSet::new() } else { named.collect() }
    }

    /// What was not seen, whichever server it is about: one sentence each.
    fn unseen(&self) -> Vec<String> {
        // Whose servers they are is not known, so they are missed in every cluster.
        let mut unseen: Vec<String> =
            self.scrape.own.discovery.iter().filter_map(Status::unseen).collect();
        for stranger in self.strangers() {
            unseen.push(format!("{stranger} is a server of the cluster and was not seen"));
        }
        let joined = |s: &&Snapshot| !self.strange.contains(&*s.identity.cluster);
        let asked: BTreeSet<&str> =
            self.scrape.snapshots.iter().filter(joined).filter_map(Snapshot::own_name).collect();
        if let Some((leader, meta)) = self.meta {
            let strange: Vec<_> =
                meta.others(leader).filter(|member| !asked.contains(&*member.name)).collect();
            // A server that is down and never told its name is a member by another name than its target's.
            let is_nameless = |s: &Snapshot| s.own_name().is_none() && self.is_down(s);
            if strange.len() > self.servers().filter(|(_, s)| is_nameless(s)).count() {
                let sentences = strange.iter().map(|member| {
                    format!("{} is a member of the meta group and was not seen", member.name)
                });
                unseen.extend(sentences);
            }
        }
        for leader in self.silent_leaders() {
            unseen.push(format!(
                "{leader} leads the meta group, others say, and does not say so itself"
            ));
        }
        let known = self.servers().count() as u64;
        for (_, snapshot) in self.servers() {
            let server = &snapshot.identity.server;
            let more = snapshot.base.routez().is_some_and(|routez| routez.peers() >= known);
            if more && self.strangers().is_empty() {
                unseen.push(format!("{server} has routes to more servers than were asked"));
            }
            if snapshot.base.varz().is_some() {
                if snapshot.base.peers.is_some() && snapshot.base.routez().is_none() {
                    unseen.push(format!("/routez of {server} does not answer"));
                }
                unseen.extend(unseen_of_jetstream(snapshot));
                unseen.extend(unseen_health(snapshot));
            } else if !is_silent(snapshot) {
                unseen.push(format!("{server} answers with something that is not readable"));
            } else if !self.is_down(snapshot) {
                unseen
                    .push(format!("{server} does not answer, and it is not sure that it is down"));
            }
        }
        let jetstream = &self.scrape.config.jetstream;
        if !jetstream.accounts.is_empty() || !jetstream.streams.is_empty() {
            unseen.push("filters in the configuration hide streams".to_owned());
        }
        let hides_consumers =
            jetstream.detail < Level::Consumers || !jetstream.consumers.is_empty();
        if hides_consumers && self.servers().any(|(_, snapshot)| runs_jetstream(snapshot)) {
            unseen.push("settings in the configuration hide consumers".to_owned());
        }
        unseen
    }

    fn judge_server(&self, at: usize, snapshot: &Snapshot, all_seen: bool) -> Restart {
        let mut restart = Restart { note: None, against: Vec::new(), all_seen };
        if self.is_down(snapshot) {
            return Restart { note: Some(Note::IsDown), against: Vec::new(), all_seen: true };
        }
        if says(snapshot, Tier::Persistence, "switched_off") {
            restart.note = Some(Note::MendsNothing);
        } else if write_failed(snapshot) {
            restart.note = Some(Note::CannotWrite);
        } else if says(snapshot, Tier::Base, "starting") {
            restart.note = Some(Note::Starting);
        }
        self.judge_own(at, snapshot, &mut restart);
        // One that does not answer need not stay because of others; whether it may go is not known anyway.
        if snapshot.base.varz().is_some() {
            self.judge_others(at, snapshot, &mut restart);
        }
        restart.against.sort_by_key(|reason| reason.blocker);
        restart
    }

    /// What would be lost with this server.
    fn judge_own(&self, at: usize, snapshot: &Snapshot, restart: &mut Restart) {
        let server = || [snapshot.identity.server.clone()];
        let persistence = snapshot.persistence.as_ref();
        let meta_of_server =
            persistence.and_then(|p| p.running()).and_then(|jsz| jsz.meta_cluster.as_ref());
        if meta_of_server.is_some_and(|meta| meta.leader().is_none()) {
            restart.add(Blocker::MetaLeaderUnknown, server());
        }
        if self.places.len() == 1 && self.reached.is_empty() && snapshot.base.varz().is_some() {
            restart.add(Blocker::OnlyServer, server());
        }
        restart.add(
            Blocker::StreamWithoutLeader,
            self.leaderless.get(&at).cloned().unwrap_or_default(),
        );
        let Some(name) = snapshot.own_name() else { return };
        if let Some((leader, meta)) = self.meta {
            let left =
                meta.members(leader).filter(|m| !m.behind() && m.name != name).count() as u64;
            let is_member = meta.members(leader).any(|m| m.name == name);
            if is_member && meta.quorum().is_some_and(|quorum| left < quorum) {
                restart.add(Blocker::MetaQuorum, server());
            }
        }
        let labels = |single: bool| {
            let needing = self.streams.iter().filter(|stream| stream.needs(name));
            needing
                .filter(move |stream| (stream.size() == 1) == single)
                .map(|stream| stream.label.clone())
        };
        restart.add(Blocker::StreamQuorum, labels(false));
        restart.add(Blocker::SingleReplicaStream, labels(true));
    }

    /// What is wrong elsewhere, so that this server should stay.
    fn judge_others(&self, at: usize, snapshot: &Snapshot, restart: &mut Restart) {
        let own = snapshot.own_name();
        let others = || self.servers().filter(|(other, _)| *other != at);
        let label = |(_, snapshot): (usize, &Snapshot)| snapshot.identity.server.clone();
        restart.add(Blocker::ServerDown, others().filter(|(_, s)| is_silent(s)).map(label));
        let misses = |(_, s): &(usize, &Snapshot)| {
            s.base
                .peers
                .as_ref()
                .is_some_and(|peers| peers.connected.is_some_and(|c| c < peers.expected))
        };
        restart.add(Blocker::RouteMeshIncomplete, self.servers().filter(misses).map(label));
        let is_new = |(_, s): &(usize, &Snapshot)| {
            uptime_seconds(s).is_some_and(|t| t < RECENT.as_secs_f64())
        };
        restart.add(Blocker::RecentRestart, self.servers().filter(is_new).map(label));
        for (blocker, reason) in [
            (Blocker::JetstreamSwitchedOff, "switched_off"),
            (Blocker::AssetsUnhealthy, "assets_unhealthy"),
        ] {
            restart.add(
                blocker,
                others().filter(|(_, s)| says(s, Tier::Persistence, reason)).map(label),
            );
        }
        let leaderless = self
            .servers()
            .filter(|(_, s)| says(s, Tier::Persistence, "consumer_without_leader"))
            .map(label);
        restart.add(Blocker::ConsumerWithoutLeader, leaderless);
        if let Some((leader, meta)) = self.meta {
            let behind = meta.members(leader).filter(|m| m.behind() && Some(m.name) != own);
            restart.add(Blocker::MetaPeerBehind, behind.map(|member| member.name.to_owned()));
        }
        let behind = |stream: &&Replicas| {
            stream.members.iter().any(|(name, current)| !current && Some(&**name) != own)
        };
        let behind = self.streams.iter().filter(behind).map(|stream| stream.label.clone());
        restart.add(Blocker::StreamReplicaBehind, behind);
    }
}

/// What is not known of the JetStream of a server that answers.
fn unseen_of_jetstream(snapshot: &Snapshot) -> Option<String> {
    let server = &snapshot.identity.server;
    let Some(persistence) = &snapshot.persistence else {
        return Some(format!("{server} was not asked about JetStream"));
    };
    match persistence.switch() {
        Some(Switch::NotConfigured | Switch::Off) => None,
        None => Some(format!("/jsz of {server} does not answer")),
        Some(Switch::Unclear) => Some(format!(
            "{server} does not say whether its JetStream is configured or was switched off"
        )),
        Some(Switch::On) => match persistence.detail() {
            None => Some(format!("{server} does not tell its streams")),
            Some(_) if persistence.own_name.is_none() => {
                Some(format!("{server} was restarted while it was asked"))
            }
            Some(_) if persistence.detail_age().is_some_and(|age| age > FRESH) => {
                Some(format!("{server} told its streams more than a minute ago"))
            }
            Some(_) if leads_unclear(persistence) => Some(format!(
                "{server} has streams of which it is not known yet whether it leads them"
            )),
            Some(detail) => {
                let missing = detail.missing_accounts.filter(|missing| *missing > 0)?;
                Some(format!("{server} did not tell {missing} of its accounts"))
            }
        },
    }
}

fn runs_jetstream(snapshot: &Snapshot) -> bool {
    snapshot.persistence.as_ref().is_some_and(|persistence| persistence.running().is_some())
}

/// What is not known because the health check of a server was not seen, or ended before its last question. Only it
/// tells of failed writes and assignments.
fn unseen_health(snapshot: &Snapshot) -> Option<String> {
    let told = snapshot.persistence.as_ref().and_then(|p| p.checked(Check::Assets)).is_some();
    (runs_jetstream(snapshot) && !told).then(|| {
        format!(
            "/healthz of {} does not tell whether its streams are well",
            snapshot.identity.server
        )
    })
}

/// Whether there are streams of which it is not known whether the server leads them.
fn leads_unclear(persistence: &Persistence) -> bool {
    let mut streams = persistence.detail().into_iter().flat_map(Detail::streams);
    let own_name = persistence.own_name.as_deref();
    streams.any(|(_, held)| {
        own_name.and_then(|name| held.stream.leads(name, persistence.clustered())).is_none()
    })
}

/// How long ago the server started, by its own clock.
#[must_use]
pub fn uptime_seconds(snapshot: &Snapshot) -> Option<f64> {
    let varz = snapshot.base.varz()?;
    Some(varz.now?.seconds_since(varz.start?))
}
