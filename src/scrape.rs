//! The answers of all targets together, ready to be shown: which target speaks
//! for which server, and which server speaks for which stream and consumer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::catalog::Topic;
use crate::config::Config;
use crate::exporter::Own;
use crate::nats::jsz::{Account, Consumer, Group, RaftGroup as _, Stream};
use crate::nats::time::Timestamp;
use crate::snapshot::{Identity, Persistence, Snapshot};
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
    streams: Vec<StreamAt>,
    consumers: Vec<ConsumerAt>,
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

/// Where a stream stands: snapshot, account, stream.
#[derive(Debug, Clone, Copy)]
struct StreamAt(usize, usize, usize);

/// Where a consumer stands: its stream, and which of its consumers.
#[derive(Debug, Clone, Copy)]
struct ConsumerAt(StreamAt, usize);

/// A stream as its leader reports it.
#[derive(Debug, Clone, Copy)]
pub struct LedStream<'s> {
    /// Which snapshot it is from.
    pub source: usize,
    /// The leader's snapshot.
    pub snapshot: &'s Snapshot,
    /// The leader's name.
    pub own_name: &'s str,
    /// Whether JetStream of the leader is clustered.
    pub clustered: bool,
    /// The account.
    pub account: &'s Account,
    /// The stream.
    pub stream: &'s Stream,
}

/// A consumer as its leader reports it.
#[derive(Debug, Clone, Copy)]
pub struct LedConsumer<'s> {
    /// The stream, as the leader of the consumer reports it.
    pub stream: LedStream<'s>,
    /// The consumer.
    pub consumer: &'s Consumer,
}

impl Scrape {
    /// Puts the answers together.
    #[must_use]
    pub fn new(
        selection: Selection,
        snapshots: Vec<Snapshot>,
        own: Own,
        config: Arc<Config>,
    ) -> Self {
        let (snapshots, duplicates) = tell_apart(snapshots);
        let mut scrape = Self {
            selection,
            snapshots,
            duplicates,
            own,
            config,
            streams: Vec::new(),
            consumers: Vec::new(),
            meta_leaders: Vec::new(),
        };
        scrape.streams = scrape.elect_streams();
        scrape.consumers = scrape.elect_consumers();
        scrape.meta_leaders = scrape.elect_meta_leaders();
        scrape
    }

    /// Every stream whose leader was asked, once, as that leader reports it.
    pub fn led_streams(&self) -> impl Iterator<Item = LedStream<'_>> {
        self.streams.iter().filter_map(|at| self.stream(*at))
    }

    /// Every consumer whose leader was asked, once, as that leader reports it.
    pub fn led_consumers(&self) -> impl Iterator<Item = LedConsumer<'_>> {
        self.consumers.iter().filter_map(|at| self.consumer(*at))
    }

    /// The snapshot of the meta leader of each cluster, with its place.
    pub fn meta_leaders(&self) -> impl Iterator<Item = (usize, &Snapshot)> {
        self.meta_leaders.iter().map(|source| (*source, &self.snapshots[*source]))
    }

    fn stream(&self, StreamAt(source, account, stream): StreamAt) -> Option<LedStream<'_>> {
        let snapshot = &self.snapshots[source];
        let persistence = snapshot.persistence.as_ref()?;
        let account = &persistence.detail()?.accounts[account];
        let own_name = persistence.own_name.as_deref()?;
        let stream = &account.stream_detail[stream];
        let clustered = persistence.clustered();
        Some(LedStream { source, snapshot, own_name, clustered, account, stream })
    }

    fn consumer(&self, ConsumerAt(at, consumer): ConsumerAt) -> Option<LedConsumer<'_>> {
        let stream = self.stream(at)?;
        Some(LedConsumer { consumer: &stream.stream.consumer_detail[consumer], stream })
    }

    /// All places of streams, whoever leads them.
    fn places(&self) -> impl Iterator<Item = StreamAt> {
        self.snapshots.iter().enumerate().flat_map(|(source, snapshot)| {
            let accounts = details(snapshot).into_iter().flatten().enumerate();
            accounts.flat_map(move |(account, entry)| {
                (0..entry.stream_detail.len()).map(move |stream| StreamAt(source, account, stream))
            })
        })
    }

    fn elect_streams(&self) -> Vec<StreamAt> {
        let led = self.places().filter_map(|at| {
            let led = self.stream(at)?;
            let key =
                (led.snapshot.identity.cluster.as_str(), &*led.account.name, &*led.stream.name);
            let claim = Claim::of(led.stream.cluster.as_ref(), led.stream.state.last_seq);
            led.stream.leads(led.own_name, led.clustered).then_some((key, claim, at))
        });
        strongest(led)
    }

    fn elect_consumers(&self) -> Vec<ConsumerAt> {
        let led = self.places().flat_map(|at| {
            let stream = self.stream(at);
            let consumers = stream.map_or(0, |stream| stream.stream.consumer_detail.len());
            (0..consumers).filter_map(move |consumer| {
                let LedStream { snapshot, own_name, clustered, account, stream, .. } = stream?;
                let (place, consumer) =
                    (ConsumerAt(at, consumer), &stream.consumer_detail[consumer]);
                let key = (
                    snapshot.identity.cluster.as_str(),
                    &*account.name,
                    &*stream.name,
                    &*consumer.name,
                );
                let claim = Claim::of(consumer.cluster.as_ref(), consumer.delivered.consumer_seq);
                consumer.leads(own_name, clustered).then_some((key, claim, place))
            })
        });
        strongest(led)
    }

    /// Two servers may claim to lead the meta group for some seconds of a partition. The one that
    /// more servers name has the majority; the other still calls everybody current for a while.
    fn elect_meta_leaders(&self) -> Vec<usize> {
        let metas = || {
            self.snapshots.iter().enumerate().filter_map(|(source, snapshot)| {
                let persistence = snapshot.persistence.as_ref()?;
                let meta = persistence.running()?.meta_cluster.as_ref()?;
                Some((source, snapshot, persistence.own_name.as_deref()?, meta))
            })
        };
        let led = metas().filter(|(_, _, own_name, meta)| meta.led_by(own_name));
        let claims = led.map(|(source, snapshot, own_name, _)| {
            let followers = metas().filter(|(_, _, _, meta)| meta.led_by(own_name)).count() as u64;
            let claim = Claim { since: None, progress: Some(followers) };
            (snapshot.identity.cluster.as_str(), claim, source)
        });
        strongest(claims)
    }
}

fn details(snapshot: &Snapshot) -> Option<&[Account]> {
    let detail = snapshot.persistence.as_ref().and_then(Persistence::detail)?;
    Some(detail.accounts.as_slice())
}

/// How strong a claim to lead is, for the seconds in which two servers claim the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    since: Option<Timestamp>,
    progress: Option<u64>,
}

impl Claim {
    fn of(group: Option<&Group>, progress: Option<u64>) -> Self {
        Self { since: group.and_then(|group| group.leader_since), progress }
    }
}

/// The place of the strongest claim for each key, in the order in which the keys came.
fn strongest<K: Eq + Hash, P>(claims: impl Iterator<Item = (K, Claim, P)>) -> Vec<P> {
    let mut index: HashMap<K, usize> = HashMap::new();
    let mut best: Vec<(Claim, P)> = Vec::new();
    for (key, claim, place) in claims {
        let at = *index.entry(key).or_insert(best.len());
        match best.get_mut(at) {
            None => best.push((claim, place)),
            Some(other) if other.0 < claim => *other = (claim, place),
            Some(_) => {}
        }
    }
    best.into_iter().map(|(_, place)| place).collect()
}

/// Makes sure that no two snapshots have the same labels.
///
/// Two targets with the same process behind them are one server: the first that answers speaks for
/// it. Two processes with the same name are two servers, and the later one is called by its
/// address.
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
            duplicates.push(Duplicate { identity: spare.identity, target: spare.target });
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
