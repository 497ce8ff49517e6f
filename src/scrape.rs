//! The answers of all targets together, ready to be shown: which target speaks
//! for which server, and which server leads the meta group.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::assets::{Assets, Claim, Pool, Source, strongest};
use crate::catalog::Topic;
use crate::config::Config;
use crate::detail::Detail;
use crate::exporter::Own;
use crate::flight::{Failed, Reading};
use crate::nats::endpoint::Endpoint;
use crate::nats::failure::Failure;
use crate::nats::jsz::RaftGroup as _;
use crate::snapshot::{Identity, Report, Snapshot};
use crate::tier::TierSet;

/// What of the catalogue is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// These tiers.
    pub tiers: TierSet,
    /// These topics; all when nothing is named.
    pub topics: Option<Vec<Topic>>,
}

impl Selection {
    /// Whether `topic` is wanted.
    #[must_use]
    pub fn wants(&self, topic: Topic) -> bool {
        self.topics.as_ref().is_none_or(|topics| topics.contains(&topic))
    }
}

/// The answers of all targets that were asked.
#[derive(Debug)]
pub struct Scrape {
    /// What is wanted.
    pub selection: Selection,
    /// One for each server, in the order of the configuration.
    pub snapshots: Vec<Snapshot>,
    /// Targets that turned out to be a server which another target speaks for already.
    pub duplicates: Vec<Duplicate>,
    /// The exporter's own state.
    pub own: Own,
    /// The configuration by which the targets were asked.
    pub config: Arc<Config>,
    /// The streams and consumers.
    pub assets: Arc<Assets>,
    meta_leaders: Vec<usize>,
}

/// A target that is the same server as another one.
#[derive(Debug)]
pub struct Duplicate {
    /// The labels of the server.
    pub identity: Identity,
    /// The target's name.
    pub target: String,
}

impl Scrape {
    /// Puts the answers together. `pool` has the assets that other scrapes use.
    #[must_use]
    pub fn new(
        selection: Selection,
        snapshots: Vec<Snapshot>,
        own: Own,
        config: Arc<Config>,
        pool: &Pool,
    ) -> Self {
        let (snapshots, duplicates) = tell_apart(snapshots);
        let sources = snapshots.iter().enumerate().filter_map(|(at, s)| source(at, s)).collect();
        let assets = pool.get(Assets::new(sources, Arc::clone(&config)));
        let meta_leaders = elect_meta_leaders(&snapshots);
        Self { selection, snapshots, duplicates, own, config, assets, meta_leaders }
    }

    /// The snapshot of the meta leader of each cluster, with its place.
    pub fn meta_leaders(&self) -> impl Iterator<Item = (usize, &Snapshot)> {
        self.meta_leaders.iter().map(|source| (*source, &self.snapshots[*source]))
    }

    /// Clusters with a server of a name that one of `cluster` has as well. A meta group may go over several clusters, but a
    /// name stands for one member of it, so theirs is another one.
    #[must_use]
    pub fn with_same_names(&self, cluster: &str) -> BTreeSet<&str> {
        with_same_names(&self.snapshots, cluster)
    }

    /// Leaves the details out that would have been shown: each counts as a request that failed because of
    /// `failure`. Returns what was made of them, which may be large.
    pub fn leave_out_details(&mut self, failure: &Failure) -> Arc<Assets> {
        for snapshot in &mut self.snapshots {
            let Some(persistence) = &mut snapshot.persistence else { continue };
            let Some(Ok(reading)) = &persistence.detail else { continue };
            let failed = Failed { failure: failure.clone(), elapsed: reading.elapsed };
            let outcome = Err(failed);
            snapshot.memory.record(&snapshot.target, Endpoint::JszDetail, &outcome);
            let reports = snapshot.endpoints.iter_mut();
            for report in reports.filter(|report| report.endpoint == Endpoint::JszDetail) {
                *report = Report::new(Endpoint::JszDetail, &outcome);
            }
            persistence.detail = Some(outcome);
        }
        let none = Assets::new(Vec::new(), Arc::clone(&self.config));
        std::mem::replace(&mut self.assets, Arc::new(none))
    }

    /// Ends the scrape, and returns the details that no other one uses: they are large, so the caller
    /// chooses where they are dropped.
    #[must_use]
    pub fn into_details(self) -> Vec<Reading<Detail>> {
        drop(self.snapshots);
        let sources = Arc::into_inner(self.assets).map_or_else(Vec::new, |assets| assets.sources);
        sources.into_iter().filter_map(|source| Arc::into_inner(source.detail)).collect()
    }
}

/// The detail of a snapshot, when it can be shown.
fn source(at: usize, snapshot: &Snapshot) -> Option<Source> {
    let persistence = snapshot.persistence.as_ref()?;
    Some(Source {
        at,
        identity: snapshot.identity.clone(),
        own_name: persistence.own_name.clone(),
        clustered: persistence.clustered(),
        detail: Arc::clone(persistence.detail.as_ref()?.as_ref().ok()?),
    })
}

fn with_same_names<'s>(snapshots: &'s [Snapshot], cluster: &str) -> BTreeSet<&'s str> {
    let is_own = |snapshot: &&Snapshot| snapshot.identity.cluster == cluster;
    let names: BTreeSet<&str> =
        snapshots.iter().filter(is_own).filter_map(Snapshot::own_name).collect();
    let others = snapshots.iter().filter(|snapshot| !is_own(snapshot));
    let same = others.filter(|other| other.own_name().is_some_and(|name| names.contains(name)));
    same.map(|other| other.identity.cluster.as_str()).collect()
}

/// Two servers may claim to lead the meta group for some seconds of a partition. The one that
/// more servers name has the majority; the other still calls everybody current for a while.
fn elect_meta_leaders(snapshots: &[Snapshot]) -> Vec<usize> {
    let metas = || {
        snapshots.iter().enumerate().filter_map(|(source, snapshot)| {
            let persistence = snapshot.persistence.as_ref()?;
            let meta = persistence.running()?.meta_cluster.as_ref()?;
            Some((source, snapshot, persistence.own_name.as_deref()?, meta))
        })
    };
    let mut claims: Vec<(&str, Vec<(Claim, usize)>)> = Vec::new();
    for (source, snapshot, own_name, _) in
        metas().filter(|(.., own_name, meta)| meta.led_by(own_name))
    {
        let cluster = snapshot.identity.cluster.as_str();
        let strange = with_same_names(snapshots, cluster);
        let followers = metas().filter(|(_, follower, _, meta)| {
            meta.led_by(own_name) && !strange.contains(&*follower.identity.cluster)
        });
        let claim = (Claim { since: None, progress: Some(followers.count() as u64) }, source);
        match claims.iter_mut().find(|(other, _)| *other == cluster) {
            Some((_, same)) => same.push(claim),
            None => claims.push((cluster, vec![claim])),
        }
    }
    claims.into_iter().filter_map(|(_, claims)| strongest(claims.into_iter())).collect()
}

/// Makes sure that no two snapshots have the same labels.
///
/// Two targets with the same process behind them are one server: the first that answers speaks for
/// it. That is worth a word, unless both are addresses that DNS has for one name. Two processes with
/// the same name are two servers, and the later one is called by its address.
fn tell_apart(snapshots: Vec<Snapshot>) -> (Vec<Snapshot>, Vec<Duplicate>) {
    let mut kept: Vec<Snapshot> = Vec::with_capacity(snapshots.len());
    let mut duplicates = Vec::new();
    let id = |s: &Snapshot| s.learned.as_ref().map(|learned| learned.server_id.clone());
    for mut snapshot in snapshots {
        let answers = snapshot.base.varz().is_some();
        let same_process = id(&snapshot).and_then(|own| {
            kept.iter().position(|other| id(other).as_deref() == Some(own.as_str()))
        });
        if let Some(at) = same_process {
            let spare = if answers && kept[at].base.varz().is_none() {
                std::mem::replace(&mut kept[at], snapshot)
            } else {
                snapshot
            };
            let by =
                |snapshot: &Snapshot| snapshot.found.as_ref().map(|found| Arc::clone(&found.by));
            if by(&spare).is_none() || by(&spare) != by(&kept[at]) {
                duplicates.push(Duplicate { identity: spare.identity, target: spare.target });
            }
            continue;
        }
        let taken = |identity: &Identity| kept.iter().any(|other| other.identity == *identity);
        if taken(&snapshot.identity) {
            snapshot.identity.server.clone_from(&snapshot.target);
        }
        // Even the name of a target may be somebody's server name; its address may not.
        if taken(&snapshot.identity) {
            snapshot.identity.server.clone_from(&snapshot.url);
        }
        kept.push(snapshot);
    }
    (kept, duplicates)
}
