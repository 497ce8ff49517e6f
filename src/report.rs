//! What a person on call has to know of all servers, put into words.
//!
//! Made from one scrape of both tiers; the check command and the page show it. States and reasons come from
//! [`verdict`](crate::verdict), whether a server may be stopped from [`restart`], and what to do about
//! it from [`advice`].

pub mod advice;
pub mod words;

use std::time::SystemTime;

use serde::Serialize;

use self::advice::Advice;
use crate::discovery::Status;
use crate::restart::{self, Answer, Meta, Note, Restart, Scope, uptime_seconds};
use crate::scrape::Scrape;
use crate::snapshot::Snapshot;
use crate::tier;
use crate::verdict::{BaseReason, PersistenceReason, State, Verdict};

/// The version of the JSON form. It grows when a field changes its meaning or goes; new fields may come without.
pub const SCHEMA: u32 = 1;

/// As many streams or servers are named in a reason.
const NAMED: usize = 5;

/// What is known of all clusters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The version of this form.
    pub schema: u32,
    /// When the servers were asked, in seconds since the epoch.
    pub asked_at: u64,
    /// By name.
    pub clusters: Vec<Cluster>,
    /// What was not seen and could belong to any cluster; one sentence each.
    pub unseen: Vec<String>,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cluster {
    /// The value of the `nats_cluster` label; empty while no server told it.
    pub name: String,
    /// The worst state of the base tier of any server.
    pub base: &'static str,
    /// The worst state of the persistence tier of any server; nothing without JetStream.
    pub persistence: Option<&'static str>,
    /// Whether any one server may be stopped, whichever it is.
    pub restart: &'static str,
    /// The meta group, as its leader sees it.
    pub meta: Option<Meta>,
    /// In the order of the configuration.
    pub servers: Vec<Server>,
    /// What was not seen and could be against stopping a server; one sentence each.
    pub unseen: Vec<String>,
    /// What is wrong, and what to do.
    pub advice: Advice,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Server {
    /// The value of the `server` label.
    pub name: String,
    /// The target's name in the configuration.
    pub target: String,
    /// Its monitoring address, without credentials.
    pub url: String,
    /// The version; nothing when it does not answer.
    pub version: Option<String>,
    /// How long ago it started; nothing when it does not answer.
    pub uptime_seconds: Option<f64>,
    /// Core messaging.
    pub base: Tier,
    /// JetStream; nothing when it is not configured.
    pub persistence: Option<Tier>,
    /// Whether it leads the meta group.
    pub leads_meta: bool,
    /// Streams with a replica on it; nothing when it does not tell.
    pub streams: Option<u64>,
    /// How old what is said of its streams is.
    pub streams_age_seconds: Option<f64>,
    /// Whether it may be stopped.
    pub restart: MayRestart,
}

/// The state of a tier, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tier {
    /// `ok`, `degraded`, `unknown` or `down`.
    pub state: &'static str,
    /// The values of the `reason` label that hold.
    pub reasons: Vec<Why>,
}

/// A reason for a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The value of the `reason` label.
    pub reason: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// Whether a server may be stopped, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MayRestart {
    /// `safe`, `unsafe` or `unknown`.
    pub answer: &'static str,
    /// What a restart is good for, where that is not plain.
    pub note: Option<&'static str>,
    /// What is against it.
    pub reasons: Vec<Against>,
}

/// A reason against stopping a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Against {
    /// The value of the `reason` label of `nats:restart_blocker:bool`.
    pub reason: &'static str,
    /// `server` when something would be lost with this server, `cluster` when something is wrong elsewhere.
    pub scope: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// How many streams or servers it is about.
    pub count: usize,
    /// The first of them.
    pub names: Vec<String>,
}

impl Against {
    /// The names, and how many more there are.
    #[must_use]
    pub fn subjects(&self) -> String {
        let names = self.names.join(", ");
        match self.count - self.names.len() {
            0 => names,
            more => format!("{names} and {more} more"),
        }
    }
}

impl MayRestart {
    /// The reasons of this server, or those of its cluster.
    pub fn of(&self, scope: &'static str) -> impl Iterator<Item = &Against> {
        self.reasons.iter().filter(move |against| against.scope == scope)
    }
}

impl Cluster {
    /// What is against stopping any server, because of another one: each reason once, with all that it is about.
    #[must_use]
    pub fn against_any(&self) -> Vec<Against> {
        let mut all: Vec<Against> = Vec::new();
        for against in self.servers.iter().flat_map(|server| server.restart.of("cluster")) {
            let Some(known) = all.iter_mut().find(|known| known.reason == against.reason) else {
                all.push(against.clone());
                continue;
            };
            // What is wrong with a server itself is no reason against stopping that one, so each has others.
            let more: Vec<_> =
                against.names.iter().filter(|name| !known.names.contains(name)).cloned().collect();
            known.names.extend(more);
            known.count = known.count.max(against.count).max(known.names.len());
            known.names.truncate(NAMED);
        }
        all
    }
}

impl Report {
    /// Puts a scrape of both tiers into words.
    #[must_use]
    pub fn new(scrape: &Scrape) -> Self {
        let asked_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            schema: SCHEMA,
            asked_at: asked_at.as_secs(),
            clusters: restart::judge(scrape).into_iter().map(cluster).collect(),
            unseen: scrape.own.discovery.iter().filter_map(Status::unseen).collect(),
        }
    }

    /// All servers.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.clusters.iter().flat_map(|cluster| &cluster.servers)
    }
}

fn cluster(judged: restart::Cluster<'_>) -> Cluster {
    let worst = |tier| {
        let verdicts = judged.servers.iter().filter_map(|(snapshot, _)| snapshot.verdict(tier));
        verdicts.map(|verdict| verdict.state).max()
    };
    let answer = judged.servers.iter().map(|(_, restart)| restart.answer()).max();
    let leader = judged.meta.as_ref().map(|meta| meta.leader.as_str());
    Cluster {
        name: judged.name.to_owned(),
        base: worst(tier::Tier::Base).unwrap_or(State::Unknown).as_str(),
        persistence: worst(tier::Tier::Persistence).map(State::as_str),
        restart: answer.unwrap_or(Answer::Unknown).as_str(),
        advice: advice::of(&judged),
        servers: judged
            .servers
            .iter()
            .map(|(snapshot, restart)| server(snapshot, restart, leader))
            .collect(),
        unseen: judged.unseen,
        meta: judged.meta,
    }
}

fn server(snapshot: &Snapshot, restart: &Restart, meta_leader: Option<&str>) -> Server {
    let detail = snapshot.persistence.as_ref().and_then(|persistence| persistence.detail());
    let name = snapshot.own_name();
    let unknown = Verdict { state: State::Unknown, reasons: Vec::new() };
    Server {
        name: snapshot.identity.server.clone(),
        target: snapshot.target.clone(),
        url: snapshot.url.clone(),
        version: snapshot.base.varz().and_then(|varz| varz.version.clone()),
        uptime_seconds: uptime_seconds(snapshot),
        base: state(snapshot.verdict(tier::Tier::Base).unwrap_or(&unknown), BaseReason::meaning),
        persistence: snapshot
            .verdict(tier::Tier::Persistence)
            .map(|verdict| state(verdict, PersistenceReason::meaning)),
        leads_meta: name.is_some() && name == meta_leader,
        streams: detail.map(|detail| detail.streams().count() as u64),
        streams_age_seconds: snapshot
            .persistence
            .as_ref()
            .and_then(|persistence| Some(persistence.detail_age()?.as_secs_f64())),
        restart: may_restart(restart),
    }
}

fn state(verdict: &Verdict, meaning: fn(&str) -> Option<&'static str>) -> Tier {
    let holding = verdict.reasons.iter().filter(|(_, holds)| *holds);
    let why = |(reason, _): &(&'static str, bool)| Some(Why { reason, meaning: meaning(reason)? });
    Tier { state: verdict.state.as_str(), reasons: holding.filter_map(why).collect() }
}

fn may_restart(restart: &Restart) -> MayRestart {
    let against = restart.against.iter().map(|reason| {
        let (text, scope, meaning) = reason.blocker.describe();
        Against {
            reason: text,
            scope: if scope == Scope::Server { "server" } else { "cluster" },
            meaning,
            count: reason.subjects.len(),
            names: reason.subjects.iter().take(NAMED).cloned().collect(),
        }
    });
    MayRestart {
        answer: restart.answer().as_str(),
        note: restart.note.map(Note::as_str),
        reasons: against.collect(),
    }
}
