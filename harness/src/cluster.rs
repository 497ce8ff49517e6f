//! Several servers as one: start, readiness, leaders, clients.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use tempfile::TempDir;

use crate::gate::{Gate, Way};
use crate::node::{Held, Node};
use crate::settings::{Account, MonitorTls, Settings};
use crate::{Error, Result, nats_server};

/// How often a start is tried with other ports when some program took one of ours.
const ATTEMPTS: usize = 5;
/// Elections take a few seconds on an idle machine, and tests run on busy ones.
const READY_LIMIT: Duration = Duration::from_secs(180);
/// The meta group is whole when it has a leader, or a moment later.
const META_LIMIT: Duration = Duration::from_secs(5);
const REQUEST_LIMIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);

/// What a [`Cluster`] is to be. Without further words: one server, no JetStream, no accounts.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// How many servers; more than one form a cluster.
    pub fn nodes(mut self, count: usize) -> Self {
        self.settings.nodes = count;
        self
    }

    /// With JetStream?
    pub fn jetstream(mut self, on: bool) -> Self {
        self.settings.jetstream = on;
        self
    }

    /// With the accounts of [`Account`]? Without them there is no authentication.
    pub fn accounts(mut self, on: bool) -> Self {
        self.settings.accounts = on;
        self
    }

    /// The cluster's name, `C1` by default.
    pub fn cluster_name(mut self, name: impl Into<String>) -> Self {
        self.settings.cluster_name = name.into();
        self
    }

    /// The servers are named after this and numbered from 1: `n1`, `n2` ... by default.
    pub fn name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.name_prefix = prefix.into();
        self
    }

    /// Without configured names each server is named after its id. JetStream servers in a cluster
    /// need names.
    pub fn server_names(mut self, on: bool) -> Self {
        self.settings.server_names = on;
        self
    }

    /// The memory each server has for JetStream, in nats-server's notation; `128MB` by default.
    pub fn max_mem(mut self, size: impl Into<String>) -> Self {
        self.settings.max_mem = size.into();
        self
    }

    /// The file storage each server has for JetStream; `512MB` by default.
    pub fn max_file(mut self, size: impl Into<String>) -> Self {
        self.settings.max_file = size.into();
        self
    }

    /// How many replicated streams and consumers a server may have.
    pub fn max_ha_assets(mut self, count: u32) -> Self {
        self.settings.max_ha_assets = Some(count);
        self
    }

    /// Puts the monitoring endpoints below a path, such as `/nats`.
    pub fn http_base_path(mut self, path: impl Into<String>) -> Self {
        path.into().trim_end_matches('/').clone_into(&mut self.settings.http_base_path);
        self
    }

    /// Monitoring over HTTPS instead of HTTP. The harness itself accepts any certificate.
    pub fn monitor_tls(mut self, files: MonitorTls) -> Self {
        self.settings.monitor_tls = Some(files);
        self
    }

    /// How much memory the servers try to get along with, such as `512MiB`.
    pub fn memory_limit(mut self, size: impl Into<String>) -> Self {
        self.settings.memory_limit = Some(size.into());
        self
    }

    /// Puts one server's store on a file system of this size, to be filled up. It is empty after each
    /// start of that server.
    pub fn store_size(mut self, node: usize, bytes: u64) -> Self {
        self.settings.store_sizes.insert(node, bytes);
        self
    }

    /// Lets the routes pass through gates, for [`Cluster::cut_off`] and [`Cluster::slow_down`].
    pub fn gates(mut self, on: bool) -> Self {
        self.settings.gates = on;
        self
    }

    /// Text at the end of every server's configuration file.
    pub fn extra_config(mut self, text: impl Into<String>) -> Self {
        self.settings.extra_config = text.into();
        self
    }

    /// Starts the servers, and returns when all are [ready](Cluster::wait_ready).
    pub async fn start(self) -> Result<Cluster> {
        let mut attempt = 1;
        loop {
            match self.start_once().await {
                Ok(cluster) if attempt < ATTEMPTS && !cluster.has_whole_meta_group().await => {
                    attempt += 1;
                }
                Err(Error::Exited { log, .. })
                    if attempt < ATTEMPTS && log.contains("address already in use") =>
                {
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    async fn start_once(&self) -> Result<Cluster> {
        let cluster = Cluster::prepare(self.settings.clone()).await?;
        for node in &cluster.nodes {
            node.spawn()?;
        }
        try_join_all(cluster.nodes.iter().map(Node::wait_monitor)).await?;
        cluster.wait_ready().await?;
        Ok(cluster)
    }
}

/// Servers of one version, their directory, and the ways to reach them. All of it goes on drop.
#[derive(Debug)]
pub struct Cluster {
    // The order matters: servers end before their directory goes.
    nodes: Vec<Node>,
    gates: Vec<RouteGate>,
    dir: TempDir,
    settings: Arc<Settings>,
}

/// What a server's routes to another one pass through.
#[derive(Debug)]
struct RouteGate {
    from: usize,
    to: usize,
    gate: Gate,
}

impl Cluster {
    /// A cluster of this version of nats-server, to be described further.
    pub fn builder(version: &str) -> Builder {
        Builder { settings: Settings::new(version) }
    }

    async fn prepare(settings: Settings) -> Result<Self> {
        let version = settings.version.clone();
        let binary = tokio::task::spawn_blocking(move || nats_server(&version)).await.map_err(
            |error| Error::Fetch { program: "nats-server".to_owned(), reason: error.to_string() },
        )??;
        let dir = tempfile::Builder::new()
            .prefix("nats-harness-")
            .tempdir()
            .map_err(Error::file("cannot create a directory in", std::env::temp_dir()))?;
        let settings = Arc::new(settings);
        let http = http_client()?;
        let held = (0..settings.nodes).map(|_| Held::take()).collect::<Result<Vec<_>>>()?;
        let routes: Vec<u16> = held.iter().map(|held| held.numbers().route).collect();
        let gates = if settings.gates { gates(&routes).await? } else { Vec::new() };
        let peers = |node: usize| {
            if settings.gates {
                gates.iter().filter(|gate| gate.from == node).map(|gate| gate.gate.port()).collect()
            } else {
                routes.clone()
            }
        };
        let nodes = held
            .into_iter()
            .enumerate()
            .map(|(index, held)| {
                let place = dir.path().join((index + 1).to_string());
                let settings = Arc::clone(&settings);
                Node::new(index, settings, binary.clone(), place, held, peers(index), http.clone())
            })
            .collect();
        Ok(Self { nodes, gates, dir, settings })
    }

    /// The version of nats-server.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.settings.version
    }

    /// Is the version this one or later? Versions behave differently; tests have to know.
    #[must_use]
    pub fn version_is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut parts = self.version().split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next(), parts.next()) >= (Some(major), Some(minor))
    }

    /// Was it started with the accounts of [`Account`]?
    #[must_use]
    pub fn has_accounts(&self) -> bool {
        self.settings.accounts
    }

    /// The cluster's name; of no meaning for a single server.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.settings.cluster_name
    }

    /// The directory with configurations, logs and stores; removed on drop.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All servers.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One server, counted from 0.
    ///
    /// # Panics
    ///
    /// When there are not that many.
    #[must_use]
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// The server that has this name now.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name() == name)
    }

    /// The monitoring addresses of all servers.
    #[must_use]
    pub fn monitor_urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::monitor_url).collect()
    }

    /// The servers as targets of the exporter, each with its name.
    #[must_use]
    pub fn named_targets(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("{},{}", node.name(), node.monitor_url())).collect()
    }

    /// Ends all servers in good order. Dropping the cluster kills them, which is quicker.
    pub async fn stop(&self) -> Result<()> {
        try_join_all(self.nodes.iter().map(Node::stop)).await.map(drop)
    }

    /// Cuts a server off from all others, or ends that: its routes are reset, and none comes about. Only
    /// in a cluster with [`gates`](Builder::gates).
    pub fn cut_off(&self, node: usize, cut: bool) {
        self.set_gates(node, if cut { Way::Shut } else { Way::Open });
    }

    /// Lets the routes of a server carry so many bytes a second each, or ends that. Only in a cluster with
    /// [`gates`](Builder::gates).
    pub fn slow_down(&self, node: usize, bytes: Option<u32>) {
        self.set_gates(node, bytes.map_or(Way::Open, Way::Slow));
    }

    fn set_gates(&self, node: usize, way: Way) {
        let touches = |gate: &&RouteGate| gate.from == node || gate.to == node;
        self.gates.iter().filter(touches).for_each(|gate| gate.gate.set(way));
    }

    // --------------------------------------------------------------------------------- readiness

    /// Waits until every server that runs and is not frozen is healthy, has its routes to the others
    /// that run, and, in a cluster with JetStream, knows a meta leader.
    ///
    /// A restarted server of 2.9.10 was seen to call an idle consumer "not current" for more than the
    /// minute this waits, with all else in order; do not rely on it there after a fault.
    pub async fn wait_ready(&self) -> Result<()> {
        self.wait_ready_for(READY_LIMIT).await
    }

    /// [`wait_ready`](Self::wait_ready) with another limit.
    pub async fn wait_ready_for(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let running: Vec<&Node> = self.running().collect();
            let peers = running.len().saturating_sub(1);
            let checks = join_all(running.iter().map(|node| self.missing(node, peers))).await;
            let Some(what) = checks.into_iter().flatten().next() else {
                return Ok(());
            };
            if Instant::now() >= end {
                return Err(Error::Timeout { what, limit });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// What this server still lacks.
    async fn missing(&self, node: &Node, peers: usize) -> Option<String> {
        let name = node.name();
        match node.get("/healthz").await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => return Some(format!("{name} healthy, it says {}", answer.body.trim())),
            Err(error) => return Some(format!("{name} healthy: {error}")),
        }
        if self.nodes.len() == 1 {
            return None;
        }
        let routes = node.json("/routez").await.unwrap_or_default();
        let remotes: HashSet<&str> = routes["routes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|route| route["remote_id"].as_str())
            .collect();
        if remotes.len() < peers {
            return Some(format!("routes of {name}, it has {} of {peers}", remotes.len()));
        }
        if self.settings.jetstream && self.leader_seen_by(node).await.is_none() {
            return Some(format!("a meta leader known to {name}"));
        }
        None
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_alive() && !node.is_frozen())
    }

    /// The server that leads the meta group, by the word of most servers; nothing when none is known.
    /// A leader that was cut off goes on claiming for some time, which is why they are counted.
    pub async fn meta_leader(&self) -> Option<&Node> {
        let seen = join_all(self.running().map(|node| self.leader_seen_by(node))).await;
        let mut votes: HashMap<String, usize> = HashMap::new();
        for name in seen.into_iter().flatten() {
            *votes.entry(name).or_default() += 1;
        }
        let (name, _) = votes.into_iter().max_by_key(|(_, votes)| *votes)?;
        self.by_name(&name)
    }

    /// Does the meta group count all servers? Servers of 2.10.26 that start at the same moment were
    /// seen to elect a leader between two of three, who then leaves the third out for good: it follows,
    /// calls itself healthy, and gets no streams.
    async fn has_whole_meta_group(&self) -> bool {
        if !self.settings.jetstream || self.nodes.len() == 1 {
            return true;
        }
        let end = Instant::now() + META_LIMIT;
        while Instant::now() < end {
            if let Some(leader) = self.meta_leader().await
                && let Ok(jsz) = leader.json("/jsz").await
                && jsz["meta_cluster"]["cluster_size"].as_u64() == Some(self.nodes.len() as u64)
            {
                return true;
            }
            tokio::time::sleep(POLL).await;
        }
        false
    }

    async fn leader_seen_by(&self, node: &Node) -> Option<String> {
        let jsz = node.json("/jsz").await.ok()?;
        let leader = jsz["meta_cluster"]["leader"].as_str()?;
        (!leader.is_empty()).then(|| leader.to_owned())
    }

    // ----------------------------------------------------------------------------------- clients

    /// A client of one server, which never goes to another one. The account counts only in a cluster
    /// with accounts.
    pub async fn client(&self, account: Account, node: usize) -> Result<async_nats::Client> {
        let url = self.node(node).client_url();
        let action = format!("connect to {url}");
        self.client_options(account)
            .ignore_discovered_servers()
            .connect(url)
            .await
            .map_err(Error::client(action))
    }

    /// A client that may use any of the servers, and changes when one fails.
    pub async fn roaming_client(&self, account: Account) -> Result<async_nats::Client> {
        let urls: Vec<String> = self.nodes.iter().map(Node::client_url).collect();
        let action = format!("connect to one of {urls:?}");
        let addresses = urls
            .iter()
            .map(|url| url.parse::<async_nats::ServerAddr>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::client(&action))?;
        self.client_options(account).connect(addresses).await.map_err(Error::client(action))
    }

    fn client_options(&self, account: Account) -> async_nats::ConnectOptions {
        let options = async_nats::ConnectOptions::new()
            .name("nats-harness")
            .connection_timeout(Duration::from_secs(5))
            .request_timeout(Some(Duration::from_secs(5)));
        if self.settings.accounts {
            options.user_and_password(account.user().to_owned(), account.user().to_owned())
        } else {
            options
        }
    }
}

/// A gate from each server to each other one.
async fn gates(routes: &[u16]) -> Result<Vec<RouteGate>> {
    let mut gates = Vec::new();
    for from in 0..routes.len() {
        for (to, port) in routes.iter().enumerate().filter(|(to, _)| *to != from) {
            gates.push(RouteGate { from, to, gate: Gate::to(*port).await? });
        }
    }
    Ok(gates)
}

/// A client per cluster: one for all would outlive the runtime of the test that made it.
pub(crate) fn http_client() -> Result<reqwest::Client> {
    // Fails when there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(REQUEST_LIMIT)
        // A kept connection to a killed server would fail the first request after its restart.
        .pool_max_idle_per_host(0)
        .tls_danger_accept_invalid_certs(true)
        .build()
        .map_err(Error::client("make an HTTP client"))
}
