//! The cluster of a round: the way into its state, and back to it after a server was stopped and started.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use super::assets::{self, Target, WIDE};
use super::{Round, State};
use crate::workload::Flow;
use crate::{Cluster, Node, Result};

/// The store of the server whose disk is to be full, and what JetStream may use where that is to be reached.
const SMALL_DISK: u64 = 12 << 20;
const SMALL_LIMIT: &str = "24MB";
/// More than either of them holds.
const TOO_MUCH: usize = 40 << 20;
/// What a server that is started again has to fetch, twice, and what its routes carry in a second: it takes a while.
const MISSED: usize = 8 << 20;
const FETCH_LINK: u32 = 1_000_000;
/// Half of what the flow needs in a rush.
const SLOW_LINK: u32 = 150_000;
/// A replica that is so many entries behind, or not current, lags.
const LAG: u64 = 500;

/// After these times it goes on as it is: a verdict can be tried in any state, only not for ever.
const QUIET_LIMIT: Duration = Duration::from_secs(30);
const HEALTH_LIMIT: Duration = Duration::from_secs(5);
const ENTER_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(200);

const JSZ: &str = "/jsz?streams=true&consumers=true&config=true";

pub(super) struct Stage {
    // The order matters: clients end before servers.
    flow: Option<Flow>,
    pub(super) cluster: Cluster,
    state: State,
    targets: Vec<Target>,
    /// The server that something is wrong with.
    victim: Option<usize>,
}

impl Stage {
    pub(super) async fn set(round: &Round) -> Result<Self> {
        let state = round.state;
        let mut builder = Cluster::builder(&round.version).nodes(round.servers).jetstream(true);
        builder = match state {
            State::DiskFull => builder.store_size(0, SMALL_DISK),
            State::MaxFile => builder.max_file(SMALL_LIMIT),
            // Else a slow route would be cut before anything lags far.
            State::Lagging | State::Recovering => {
                builder.gates(true).extra_config("write_deadline: \"60s\"")
            }
            _ => builder,
        };
        let cluster = builder.start().await?;
        let mut targets = assets::make(&cluster, state == State::MaxFile).await?;
        let mut flow = None;
        if state == State::Lagging {
            flow = Some(Flow::start(&cluster).await?);
            let [stream, subject] = Flow::STREAM;
            targets.push(Target { stream, subject });
        }
        let mut set = Self { flow, cluster, state, targets, victim: None };
        set.quiet(None).await?;
        set.victim = set.choose().await;
        Ok(set)
    }

    /// A server that does not lead the meta group, so that what is tried is not an election. It has no stream of one
    /// replica, which would be lost already.
    async fn choose(&self) -> Option<usize> {
        match self.state {
            State::Healthy | State::HealthyKilled | State::MaxFile => return None,
            State::DiskFull => return Some(0),
            _ => {}
        }
        let meta = self.cluster.meta_leader().await.map(Node::index);
        let answers = self.answers().await;
        let groups: Vec<Group> = answers.iter().flat_map(|(node, jsz)| led(node, jsz)).collect();
        let fits = |node: &&Node| {
            let name = node.name();
            let alone = groups.iter().any(|g| g.others.is_empty() && g.leader == name);
            let [flow, _] = Flow::STREAM;
            let follows = groups
                .iter()
                .any(|g| g.stream == flow && g.others.iter().any(|other| other.name == name));
            meta != Some(node.index()) && !alone && (self.flow.is_none() || follows)
        };
        let found = self.cluster.nodes().iter().find(fits).map(Node::index);
        found.or_else(|| (0..self.cluster.nodes().len()).find(|node| meta != Some(*node)))
    }

    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// A server whose clients can be relied on while `node` is stopped.
    pub(super) fn witness(&self, node: usize) -> usize {
        let good = |other: &usize| *other != node && Some(*other) != self.victim;
        (0..self.cluster.nodes().len()).find(good).unwrap_or_default()
    }

    /// Waits until the cluster has got over the last stop, and brings it into its state, to try `node`. Whether all
    /// of that came about.
    pub(super) async fn settle(&mut self, node: usize) -> Result<bool> {
        if let (Some(flow), Some(victim)) = (&self.flow, self.victim) {
            flow.rush(false);
            self.cluster.slow_down(victim, None);
        }
        let quiet = self.quiet(self.broken()).await?;
        let Some(victim) = self.victim else {
            if self.state == State::MaxFile {
                assets::fill(&self.cluster, self.witness(node), WIDE, TOO_MUCH).await?;
            }
            return Ok(quiet);
        };
        let server = self.cluster.node(victim);
        let entered = match self.state {
            State::OneDown => {
                server.stop().await?;
                true
            }
            State::Frozen => {
                if !server.is_frozen() {
                    server.freeze().await?;
                }
                true
            }
            State::Recovering => {
                server.stop().await?;
                for stream in ["THREE-A", "THREE-B", WIDE] {
                    assets::fill(&self.cluster, self.witness(node), stream, MISSED / 2).await?;
                }
                true
            }
            State::Lagging => {
                if let Some(flow) = &self.flow {
                    flow.rush(true);
                }
                self.cluster.slow_down(victim, Some(SLOW_LINK));
                self.until(async || self.is_behind(victim).await).await
            }
            State::DiskFull => {
                if !self.is_broken(victim).await {
                    assets::fill(&self.cluster, self.witness(node), WIDE, TOO_MUCH / 2).await?;
                }
                self.until(async || self.is_broken(victim).await).await
            }
            State::Healthy | State::HealthyKilled | State::MaxFile => true,
        };
        Ok(quiet && entered)
    }

    /// Whether it is the server that is down in this state, so that there is nothing to stop.
    pub(super) fn is_down(&self, node: usize) -> bool {
        self.state == State::OneDown && self.victim == Some(node)
    }

    /// What has to happen immediately before the verdict.
    pub(super) async fn last_touch(&self) -> Result<()> {
        if let (State::Recovering, Some(victim)) = (self.state, self.victim) {
            self.cluster.slow_down(victim, Some(FETCH_LINK));
            self.cluster.node(victim).start().await?;
        }
        Ok(())
    }

    /// The server that is not waited for, since what is wrong with it lasts.
    fn broken(&self) -> Option<usize> {
        let lasts = matches!(self.state, State::OneDown | State::Frozen | State::DiskFull);
        self.victim.filter(|_| lasts)
    }

    async fn until(&self, condition: impl AsyncFn() -> bool) -> bool {
        let end = Instant::now() + ENTER_LIMIT;
        loop {
            if condition().await {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn is_behind(&self, victim: usize) -> bool {
        let name = self.cluster.node(victim).name();
        let [flow, _] = Flow::STREAM;
        let answers = self.answers().await;
        let mut groups = answers.iter().flat_map(|(node, jsz)| led(node, jsz));
        groups.any(|g| {
            let behind = |other: &Other| other.name == name && (!other.well || other.lag > LAG);
            g.stream == flow && g.others.iter().any(behind)
        })
    }

    /// Does the full disk show? What a version does about it differs.
    async fn is_broken(&self, victim: usize) -> bool {
        let server = self.cluster.node(victim);
        let off = server.json("/jsz").await.is_ok_and(|jsz| jsz["disabled"] == true);
        let name = server.name();
        let answers = self.answers().await;
        let mut others = answers.iter().flat_map(|(node, jsz)| led(node, jsz));
        off || others.any(|g| g.others.iter().any(|other| other.name == name && !other.well))
    }

    /// What the servers say that can say something.
    async fn answers(&self) -> Vec<(&Node, Value)> {
        let nodes = self.cluster.nodes().iter().filter(|node| node.is_alive() && !node.is_frozen());
        let asked = join_all(nodes.map(async |node| (node, node.json(JSZ).await))).await;
        asked.into_iter().filter_map(|(node, jsz)| Some((node, jsz.ok()?))).collect()
    }

    /// What the servers say, for a person who wants to know what went wrong.
    pub(super) async fn raw(&self) -> String {
        let answers = self.answers().await;
        let texts = answers.iter().map(|(node, jsz)| format!("{}: {jsz:#}", node.name()));
        texts.collect::<Vec<_>>().join("\n")
    }

    /// Waits until all members of all groups are current, those of the server `broken` left out of account.
    async fn quiet(&self, broken: Option<usize>) -> Result<bool> {
        for node in self.cluster.nodes() {
            if !node.is_alive() && Some(node.index()) != broken {
                node.start().await?;
            }
        }
        if self.state == State::Recovering
            && let Some(victim) = self.victim
        {
            self.cluster.slow_down(victim, None);
        }
        let start = Instant::now();
        let mut whole_since = None;
        loop {
            let answers = self.answers().await;
            if self.is_whole(&answers, broken) {
                let since: Instant = *whole_since.get_or_insert_with(Instant::now);
                if self.is_healthy(broken).await || since.elapsed() >= HEALTH_LIMIT {
                    return Ok(true);
                }
            } else {
                whole_since = None;
            }
            if start.elapsed() >= QUIET_LIMIT {
                return Ok(false);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn is_healthy(&self, broken: Option<usize>) -> bool {
        let nodes = self.cluster.nodes().iter().filter(|node| Some(node.index()) != broken);
        let asked =
            nodes.map(async |node| node.get("/healthz").await.is_ok_and(|a| a.status == 200));
        join_all(asked).await.into_iter().all(|healthy| healthy)
    }

    fn is_whole(&self, answers: &[(&Node, Value)], broken: Option<usize>) -> bool {
        let broken = broken.map(|node| self.cluster.node(node).name());
        let is_well = |other: &Other| other.well || Some(&other.name) == broken.as_ref();
        let count = self.cluster.nodes().len();
        let mut asked = answers.iter().filter(|(node, _)| Some(node.name()) != broken);
        if asked.clone().count() + usize::from(broken.is_some()) < count {
            return false;
        }
        let meta_is_whole = answers.iter().any(|(node, jsz)| {
            let group = &jsz["meta_cluster"];
            group["leader"] == node.name()
                && group["cluster_size"] == count
                && others(group).iter().all(is_well)
        });
        let leader_is_known = asked
            .all(|(_, jsz)| jsz["meta_cluster"]["leader"].as_str().is_some_and(|l| !l.is_empty()));
        if self.state == State::MaxFile {
            // What a full store does to streams is not waited for.
            return meta_is_whole && leader_is_known;
        }
        let groups: Vec<Group> = answers.iter().flat_map(|(node, jsz)| led(node, jsz)).collect();
        // The only replica of a stream may be on the broken server.
        let is_led = |target: &Target| {
            let alone = target.stream.starts_with("ONE");
            (alone && broken.is_some()) || groups.iter().any(|group| group.stream == target.stream)
        };
        meta_is_whole
            && leader_is_known
            && self.targets.iter().all(is_led)
            && groups.iter().all(|group| group.others.iter().all(is_well))
    }
}

/// A stream as the server says that leads it.
struct Group {
    stream: String,
    leader: String,
    others: Vec<Other>,
}

/// Another member of a group.
struct Other {
    name: String,
    well: bool,
    lag: u64,
}

/// The streams that the server leads.
fn led(node: &Node, jsz: &Value) -> Vec<Group> {
    let accounts = jsz["account_details"].as_array().into_iter().flatten();
    let streams =
        accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
    let name = node.name();
    let ours = streams.filter(|stream| stream["cluster"]["leader"] == name);
    ours.filter_map(|stream| {
        let others = others(&stream["cluster"]);
        Some(Group { stream: stream["name"].as_str()?.to_owned(), leader: name.clone(), others })
    })
    .collect()
}

fn others(group: &Value) -> Vec<Other> {
    let replicas = group["replicas"].as_array().into_iter().flatten();
    replicas
        .map(|replica| Other {
            name: replica["name"].as_str().unwrap_or_default().to_owned(),
            well: replica["current"] == true && replica["offline"] != true,
            lag: replica["lag"].as_u64().unwrap_or_default(),
        })
        .collect()
}
