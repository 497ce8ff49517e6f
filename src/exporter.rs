//! The running exporter: its targets, one scrape over them, and the exchange of
//! the configuration while it runs. What `/probe` asks that is no target is in `guests`.

mod guests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::assets::Pool;
use crate::background::Ended;
use crate::catalog;
use crate::config::{Asked, Config, ConfigError, NoAddress, Target};
use crate::discovery::{self, Group};
use crate::exposition::packed::Packed;
use crate::exposition::{Format, Writer};
use crate::limits::Meter;
use crate::listener::Listener;
use crate::memory::Memory;
use crate::nats::client::ClientError;
use crate::probe::{EndpointSet, Probe};
use crate::scrape::{Scrape, Selection};
use crate::snapshot::{Found, Snapshot};
use guests::Guests;

/// Reads the configuration anew, from wherever it came at the start.
pub type Loader = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// The running exporter.
pub struct Exporter {
    running: ArcSwap<Running>,
    loader: Loader,
    started: Instant,
    ready: AtomicBool,
    reload_ok: AtomicBool,
    /// Milliseconds since the epoch.
    reloaded_at: AtomicU64,
    scrapes: AtomicU64,
    assets: Pool,
    writer: Writer,
    reloading: std::sync::Mutex<()>,
    /// Told when another configuration is in use.
    reloaded: Notify,
    guests: Guests,
    meter: Arc<Meter>,
    listener: Arc<Listener>,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// One configuration and what runs by it.
struct Running {
    config: Arc<Config>,
    /// Of the servers of the configuration.
    probes: Vec<Arc<Probe>>,
    /// Of the servers that DNS tells of.
    groups: Vec<Arc<Group>>,
}

/// A server to ask, and how DNS tells of it; nothing of one that is configured.
type ToAsk = (Arc<Probe>, Option<Found>);

/// What a scrape is to bring.
#[derive(Debug, Clone)]
pub struct ScrapeRequest {
    /// What of the catalogue is wanted.
    pub selection: Selection,
    /// One target by its name or address, or another server by its address; all targets when nothing
    /// is named.
    pub target: Option<String>,
    /// When the answers have to be there.
    pub deadline: Instant,
}

/// The exporter's own state at the time of a scrape.
#[derive(Debug, Clone)]
pub struct Own {
    /// Whether the newest configuration is the one in use.
    pub reload_ok: bool,
    /// When the configuration in use was loaded.
    pub reloaded_at: SystemTime,
    /// Scrapes answered so far, this one included.
    pub scrapes: u64,
    /// Tasks of the runtime that have not ended, after all servers have answered or were given up.
    pub tasks: usize,
    /// Targets of the configuration, and servers that DNS tells of.
    pub targets: usize,
    /// What DNS has told of each target that is a name.
    pub discovery: Vec<discovery::Status>,
    /// Servers that are no targets, and that `/probe` knows.
    pub guests: usize,
    /// Probes that were refused, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// What is counted of limits, also while the scrape is written.
    pub meter: Arc<Meter>,
    /// What the listener counts, as above.
    pub listener: Arc<Listener>,
}

impl Default for Own {
    /// That of an exporter that has just started and has no targets.
    fn default() -> Self {
        Self {
            reload_ok: true,
            reloaded_at: SystemTime::UNIX_EPOCH,
            scrapes: 0,
            tasks: 0,
            targets: 0,
            discovery: Vec::new(),
            guests: 0,
            refused: Vec::new(),
            meter: Arc::default(),
            listener: Arc::default(),
        }
    }
}

/// Why a server is not asked.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No target has this name, and it is not the address of another server.
    #[error("there is no target \"{name}\"; the targets are: {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The names of the targets.
        known: Vec<String>,
    },
    /// It looks like an address and is none.
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    /// No target has this address, and it may not be asked without being one.
    #[error(
        "there is no target \"{address}\", and probe.allow does not allow to ask it; the targets are: {}",
        known.join(", ")
    )]
    NotAllowed {
        /// The address.
        address: String,
        /// The names of the targets.
        known: Vec<String>,
    },
    /// As many other servers are known as may be.
    #[error(
        "{0} servers that are no targets are known, which is as many as probe.max_targets allows; \
         one is forgotten when it was not asked for during probe.idle"
    )]
    Full(usize),
    /// It cannot be asked with the settings of what allows it.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A configuration that cannot be put to use.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It cannot be read, or is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A target cannot be asked with its settings.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A target as the landing page lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSummary {
    /// The name, for `/probe?target=`.
    pub name: String,
    /// The address, without credentials.
    pub url: String,
}

impl Exporter {
    /// Builds a client for each target; connects to nothing.
    ///
    /// # Errors
    /// When the settings of a target cannot be used.
    pub fn new(config: Config, loader: Loader) -> Result<Self, ClientError> {
        let started = Instant::now();
        let running = Running::new(config, &HashMap::new(), &[], started)?;
        Guests::check(&running.config, started)?;
        Ok(Self {
            running: ArcSwap::from_pointee(running),
            loader,
            started,
            ready: AtomicBool::new(false),
            reload_ok: AtomicBool::new(true),
            reloaded_at: AtomicU64::new(now_millis()),
            scrapes: AtomicU64::new(0),
            assets: Pool::default(),
            writer: Writer::default(),
            reloading: std::sync::Mutex::new(()),
            reloaded: Notify::new(),
            guests: Guests::default(),
            meter: Arc::default(),
            listener: Arc::default(),
        })
    }

    /// The configuration in use.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.running.load().config)
    }

    /// What is counted of limits.
    #[must_use]
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Where the listener counts what scrapes then show of it.
    #[must_use]
    pub fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// The targets in the order of the configuration, and the servers that DNS tells of.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetSummary> {
        let summary =
            |target: Target| TargetSummary { url: target.base_url().to_owned(), name: target.name };
        self.asked().into_iter().map(summary).collect()
    }

    /// Whom a scrape asks: the targets in the order of the configuration, and the servers that DNS
    /// tells of.
    #[must_use]
    pub fn asked(&self) -> Vec<Target> {
        let to_ask = self.running.load().to_ask();
        to_ask.into_iter().map(|(probe, _)| probe.target().clone()).collect()
    }

    /// Looks up the targets that are names in DNS, once. Whatever comes of it is in the next scrape.
    pub async fn look_up(&self) {
        let groups = self.running.load().groups.clone();
        let look_ups = groups.into_iter().map(|group| async move { group.look_up().await });
        look_ups.collect::<JoinSet<_>>().join_all().await;
    }

    /// Looks up the targets that are names in DNS, over and over, whatever the configuration in use is.
    pub async fn discover(&self) {
        loop {
            let mut look_ups = JoinSet::new();
            for group in &self.running.load().groups {
                look_ups.spawn(Arc::clone(group).follow());
            }
            self.reloaded.notified().await;
        }
    }

    /// Says that scrapes can be answered.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Whether scrapes can be answered, and every name was looked up once, whatever came of it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
            && self.running.load().groups.iter().all(|group| group.is_looked_up())
    }

    /// Asks the targets, all at once.
    ///
    /// # Errors
    /// When the request names a server that is not to be asked.
    pub async fn scrape(&self, request: ScrapeRequest) -> Result<Scrape, Refused> {
        let reload_ok = self.reload_ok.load(Ordering::Acquire);
        let running = self.running.load_full();
        let all = running.to_ask();
        let targets = all.len();
        let to_ask = match &request.target {
            None => all,
            Some(target) => vec![self.find(&all, &running.config, target)?],
        };
        let scrapes = self.scrapes.fetch_add(1, Ordering::Relaxed) + 1;
        let wanted = catalog::needed(&request.selection);
        let snapshots = ask(to_ask, wanted, request.deadline).await;
        let snapshots = discovery::settle(snapshots, &running.groups);
        let own = Own {
            reload_ok,
            reloaded_at: SystemTime::UNIX_EPOCH
                + Duration::from_millis(self.reloaded_at.load(Ordering::Relaxed)),
            scrapes,
            tasks: Handle::current().metrics().num_alive_tasks(),
            targets,
            discovery: running.groups.iter().map(|group| group.status()).collect(),
            guests: self.guests.count(&running.config),
            refused: self.guests.refused(),
            meter: Arc::clone(&self.meter),
            listener: Arc::clone(&self.listener),
        };
        let config = Arc::clone(&running.config);
        Ok(Scrape::new(request.selection, snapshots, own, config, &self.assets))
    }

    /// The one of `all` that has this name or address, or another server that may be asked.
    fn find(&self, all: &[ToAsk], config: &Arc<Config>, target: &str) -> Result<ToAsk, Refused> {
        if let Some(named) = all.iter().find(|(probe, _)| probe.target().name == target) {
            return Ok(named.clone());
        }
        let known = || all.iter().map(|(probe, _)| probe.target().name.clone()).collect();
        let Some(asked) = Asked::parse(target)? else {
            return Err(Refused::Unknown { name: target.to_owned(), known: known() });
        };
        if let Some(same) = all.iter().find(|(probe, _)| asked.is_of(probe.target())) {
            return Ok(same.clone());
        }
        match self.guests.find(&asked, config, self.started)? {
            Some(guest) => Ok((guest, None)),
            None => Err(Refused::NotAllowed { address: asked.to_string(), known: known() }),
        }
    }

    /// Writes a scrape: texts that belong one behind the other. See [`Writer::write`].
    ///
    /// # Errors
    /// When the thread that writes ends early, which is a defect.
    pub async fn write(
        &self,
        scrape: Scrape,
        format: Format,
        deadline: Instant,
    ) -> Result<Vec<Arc<Packed>>, Ended> {
        self.writer.write(scrape, format, deadline).await
    }

    /// Loads the configuration anew and puts it to use. What is remembered of a target stays when
    /// its address does. The listener keeps its addresses.
    ///
    /// # Errors
    /// When the new configuration cannot be used; the old one stays in use then.
    pub fn reload(&self) -> Result<(), ReloadError> {
        let _one_at_a_time =
            self.reloading.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match self.load() {
            // What is said about the new configuration comes after it is in use.
            Ok(running) => {
                let targets = running.config.targets.len() + running.config.dns_targets.len();
                self.running.store(Arc::new(running));
                self.reloaded.notify_one();
                self.reloaded_at.store(now_millis(), Ordering::Relaxed);
                self.reload_ok.store(true, Ordering::Release);
                tracing::info!(targets, "configuration reloaded");
                Ok(())
            }
            Err(error) => {
                self.reload_ok.store(false, Ordering::Release);
                tracing::error!("the old configuration stays in use: {error}");
                Err(error)
            }
        }
    }

    fn load(&self) -> Result<Running, ReloadError> {
        let config = (self.loader)()?;
        let old = self.running.load();
        let memories = old.probes.iter();
        let memories = memories.map(|p| (p.target().url.to_string(), Arc::clone(p.memory())));
        let running = Running::new(config, &memories.collect(), &old.groups, self.started)?;
        Guests::check(&running.config, self.started)?;
        Ok(running)
    }
}

impl Running {
    fn new(
        config: Config,
        memories: &HashMap<String, Arc<Memory>>,
        old_groups: &[Arc<Group>],
        epoch: Instant,
    ) -> Result<Self, ClientError> {
        let config = Arc::new(config);
        let memory = |url: &str| memories.get(url).cloned().unwrap_or_default();
        let probes = config
            .targets
            .iter()
            .map(|target| {
                let memory = memory(target.url.as_str());
                Probe::new(target, None, &config, memory, epoch).map(Arc::new)
            })
            .collect::<Result<_, _>>()?;
        let group = |target| {
            let old = old_groups.iter().find(|group| group.is_of(target));
            Group::new(target, &config, epoch, old.map(Arc::as_ref)).map(Arc::new)
        };
        let groups = config.dns_targets.iter().map(group).collect::<Result<_, _>>()?;
        Ok(Self { config, probes, groups })
    }

    /// Every server, each address once.
    fn to_ask(&self) -> Vec<ToAsk> {
        let mut to_ask: Vec<ToAsk> =
            self.probes.iter().map(|probe| (Arc::clone(probe), None)).collect();
        for (probe, found) in self.groups.iter().flat_map(|group| group.asked()) {
            if to_ask.iter().all(|(other, _)| other.target().url != probe.target().url) {
                to_ask.push((probe, Some(found)));
            }
        }
        to_ask
    }
}

/// Asks all servers at once and keeps their order. Nobody waits for them any more when this is dropped.
async fn ask(to_ask: Vec<ToAsk>, wanted: EndpointSet, deadline: Instant) -> Vec<Snapshot> {
    let mut probes = JoinSet::new();
    for (place, (probe, found)) in to_ask.into_iter().enumerate() {
        probes.spawn(async move {
            (place, Snapshot { found, ..probe.snapshot(wanted, deadline).await })
        });
    }
    let mut snapshots = BTreeMap::new();
    while let Some(ended) = probes.join_next().await {
        match ended {
            Ok((place, snapshot)) => drop(snapshots.insert(place, snapshot)),
            Err(error) => tracing::error!("a probe ended early, which is a defect: {error}"),
        }
    }
    snapshots.into_values().collect()
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
