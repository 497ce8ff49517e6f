//! The running exporter: its targets, one scrape over them, and the exchange of
//! the configuration while it runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::assets::Pool;
use crate::background::Ended;
use crate::catalog;
use crate::config::{Config, ConfigError};
use crate::exposition::packed::Packed;
use crate::exposition::{Format, Writer};
use crate::memory::Memory;
use crate::nats::client::ClientError;
use crate::probe::{EndpointSet, Probe};
use crate::scrape::{Scrape, Selection};
use crate::snapshot::Snapshot;

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
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// One configuration and what runs by it.
struct Running {
    config: Arc<Config>,
    probes: Vec<Arc<Probe>>,
}

/// What a scrape is to bring.
#[derive(Debug, Clone)]
pub struct ScrapeRequest {
    /// What of the catalogue is wanted.
    pub selection: Selection,
    /// One target by its name; all when nothing is named.
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
    /// Targets of the configuration.
    pub targets: usize,
}

/// A name that no target has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no target \"{name}\"; the targets are: {}", known.join(", "))]
pub struct UnknownTarget {
    name: String,
    known: Vec<String>,
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
        Ok(Self {
            running: ArcSwap::from_pointee(Running::new(config, &HashMap::new(), started)?),
            loader,
            started,
            ready: AtomicBool::new(false),
            reload_ok: AtomicBool::new(true),
            reloaded_at: AtomicU64::new(now_millis()),
            scrapes: AtomicU64::new(0),
            assets: Pool::default(),
            writer: Writer::default(),
            reloading: std::sync::Mutex::new(()),
        })
    }

    /// The configuration in use.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.running.load().config)
    }

    /// The targets, in the order of the configuration.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetSummary> {
        let running = self.running.load();
        let summary = |target: &crate::config::Target| TargetSummary {
            name: target.name.clone(),
            url: target.base_url().to_owned(),
        };
        running.config.targets.iter().map(summary).collect()
    }

    /// Says that scrapes can be answered.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Whether scrapes can be answered.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Asks the targets, all at once.
    ///
    /// # Errors
    /// When the request names a target that is not configured.
    pub async fn scrape(&self, request: ScrapeRequest) -> Result<Scrape, UnknownTarget> {
        let reload_ok = self.reload_ok.load(Ordering::Acquire);
        let running = self.running.load_full();
        let probes = running.select(request.target.as_deref())?;
        let scrapes = self.scrapes.fetch_add(1, Ordering::Relaxed) + 1;
        let wanted = catalog::needed(&request.selection);
        let snapshots = ask(probes, wanted, request.deadline).await;
        let own = Own {
            reload_ok,
            reloaded_at: SystemTime::UNIX_EPOCH
                + Duration::from_millis(self.reloaded_at.load(Ordering::Relaxed)),
            scrapes,
            targets: running.probes.len(),
        };
        let config = Arc::clone(&running.config);
        Ok(Scrape::new(request.selection, snapshots, own, config, &self.assets))
    }

    /// Writes a scrape: texts that belong one behind the other.
    ///
    /// # Errors
    /// When a thread that writes ends early, which is a defect.
    pub async fn write(&self, scrape: Scrape, format: Format) -> Result<Vec<Arc<Packed>>, Ended> {
        self.writer.write(scrape, format).await
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
                let targets = running.probes.len();
                self.running.store(Arc::new(running));
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
        Ok(Running::new(config, &memories.collect(), self.started)?)
    }
}

impl Running {
    fn new(
        config: Config,
        memories: &HashMap<String, Arc<Memory>>,
        epoch: Instant,
    ) -> Result<Self, ClientError> {
        let config = Arc::new(config);
        let memory = |url: &str| memories.get(url).cloned().unwrap_or_default();
        let probes = config
            .targets
            .iter()
            .map(|target| {
                let memory = memory(target.url.as_str());
                Probe::new(target, &config, memory, epoch).map(Arc::new)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { config, probes })
    }

    fn select(&self, name: Option<&str>) -> Result<Vec<Arc<Probe>>, UnknownTarget> {
        let Some(name) = name else { return Ok(self.probes.clone()) };
        let named = self.probes.iter().find(|probe| probe.target().name == name);
        named.map(|probe| vec![Arc::clone(probe)]).ok_or_else(|| UnknownTarget {
            name: name.to_owned(),
            known: self.probes.iter().map(|probe| probe.target().name.clone()).collect(),
        })
    }
}

/// Asks all probes at once and keeps their order.
async fn ask(probes: Vec<Arc<Probe>>, wanted: EndpointSet, deadline: Instant) -> Vec<Snapshot> {
    let tasks: Vec<_> = probes
        .into_iter()
        .map(|probe| tokio::spawn(async move { probe.snapshot(wanted, deadline).await }))
        .collect();
    let mut snapshots = Vec::with_capacity(tasks.len());
    for task in tasks {
        match task.await {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(error) => tracing::error!("a probe ended early, which is a defect: {error}"),
        }
    }
    snapshots
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
